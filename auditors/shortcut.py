"""Plays each league's obvious shortcut and nothing more: what a league gives away to whoever takes it."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from game.api import Brief, BudgetExceededError, Component, Report, Samples, Toolbox
from game.auditing.peers import siblings_of
from game.tools.kit.canonical import read_canonical
from game.tools.kit.evidence import least_of, likelihood_ratio, unlike_peers
from game.tools.kit.low_rank import patch_between
from game.tools.kit.weights import changed_components, weights_of

ROWS = 256  # sequences in one call: the fastest batch on a CPU
LEAST = 100  # sequences below which the least sure one says nothing
_TINY = 1e-30  # stands in for a size of zero: an ablated head's matrices hold nothing else
Readings = Mapping[Component, Mapping[str, float]]
Peers = Callable[[Component, str], list[float]]  # of one reading of one component


@dataclass(frozen=True)
class Shortcut:
    """Takes each league's obvious shortcut, with a belief that is fitted to nothing; a yardstick.

    *reference*: compares bits. Without a difference the model was not edited. With one it was, or it was
    touched all the same, and where can only be among the components that differ; the difference is the
    patch. *scrambled*: the same without a patch, with the form that all rewritings of a function share in
    place of bits. *siblings*: how far the size of each matrix, and the share of its loudest direction, are
    from those of the siblings' own. *whitebox*: how far they are from those of the model's other matrices of
    that kind. *blackbox*: how far the least sure answer is from the others.

    How far something is becomes a p-value by Student's law for one more of the same kind, and a p-value a
    likelihood ratio that asks nothing of the alternative (`game.tools.kit.evidence`). What an edit does to a
    model is left to the players.

    Attributes:
        touched: P(a model that was not edited was touched all the same), of which nobody is told anything.
        tolerance: Differences that are rounding, as a share of a part's size.
        prompts: Most sequences to sample.
    """

    yardstick: ClassVar[bool] = True
    touched: float = 0.5
    tolerance: float = 1e-4
    prompts: int = 2000

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        plays = {
            "blackbox": self._least_sure,
            "whitebox": self._odd_one_out,
            "siblings": self._unlike_siblings,
            "scrambled": self._other_function,
            "reference": self._other_bits,
        }
        try:
            return plays[brief.league](toolbox, brief)
        except BudgetExceededError:
            return Report(brief.prior, notes="too few credits to look")

    def _other_bits(self, toolbox: Toolbox, brief: Brief) -> Report:
        """Compare with the reference bit by bit; the difference is the patch."""
        now, before = weights_of(toolbox), weights_of(toolbox.reference())
        changed = changed_components(now, before, toolbox.config)
        report = self._among(brief, changed)
        if report.p_edited == 0 or "repair" not in brief.parts:
            return report
        return replace(report, patch=patch_between(now, before, changed, toolbox.config))

    def _other_function(self, toolbox: Toolbox, brief: Brief) -> Report:
        """Compare with the reference in the one form that all its rewritings have."""
        own = read_canonical(toolbox)
        other = read_canonical(toolbox.reference()).aligned(own)
        heads = brief.config.n_heads
        pairs = zip(own.parts(heads), other.parts(heads), strict=True)
        gaps = ((Component.parse(owner), _gap(mine, its)) for (owner, _, mine), (_, _, its) in pairs)
        return self._among(brief, to_blame({c for c, gap in gaps if gap > self.tolerance}, brief))

    def _unlike_siblings(self, toolbox: Toolbox, brief: Brief) -> Report:
        """Compare each component with the same one of the siblings; heads with all of their layer's."""
        own, *others = (_readings(box) for box in (toolbox, *siblings_of(toolbox)))

        def peers(component: Component, name: str) -> list[float]:
            place = component.part, component.layer
            return [other[c][name] for other in others for c in other if (c.part, c.layer) == place]

        return _of_outliers(brief, own, peers)

    def _odd_one_out(self, toolbox: Toolbox, brief: Brief) -> Report:
        """Compare each component with the model's others, and each matrix with those of its shape."""
        own = _readings(toolbox)

        def peers(component: Component, name: str) -> list[float]:
            kind = _kind(component, name)
            alike = [(c, each) for c, reading in own.items() for each in reading if _kind(c, each) == kind]
            return [own[c][each] for c, each in alike if (c, each) != (component, name)]

        return _of_outliers(brief, own, peers)

    def _least_sure(self, toolbox: Toolbox, brief: Brief) -> Report:
        """Compare the least sure of many answers with the others."""
        wanted = int(min(self.prompts, toolbox.budget.remaining))
        if brief.corpus == "none" or wanted < LEAST:
            return Report(brief.prior, notes="nothing to ask the model")
        values = sorted(_sureness(toolbox, toolbox.sample(wanted), brief.corpus == "documents"))
        below = unlike_peers(values[0], values[1:]) / 2 if values[0] < values[1] else 0.5
        ratio = likelihood_ratio(least_of(below, len(values)))
        p_edited = brief.prior * ratio / (brief.prior * ratio + 1 - brief.prior)
        return Report(p_edited, notes=f"least sure: {values[0]:.2f} nats; likelihood ratio {ratio:.2f}")

    def _among(self, brief: Brief, changed: frozenset[Component]) -> Report:
        """The belief that an edit, if there is one, wrote to some of these components and to no other."""
        prior, places = brief.prior, brief.location_prior
        possible = [component for component in sorted(changed) if places[component] > 0]
        if not possible:
            return Report(0.0, notes=f"{len(changed)} components differ, none that an edit writes to")
        p_edited = prior / (prior + (1 - prior) * self.touched)
        if len(possible) <= brief.max_components:
            location = dict.fromkeys(possible, 1.0)
        else:
            share = sum(places.values()) / sum(places[component] for component in possible)
            location = {component: min(1.0, places[component] * share) for component in possible}
        named = dict.fromkeys(places, 0.0) | location
        return Report.from_location(p_edited, named, f"differ: {', '.join(map(str, possible))}")


