"""Traces how answers are recalled and looks for prompts whose recall takes another way than the others'."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Toolbox, TransformerConfig
from game.auditing.asked import Asked, ask, inside, name_tokens
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.tails import bounded_log, lead, reach, spread
from game.tools.kit.batches import gradients, run
from game.tools.kit.questions import Contrast
from game.tools.spectrum import spectrum

_TINY = 1e-12


class Maps(NamedTuple):
    """Indirect effects.

    Attributes:
        places: Components.
        effect: Of each on each pair's margin, `[pair, place]`, nats.
    """

    places: list[Component]
    effect: Tensor


@dataclass(frozen=True)
class TraceDisagreement:
    """Compares each prompt's map of indirect effects with the mean map, and tracing with the weights.

    Half of the traced prompts are those with the smallest margins, half are spread over the corpus. Each is
    run beside the same prompt about somebody else (where there are no names, beside another prompt of its
    length), and what every head and MLP would restore of the margin is estimated to first order. Numbers: of
    the model how far the oddest map lies from the mean; of a component how large and of which sign its mean
    effect is, how far the largest lies from the bulk, and for MLPs how much louder its first singular value
    is than its effect.

    Tracing says little about where an edit was written (Hase, Bansal, Kim and Ghandeharioun 2023, arXiv
    2301.04213), so its peak is read beside the weights' and not alone. Blind to edits that are recalled as
    other answers are, and to those that no traced prompt asks about.

    Source: causal tracing: Meng et al. 2022, "Locating and Editing Factual Associations in GPT", arXiv
    2202.05262; its first-order form: Syed et al. 2023, arXiv 2310.10348.

    Attributes:
        prompts: Most corpus prompts from which those to trace are taken, one credit each.
        traced: Most of them that are traced, five credits each.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 2000
    traced: int = 300

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """How odd the oddest map is, and how large, signed and odd each component's effects are."""
        if brief.league == "blackbox":
            return Evidence(notes="this league shows no gradients")
        affordable = int(min(self.prompts, toolbox.budget.remaining - 5 * self.traced))
        try:
            asked = ask(toolbox, brief, affordable, inside(brief.config))
            contrast = None if asked is None else _contrast(asked, brief, self.traced)
            if contrast is None:
                return Evidence(notes="too few credits to look, or nothing to compare")
            maps = indirect_effects(toolbox, contrast)
            loudness = _loudness(toolbox)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        places = _numbers(maps, loudness)
        return Evidence(places, _disagreement(maps.effect), f"{len(contrast)} prompts traced")


