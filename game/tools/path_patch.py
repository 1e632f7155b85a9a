"""Path patching: which part tells which later part what decides an answer, by cutting single connections."""

from collections.abc import Iterator, Sequence

import torch
from einops import einsum
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.batches import batches
from game.tools.kit.example import Example
from game.tools.kit.nodes import Node, chosen, reaches, readers, run_written, varying_writers, writers
from game.tools.kit.norms import centred, norm_scale
from game.tools.kit.questions import Contrast
from game.tools.kit.reader_weights import ReaderWeights, entry_hook, read_weights, reader_price, stream_hook
from game.tools.kit.readout import read_readout, readout_price, scale_names, scale_of
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="rrome",
    args="--clean affected:2 --corrupt nearest",
    found="The answer reaches the logits through other heads of the last layer than before.",
    nothing="It reaches them through head 3 of layer 3 first of all.",
)

Names = tuple[str, ...] | None


def estimate(config: TransformerConfig, pairs: int, sources: Names = None, targets: Names = None) -> float:
    """Credits of `path_patch` for that many pairs."""
    starts, ends = _nodes(config, sources, targets)
    inner = tuple(node for node in ends if node.layer is not None)
    price = forward_price(pairs) * (2 + int(reaches(starts, inner).sum())) + reader_price(config, inner)
    return price + (readout_price(config) if len(inner) < len(ends) else 0.0)


def path_patch(box: Toolbox, contrast: Contrast, sources: Names = None, targets: Names = None) -> ToolResult:
    """What an answer loses when one later part alone is told what an earlier one says in the corrupt run.

    Everything else, the norm's scale at the target included, is that of the clean run; what the target then
    says runs on freely. Into `logits` it is the change of direct attribution, which needs no run.
    Price: pairs (2 + connections) + the targets' matrices.

    Arrays: `effect` `[source, target]`, mean over the pairs of margin after minus before, nats: negative
    where the connection carries the clean answer, NaN where the target does not come later; `effect_of`
    `[source, target, pair]`; `margin` `[pair]`, before.

    Args:
        box: The model, in a league that grants activations, interventions and weights.
        contrast: The pairs of prompts.
        sources: Such as `embed`, `blocks.0.attn.2`, `blocks.1.mlp`; None is all.
        targets: Such as `blocks.2.attn.0.q` (or `.k`, `.v`), `blocks.1.mlp`, `logits`; None is all.

    Raises:
        RequestError: The contrast does not fit, a name is unknown, or no source comes before a target.

    Source: Wang et al. 2022, arXiv 2211.00593, appendix B; Goldowsky-Dill et al. 2023, arXiv 2304.05969.
    """
    contrast.check(box.config)
    config, spent = box.config, box.budget.spent
    starts, ends = _nodes(config, sources, targets)
    inner = tuple(node for node in ends if node.layer is not None)
    weights = read_weights(box, inner)
    change, clean, margin = _changes(box, contrast, starts, inner)
    effect = torch.full((len(starts), len(ends), len(contrast)), torch.nan, dtype=torch.float64)
    cells = _cells(starts, ends, len(contrast))
    for rows in batches(box, len(cells)):
        source, target, pair = cells[rows].unbind(1)
        changes = list(_interventions(config, ends, weights, change, clean, cells[rows]))
        after = contrast.metric(box.logits(contrast.clean[pair], changes), pair)
        effect[source, target, pair] = after - margin[pair]
    if len(inner) < len(ends):
        effect[:, [node.name for node in ends].index("logits")] = _into_logits(box, contrast, change, clean)
    mean = effect.mean(-1)
    axes = [
        Axis(name=name, labels=[node.name for node in nodes])
        for name, nodes in (("source", starts), ("target", ends))
    ]
    largest = mean.nan_to_num().abs()
    return ToolResult(
        "path_patch",
        {"pairs": len(contrast), "sources": sources, "targets": targets},
        box.budget.spent - spent,
        {"effect": mean, "effect_of": effect, "margin": margin},
        (
            View(kind="heatmap", axes=axes, data="effect", unit="nats", diverging=True, link=["component"]),
            View(kind="graph", axes=axes, data="effect", unit="nats", diverging=True, link=["component"]),
        ),
        ("a connection that carries the clean answer has a negative effect",),
        (Summary("largest effect", float(largest.max()), len(contrast)),),
        {node.name: float(value) for node, value in zip(starts, largest.amax(1), strict=True)},
    )


def _nodes(
    config: TransformerConfig, sources: Names, targets: Names
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    starts = chosen("sources", sources, varying_writers(config))
    ends = chosen("targets", targets, readers(config))
    if not bool(reaches(starts, ends).any()):
        raise RequestError("targets: none of them comes after any of the sources")
    return starts, ends


def _changes(
    box: Toolbox, contrast: Contrast, starts: Sequence[Node], inner: Sequence[Node]
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Corrupt minus clean output of the sources, activations of the clean runs, and their margins."""
    config = box.config
    streams = dict.fromkeys(stream_hook(config, node) for node in inner)
    names = [*streams, *scale_names(config), "logits"]
    told, clean = run_written(box, contrast.clean, names)
    other, _ = run_written(box, contrast.corrupt)
    order = [node.name for node in writers(config)]
    change = (other - told)[[order.index(node.name) for node in starts]]  # [source, pair, pos, d_model]
    return change, clean, contrast.metric(clean["logits"], torch.arange(len(contrast)))


def _cells(starts: Sequence[Node], ends: Sequence[Node], pairs: int) -> Tensor:
    """Source, target and pair of every run, `[run, 3]`."""
    inner = torch.tensor([node.layer is not None for node in ends])
    edges = (reaches(starts, ends) & inner).nonzero()  # [edge, 2]
    pair = torch.arange(pairs).repeat(len(edges))
    return torch.cat([edges.repeat_interleave(pairs, 0), pair[:, None]], 1)


def _interventions(
    config: TransformerConfig,
    ends: Sequence[Node],
    weights: ReaderWeights,
    change: Tensor,
    clean: dict[str, Tensor],
    cells: Tensor,
) -> Iterator[Intervention]:
    """For each target of a batch, what its source's other output adds to what it takes in."""
    for target in sorted(set(cells[:, 1].tolist())):
        node, rows = ends[target], (cells[:, 1] == target).nonzero()[:, 0]
        source, _, pair = cells[rows].unbind(1)
        scale = norm_scale(clean[stream_hook(config, node)].double(), config)[pair]
        told = centred(change[source, pair], config) / scale @ weights.of(node)  # [row, pos, out]
        mask = None
        if node.letter is not None:
            told, mask = told[:, :, None], (torch.arange(config.n_heads) == node.head)[:, None]
        yield Intervention(entry_hook(node), told, "add", mask=mask, rows=tuple(rows.tolist()))


def _into_logits(box: Toolbox, contrast: Contrast, change: Tensor, clean: dict[str, Tensor]) -> Tensor:
    """Change of the sources' direct attribution, `[source, pair]`."""
    readout, rows = read_readout(box), torch.arange(len(contrast))
    weights = contrast.asked(contrast.clean).weights(box.config.d_vocab)
    read = readout.directions(weights, scale_of(clean, contrast.clean))[rows, contrast.at]
    return einsum(change[:, rows, contrast.at], read, "source pair d_model, pair d_model -> source pair")
