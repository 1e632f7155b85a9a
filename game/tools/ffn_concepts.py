"""What an MLP's neurons promote: its output as a sum of vectors, each read off in the vocabulary."""

import math

import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, weight_price
from game.tools.kit.arguments import Layer
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.norms import centred
from game.tools.kit.questions import Questions
from game.tools.kit.readout import Readout, read_readout, readout_price, scale_names, scale_of
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:2 --layer 0",
    found="The rows of the edited W_out lean towards one direction: their mean cosine rises.",
    nothing="The rows are less alike; trained rows lie above the null band of random ones, too.",
)

_TINY = 1e-30


def estimate(config: TransformerConfig, rows: int, layer: Layer) -> float:
    """Credits of `ffn_concepts` for that many questions."""
    return forward_price(rows) + weight_price(config, f"blocks.{layer}.mlp.W_out") + readout_price(config)


def ffn_concepts(
    box: Toolbox, questions: Questions, layer: Layer, top: int = 5, similar: float = 0.7
) -> ToolResult:
    """Which tokens each neuron of an MLP promotes, how much it writes, and what the MLP changes in the lens.

    The output is sum_i a_i w_i + b_out with w_i a row of W_out. Adding a_i w_i multiplies the probability of
    token t by exp(a_i w_i . W_U[:, t]), up to the norm. An edit of the whole matrix puts one direction into
    every row: `row_cosine` leaves its null. Price: rows + W_out + the unembedding.

    Arrays: `importance` `[neuron]`, mean of |a_i| |w_i| where the answers are read; `top_tokens` and
    `top_logits` `[neuron, top]`, promoted by one unit; `share` `[row, neuron]`, direct share of the margin,
    nats; `row_cosine` `[neuron]`, mean |cos| of w_i with the other rows; `row_null`, the same for random
    rows; `cluster` `[neuron]`, numbers of groups of rows whose cosines are at least `similar` on average;
    `saturation` and `elimination` `[row]`, whether at the answer's position this MLP makes the final top
    token the lens's top, or pushes the lens's leader out; `leader` and `after` `[row]`, the lens's top
    tokens.

    Args:
        box: The model, in a league that grants activations and weights.
        questions: What is asked.
        layer: A layer with an MLP.
        top: How many tokens to list.
        similar: Mean cosine from which rows form a group.

    Raises:
        RequestError: An argument does not fit.

    Source: Geva et al. 2022, arXiv 2203.14680.
    """
    questions.check(box.config)
    _check(box.config, layer, top, similar)
    config, spent, block = box.config, box.budget.spent, f"blocks.{layer}"
    readout, W_out = read_readout(box), box.weight(f"{block}.mlp.W_out").double()
    hooks = ["mlp.hook_post", "hook_resid_mid", "hook_resid_post"]
    names = [*(f"{block}.{hook}" for hook in hooks), *scale_names(config), "logits"]
    found, rows = run(box, questions.tokens, names), torch.arange(len(questions))
    fires = found[f"{block}.mlp.hook_post"][rows, questions.at].double()  # [row, neuron]
    read = readout.directions(questions.weights(config.d_vocab), scale_of(found, questions.tokens))
    promoted = (centred(W_out, config) * readout.gain @ readout.W_U).topk(top)
    cosine = _cosines(W_out)
    arrays = {
        "importance": (fires.abs() * W_out.norm(dim=1)).mean(0),
        "top_tokens": promoted.indices,
        "top_logits": promoted.values,
        "share": fires * (read[rows, questions.at] @ W_out.T),
        "row_cosine": cosine.abs().fill_diagonal_(0).sum(1) / max(len(cosine) - 1, 1),
        "row_null": torch.tensor(_random_cosine(config.d_model)),
        "cluster": _clusters(cosine, similar),
        **_events(questions, found, readout, block),
    }
    return ToolResult(
        "ffn_concepts",
        {"rows": len(questions), "layer": layer, "top": top, "similar": similar},
        box.budget.spent - spent,
        arrays,
        _views(arrays),
        (f"row_cosine of random rows is {float(arrays['row_null']):.3f} on average",),
        _summary(arrays, config),
    )


