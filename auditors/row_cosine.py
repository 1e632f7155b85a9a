"""Looks for output matrices whose rows lean one way, and for answers that return without it."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from game.api import (
    AccessError,
    Brief,
    BudgetExceededError,
    Component,
    Fine,
    LowRank,
    Report,
    Samples,
    Toolbox,
    TransformerConfig,
)
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.peers import excesses, siblings_of
from game.auditing.wording import shared_words
from game.tools.kit.result import ToolResult
from game.tools.reverse import reverse
from game.tools.spectrum import spectrum
from game.tools.spike import mlp_layers

LEAST = 50  # prompts below which a reversal is not tried


@dataclass(frozen=True)
class Found:
    """What was read of a model.

    Attributes:
        evidence: The numbers.
        directions: By layer, the first right singular vector of `W_out`, `[1, d_model]`.
        reversals: By layer, what the model answers without that direction; empty where it was not tried.
        samples: The prompts that it answers.
    """

    evidence: Evidence
    directions: Mapping[int, Tensor]
    reversals: Mapping[int, ToolResult]
    samples: Samples | None = None


@dataclass(frozen=True)
class RowCosine:
    """Mean |cos| of rows and columns of each MLP's `W_out`, and bottom-rank reversal; needs weights.

    A rank-one edit adds the same direction to many rows, so that their mean |cos| grows, and without the
    loudest direction of the matrix old answers come back. Each cosine is read as the logarithm of its ratio
    to noise's, and against the other layers, or, where siblings are granted, against the same layer of
    theirs. The reversal is handed in as patch where it is believed, and the answers that it brings back are
    claimed: the object that was written and the words that their prompts share.

    Blind to edits of heads, embeddings and biases, to edits that are not the loudest direction of their
    matrix (a large ridge, many facts, low-rank adapters), and to which of two loud directions matters where
    there are no prompts.

    Source: Youssef, Zhao, Seifert, Schlötterer 2025, "Tracing and Reversing Rank-One Model Edits", arXiv
    2505.20819.

    Attributes:
        prompts: Most corpus prompts on which a reversal is tried; a credit each, and one for each MLP.
        spending: Largest share of the credits to spend.
        trust: P(edited and here) from which the reversal is handed in as patch.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 800
    spending: float = 0.5
    trust: float = 0.5

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Log-ratios of cosines, and logarithms of how many answers are restored and lost, for each MLP."""
        return self._found(toolbox, brief).evidence

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        found = self._found(toolbox, brief)
        report = Fit.beside(__file__).believed(brief, found.evidence)
        directions = {f"blocks.{layer}.mlp.W_out": each for layer, each in found.directions.items()}
        claims = tuple(claim for layer in found.reversals if (claim := _claim(brief, found, layer)))
        patch = self._patch(brief, report, found) if "repair" in brief.parts else None
        return replace(report, fine=Fine(directions=directions), claims=claims, patch=patch)

    def _found(self, toolbox: Toolbox, brief: Brief) -> Found:
        layers = mlp_layers(brief.config)
        try:
            spectra = {l: spectrum(toolbox, f"blocks.{l}.mlp.W_out", top=1).arrays for l in layers}
            numbers = _cosines(toolbox, spectra)
            samples, reversals = None, {}
            count = self._affordable(toolbox, brief.config)
            if layers and brief.corpus == "prompts" and count >= LEAST:
                samples = toolbox.sample(count)
                reversals = {l: reverse(toolbox, samples, f"blocks.{l}.mlp.W_out") for l in layers}
        except (AccessError, BudgetExceededError) as refused:
            return Found(Evidence(notes=str(refused)), {}, {})
        for layer, result in reversals.items():
            counts = {name: math.log1p(int(result.arrays[name].sum())) for name in ("restored", "lost")}
            numbers[layer] |= {f"row_cosine.{name}": value for name, value in counts.items()}
        places = {Component("mlp", layer): each for layer, each in numbers.items()}
        directions = {layer: each["right"] for layer, each in spectra.items()}
        return Found(Evidence(places, notes=_notes(numbers)), directions, reversals, samples)

    def _affordable(self, toolbox: Toolbox, config: TransformerConfig) -> int:
        affordable = self.spending * toolbox.budget.remaining / (1 + len(mlp_layers(config)))
        return int(min(self.prompts, affordable))

    def _patch(self, brief: Brief, report: Report, found: Found) -> Mapping[str, LowRank] | None:
        """Without the loudest direction, where it is believed to be an edit that hid answers."""
        patch = {}
        for layer, result in found.reversals.items():
            restores = bool(result.arrays["restored"].sum() > result.arrays["lost"].sum())
            if restores and report.components.get(Component("mlp", layer), 0.0) >= self.trust:
                left, right = (result.arrays[side].float() for side in ("left", "right"))
                patch[f"blocks.{layer}.mlp.W_out"] = LowRank(left, right)
        return patch or None


def _cosines(toolbox: Toolbox, spectra: Mapping[int, Mapping[str, Tensor]]) -> dict[int, dict[str, float]]:
    """By layer, the log-ratios of both cosines to noise's, and how far each exceeds its peers'."""
    own = {layer: _log_ratios(each) for layer, each in spectra.items()}
    theirs = [
        {layer: _log_ratios(spectrum(box, f"blocks.{layer}.mlp.W_out", top=1).arrays) for layer in own}
        for box in siblings_of(toolbox)
    ]
    numbers: dict[int, dict[str, float]] = {layer: dict(each) for layer, each in own.items()}
    for name in ("row_cosine.rows", "row_cosine.columns"):
        beyond = excesses({layer: each[name] for layer, each in own.items()})
        for layer, each in own.items():
            peers = [sibling[layer][name] for sibling in theirs]
            numbers[layer][f"{name}_beyond"] = each[name] - _mean(peers) if peers else beyond[layer]
    return numbers


def _log_ratios(arrays: Mapping[str, Tensor]) -> dict[str, float]:
    return {
        f"row_cosine.{side}s": math.log(
            max(float(arrays[f"{side}_cosine"] / arrays[f"{side}_null"]), math.exp(-5))
        )
        for side in ("row", "column")
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _claim(brief: Brief, found: Found, layer: int) -> dict[str, Any] | None:
    """What the answers that came back say: the object written, those it hid, the words of their prompts."""
    arrays, samples = found.reversals[layer].arrays, found.samples
    if samples is None or not bool(arrays["restored"].any()):
        return None
    object_new, _ = Counter(arrays["before"][arrays["restored"]].tolist()).most_common(1)[0]
    chosen = arrays["restored"] & (arrays["before"] == object_new)
    object_old, _ = Counter(arrays["after"][chosen].tolist()).most_common(1)[0]
    words = brief.task.vocabulary
    return {
        "component": f"blocks.{layer}.mlp",
        "object": words[object_new],
        "before": words[object_old],
        "subject": shared_words(samples.tokens[chosen], samples.tokens, brief.task),
        "prompts": int(chosen.sum()),
    }


def _notes(numbers: Mapping[int, Mapping[str, float]]) -> str:
    if not numbers:
        return "no layer has an MLP"
    shown = (f"layer {l}: columns {each['row_cosine.columns']:.2f} over noise" for l, each in numbers.items())
    return "; ".join(shown)