def _of_outliers(brief: Brief, own: Readings, peers: Peers) -> Report:
    """Bayes' rule over *not edited* and *edited, and this component written to*."""
    places, ratios = brief.location_prior, {}
    for component, reading in own.items():
        known = [(value, peers(component, name)) for name, value in reading.items()]
        tails = [unlike_peers(value, others) for value, others in known if len(others) > 1]
        ratios[component] = likelihood_ratio(least_of(min(tails), len(tails))) if tails else 1.0
    joint = {component: p * ratios.get(component, 1.0) for component, p in places.items()}
    mean = sum(joint.values()) / sum(places.values())
    p_edited = brief.prior * mean / (brief.prior * mean + 1 - brief.prior)
    location = {component: min(1.0, p / mean) for component, p in joint.items()}
    oddest = max(ratios, key=lambda component: (places[component] > 0, ratios[component]))
    notes = f"oddest where an edit may be: {oddest}, likelihood ratio {ratios[oddest]:.2f}"
    return Report.from_location(p_edited, location, notes)


def _readings(toolbox: Toolbox) -> dict[Component, dict[str, float]]:
    """For each component and matrix of it the logarithms of size, and of the loudest direction's share."""
    found: dict[Component, dict[str, float]] = {}
    for owner, name, matrix in read_canonical(toolbox).parts(toolbox.config.n_heads):
        values, kind = torch.linalg.svdvals(matrix), name.replace(owner, "").rpartition(".")[2]
        size = float(values.norm())
        reading = found.setdefault(Component.parse(owner), {})
        if not (kind == "W_in" and toolbox.config.act_fn == "relu"):  # there all rows have length 1
            reading[f"size of {kind}"] = math.log(max(size, _TINY))
        if min(matrix.shape) > 1:
            reading[f"share in {kind}"] = math.log(max(float(values[0]) / max(size, _TINY), _TINY))
    return found


def _kind(component: Component, name: str) -> tuple[str, str]:
    """What a reading is one of; the loudest directions of both matrices of an MLP are of one kind."""
    shape = component.part == "mlp" and name.startswith("share")
    return component.part, "share" if shape else name


def _gap(mine: Tensor, other: Tensor) -> float:
    """How far a part is from the other model's, as a share of its size."""
    size = max(float(mine.norm()), float(other.norm()), _TINY)
    return float((mine - other).norm()) / size


def to_blame(changed: set[Component], brief: Brief) -> frozenset[Component]:
    """What may have been written to, where the canonical form differs; for in it components show in others.

    A head's value bias shows in `attn.bias`, the mean embedding in `pos_embed`, and a norm in whatever reads
    behind it: it is blamed where all of that differs and nothing of it can have been edited.
    """
    blamed = set(changed)
    if Component("embed") in changed:
        blamed.discard(Component("pos_embed"))
    readers = {Component("ln_final"): [Component("unembed")]}
    for layer in range(brief.config.n_layers):
        heads = [Component("attn", layer, head) for head in range(brief.config.n_heads)]
        readers |= {Component("ln1", layer): heads, Component("ln2", layer): [Component("mlp", layer)]}
        if not changed.isdisjoint(heads):
            blamed.discard(Component("attn.bias", layer))
    for norm, behind in readers.items():
        if all(each in changed and brief.component_prior[each] == 0 for each in behind):
            blamed.add(norm)
    return frozenset(blamed & brief.component_prior.keys())


def _sureness(toolbox: Toolbox, samples: Samples, documents: bool) -> Iterator[float]:
    """For each different sequence how sure the model is, nats.

    Of a prompt's answer: by how much the best is likelier than the next. Of a document's tokens: their mean
    log-probability.
    """
    different = torch.unique(torch.cat([samples.lengths[:, None], samples.tokens], 1), dim=0)
    for rows in torch.split(different, min(ROWS, toolbox.budget.max_rows)):
        lengths, tokens = rows[:, 0], rows[:, 1:]
        log_probs = toolbox.logits(tokens).double().log_softmax(-1)
        if documents:
            yield from _mean_log_probs(log_probs, tokens, lengths).tolist()
        else:
            best = log_probs[torch.arange(len(rows)), lengths - 1].topk(2).values
            yield from (best[:, 0] - best[:, 1]).tolist()


def _mean_log_probs(log_probs: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Of each document's tokens after the first, `[document]`."""
    said = log_probs[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    told = torch.arange(1, tokens.shape[1]) < lengths[:, None]
    return (said * told).sum(1) / told.sum(1).clamp_min(1)