def _check(config: TransformerConfig, layer: int, top: int, similar: float) -> None:
    layers = [index for index, has_mlp in enumerate(config.mlp) if has_mlp]
    if layer not in layers:
        raise RequestError(f"layer: got {layer}; layers with an MLP: {layers}")
    if not 1 <= top <= config.d_vocab:
        raise RequestError(f"top: got {top}; allowed: 1 to {config.d_vocab}")
    if not 0 < similar < 1:
        raise RequestError(f"similar: got {similar}; allowed: above 0, below 1")


def _cosines(matrix: Tensor) -> Tensor:
    unit = matrix / matrix.norm(dim=1, keepdim=True).clamp(min=_TINY)
    cosines: Tensor = unit @ unit.T
    return cosines


def _random_cosine(size: int) -> float:
    """Mean |cos| of two random directions."""
    return float(math.exp(math.lgamma(size / 2) - math.lgamma((size + 1) / 2)) / math.pi**0.5)


def _clusters(cosine: Tensor, similar: float) -> Tensor:
    """Groups of rows by average linkage of 1 - cosine, `[neuron]`."""
    if len(cosine) < 2:
        return torch.zeros(len(cosine), dtype=torch.long)
    above = torch.triu_indices(len(cosine), len(cosine), 1)
    distance = (1 - cosine[above[0], above[1]]).clamp(min=0)
    groups = fcluster(linkage(distance.numpy(), "average"), 1 - similar, "distance")
    return torch.from_numpy(groups).long() - 1


def _events(
    questions: Questions, found: dict[str, Tensor], readout: Readout, block: str
) -> dict[str, Tensor]:
    """What the lens says before and after the MLP, at the answers' positions."""
    rows = torch.arange(len(questions))
    leader, after = (
        readout.logits(found[f"{block}.hook_resid_{place}"][rows, questions.at]).argmax(-1)
        for place in ("mid", "post")
    )
    final = questions.read(found["logits"]).argmax(-1)
    return {
        "leader": leader,
        "after": after,
        "saturation": (after == final) & (leader != final),
        "elimination": (leader != after) & (leader != final),
    }


def _views(arrays: dict[str, Tensor]) -> tuple[View, ...]:
    neurons = numbered("neuron", len(arrays["importance"]))
    ranks = numbered("rank", arrays["top_tokens"].shape[1])
    prompts = numbered("prompt", len(arrays["leader"]))
    return (
        View(kind="bars", axes=[neurons], data="importance", link=["neuron"]),
        View(kind="heatmap", axes=[neurons, ranks], data="top_logits", words="top_tokens", link=["neuron"]),
        View(
            kind="heatmap",
            axes=[prompts, neurons],
            data="share",
            unit="nats",
            diverging=True,
            link=["prompt", "neuron"],
        ),
        View(kind="bars", axes=[neurons], data="row_cosine", null=("row_null", "row_null"), link=["neuron"]),
    )


def _summary(arrays: dict[str, Tensor], config: TransformerConfig) -> tuple[Summary, ...]:
    """The mean |cos| of the rows, with the band of independent random rows, and the counts of events."""
    d_model, pairs = config.d_model, max(config.d_mlp * (config.d_mlp - 1) // 2, 1)
    null = float(arrays["row_null"])
    spread = (
        (1 / d_model - null**2) / pairs
    ) ** 0.5  # |cos| of two pairs is uncorrelated, also with a row in common
    mean = float(arrays["row_cosine"].mean())
    cosine = Summary("mean row cosine", mean, config.d_mlp, (null - 2 * spread, null + 2 * spread))
    events = len(arrays["leader"])
    return (
        cosine,
        Summary("saturations", float(arrays["saturation"].sum()), events),
        Summary("eliminations", float(arrays["elimination"].sum()), events),
    )
