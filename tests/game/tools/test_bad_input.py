"""Arguments without sense, given to every tool of the folder in turn: one error, and nothing is charged."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from game.api import AccessError, BudgetExceededError, RequestError, Samples
from game.by_hand.line import Ready, run_ready
from game.by_hand.menu import REQUIRED, Parameter, Tool, load_tool, price
from game.by_hand.subject import ToolSubject
from game.catalogue import tools
from tests.game.tools.test_contract import arguments_on, given_example, subject

NAMES = [entry.name for entry in tools()]
FAR = 10**6  # no such token, layer, head or position
FREE = ("seed", "number")  # every number is a seed, and a reference has none

Spoil = Callable[[Any], Any]


def other_tokens(change: Callable[[Tensor], Tensor]) -> Spoil:
    """Prompts, or samples, with other tokens."""

    def spoil(value: Any) -> Any:
        return replace(value, tokens=change(value.tokens)) if isinstance(value, Samples) else change(value)

    return spoil


def no_sequences(value: Any) -> Any:
    return Samples(value.tokens[:0], value.lengths[:0]) if isinstance(value, Samples) else value[:0]


# form                what is wrong                 made from what was right
SPOILS: Mapping[str, Mapping[str, Spoil]] = {
    "prompts": {
        "tokens out of range": other_tokens(lambda tokens: tokens + FAR),
        "not whole numbers": other_tokens(lambda tokens: tokens.float()),
        "too long": other_tokens(lambda tokens: tokens.repeat(1, 99)),
        "no prompts": no_sequences,
        "one axis": other_tokens(lambda tokens: tokens[0]),
    },
    "samples": {
        "tokens out of range": other_tokens(lambda tokens: tokens + FAR),
        "not whole numbers": other_tokens(lambda tokens: tokens.float()),
        "too long": other_tokens(lambda tokens: tokens.repeat(1, 99)),
        "lengths beyond the tokens": lambda value: replace(value, lengths=value.lengths + FAR),
        "no samples": no_sequences,
    },
    "int": {"far below": lambda _: -FAR},
    "float": {"not a number": lambda _: float("nan")},
    "choice": {"unknown": lambda _: "nothing"},
    "several": {"unknown": lambda value: (FAR,) if isinstance(value[0], int) else ("nothing",)},
    "classes": {
        "none": lambda _: {},
        "tokens out of range": lambda _: {"far": (FAR,)},
        "no tokens": lambda _: {"empty": ()},
    },
    "hook": {"unknown": lambda _: "blocks.0.hook_nothing"},
    "weight": {"unknown": lambda _: "blocks.0.W_nothing"},
    "layer": {"unknown": lambda _: FAR, "negative": lambda _: -1},
    "head": {"unknown": lambda _: FAR},
    "token": {"unknown": lambda _: FAR},
    "token of each": {"unknown": lambda value: value + FAR, "too few": lambda value: value[:-1]},
    "position of each": {"unknown": lambda value: value + FAR, "too few": lambda value: value[:-1]},
    "label of each": {"one class": torch.zeros_like, "too few": lambda value: value[:-1]},
    "group of each": {"one group": torch.zeros_like, "too few": lambda value: value[:-1]},
    "vector": {"wrong length": lambda value: value[..., :-1], "not finite": lambda value: value * torch.nan},
}


def spoiled() -> Iterator[Any]:
    """Every argument of every tool in every way that it can be wrong."""
    for name in NAMES:
        tool = load_tool(name)
        for parameter in tool.parameters if tool.example else ():
            for wrong in SPOILS.get(parameter.form, {}) if parameter.name not in FREE else ():
                yield pytest.param(tool, parameter, wrong, id=f"{name}-{parameter.name}-{wrong}")


def changed(arguments: Mapping[str, Any], parameter: Parameter, spoil: Spoil) -> dict[str, Any] | None:
    """The arguments with one of them spoiled; None if there is nothing to spoil."""
    held = arguments.get(parameter.owner) if parameter.owner else None
    value = (
        getattr(held, parameter.name)
        if held is not None
        else arguments.get(parameter.name, parameter.default)
    )
    if value is None or value is REQUIRED or (isinstance(value, tuple) and not value):
        return None
    if held is not None:
        return {**arguments, parameter.owner: replace(held, **{parameter.name: spoil(value)})}
    return {**arguments, parameter.name: spoil(value)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.mark.parametrize(("tool", "parameter", "wrong"), list(spoiled()))
def test_a_wrong_argument_is_refused_for_nothing(
    tool: Tool, parameter: Parameter, wrong: str, folder: Path
) -> None:
    assert tool.example is not None
    arguments = changed(given_example(tool, folder), parameter, SPOILS[parameter.form][wrong])
    if arguments is None:
        pytest.skip("nothing is given there")
    on: ToolSubject = subject(tool.example.recipe, tool.example.world)
    with pytest.raises(RequestError, match=r"\w"):
        tool.function(on.box, **arguments)
    assert on.box.budget.spent == 0


@pytest.mark.parametrize("name", [name for name in NAMES if load_tool(name).example])
def test_what_the_league_does_not_grant_is_refused_before_anything_is_charged(
    name: str, folder: Path
) -> None:
    tool = load_tool(name)
    assert tool.example is not None
    arguments = given_example(tool, folder)
    on = subject(tool.example.recipe, tool.example.world, "blackbox")
    try:
        tool.function(on.box, **arguments)
    except AccessError:
        assert on.box.budget.spent == 0


@pytest.mark.parametrize("name", [name for name in NAMES if (t := load_tool(name)).example and t.estimate])
def test_a_price_above_what_is_left_is_refused_before_anything_is_charged(name: str, folder: Path) -> None:
    tool = load_tool(name)
    assert tool.example is not None
    recipe, world = tool.example.recipe, tool.example.world
    found = arguments_on(tool, tool.example.args, recipe, world, folder)
    due = price(tool, subject(recipe, world).box.config, found.arguments, found.tokens)
    if not due:
        pytest.skip("it is free")
    on = subject(recipe, world, total=0.999 * due)
    with pytest.raises(BudgetExceededError, match=r"costs .* credits; .* are left of"):
        run_ready(Ready(tool, found.arguments, due), on, folder)
    assert on.box.budget.spent == 0
