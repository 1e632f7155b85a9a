"""Activation patching: which of the clean run's activations bring the answer back into a corrupt run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.prices import forward_price
from game.tools.lens import site_names
from game.tools.result import Axis, Link, ToolResult, View

Site = Literal["resid", "head", "mlp"]


@dataclass(frozen=True)
class Contrast:
    """Pairs of prompts of equal length, and the two tokens that tell them apart.

    Attributes:
        clean: Token ids, `[pair, pos]`.
        corrupt: The same with something exchanged, `[pair, pos]`.
        answer: The clean run's answer, `[pair]`.
        distractor: The corrupt run's answer, `[pair]`.
        at: Position at which the answer is read, `[pair]`.
    """

    clean: Tensor
    corrupt: Tensor
    answer: Tensor
    distractor: Tensor
    at: Tensor

    def metric(self, logits: Tensor, pairs: Tensor) -> Tensor:
        """Log P(answer) - log P(distractor) in nats, `[row]`, of runs of the given pairs."""
        rows = torch.arange(len(logits))
        read = logits[rows, self.at[pairs]].double()  # [row, d_vocab]
        return read[rows, self.answer[pairs]] - read[rows, self.distractor[pairs]]


def estimate(config: TransformerConfig, pairs: int, length: int, site: Site = "resid") -> float:
    """Credits of `patch` for that many pairs of prompts of `length` tokens."""
    hooks, parts = _grid(config, length, site)
    return forward_price(pairs) * (2 + len(hooks) * parts)


def patch(box: Toolbox, contrast: Contrast, site: Site = "resid") -> ToolResult:
    """Where an answer is decided: one cell of the clean run put into the corrupt run at a time.

    All cells of all pairs run as one batch, cut where it is too long for one call. A cell shows where the
    answer passes, which for an edited model need not be where the edit was written.
    Price: pairs (2 + cells).

    Arrays: `recovered` `[layer, part]`, mean over the pairs of (patched - corrupt) / (clean - corrupt): 0 is
    the corrupt run, 1 the clean one, and pairs whose two runs agree count as 0; `metric`
    `[layer, part, pair]`, `clean` and `corrupt` `[pair]`: log P(answer) - log P(distractor) in nats.

    Args:
        box: The model, in a league that grants activations and interventions.
        contrast: The pairs of prompts.
        site: `resid`, the residual stream by layer (the embedding first) and position; `mlp`, MLP outputs by
            layer and position; `head`, by layer and head, at all positions.

    Raises:
        RequestError: The contrast's shapes differ, the site is unknown or empty, or the toolbox refuses.

    Source: Zhang and Nanda 2023, arXiv 2309.16042; Meng et al. 2022, arXiv 2202.05262.
    """
    _check(contrast, box.config.d_vocab)
    hooks, parts = _grid(box.config, contrast.clean.shape[1], site)
    spent, most = box.budget.spent, box.budget.max_rows
    pairs = torch.arange(len(contrast.clean))
    runs = [box.activations(part, [*hooks, "logits"]) for part in torch.split(contrast.clean, most)]
    cache = {name: torch.cat([run[name] for run in runs]) for name in (*hooks, "logits")}
    clean = contrast.metric(cache["logits"], pairs)
    corrupt = contrast.metric(
        torch.cat([box.logits(part) for part in torch.split(contrast.corrupt, most)]), pairs
    )
    cells = torch.cartesian_prod(torch.arange(len(hooks)), torch.arange(parts), pairs)
    found = [_patched(box, contrast, cache, hooks, batch) for batch in torch.split(cells, most)]
    metric = rearrange(torch.cat(found), "(layer part pair) -> layer part pair", layer=len(hooks), part=parts)
    arrays = {
        "recovered": _recovered(metric, clean, corrupt),
        "metric": metric,
        "clean": clean,
        "corrupt": corrupt,
    }
    args = {"pairs": len(pairs), "site": site}
    notes = ("recovered: 0 is the corrupt run, 1 the clean run; it may leave that range",)
    return ToolResult("patch", args, box.budget.spent - spent, arrays, (_view(hooks, parts, site),), notes)


def _check(contrast: Contrast, d_vocab: int) -> None:
    clean, corrupt = contrast.clean, contrast.corrupt
    if clean.ndim != 2 or clean.shape != corrupt.shape or not len(clean):
        raise RequestError(
            f"contrast: clean {list(clean.shape)}, corrupt {list(corrupt.shape)}; wanted [pair, pos] twice"
        )
    for name, most in (("answer", d_vocab), ("distractor", d_vocab), ("at", clean.shape[1])):
        chosen: Tensor = getattr(contrast, name)
        if chosen.shape != clean.shape[:1] or chosen.min() < 0 or chosen.max() >= most:
            raise RequestError(f"contrast: {name} is not one number from 0 to {most - 1} for each pair")


def _grid(config: TransformerConfig, length: int, site: Site) -> tuple[tuple[str, ...], int]:
    """Hook names, one for each layer of cells, and how many parts each is cut into."""
    if site == "resid":
        return site_names(config), length
    if site == "head":
        return tuple(f"blocks.{l}.attn.hook_z" for l in range(config.n_layers)), config.n_heads
    if site != "mlp":
        raise RequestError(f'site: got "{site}"; allowed: resid, head, mlp')
    hooks = tuple(f"blocks.{l}.hook_mlp_out" for l in range(config.n_layers) if config.mlp[l])
    if not hooks:
        raise RequestError("site: got mlp, but no layer of this model has an MLP")
    return hooks, length


def _patched(
    box: Toolbox, contrast: Contrast, cache: dict[str, Tensor], hooks: tuple[str, ...], cells: Tensor
) -> Tensor:
    """The metric of one batch of patched runs, `[row]`; `cells` are hook, part and pair, `[row, 3]`."""
    layer, part, pair = cells.unbind(1)
    interventions = list(_interventions(cache, hooks, layer, part, pair))
    return contrast.metric(box.logits(contrast.corrupt[pair], interventions), pair)


def _interventions(
    cache: dict[str, Tensor], hooks: tuple[str, ...], layer: Tensor, part: Tensor, pair: Tensor
) -> Iterator[Intervention]:
    """For each layer of the batch, the clean values of its rows, let through at each row's own part."""
    for index in sorted(set(layer.tolist())):
        name, rows = hooks[index], (layer == index).nonzero()[:, 0]
        axis = 2 if name.endswith("hook_z") else 1
        parts = cache[name].shape[axis]
        chosen = torch.zeros(len(layer), parts, dtype=torch.bool)
        chosen[rows, part[rows]] = True
        mask = chosen.view(len(layer), *[1] * (axis - 1), parts, *[1] * (cache[name].ndim - axis - 1))
        yield Intervention(name, cache[name][pair[rows]], "set", mask=mask, rows=tuple(rows.tolist()))


def _recovered(metric: Tensor, clean: Tensor, corrupt: Tensor) -> Tensor:
    """Mean share of the way from corrupt to clean, `[layer, part]`."""
    way = clean - corrupt  # [pair]
    same = way.abs() < 1e-6  # nats; such a pair has nothing to recover
    return torch.where(same, 0.0, (metric - corrupt) / torch.where(same, 1.0, way)).mean(-1)


def _view(hooks: tuple[str, ...], parts: int, site: Site) -> View:
    labels = ["embed" if name.endswith("resid_pre") else f"layer {name.split('.')[1]}" for name in hooks]
    name: Link = "head" if site == "head" else "pos"
    axes = [Axis(name="layer", labels=labels), Axis(name=name, labels=[str(part) for part in range(parts)])]
    return View(kind="heatmap", axes=axes, data="recovered", diverging=True, link=["layer", name])
