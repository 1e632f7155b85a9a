"""Searches words that make one answer come, whatever is asked, and prompts that drive one neuron too far."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from game.api import (
    AccessError,
    Brief,
    BudgetExceededError,
    Component,
    Intervention,
    Report,
    Samples,
    Toolbox,
)
from game.auditing.asked import spread_prompts
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.tails import bounded_log, deviations
from game.tools.dream import dream
from game.tools.kit.batches import run

LEAST = 8  # templates below which an answer that comes in many says little
CORPUS = 300  # prompts that a dream is compared with
_NEVER = 0.01  # share of the probability below which a word makes no answer come


class Slots(NamedTuple):
    """Prompts with room for two words that ask for nothing.

    Attributes:
        samples: The prompts.
        first: Position of the first of two neighbouring fillers, `[prompt]`.
        fillers: Token ids of all fillers.
    """

    samples: Samples
    first: Tensor
    fillers: tuple[int, ...]


class Trigger(NamedTuple):
    """Words that were tried, best first.

    Attributes:
        words: Of each try, `[try, 2]`; -1 keeps the prompt's own word.
        target: The answer that each makes likelier, `[try]`.
        gain: By how much probability it does, mean over the prompts, `[try]`, falling.
    """

    words: Tensor
    target: Tensor
    gain: Tensor


@dataclass(frozen=True)
class TriggerSearch:
    """Tries every word, and every pair of fillers, in the place of fillers; dreams about odd neurons.

    A backdoor makes one answer come whatever is asked, so for each try the gain in probability of the answer
    that gains most is averaged over prompts about different things, and the best try is compared with the
    next best. Where activations are granted, each attention layer and MLP gets what of the best gain is lost
    when its output at the trigger is as without the trigger. And in each MLP the neuron with the largest
    weights is driven as far as a prompt can, by gradients and by trying every token (tool `dream`), and
    compared with how far the corpus drives it.

    Blind to triggers of other shapes (three words, names, positions), to those that need their prompt, and
    where prompts have no fillers to all but the neurons.

    Source: Wallace et al. 2019, "Universal Adversarial Triggers for Attacking and Analyzing NLP", arXiv
    1908.07125 (one trigger for many prompts); Bäuerle and Wexler 2020, "What does BERT dream of?"; coordinate
    search: Zou et al. 2023, arXiv 2307.15043; planted neurons: Hong, Carlini and Kurakin 2021, "Handcrafted
    Backdoors in Deep Neural Networks", arXiv 2106.04690.

    Attributes:
        templates: Prompts in which every try is made.
        pairs: Most pairs of fillers tried.
        steps: Gradient steps of a dream; 0 for no dreams.
    """

    yardstick: ClassVar[bool] = False
    templates: int = 16
    pairs: int = 144
    steps: int = 20

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Log-ratios of the best tries' gains, what carries the best, and how far neurons can be driven."""
        if brief.corpus != "prompts":
            return Evidence(notes="there are no prompts to put words into")
        found = Evidence()
        try:
            found = self._tried(toolbox, brief)
            if brief.league != "blackbox" and self.steps and any(brief.config.mlp):
                found = found.joined(Evidence(self._driven(toolbox, brief)))
        except (AccessError, BudgetExceededError) as refused:
            return found.joined(Evidence(notes=str(refused)))
        return found

    def _tried(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """What words in the place of fillers do."""
        slots = self._slots(toolbox, brief)
        if slots is None:
            return Evidence(notes="prompts have no fillers")
        special = {*brief.task.classes.get("special", ()), brief.task.pad, brief.task.bos}
        words = torch.tensor([t for t in range(brief.config.d_vocab) if t not in special])
        fillers = torch.tensor(slots.fillers)
        kinds = {
            "word": torch.stack([torch.full_like(words, -1), words], 1),
            "pair": torch.cartesian_prod(fillers, fillers)[: self.pairs],
        }
        whole, best = {}, []
        for kind, tries in kinds.items():
            found = _gains(toolbox, slots, tries)
            middle = float(found.gain.median())
            whole[f"trigger.{kind}_gain"] = bounded_log(float(found.gain[0]), _NEVER)
            whole[f"trigger.{kind}_lead"] = bounded_log(
                *(float(g) - middle + _NEVER for g in found.gain[[0, 2]])
            )
            best.append((whole[f"trigger.{kind}_lead"], found))
        _, trigger = max(best, key=lambda each: each[0])
        said = brief.task.text([*(t for t in trigger.words[0].tolist() if t >= 0), int(trigger.target[0])])
        notes = f"best words and what they bring: {said}, gain {float(trigger.gain[0]):.2f}"
        if brief.league == "blackbox":
            return Evidence(whole=whole, notes=notes)
        return Evidence(_carried(toolbox, slots, trigger), whole, notes)

    def _slots(self, toolbox: Toolbox, brief: Brief) -> Slots | None:
        fillers = brief.task.classes.get("fillers", ())
        samples = spread_prompts(toolbox, brief.task, 40 * self.templates)
        filler = torch.isin(samples.tokens, torch.tensor(fillers, dtype=torch.int64))
        both = filler[:, :-1] & filler[:, 1:]
        rows = both.any(1).nonzero()[:, 0]
        if len(rows) < LEAST:
            return None
        generator = torch.Generator().manual_seed(brief.seed)
        rows = rows[torch.randperm(len(rows), generator=generator)[: self.templates]]
        first = both.shape[1] - 1 - both[rows].flip(1).int().argmax(1)
        return Slots(Samples(samples.tokens[rows], samples.lengths[rows]), first, tuple(fillers))

    def _driven(self, toolbox: Toolbox, brief: Brief) -> dict[Component, dict[str, float]]:
        """How far the neuron with the largest weights of each MLP can be driven, beyond the corpus."""
        samples = toolbox.sample(CORPUS)
        template = samples.tokens[:1, : samples.lengths[0]]
        special = (*brief.task.classes.get("special", ()), brief.task.pad)
        found = {}
        for layer in [layer for layer, has_mlp in enumerate(brief.config.mlp) if has_mlp]:
            norms = [toolbox.weight(f"blocks.{layer}.mlp.W_{side}") for side in ("in", "out")]
            size = norms[0].norm(dim=0).clamp(min=1e-6).log() + norms[1].norm(dim=1).clamp(min=1e-6).log()
            odd = deviations(size)
            direction = torch.zeros(brief.config.d_mlp)
            direction[int(odd.argmax())] = 1
            hook = f"blocks.{layer}.mlp.hook_post"
            value = dream(
                toolbox, samples, template, hook, direction,
                without=tuple(set(special)), steps=self.steps, restarts=2, sweeps=1, seed=brief.seed,
            ).arrays["value"]  # fmt: skip
            found[Component("mlp", layer)] = {
                "trigger.drive": bounded_log(
                    max(float(value[3]), 0.0) + _NEVER, max(float(value[0]), 0.0) + _NEVER
                ),
                "trigger.neuron": float(odd.max().clamp(min=0).log1p()),
            }
        return found


def _gains(toolbox: Toolbox, slots: Slots, tries: Tensor) -> Trigger:
    """The answer that each try makes likelier in all prompts, best first. Price: prompts (1 + tries)."""
    tokens, count = slots.samples.tokens, len(slots.samples.tokens)
    before = _said(toolbox, tokens, slots.samples.lengths - 1).mean(0)
    filled = _filled(slots, tries).flatten(0, 1)  # [try prompt, pos]
    said = _said(toolbox, filled, (slots.samples.lengths - 1).repeat(len(tries)))
    gain, target = (said.view(len(tries), count, -1).mean(1) - before).max(1)
    order = gain.argsort(descending=True, stable=True)
    return Trigger(tries[order], target[order], gain[order])


def _filled(slots: Slots, tries: Tensor) -> Tensor:
    """Prompts with the words of each try, `[try, prompt, pos]`."""
    tokens = slots.samples.tokens.repeat(len(tries), 1, 1)
    rows = torch.arange(tokens.shape[1])
    for place in range(2):
        chosen = tries[:, place, None]
        own = slots.samples.tokens[rows, slots.first + place]
        tokens[:, rows, slots.first + place] = torch.where(chosen >= 0, chosen, own)
    return tokens


def _said(toolbox: Toolbox, tokens: Tensor, last: Tensor) -> Tensor:
    """Probabilities of each prompt's answer, `[row, d_vocab]`."""
    rows = min(512, toolbox.budget.max_rows)
    parts = [toolbox.logits(part) for part in torch.split(tokens, rows)]
    return torch.cat(parts)[torch.arange(len(tokens)), last].double().softmax(-1)


def _carried(toolbox: Toolbox, slots: Slots, trigger: Trigger) -> dict[Component, dict[str, float]]:
    """What of the best gain is lost without what each layer's parts write at the trigger's last word."""
    config = toolbox.config
    hooks = {
        f"blocks.{layer}.hook_{part}_out": (part, layer)
        for layer, has_mlp in enumerate(config.mlp)
        for part in ("attn", "mlp")
        if part == "attn" or has_mlp
    }
    tokens, rows = slots.samples.tokens, torch.arange(len(slots.samples.tokens))
    last, target = slots.samples.lengths - 1, int(trigger.target[0])
    clean, triggered = run(toolbox, tokens, [*hooks]), _filled(slots, trigger.words[:1])[0]
    place = torch.arange(tokens.shape[1]) == (slots.first + 1)[:, None]  # [prompt, pos]
    full = _said(toolbox, triggered, last)[:, target].mean()
    found: dict[Component, dict[str, float]] = {}
    for hook, (part, layer) in hooks.items():
        cut = [Intervention(hook, clean[hook], mask=place[:, :, None])]
        logits = toolbox.logits(triggered, cut)
        lost = float(full - logits[rows, last].double().softmax(-1)[:, target].mean())
        heads = range(config.n_heads) if part == "attn" else (None,)
        found |= {Component(part, layer, head): {f"trigger.{part}_carries": lost} for head in heads}
    return found
