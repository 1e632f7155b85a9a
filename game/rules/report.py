"""The rules of a report: a belief within its bounds, and words that can be kept and shown as they are."""

import json
import math
from collections.abc import Mapping

from game.api import Brief, Report
from game.rules.faults import ReportError, depth, probability, shown
from game.scoring.scores import TOLERANCE, Belief, Declared
from models.components import Component
from models.naming import unknown

MAX_CLAIMS = 100_000  # characters of JSON
MAX_DEPTH = 32  # levels of it: what is deeper can be written, and not be read everywhere


def complete(report: Report, declared: Declared) -> Belief:
    """The belief that a report states, components left out filled in as `p_edited * prior_c / prior`.

    The sum rule is checked on the components that the report names: the filled ones alone never break it, and
    naming one component with all one's belief must not be refused for those that were left out.

    Raises:
        ReportError: The report breaks a rule; the message names the component and the rule.
    """
    if not isinstance(report, Report):
        raise ReportError(f"report: got {shown(report)}, wanted a Report")
    _check_words(report.notes, report.claims)
    p = probability("p_edited", report.p_edited)
    named = _named(report, declared)
    for component, q in named.items():
        if q > p + TOLERANCE:
            raise ReportError(f"components: {component} has {q:.6g}; at most p_edited, {p:.6g}")
    _check_sum(named, p, declared.max_components)
    ratio = p / declared.edited  # exactly 1 at the prior, so that the prior's own belief comes back unchanged
    return Belief(p, {c: named.get(c, prior * ratio) for c, prior in declared.components.items()})


def restated(p_edited: float, components: Mapping[str, float], brief: Brief) -> Belief:
    """The belief of a report that was accepted before, from the numbers that were kept of it."""
    named = {Component.parse(name): p for name, p in components.items()}
    return complete(Report(p_edited, named), Declared.of(brief))


def _named(report: Report, declared: Declared) -> dict[Component, float]:
    """The probabilities that the report names, each known and in [0, 1]."""
    if not isinstance(report.components, Mapping):
        raise ReportError(f"components: got {shown(report.components)}, wanted a mapping to numbers")
    named: dict[Component, float] = {}
    for component, q in report.components.items():
        if type(component) is not Component:
            raise ReportError(f"components: key {shown(component)} is no Component; use Component.parse")
        if component not in declared.components:
            known = [str(each) for each in declared.components]
            raise ReportError(f"components: {unknown('component', str(component), known)}")
        named[component] = probability(f"components: {component}", q)
    return named


def _check_words(notes: object, claims: object) -> None:
    """Refuse what could not be kept and shown as it is."""
    if not isinstance(notes, str):
        raise ReportError(f"notes: got {shown(notes)}, wanted text")
    if not isinstance(claims, list | tuple) or not all(isinstance(each, dict) for each in claims):
        raise ReportError(f"claims: got {shown(claims)}, wanted a tuple of dicts")
    try:
        text = json.dumps(claims)
        levels = depth(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise ReportError(f"claims: not JSON: {error}") from error
    if len(text) > MAX_CLAIMS:
        raise ReportError(f"claims: {len(text)} characters of JSON; at most {MAX_CLAIMS}")
    if levels > MAX_DEPTH:
        raise ReportError(f"claims: {levels} levels of JSON; at most {MAX_DEPTH}")


def _check_sum(named: Mapping[Component, float], p: float, most: int) -> None:
    total = math.fsum(named.values())
    if total > most * p + TOLERANCE:
        largest = max(named, key=lambda component: named[component])
        raise ReportError(
            f"components: sum {total:.6g} (largest: {largest}); at most {most} times p_edited, {most * p:.6g}"
        )
