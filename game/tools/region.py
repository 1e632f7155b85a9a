"""Regions: the linear pieces of a ReLU layer on which prompts lie, and the map that each piece is."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import Layer
from game.tools.kit.batches import run
from game.tools.kit.chance import generator
from game.tools.kit.example import Example
from game.tools.kit.norms import centred
from game.tools.kit.readings import checked
from game.tools.kit.regions import ReluLayer, check_relu, hamming, read_relu_layer, relu_layer_price
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--samples sample:256 --layer 0",
    found="The map is most concentrated where the edited subjects are named: it writes one direction.",
    nothing="Only pieces with few neurons are as concentrated, and no name is among the first.",
)
NULLS = 2  # copies with random writes
_TINY = 1e-30


def estimate(config: TransformerConfig, rows: int, layer: Layer) -> float:
    """Credits of `region` for that many sequences."""
    return forward_price(rows) + relu_layer_price(config, layer)


def region(box: Toolbox, samples: Samples, layer: Layer, seed: int = 0) -> ToolResult:
    """Which linear pieces of a ReLU layer the prompts' tokens lie on, and what map each piece is.

    A piece is known by its code, the set of neurons that are on; on it the MLP is an affine map of the
    normalized stream. What is written into `W_out` leaves every code as it is and changes maps, a direction
    of it those of the pieces that read it; what is written into `W_in` changes codes. Alone, a model is
    asked which pieces' maps are most concentrated on one direction, as an addition of rank one makes those
    that read it; `region_change` compares it with another one. As chance, each
    neuron writes as much as it does in a random direction. Trained neurons may leave that band by themselves,
    and of norms and distances no band is known: compare siblings. Price: rows + the layer's W_in and W_out.

    Arrays `[piece]`, the most concentrated first: `count`, tokens on it; `sample` and `pos`, where the first
    of them is; `active`, how many neurons are on; `neighbour`, the piece with the nearest code, and
    `distance`, the share of neurons in which it differs; `norm`, the map's Frobenius norm; `coherence`, its
    square over the sum of the neurons' own, 1 if none helps another; `concentration`, the share of the square
    in its largest singular value; `step`, |difference| / |map| to the neighbour's; `codes` `[piece, neuron]`,
    1 where it is on; `direction` `[piece, d_model]`, the map's first right singular vector, what it writes
    most. `piece` `[sample, pos]`, -1 on padding; `null_concentration` `[copy]`, the largest of each.

    Args:
        box: The model, in a league that grants activations and weights.
        samples: Sequences.
        layer: A layer with an MLP.
        seed: Of the random directions.

    Raises:
        RequestError: The layer has no MLP, its neurons are not ReLU, or all tokens lie on one piece.

    Source: Montúfar et al. 2014, arXiv 1402.1869; Balestriero and Baraniuk 2018, arXiv 1805.06576.
    """
    checked(box.config, samples)
    check_relu(box.config, layer)
    spent, name = box.budget.spent, f"blocks.{layer}.mlp.hook_pre"
    on = run(box, samples.tokens, [name])[name] > 0  # [sample, pos, neuron]
    holds = torch.arange(on.shape[1]) < samples.lengths[:, None]
    neurons = read_relu_layer(box, layer)
    codes, owner, count = torch.unique(on[holds], dim=0, return_inverse=True, return_counts=True)
    if len(codes) < 2:
        raise RequestError(f"samples: got {int(holds.sum())} tokens on one piece; wanted two pieces or more")
    arrays = _in_order(_pieces(neurons, codes) | {"count": count}, owner, holds)
    arrays["null_concentration"] = torch.stack(
        [concentration(copy.maps(codes)).max() for copy in _redirected(neurons, box.config, seed)]
    )
    n, high = len(codes), float(arrays["null_concentration"].max())
    return ToolResult(
        "region",
        {"rows": len(samples.tokens), "layer": layer, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(samples.tokens[arrays["sample"], arrays["pos"]].tolist(), codes.shape[1]),
        (f"{int(holds.sum())} tokens lie on {n} pieces; a piece is called by the first token on it",),
        (
            Summary("largest concentration", float(arrays["concentration"].max()), n, (0.0, high)),
            Summary("largest norm over the median", float(arrays["norm"].max() / arrays["norm"].median()), n),
            Summary("largest distance", float(arrays["distance"].max()), n),
        ),
    )


def _pieces(neurons: ReluLayer, codes: Tensor) -> dict[str, Tensor]:
    """What is told of the pieces and their maps, `[piece, ...]`."""
    on, kernel, each = codes.double(), neurons.kernel, torch.arange(len(codes))
    inner = on @ kernel @ on.T  # [piece, piece]
    squares = inner.diagonal().clamp(min=_TINY)
    nearest = hamming(codes, codes).fill_diagonal_(torch.inf).min(1)
    between = squares + squares[nearest.indices] - 2 * inner[each, nearest.indices]
    _, values, right = torch.linalg.svd(neurons.maps(codes), full_matrices=False)
    return {
        "active": codes.sum(1),
        "neighbour": nearest.indices,
        "distance": nearest.values,
        "norm": squares.sqrt(),
        "coherence": squares / (on @ kernel.diagonal()).clamp(min=_TINY),
        "concentration": values[:, 0].square() / squares,
        "step": (between.clamp(min=0) / squares).sqrt(),
        "direction": right[:, 0],
        "codes": codes.long(),
    }


def _redirected(neurons: ReluLayer, config: TransformerConfig, seed: int) -> Iterator[ReluLayer]:
    """Copies in which every neuron writes as much as it does, in a random direction."""
    source, length = generator(seed), neurons.write.norm(dim=1, keepdim=True)
    for _ in range(NULLS):
        drawn = centred(torch.randn(neurons.write.shape, generator=source).double(), config)
        yield replace(neurons, write=length * drawn / drawn.norm(dim=1, keepdim=True))


def concentration(maps: Tensor) -> Tensor:
    """The share of each map's squared norm in its largest singular value, `[piece]`."""
    squares: Tensor = torch.linalg.svdvals(maps).square()
    return squares[:, 0] / squares.sum(1).clamp(min=_TINY)


def _in_order(found: dict[str, Tensor], owner: Tensor, holds: Tensor) -> dict[str, Tensor]:
    """The most concentrated pieces first, and on which of them each token is."""
    order = found["concentration"].argsort(descending=True, stable=True)
    rank = order.argsort()
    piece = torch.full(holds.shape, -1)
    piece[holds] = rank[owner]
    arrays = {name: array[order] for name, array in found.items()}
    places = (piece.flatten() == torch.arange(len(order))[:, None]).long().argmax(1)
    return arrays | {
        "neighbour": rank[arrays["neighbour"]],
        "sample": places // holds.shape[1],
        "pos": places % holds.shape[1],
        "piece": piece,
    }


def _views(tokens: list[int], neurons: int) -> tuple[View, ...]:
    pieces = Axis(name="piece", tokens=tokens)
    return (
        View(kind="bars", axes=[pieces], data="concentration", tooltip="count"),
        View(kind="scatter", axes=[pieces], data="concentration", x="norm", tooltip="distance"),
        View(
            kind="heatmap",
            axes=[pieces, numbered("neuron", neurons)],
            data="codes",
            link=[None, "neuron"],
        ),
    )