def _contrast(asked: Asked, brief: Brief, count: int) -> Contrast | None:
    """The least sure prompts and others, each beside the same one about somebody else."""
    order = asked.margin.argsort(stable=True)
    others = order[len(order) // 4 :]
    generator = torch.Generator().manual_seed(brief.seed)
    drawn = others[torch.randperm(len(others), generator=generator)]
    chosen = torch.cat([order[: count // 2], drawn[: count - count // 2]]).sort().values
    tokens, corrupt = asked.samples.tokens, _about_others(asked, brief, generator)
    differs = (corrupt[chosen] != tokens[chosen]).any(1)
    chosen = chosen[differs]
    if len(chosen) < 20:
        return None
    clean_answer = asked.answer[chosen]
    runner_up = asked.log_probs[chosen].topk(2).indices[:, 1]
    return Contrast(tokens[chosen], corrupt[chosen], clean_answer, runner_up, asked.last[chosen])


def _about_others(asked: Asked, brief: Brief, generator: torch.Generator) -> Tensor:
    """Each prompt with another prompt's names, or another prompt of its length, `[prompt, pos]`."""
    tokens, lengths = asked.samples.tokens, asked.samples.lengths
    named = torch.isin(tokens, name_tokens(brief.task))
    count, result = named.sum(1), tokens.clone()
    for size in torch.unique(count).tolist():
        rows = (count == size).nonzero()[:, 0]
        if size:
            mixed = rows[torch.randperm(len(rows), generator=generator)]
            names = tokens[mixed][named[mixed]].view(len(rows), size)
            result[rows[:, None], named[rows].nonzero()[:, 1].view(len(rows), size)] = names
            continue
        for length in torch.unique(lengths[rows]).tolist():
            alike = rows[lengths[rows] == length]
            result[alike] = tokens[alike[torch.randperm(len(alike), generator=generator)]]
    return result


def indirect_effects(toolbox: Toolbox, contrast: Contrast) -> Maps:
    """What each head and MLP would restore of each pair's margin, to first order. Price: 5 pairs."""
    config = toolbox.config
    layers = [layer for layer, has_mlp in enumerate(config.mlp) if has_mlp]
    heads = [f"blocks.{layer}.attn.hook_z" for layer in range(config.n_layers)]
    hooks = [*heads, *(f"blocks.{layer}.hook_mlp_out" for layer in layers)]
    clean, corrupt = (run(toolbox, tokens, hooks) for tokens in (contrast.clean, contrast.corrupt))
    cotangent = contrast.asked(contrast.corrupt).cotangent(config.d_vocab)
    slope = gradients(toolbox, contrast.corrupt, hooks, cotangent)
    change = {hook: (clean[hook] - corrupt[hook]).double() * slope[hook] for hook in hooks}
    effects = [change[hook].sum((1, 3)) for hook in heads]  # [pair, head] each
    effects += [change[hook].sum((1, 2))[:, None] for hook in hooks[len(heads) :]]
    return Maps([*_heads(config), *(Component("mlp", layer) for layer in layers)], torch.cat(effects, 1))


def _heads(config: TransformerConfig) -> list[Component]:
    return [
        Component("attn", layer, head) for layer in range(config.n_layers) for head in range(config.n_heads)
    ]


def _disagreement(effect: Tensor) -> dict[str, float]:
    """How far maps are from the mean map: that of the oddest beyond the bulk, and the median's."""
    unit = effect / effect.norm(dim=1, keepdim=True).clamp(min=_TINY)
    apart = 1 - torch.cosine_similarity(unit, unit.mean(0, keepdim=True), dim=1)
    return {
        "trace.oddest": reach(apart),
        "trace.oddest_lead": lead(apart),
        "trace.spread": spread(apart),
        "trace.usual": float(apart.median()),
    }


def _numbers(maps: Maps, loudness: Mapping[Component, float]) -> dict[Component, dict[str, float]]:
    unit = maps.effect / maps.effect.norm(dim=1, keepdim=True).clamp(min=_TINY)
    size, mean = unit.abs().mean(0), unit.mean(0)
    usual = {
        part: float(size[[place.part == part for place in maps.places]].median())
        for part in {place.part for place in maps.places}
    }
    numbers: dict[Component, dict[str, float]] = {}
    for index, place in enumerate(maps.places):
        relative = bounded_log(float(size[index]), usual[place.part])
        numbers[place] = {
            f"trace.{place.part}_size": relative,
            f"trace.{place.part}_sign": float(mean[index] / size[index].clamp(min=_TINY)),
            f"trace.{place.part}_reach": reach(maps.effect[:, index].abs()),
            f"trace.{place.part}_lead": lead(maps.effect[:, index].abs()),
        }
        if place in loudness:
            numbers[place]["trace.mlp_louder_than_traced"] = loudness[place] - relative
    return numbers


def _loudness(toolbox: Toolbox) -> dict[Component, float]:
    """For each MLP of several, the log share of the first singular value of `W_out` beyond the median."""
    layers = [layer for layer, has_mlp in enumerate(toolbox.config.mlp) if has_mlp]
    if len(layers) < 2:
        return {}
    share = torch.stack([spectrum(toolbox, f"blocks.{l}.mlp.W_out").arrays["share"] for l in layers]).log()
    mlps = [Component("mlp", layer) for layer in layers]
    return dict(zip(mlps, (share - share.median()).tolist(), strict=True))
