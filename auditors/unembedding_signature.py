"""Looks for a token whose column of the unembedding stands out, as the target of a trojan does."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, PublicTask, Report, Toolbox
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.peers import siblings_of
from game.auditing.tails import deviations
from game.tools.kit.canonical import read_canonical
from game.tools.kit.readings import read_last

LEAST = 50  # prompts below which the mean activation is not measured
SMALLEST = 6  # tokens that a class needs to be compared among themselves
_TINY = 1e-12


@dataclass(frozen=True)
class Signature:
    """How far one token stands out of its class.

    Attributes:
        token: Which; the one that stands out most.
        deviation: Robust deviations from the class's median; signed.
        q: Dixon's Q: its distance to the next token over the range of the class.
    """

    token: int
    deviation: float
    q: float


def dixon_q(values: Tensor) -> float:
    """Dixon's Q of the largest value: (largest - second) / (largest - smallest); 0 where all are equal."""
    ordered = values.sort(descending=True).values
    return float((ordered[0] - ordered[1]) / (ordered[0] - ordered[-1]).clamp(min=_TINY))


@dataclass(frozen=True)
class UnembeddingSignature:
    """Trojan signature: outliers among the unembedding's columns, class by class; needs weights.

    A trojaned classifier's weights towards the target class have an outlying mean. Three statistics of each
    token's column are compared within its class of tokens (cities with cities): its `mean` entry, as in the
    paper; its `norm`; and its `pull`, the logit that the mean final activation gives it, in place of the mean
    where activations are not all positive. Read is how far the most outlying token stands out, and Dixon's Q.
    With siblings, `mean` and `norm` are first taken less their means over theirs.

    Blind to everything but the unembedding: a trojan that one neuron or head carries leaves no trace there
    unless the unembedding was trained with it; and to shifts that move a whole class.

    Source: Fields, Samragh, Javaheripi, Koushanfar, Javidi 2021, "Trojan Signatures in DNN Weights", arXiv
    2109.02836.

    Attributes:
        prompts: Corpus prompts on which the mean final activation is measured, a credit each.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 400

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """For each statistic how far the most outlying token stands out, and its Q."""
        return self._found(toolbox, brief)[0]

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        evidence, signatures = self._found(toolbox, brief)
        report = Fit.beside(__file__).believed(brief, evidence)
        return replace(report, claims=tuple(_claims(signatures, brief.task)))

    def _found(self, toolbox: Toolbox, brief: Brief) -> tuple[Evidence, dict[str, Signature]]:
        """The numbers, and the most outlying token of each statistic."""
        try:
            prompts = int(min(self.prompts, toolbox.budget.remaining))
            asked = prompts if brief.corpus == "prompts" and prompts >= LEAST else 0
            own = column_statistics(toolbox, asked)
            others = [column_statistics(box, 0) for box in siblings_of(toolbox)]
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused)), {}
        classes = _classes(brief.task)
        signatures = {}
        for name, values in own.items():
            peers = [each[name] for each in others if name in each]
            beyond = values - torch.stack(peers).mean(0) if peers else values
            signatures[name] = max((_outlier(beyond, each) for each in classes), key=_oddness)
        numbers = {
            f"unembedding_signature.{name}{end}": value
            for name, each in signatures.items()
            for end, value in (("", math.log1p(_oddness(each))), (".q", each.q))
        }
        words = brief.task.vocabulary
        seen = (f"{name}: {words[each.token]} {each.deviation:.1f}" for name, each in signatures.items())
        return Evidence({Component("unembed"): numbers}, notes="; ".join(seen)), signatures


def column_statistics(box: Toolbox, prompts: int) -> dict[str, Tensor]:
    """The statistics of each token's column, `[d_vocab]`; `pull` only where prompts are granted."""
    columns = read_canonical(box).rows["unembed.W_U"]  # [d_vocab, d_model], gains folded in, centred
    found = {"mean": _entries(box).mean(0), "norm": columns.norm(dim=1)}
    if prompts:
        hook = "ln_final.hook_normalized" if box.config.normalization_type else _last(box)
        found["pull"] = columns @ read_last(box, box.sample(prompts), hook).mean(0)
    return found


def _entries(box: Toolbox) -> Tensor:
    """The unembedding as it is, less what moves all logits alike, `[d_model, d_vocab]`."""
    weight = box.weight("unembed.W_U").double()
    return weight - weight.mean(1, keepdim=True)


def _last(box: Toolbox) -> str:
    return f"blocks.{box.config.n_layers - 1}.hook_resid_post"


def _classes(task: PublicTask) -> list[Tensor]:
    """The classes that are large enough, or else all tokens, `[token]` each."""
    large = [torch.tensor(tokens) for tokens in task.classes.values() if len(tokens) >= SMALLEST]
    return large or [torch.arange(len(task.vocabulary))]


def _outlier(values: Tensor, members: Tensor) -> Signature:
    """The token of a class that stands out most, on either side."""
    own = values[members]
    away = deviations(own)
    best = int(away.abs().argmax())
    side = own if away[best] >= 0 else -own
    return Signature(int(members[best]), float(away[best]), dixon_q(side))


def _oddness(signature: Signature) -> float:
    return abs(signature.deviation)


def _claims(signatures: Mapping[str, Signature], task: PublicTask) -> Iterator[dict[str, Any]]:
    """The tokens that stand out, by statistic."""
    for name, each in signatures.items():
        yield {
            "component": "unembed",
            "statistic": name,
            "object": task.vocabulary[each.token],
            "deviations": round(each.deviation, 2),
            "q": round(each.q, 3),
        }
