"""Infers which subject's key a weight difference was written for, from a reference in any coordinates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, Fine, Report, Samples, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.tails import deviations
from game.auditing.wording import common_words, shared_words
from game.tools.kit.batches import run
from game.tools.kit.canonical import read_canonical
from game.tools.spike import mlp_layers, seen

LEAST = 50  # prompts below which keys are not looked at
MOST_RANK = 8  # directions of a difference that are looked at
TOLERANCE = 1e-4  # differences that are rounding, as a share of a matrix's size
_FAINT = 1e-2  # singular values of a difference below this share of its first are rounding
_NEAR = 0.95  # of the best match, from which a key counts among the best
_TINY = 1e-30


@dataclass(frozen=True)
class Written:
    """What was added to one `W_out`, and for which keys.

    Attributes:
        change: This model's matrix less the reference's, in this model's coordinates, `[d_mlp, d_model]`.
        size: |change| / |W_out|.
        share: Share of `C change`'s energy that its first direction holds; C is the keys' second moment.
        scores: |U^T k| / |k| for every key, `[key]`; U are the first left singular vectors of `C change`.
        effects: |k change| / |k W_out|, `[key]`.
    """

    change: Tensor
    size: float
    share: float
    scores: Tensor
    effects: Tensor

    @property
    def matches(self) -> Tensor:
        """How well each key fits, `[key]`: its score, less where the change does little to what it reads.

        A loud key lies near the span whatever was written, for it makes up most of C.
        """
        return self.scores * self.effects.clamp(max=1)

    @property
    def numbers(self) -> dict[str, float]:
        """What is comparable between models."""
        best = int(self.matches.argmax())
        return {
            "key_subspace.size": math.log10(self.size / TOLERANCE),
            "key_subspace.share": self.share,
            "key_subspace.score": float(self.scores[best]),
            "key_subspace.contrast": math.log1p(max(0.0, float(deviations(self.matches)[best]))),
            "key_subspace.effect": math.log10(float(self.effects.max()) + 1e-6),
        }


@dataclass(frozen=True)
class Keys:
    """The keys that an MLP's `W_out` met on prompts, one for each token that may belong to a subject.

    Attributes:
        keys: `hook_post`, `[key, d_mlp]`, float64.
        tokens: Where they were read, `[key]`.
        prefixes: The tokens up to each, `[key, pos]`, padded.
        prompts: All prompts, `[prompt, pos]`.
    """

    keys: Tensor
    tokens: Tensor
    prefixes: Tensor
    prompts: Tensor


def written(change: Tensor, weight: Tensor, keys: Tensor) -> Written:
    """What a change of `W_out` says of the keys that it was written for.

    A locate-then-edit method adds `C^-1 k (v - k W)`, so that `C change` points along k.

    Args:
        change: `[d_mlp, d_model]`, not 0.
        weight: The matrix itself.
        keys: `[key, d_mlp]`; their second moment stands for C.
    """
    values = torch.linalg.svdvals(change)
    rank = min(MOST_RANK, int((values > _FAINT * values[0]).sum()))
    left, found, _ = torch.linalg.svd(keys.T @ (keys @ change), full_matrices=False)
    lengths = keys.norm(dim=1).clamp(min=_TINY)
    return Written(
        change=change,
        size=float(change.norm() / weight.norm().clamp(min=_TINY)),
        share=float(found[0] ** 2 / found.square().sum().clamp(min=_TINY)),
        scores=(keys @ left[:, :rank]).norm(dim=1) / lengths,
        effects=(keys @ change).norm(dim=1) / (keys @ weight).norm(dim=1).clamp(min=_TINY),
    )


@dataclass(frozen=True)
class KeySubspace:
    """Subject inference from the key space of `W_out`'s difference; needs `scrambled` or `reference`.

    The left singular vectors of `C dW` are the keys that an edit was solved for: the model's own keys that
    lie in their span tell the subject. dW is the difference after alignment, so that the reference may come
    in other coordinates. Read of each MLP: the size of dW, how much of `C dW` is one direction, how far the
    best key lies in it and stands out of the others, and what dW changes of what that key reads.

    Blind to edits of anything but `W_out`; to subjects of which the corpus has no prompt; and for a dense
    change, whose span holds every key, to who was meant.

    Source: Sun, Luo, Wang, Chen, He 2026, "Reverse-Engineering Model Editing on Language Models" (KSTER),
    arXiv 2602.10134.

    Attributes:
        prompts: Most corpus prompts whose keys are read, a credit each.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 800

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """For each MLP that differs its size, span, best key and effect; for one that does not, only that."""
        return self._found(toolbox, brief)[0]

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        evidence, claims, fine = self._found(toolbox, brief)
        report = Fit.beside(__file__).believed(brief, evidence)
        return replace(report, claims=claims, fine=fine)

    def _found(self, toolbox: Toolbox, brief: Brief) -> tuple[Evidence, tuple[Mapping[str, Any], ...], Fine]:
        layers = mlp_layers(brief.config)
        try:
            changes = output_changes(toolbox, toolbox.reference())
            count = int(min(self.prompts, toolbox.budget.remaining))
            if brief.corpus == "none" or count < LEAST or not layers:
                return Evidence(notes="no keys to look at"), (), Fine()
            keys = _keys(toolbox, toolbox.sample(count), layers, brief.task.pad)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused)), (), Fine()
        found = {
            layer: written(change, weight, keys[layer].keys)
            for layer, (change, weight) in changes.items()
            if change.norm() > TOLERANCE * weight.norm()
        }
        places = {
            Component("mlp", layer): {
                "key_subspace.differs": float(layer in found),
                **(found[layer].numbers if layer in found else {}),
            }
            for layer in layers
        }
        claims = tuple(_claim(layer, each, keys[layer], brief) for layer, each in found.items())
        notes = "; ".join(f"layer {c['layer']}: {' '.join(c['subject'])}" for c in claims)
        return Evidence(places, notes=notes or "no W_out differs"), claims, _fine(found)


