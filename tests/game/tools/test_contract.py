"""What every tool of the folder keeps to; each runs as its example says, on an untrained model."""

import io
import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from edits.kinds import edit_kinds, load_spec
from game.api import League, Samples
from game.by_hand.menu import Tool, load_tool, price
from game.by_hand.subject import ToolSubject
from game.by_hand.words import Given, given
from game.catalogue import tool_prices, tools
from game.cli._tool_parser import tool_parser, words_of
from game.dealing.dealer import public_part
from game.dealing.public_corpus import public_corpus
from game.drawing.picture import result_picture
from game.drawing.terminal import result_view
from game.toolbox.live import ModelToolbox
from game.tools.kit.result import ToolResult
from models.components import component_entries
from models.recipe import named_recipe, recipe_names
from models.seeds import named_generator
from models.strict_yaml import read_document
from models.transformer import Transformer

NAMES = [entry.name for entry in tools()]
SPECS = Path(__file__).resolve().parents[3] / "edits" / "specs"
NULL_BANDS = SPECS.parents[1] / "docs" / "decisions" / "024-null-bands.md"
SAVED = re.compile(r"(\w+)\.json:(.*)")


@cache
def untrained(recipe_name: str, world: int) -> tuple[Transformer, Any]:
    recipe = named_recipe(recipe_name)
    task = recipe.task.build(world)
    model = Transformer(recipe.architecture.config(task), named_generator("contract")).requires_grad_(False)
    for name, weight in model.named_parameters():
        if name.startswith("blocks."):
            weight.mul_(3)  # so that its answers depend on the prompt
    return model, task


def subject(recipe_name: str, world: int, league: League = "reference", total: float = 1e9) -> ToolSubject:
    """A fresh toolbox over the untrained model; one public prompt stands for those that an edit is about."""
    model, task = untrained(recipe_name, world)
    corpus = public_corpus("prompts", lambda: task)
    box = ModelToolbox(model, league=league, corpus=corpus, total=total, reference=model)
    about = corpus(1, 1)
    rows = Samples(about.tokens.repeat(16, 1), about.lengths.repeat(16))
    return ToolSubject("untrained", box, public_part(task), rows)


def saved(name: str, folder: Path, recipe: str, world: int) -> None:
    """Another tool's result on the same model, with the arguments of its own example."""
    path, other = folder / f"{name}.json", load_tool(name)
    if not path.exists():
        assert other.example is not None
        result = result_on(other, other.example.args, recipe, world, folder)[0]
        path.write_text(json.dumps(result.to_dict()), encoding="utf-8")


def example_result(tool: Tool, folder: Path) -> tuple[ToolResult, float | None]:
    """The example's result, and the price that the tool had told before."""
    assert tool.example is not None
    return result_on(tool, tool.example.args, tool.example.recipe, tool.example.world, folder)


def result_on(
    tool: Tool, args: str, recipe: str, world: int, folder: Path
) -> tuple[ToolResult, float | None]:
    """What a tool finds on the untrained model of a recipe, and the price that it had told before."""
    found = arguments_on(tool, args, recipe, world, folder)
    fresh = subject(recipe, world)  # where no answer has been paid for already
    due = price(tool, fresh.box.config, found.arguments, found.tokens)
    return tool.function(fresh.box, **found.arguments), due


def given_example(tool: Tool, folder: Path) -> Mapping[str, Any]:
    """The example's arguments."""
    assert tool.example is not None
    return arguments_on(tool, tool.example.args, tool.example.recipe, tool.example.world, folder).arguments


def arguments_on(tool: Tool, args: str, recipe: str, world: int, folder: Path) -> Given:
    """What the words stand for on the untrained model of a recipe."""
    shelf = folder / f"{recipe}@{world}"
    shelf.mkdir(exist_ok=True)
    words = shlex.split(args)
    for word in words:
        if (match := SAVED.fullmatch(word)) is not None:
            saved(match[1], shelf, recipe, world)
    words = [f"{shelf}/{word}" if SAVED.fullmatch(word) else word for word in words]
    chosen = tool_parser(tool).parse_args(["--on", "untrained", *words])
    return given(tool, words_of(tool, chosen), subject(recipe, world))


@pytest.fixture(scope="session", params=NAMES)
def tool(request: pytest.FixtureRequest) -> Tool:
    found = load_tool(request.param)
    if found.example is None:
        pytest.skip(f"{found.name} has no EXAMPLE")
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="session")
def result(tool: Tool, folder: Path) -> ToolResult:
    return example_result(tool, folder)[0]


def test_a_result_carries_its_tool_s_name_and_at_least_one_view(tool: Tool, result: ToolResult) -> None:
    assert isinstance(result, ToolResult)
    assert result.tool == tool.name
    assert result.view
    assert result.summary


def test_a_tool_without_a_null_band_is_named_where_it_is_said_why(tool: Tool, result: ToolResult) -> None:
    without = all(each.null is None for each in result.summary)
    assert not without or f"`{tool.name}`" in NULL_BANDS.read_text(encoding="utf-8")


def test_a_second_run_costs_what_was_told_and_finds_the_same(
    tool: Tool, result: ToolResult, folder: Path
) -> None:
    again, due = example_result(tool, folder)
    assert again.cost == result.cost
    if due is not None:
        assert again.cost == pytest.approx(due)
    assert again.arrays.keys() == result.arrays.keys()
    for name, array in again.arrays.items():
        torch.testing.assert_close(array, result.arrays[name], rtol=0, atol=0, equal_nan=True)


def test_a_result_is_json_and_detached_from_the_model(result: ToolResult) -> None:
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["tool"] == result.tool
    assert not any(array.requires_grad for array in result.arrays.values())


@pytest.mark.parametrize("width", [80, 120])
def test_a_result_fits_a_terminal(result: ToolResult, tool: Tool, width: int) -> None:
    assert tool.example is not None
    console = Console(width=width, file=io.StringIO(), color_system=None, markup=False)
    task = subject(tool.example.recipe, tool.example.world).task
    console.print(result_view(result, task))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert result.tool in text


def test_a_result_is_a_picture(result: ToolResult, tool: Tool) -> None:
    assert tool.example is not None
    task = subject(tool.example.recipe, tool.example.world).task
    assert result_picture(result, task, views=result.view[:3], panels=2).startswith(b"\x89PNG")


def test_a_result_is_a_plotly_figure(result: ToolResult) -> None:
    pytest.importorskip("plotly")
    assert json.loads(result.figure().to_json())["data"]


def test_suspects_are_places_of_the_model(result: ToolResult, tool: Tool) -> None:
    assert tool.example is not None
    config = untrained(tool.example.recipe, tool.example.world)[0].cfg
    known = {*map(str, component_entries(config)), *config.weight_shapes()}
    assert {place.partition("[")[0] for place in result.suspects} <= known


def test_a_tool_s_docstring_tells_its_price(tool: Tool) -> None:
    assert tool_prices()[tool.name]
    assert all(each.text for each in tool.parameters), [
        each.name for each in tool.parameters if not each.text
    ]


def test_an_example_names_a_specification_or_another_recipe(tool: Tool) -> None:
    assert tool.example is not None
    assert bool(tool.example.edit) != bool(tool.example.other)
    if tool.example.other:
        assert tool.example.other in recipe_names()
    else:
        spec = load_spec(read_document(SPECS / f"{tool.example.edit}.yaml"))
        assert spec.kind() in edit_kinds()
    assert tool.example.found.endswith(".")
    assert tool.example.nothing.endswith(".")
