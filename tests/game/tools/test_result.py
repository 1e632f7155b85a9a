import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

ARRAYS = {
    "kl": torch.tensor([[0.5, float("nan"), 1.0], [0.0, 2.0, float("inf")]]),
    "tokens": torch.tensor([[1, 4, 2], [1, 3, 3]]),
    "steps": torch.tensor([0.0, 10.0, 100.0]),
    "edge": torch.tensor(1.5),
    "few": torch.zeros(3),
}
AXES = [numbered("prompt", 2), numbered("pos", 3)]


def made(view: Mapping[str, Any], **rest: Any) -> ToolResult:
    return ToolResult("try", {}, 1.0, ARRAYS, (view,), **rest)  # type: ignore[arg-type]


FITTING: list[View] = [
    View(kind="heatmap", axes=AXES, data="kl", words="tokens", null=("edge", "edge"), link=["prompt"]),
    View(kind="tokens", axes=AXES, data="kl", words="tokens", link=[None, "pos"]),
    View(kind="attention", axes=[numbered("query", 2), Axis(name="key", tokens=[4, 1, 1])], data="kl"),
    View(kind="lines", axes=AXES, data="kl", x="steps", interval=("kl", "kl"), unit="nats", range=(0, 2)),
    View(kind="scatter", axes=AXES[1:], data="few", x="steps", tooltip="few"),
    View(kind="table", axes=AXES[1:], data="few", columns=["steps"], title="three rows"),
    View(kind="compare", axes=AXES, data="kl", diverging=True),
]


@pytest.mark.parametrize("view", FITTING, ids=lambda view: view["kind"])
def test_a_view_that_fits_is_taken_as_it_is(view: View) -> None:
    assert made(view).view == (view,)


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"kind": "pie"}, 'kind: got "pie"; allowed: heatmap, tokens, attention'),
    ({"colour": "red"}, "unknown key colour; allowed: kind, axes, data, title"),
    ({"data": "loss"}, 'data: "loss" is not among the arrays: kl, tokens, steps, edge, few'),
    ({"data": "few"}, r'data: "few" has shape \(3,\), its view has axes of \(2, 3\)'),
    ({"tooltip": "few"}, r'tooltip: "few" has shape \(3,\)'),
    ({"words": "kl"}, 'words: "kl" does not hold token ids'),
    ({"interval": ("kl", "edge")}, r'interval: "edge" has shape \(\)'),
    ({"kind": "tokens"}, "words: missing, and tokens wants it"),
    ({"kind": "scatter"}, "x: missing, and scatter wants it"),
    ({"kind": "text"}, "axes: a text has 1, got 2"),
    ({"kind": "compare", "axes": AXES[1:], "data": "few"}, "axes: a compare has from 2, got 1"),
    ({"kind": "table", "columns": ["kl"]}, "columns: only a table with one axis has them"),
    ({"axes": [*AXES[:1], {"name": "pos"}]}, "axis pos: wanted either labels or tokens"),
    ({"range": (1, 0)}, r"range: got \(1, 0\), wanted the lower end first"),
    ({"link": ["prompt", "pos", "head"]}, "link: got 3 cursors for 2 axes"),
]


@pytest.mark.parametrize(("change", "message"), MISFITS, ids=lambda part: str(part)[:40])
def test_a_result_whose_view_does_not_fit_cannot_be_made(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^try: view 1: {message}"):
        made({"kind": "heatmap", "axes": AXES, "data": "kl"} | change)


def test_a_result_is_json_ready_and_what_is_no_number_becomes_null() -> None:
    summary = (Summary("largest", 2.5, 6, (-1.0, 1.0)), Summary("least", 0.0))
    found = made(FITTING[0], summary=summary, suspects={"blocks.0.mlp": 1.5}, notes=("a note",))
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["arrays"]["kl"] == [[0.5, None, 1.0], [0.0, 2.0, None]]
    assert data["arrays"]["tokens"][0] == [1, 4, 2]
    assert data["summary"][0] == {
        "name": "largest",
        "value": 2.5,
        "n": 6,
        "null": [-1.0, 1.0],
        "stands_out": True,
    }
    assert data["summary"][1]["stands_out"] is None
    assert data["view"][0]["axes"][0] == {"name": "prompt", "labels": ["0", "1"]}
    assert data["suspects"] == {"blocks.0.mlp": 1.5}
    assert list(data) == ["kind", "tool", "args", "cost", "arrays", "view", "notes", "summary", "suspects"]


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"summary": (Summary("z", float("nan")),)}, "summary: .*wanted a finite value"),
        ({"summary": (Summary("z", 1.0), Summary("z", 2.0))}, "summary: .* under a name of its own"),
        ({"summary": (Summary("z", 1.0, 0),)}, "summary: .* and n from 1"),
        (
            {"summary": (Summary("z", 1.0, 1, (2.0, 1.0)),)},
            r"summary: z: the null band \(2.0, 1.0\) has no inside",
        ),
        ({"suspects": {"embed": float("inf")}}, "suspects: embed has inf; wanted a finite number"),
    ],
)
def test_a_number_that_says_nothing_is_refused(rest: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^try: {message}"):
        made(FITTING[0], **rest)


@pytest.mark.parametrize("value", [torch.zeros(2), {1, 2}, object()])
def test_an_argument_that_is_no_data_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^try: args: got .*; wanted text, numbers, lists and mappings"):
        ToolResult("try", {"x": [value]}, 0.0, {"a": Tensor()})
