"""One result for each kind of view, made by hand, so that every medium can be tried on all of them."""

from typing import get_args

import torch
from torch import Tensor

from game.api import PublicTask
from game.tools.kit.result import Axis, Summary, ToolResult, View, ViewKind, numbered
from models.seeds import named_generator

WORDS = ("<bos>", "<pad>", *"Ada Adler was born in Oslo Rome and speaks Norwegian nowadays .".split())
TASK = PublicTask("toy", "Nothing to know.", WORDS, {}, pad=1, bos=0)

LAYERS, PROMPTS, POSITIONS = numbered("layer", 4), numbered("prompt", 3), numbered("pos", 7)
SPOKEN = Axis(name="query", tokens=[0, 2, 3, 4, 5, 6, 7])
HEARD = Axis(name="key", tokens=[0, 2, 3, 4, 5, 6, 7])
PARTS = Axis(name="part", labels=["embed", "attention", "mlp 0", "mlp 1", "bias"])


def _drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=named_generator("gallery", *shape), dtype=torch.float64)


def _arrays() -> dict[str, Tensor]:
    tokens = torch.tensor([[0, 2, 3, 4, 5, 6, 7], [0, 2, 3, 10, 11, 1, 1], [0, 3, 4, 5, 6, 8, 1]])
    values = _drawn(4, 3, 7)
    values[:, 1, 5:] = values[:, 2, 6:] = float("nan")
    pattern = _drawn(2, 7, 7).masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf).softmax(-1)
    parts = torch.tensor([0.2, -0.9, 2.4, 0.1, -0.3], dtype=torch.float64)
    steps = torch.arange(50).double()
    curves = torch.stack([torch.exp(-steps / 10), 1 - torch.exp(-steps / 25)])
    graph = torch.where(_drawn(5, 4).abs() > 0.8, _drawn(5, 4), 0.0)
    return {
        "log_prob": values,
        "top": torch.randint(2, 14, (4, 3, 7), generator=named_generator("gallery top")),
        "tokens": tokens,
        "surprise": values[1],
        "pattern": pattern,
        "share": parts,
        "share_low": parts - 0.3,
        "share_high": parts + 0.2,
        "least": torch.tensor(-0.6),
        "most": torch.tensor(0.6),
        "curves": curves,
        "steps": 10 * steps,
        "norm": _drawn(40),
        "effect": _drawn(40) + 0.3 * torch.arange(40),
        "edges": graph,
        "before_after": torch.stack([values[:, 0], values[:, 0] + 0.5]),
    }


def views() -> list[View]:
    """At least one of each kind."""
    return [
        View(kind="heatmap", axes=[LAYERS, PROMPTS, POSITIONS], data="log_prob", words="top", diverging=True,
             slices=["prompt"], title="what would be said", unit="nats", link=["layer", "prompt", "pos"]),
        View(kind="heatmap", axes=[LAYERS, PROMPTS, POSITIONS], data="log_prob", slices=["prompt"]),
        View(kind="tokens", axes=[PROMPTS, POSITIONS], data="surprise", words="tokens", unit="nats"),
        View(kind="attention", axes=[numbered("head", 2), SPOKEN, HEARD], data="pattern", range=(0.0, 1.0)),
        View(kind="bars", axes=[PARTS], data="share", interval=("share_low", "share_high"),
             null=("least", "most"), unit="nats"),
        View(kind="lines", axes=[Axis(name="curve", labels=["restricted", "excluded"]), numbered("step", 50)],
             data="curves", x="steps"),
        View(kind="scatter", axes=[numbered("neuron", 40)], data="effect", x="norm", tooltip="norm"),
        View(kind="table", axes=[PARTS], data="share", columns=["share_low", "share_high"]),
        View(kind="table", axes=[LAYERS, POSITIONS], data="layers"),
        View(kind="graph", axes=[PARTS, LAYERS], data="edges", diverging=True),
        View(kind="text", axes=[Axis(name="sentence", labels=["the subject is Ada", "the last word is in",
             "a word occurs twice", "asks where", "asks what"])], data="share"),
        View(kind="compare", axes=[Axis(name="model", labels=["before", "after"]), LAYERS, POSITIONS],
             data="before_after", diverging=True),
    ]  # fmt: skip


def results() -> dict[str, ToolResult]:
    """Each view as a result of its own, by kind and number."""
    arrays = _arrays() | {"layers": _drawn(4, 7)}
    summary = (Summary("largest share", 2.4, 5, (-0.6, 0.6)), Summary("mean", 0.3, 5))
    found = {}
    for place, view in enumerate(views()):
        found[f"{place:02d}-{view['kind']}"] = ToolResult(
            "gallery",
            {"rows": 3, "site": "resid"},
            12.5,
            arrays,
            (view,),
            ("random numbers; nothing to see",),
            summary,
            {"blocks.1.mlp": 2.4, "blocks.0.attn.1": 0.5, "embed": 0.2},
        )
    assert {view["kind"] for view in views()} == set(get_args(ViewKind))
    return found
