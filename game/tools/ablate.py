"""Ablation: what an answer loses when a head, a neuron or a layer is put out of action."""

from typing import Literal

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.questions import Questions
from game.tools.kit.readings import checked
from game.tools.kit.result import Summary, ToolResult, View
from game.tools.kit.sweep import Grid, Site, cells_of, labelled_cells, sweep

EXAMPLE = Example(
    edit="head_ablate",
    args="--tokens sample:16 --samples sample:64",
    found="Taking head 1 of layer 2 out changes nothing, as it is out already; its neighbours matter more.",
    nothing="No head is without effect.",
)

Replacement = Literal["zero", "mean", "resample"]


def estimate(
    config: TransformerConfig,
    rows: int,
    length: int,
    samples: Samples,
    site: Site = "head",
    replacement: Replacement = "mean",
) -> float:
    """Credits of `ablate` for that many questions of `length` tokens."""
    there = 0 if replacement == "zero" else len(samples.tokens)
    return forward_price(rows) * (1 + cells_of(config, length, site)) + forward_price(there)


def ablate(
    box: Toolbox,
    questions: Questions,
    samples: Samples,
    site: Site = "head",
    replacement: Replacement = "mean",
    seed: int = 0,
) -> ToolResult:
    """How much each part's activation matters to an answer, over what stands in its place.

    Price: rows (1 + cells), and unless the replacement is zero the samples.

    Arrays: `effect` `[layer, *place]`, mean over the questions of margin before minus after, nats; `error`,
    its standard error; `kl` `[layer, *place]`, mean KL(before || after) of the answer's distribution, nats;
    `effect_of` `[layer, *place, row]`; `margin` `[row]`, before.

    Args:
        box: The model, in a league that grants activations and interventions.
        questions: What is asked.
        samples: Where replacements come from, such as `box.sample(256)`; not run for `zero`.
        site: As in `patch`, but `resid`, which is never ablated.
        replacement: `zero`; `mean` over the samples' positions; `resample`, the activation of a random sample
            at the same position.
        seed: Which random sample.

    Raises:
        RequestError: An argument does not fit, or this model has no such site.

    Source: Wang et al. 2022, arXiv 2211.00593 (mean); Chan et al. 2022, "Causal Scrubbing" (resampling).
    """
    questions.check(box.config)
    _check(site, replacement, questions, samples)
    if replacement != "zero":
        checked(box.config, samples)
    grid, spent = Grid.of(box.config, questions.tokens.shape[1], site), box.budget.spent
    before = run(box, questions.tokens, [*grid.hooks, "logits"])
    values = _replacements(box, grid, before, samples, replacement, seed)
    margin, usual = questions.margin(before["logits"]), questions.read(before["logits"]).log_softmax(-1)

    def measure(logits: Tensor, rows: Tensor) -> Tensor:
        asked = questions.of(rows)
        now, then = asked.read(logits).log_softmax(-1), usual[rows]
        return torch.stack([margin[rows] - asked.margin(logits), (then.exp() * (then - now)).sum(-1)], -1)

    found = sweep(box, grid, questions.tokens, values, measure)  # [layer, *place, row, measure]
    effect_of = found[..., 0]
    arrays = {
        "effect": effect_of.mean(-1),
        "error": effect_of.std(-1, correction=0) / max(len(questions) - 1, 1) ** 0.5,
        "kl": found[..., 1].mean(-1).clamp(min=0),
        "effect_of": effect_of,
        "margin": margin,
    }
    views = tuple(
        View(
            kind="heatmap",
            axes=grid.view_axes(),
            data=name,
            diverging=name == "effect",
            unit="nats",
            link=grid.link,
        )
        for name in ("effect", "kl")
    )
    args = {"rows": len(questions), "site": site, "replacement": replacement, "seed": seed}
    most = labelled_cells(grid)[int(arrays["kl"].argmax())]
    return ToolResult(
        "ablate",
        args,
        box.budget.spent - spent,
        arrays,
        views,
        (f"the answers change most without {most}; replacement: {replacement}",),
        (
            Summary("largest effect", float(arrays["effect"].max()), len(questions)),
            Summary("largest kl", float(arrays["kl"].max()), len(questions)),
        ),
        _suspects(grid, arrays["kl"]),
    )


def _check(site: Site, replacement: Replacement, questions: Questions, samples: Samples) -> None:
    if site == "resid":
        raise RequestError("site: got resid, which everything passes; allowed: attn, mlp, head, neuron, ...")
    if replacement not in ("zero", "mean", "resample"):
        raise RequestError(f'replacement: got "{replacement}"; allowed: zero, mean, resample')
    if replacement == "resample" and samples.tokens.shape[1] < questions.tokens.shape[1]:
        raise RequestError(
            f"samples: got length {samples.tokens.shape[1]}; resampling wants the questions' "
            f"{questions.tokens.shape[1]} positions"
        )


def _replacements(
    box: Toolbox, grid: Grid, own: dict[str, Tensor], samples: Samples, replacement: Replacement, seed: int
) -> dict[str, Tensor]:
    """What stands in for each hook's activation, of its shape."""
    if replacement == "zero":
        return {name: torch.zeros_like(own[name]) for name in grid.hooks}
    there = run(box, samples.tokens, grid.hooks)
    holds = torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]  # [sample, pos]
    if replacement == "mean":
        return {name: there[name][holds].mean(0).expand_as(own[name]) for name in grid.hooks}
    rows, length = next(iter(own.values())).shape[:2]
    drawn = torch.randint(len(holds), (rows,), generator=torch.Generator().manual_seed(seed))
    return {name: there[name][drawn, :length] for name in grid.hooks}


def _suspects(grid: Grid, effect: Tensor) -> dict[str, float]:
    """The components that the grid's places belong to, by their largest effect."""
    kind = "mlp" if grid.site in ("mlp", "mlp_layer", "neuron") else "attn"
    if grid.site == "head":
        return {
            f"blocks.{layer}.attn.{head}": float(effect[row, head])
            for row, layer in enumerate(grid.layers)
            for head in range(grid.sizes[0])
        }
    if kind == "attn":
        return {}  # a whole layer's attention is several components
    return {f"blocks.{layer}.mlp": float(effect[row].max()) for row, layer in enumerate(grid.layers)}
