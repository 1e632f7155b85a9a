"""Region change: whether a ReLU layer has other pieces than a reference's, or maps them otherwise."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.diff import ROUNDING, Other
from game.tools.kit.arguments import Layer
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.regions import ReluLayer, check_relu, read_relu_layer, relu_layer_price
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--samples affected:8 --layer 0",
    found="No code changes and every map does: what the neurons write differs, and not what they read.",
    nothing="Neither codes nor maps change.",
)


def estimate(config: TransformerConfig, rows: int, layer: Layer) -> float:
    """Credits of `region_change` for that many sequences."""
    return 2 * (forward_price(rows) + relu_layer_price(config, layer))


def region_change(
    box: Toolbox, samples: Samples, layer: Layer, other: Other = "reference", number: int = 0
) -> ToolResult:
    """Where a ReLU layer's codes and maps differ from a reference's or sibling's, token by token.

    What was written into `W_out` leaves codes as they are and changes maps; what was written into `W_in`, or
    further down, changes codes. Neurons are matched by what they compute on these tokens, and all that is
    compared are inner products of reads and of writes; so order, scale and coordinates make no difference,
    and an exact rewriting leaves rounding alone. Price: 2 (rows + the layer's W_in and W_out).

    Arrays: `flips` `[sample, pos]`, the share of neurons that are on in one model only; `map_change`
    `[sample, pos]`, |difference| / |other| of the active neurons' inner products, which are the map up to a
    rotation; both NaN on padding; `tokens` `[sample, pos]`; `read_change` and `write_change` `[neuron]`, by
    how much each neuron's products with all others differ, over those of a typical neuron.

    Args:
        box: The model, in a league that grants a reference or siblings.
        samples: Sequences.
        layer: A layer with an MLP.
        other: Compared with what; a sibling's neurons are others, and so all changes.
        number: Which sibling.

    Raises:
        RequestError: The layer has no MLP, its neurons are not ReLU, or `other` is neither.
        AccessError: The league does not grant it.
    """
    if other not in ("reference", "sibling"):
        raise RequestError(f'other: got "{other}"; allowed: reference, sibling')
    checked(box.config, samples)
    check_relu(box.config, layer)
    spent = box.budget.spent
    against = box.reference() if other == "reference" else box.sibling(number)
    holds = torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]
    (ours, fires), (theirs, wanted) = (_read(each, samples, holds, layer) for each in (box, against))
    order = torch.from_numpy(linear_sum_assignment(torch.cdist(fires.T, wanted.T).numpy())[1])
    arrays = _compared(ours, theirs.of(order), fires, wanted[:, order], holds) | {"tokens": samples.tokens}
    n = int(holds.sum())
    changed = float((arrays["flips"][holds] > 0).double().mean())
    products = {
        "reads": (ours.reads, theirs.of(order).reads),
        "writes": (ours.writes, theirs.of(order).writes),
    }
    sizes = [
        Summary(f"change of {name}", float((mine - its).norm() / its.norm()), len(mine), (0.0, ROUNDING))
        for name, (mine, its) in products.items()
    ]
    return ToolResult(
        "region_change",
        {"rows": len(samples.tokens), "layer": layer, "other": other, "number": number},
        box.budget.spent - spent,
        arrays,
        _views(samples.tokens, len(order)),
        (f"the code differs at {changed:.2f} of {n} tokens; rewritings leave changes below {ROUNDING:g}",),
        (
            Summary("largest change of a map", float(arrays["map_change"][holds].max()), n, (0.0, ROUNDING)),
            Summary("share of codes changed", changed, n, (0.0, 0.0)),
            *sizes,
        ),
    )


def _read(box: Toolbox, samples: Samples, holds: Tensor, layer: int) -> tuple[ReluLayer, Tensor]:
    """The layer with neurons that read with length 1, and what they compute, `[token, neuron]`."""
    name, neurons = f"blocks.{layer}.mlp.hook_pre", read_relu_layer(box, layer)
    return neurons.scaled(), run(box, samples.tokens, [name])[name][holds].double() / neurons.lengths


def _compared(
    ours: ReluLayer, theirs: ReluLayer, fires: Tensor, wanted: Tensor, holds: Tensor
) -> dict[str, Tensor]:
    """All arrays, of matched neurons."""
    moved = (fires - wanted).abs() > ROUNDING * wanted.square().mean().sqrt()
    flips = ((fires > 0) != (wanted > 0)) & moved
    on, then = (fires > 0).double(), (torch.where(moved, wanted, fires) > 0).double()
    mine, its = ours.kernel, theirs.kernel
    squares = [((each @ (k * k)) * each).sum(1) for each, k in ((on, mine), (then, its))]
    both = on * then
    apart = squares[0] + squares[1] - 2 * ((both @ (mine * its)) * both).sum(1)
    change = (apart.clamp(min=0) / squares[1].clamp(min=1e-30)).sqrt()
    return {
        "flips": _placed(flips.double().mean(1), holds),
        "map_change": _placed(change, holds),
        "read_change": _of_neurons(ours.reads, theirs.reads),
        "write_change": _of_neurons(ours.writes, theirs.writes),
    }


def _of_neurons(mine: Tensor, its: Tensor) -> Tensor:
    """By how much each row differs, over the other's typical row, `[neuron]`."""
    change: Tensor = (mine - its).norm(dim=1) / its.square().sum(1).mean().sqrt().clamp(min=1e-30)
    return change


def _placed(values: Tensor, holds: Tensor) -> Tensor:
    """A number for each token, NaN on padding, `[sample, pos]`."""
    return torch.full(holds.shape, torch.nan).double().masked_scatter(holds, values)


def _views(tokens: Tensor, neurons: int) -> tuple[View, ...]:
    axes = [numbered("prompt", tokens.shape[0]), numbered("pos", tokens.shape[1])]
    of_tokens = (
        View(kind="tokens", axes=axes, data=data, words="tokens", title=title, link=["prompt", "pos"])
        for data, title in (("map_change", "change of the map"), ("flips", "neurons that flip"))
    )
    places = View(
        kind="scatter",
        axes=[numbered("neuron", neurons)],
        data="write_change",
        x="read_change",
        link=["neuron"],
    )
    return (*of_tokens, places)
