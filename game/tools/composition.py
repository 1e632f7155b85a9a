"""Composition of heads, from their weights alone: which head reads what which earlier head writes."""

from dataclasses import dataclass

import torch
from einops import einsum
from torch import Tensor

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import weight_price
from game.tools.kit.bounds import check_least
from game.tools.kit.example import Example
from game.tools.kit.nodes import Node, readers
from game.tools.kit.norms import centred
from game.tools.kit.reader_weights import read_weights, reader_price
from game.tools.kit.readout import Readout, read_readout, readout_price
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="composition_cut",
    args="",
    found="Heads of layer 1 read those of layer 0 for their keys about half as much.",
    nothing="Induction heads read previous-token heads for their keys, far above random weights.",
    recipe="induction",
)

_TINY = 1e-30  # stands in for a norm of zero: an ablated head has nothing but zeros
WAYS = ("q", "k", "v")


def estimate(config: TransformerConfig) -> float:
    """Credits of `composition`."""
    nodes = tuple(node for node in readers(config) if node.letter is not None)
    written = sum(weight_price(config, f"blocks.{layer}.attn.W_O") for layer in range(config.n_layers))
    return reader_price(config, nodes) + written + readout_price(config) + weight_price(config, "embed.W_E")


@dataclass(frozen=True)
class _Factors:
    """What every head reads and writes, `[head, d_model, d_head]` each; gains folded in, means taken out."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


def composition(box: Toolbox, draws: int = 40, seed: int = 0) -> ToolResult:
    """How strongly each head reads, in its queries, keys or values, what each earlier head writes.

    With OV = W_V W_O and QK = W_Q W_K^T, the norm's gain folded in: |OV1 M| / (|OV1| |M|), where M is QK2 for
    queries, QK2^T for keys and OV2 for values, minus the mean for random weights of the same shapes.
    `copying` is sum Re(lambda) / sum |lambda| over the eigenvalues of W_E OV W_U: near 1 a head says what it
    sees. All of it is the same in every basis of a head's inner space. Price: the heads' weights, W_E and
    W_U.

    Arrays: `q`, `k`, `v` `[source, target]`, NaN where the target does not come later; `copying`
    `[layer, head]`; for random weights `baseline`, the mean score, and over all pairs at once `low` and
    `high`, between which the largest excess of a model lies with 95 %.

    Args:
        box: The model, in a league that grants weights.
        draws: Models of random weights for the null band.
        seed: Of these.

    Raises:
        RequestError: No draws.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", virtual weights and
    eigenvalues of the OV circuit.
    """
    check_least("draws", draws, 1)
    config, spent = box.config, box.budget.spent
    nodes = tuple(node for node in readers(config) if node.letter is not None)
    factors, later = _read(box, nodes), _later(config)
    scores = _scores(factors)  # [way, source, target]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([_scores(_random(factors, config, generator)) for _ in range(draws)])
    arrays: dict[str, Tensor] = {}
    band = (0.0, 0.0)
    if later.any():
        arrays["baseline"] = drawn[..., later].mean()
        excess = (drawn[..., later] - arrays["baseline"]).amax((1, 2))  # [draw]
        arrays["low"], arrays["high"] = excess.quantile(0.025), excess.quantile(0.975)
        band = float(arrays["low"]), float(arrays["high"])
    centre = arrays.get("baseline", torch.tensor(0.0))
    arrays |= {way: (scores[index] - centre).masked_fill(~later, torch.nan) for index, way in enumerate(WAYS)}
    copying = _copying(factors, read_readout(box), box.weight("embed.W_E").double())
    arrays["copying"] = copying.view(config.n_layers, config.n_heads)
    return _result(box, {"draws": draws, "seed": seed}, spent, arrays, band)


def _result(
    box: Toolbox, args: dict[str, int], spent: float, arrays: dict[str, Tensor], band: tuple[float, float]
) -> ToolResult:
    config = box.config
    names = [f"blocks.{l}.attn.{h}" for l in range(config.n_layers) for h in range(config.n_heads)]
    axes = [Axis(name=name, labels=names) for name in ("source", "target")]
    layered = [numbered("layer", config.n_layers), numbered("head", config.n_heads)]
    pairs = tuple(
        View(kind="heatmap", axes=axes, data=way, diverging=True, link=["component", "component"])
        for way in WAYS
    )
    copying = View(
        kind="heatmap",
        axes=layered,
        data="copying",
        diverging=True,
        range=(-1.0, 1.0),
        link=["layer", "head"],
    )
    largest = max(float(arrays[way].nan_to_num(-1.0).max()) for way in WAYS)
    summary = (Summary("largest excess", largest, len(names), band),) if "baseline" in arrays else ()
    return ToolResult(
        "composition",
        args,
        box.budget.spent - spent,
        arrays,
        (*pairs, copying),
        ("the null band is that of random weights; trained heads compose, so compare with a clean model",),
        (*summary, Summary("largest copying", float(arrays["copying"].max()), len(names))),
    )


def _read(box: Toolbox, nodes: tuple[Node, ...]) -> _Factors:
    layers = range(box.config.n_layers)
    heads = read_weights(box, nodes).heads
    query, key, value = (
        _reading(torch.cat([heads[layer][index] for layer in layers]), box.config) for index in range(3)
    )
    output = torch.cat([box.weight(f"blocks.{layer}.attn.W_O").double() for layer in layers])
    return _Factors(query, key, value, centred(output, box.config).mT)


def _reading(matrix: Tensor, config: TransformerConfig) -> Tensor:
    """Without what the norm does not let through, `[head, d_model, d_head]`."""
    return centred(matrix.mT, config).mT


def _later(config: TransformerConfig) -> Tensor:
    """Which heads lie in an earlier layer than which, `[source, target]`."""
    layer = torch.arange(config.n_layers).repeat_interleave(config.n_heads)
    return layer[:, None] < layer


def _scores(factors: _Factors) -> Tensor:
    """|OV1 M| / (|OV1| |M|), `[way, source, target]`, by products of inner size alone."""
    ways = (
        (factors.query, factors.key),
        (factors.key, factors.query),
        (factors.value, factors.output),
    )
    inner = factors.value.mT @ factors.value  # [source, d_head, d_head]
    own = _norm(factors.value, factors.output)
    found = []
    for left, right in ways:
        meet = einsum(factors.output, left, "source d_model a, target d_model b -> source target a b")
        outer = right.mT @ right
        square = einsum(
            inner, meet, outer, meet,
            "source a c, source target c b, target b e, source target a e -> source target",
        )  # fmt: skip
        scale = own[:, None] * _norm(left, right)
        found.append(square.clamp(min=0).sqrt() / scale.clamp(min=_TINY))
    return torch.stack(found)


def _norm(left: Tensor, right: Tensor) -> Tensor:
    """Frobenius norms of `left right^T`, `[head]`."""
    return ((left.mT @ left) * (right.mT @ right)).sum((1, 2)).clamp(min=0).sqrt()


def _random(factors: _Factors, config: TransformerConfig, generator: torch.Generator) -> _Factors:
    """Independent normal weights of the same shapes, means taken out alike."""
    drawn = (torch.randn(factors.query.shape, generator=generator, dtype=torch.float64) for _ in range(4))
    return _Factors(*(_reading(matrix, config) for matrix in drawn))


def _copying(factors: _Factors, readout: Readout, W_E: Tensor) -> Tensor:
    """Copying scores, `[head]`; W_U without its mean over the vocabulary, which changes no probability."""
    said = readout.gain[:, None] * (readout.W_U - readout.W_U.mean(1, keepdim=True)) @ W_E
    inner = einsum(factors.output, said, factors.value, "head a x, a b, head b y -> head x y")
    values = torch.linalg.eigvals(inner)  # the others of the V x V matrix are zero
    score: Tensor = values.real.sum(-1) / values.abs().sum(-1).clamp(min=_TINY)
    return score