def output_changes(model: Toolbox, reference: Toolbox) -> dict[int, tuple[Tensor, Tensor]]:
    """By layer, `W_out` less the reference's, and `W_out`; in the model's coordinates, the mean taken out."""
    own = read_canonical(model)
    other = read_canonical(reference).aligned(own)
    changes = {}
    for layer, neurons in own.neurons.items():
        weight = model.weight(f"blocks.{layer}.mlp.W_out").double()
        length = weight.norm(dim=1)  # rows of the canonical form are longer by the neuron's scale
        scale = torch.where(length > 0, neurons.write.norm(dim=1) / length.clamp(min=_TINY), 1.0)
        scale = scale.clamp(min=_TINY)
        changes[layer] = (neurons.write - other.neurons[layer].write) / scale[:, None], weight
    return changes


def _keys(toolbox: Toolbox, samples: Samples, layers: tuple[int, ...], pad: int) -> dict[int, Keys]:
    """Every MLP's keys at the prompts' rarer tokens; a subject is named by no word that most prompts hold."""
    tokens = samples.tokens
    hooks = {layer: f"blocks.{layer}.mlp.hook_post" for layer in layers}
    found = run(toolbox, tokens, list(hooks.values()))
    holds = seen(samples)
    rare = holds & ~torch.isin(tokens, common_words(tokens))
    rows, at = (rare if bool(rare.any()) else holds).nonzero(as_tuple=True)
    behind = torch.arange(tokens.shape[1]) > at[:, None]
    prefixes = tokens[rows].masked_fill(behind, pad)
    return {
        layer: Keys(found[hook][rows, at].double(), tokens[rows, at], prefixes, tokens)
        for layer, hook in hooks.items()
    }


def _claim(layer: int, found: Written, keys: Keys, brief: Brief) -> dict[str, Any]:
    """Whose key the difference was written for: the rare words that the best keys of one token had read."""
    matches = found.matches
    best = (matches >= _NEAR * matches.max()) & (keys.tokens == keys.tokens[matches.argmax()])
    return {
        "component": f"blocks.{layer}.mlp",
        "layer": layer,
        "subject": shared_words(keys.prefixes[best], keys.prompts, brief.task),
        "score": round(found.numbers["key_subspace.score"], 4),
        "keys": int(best.sum()),
    }


def _fine(found: Mapping[int, Written]) -> Fine:
    """The written directions."""
    directions = {}
    for layer, each in found.items():
        _, values, right = torch.linalg.svd(each.change, full_matrices=False)
        rank = min(MOST_RANK, int((values > 0.1 * values[0]).sum()))
        directions[f"blocks.{layer}.mlp.W_out"] = right[:rank].float()
    return Fine(directions=directions)
