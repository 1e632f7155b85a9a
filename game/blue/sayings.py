"""Reports, judgements and beliefs as people and scripts give them: JSON, or words as `blocks.0.mlp=0.7`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from game.api import Brief, Challenge, Component, Judgement, Report
from game.rules.faults import ReportError, probability, shown
from game.runs.serialise import fine_data, fine_of, patch_data, patch_of
from models.naming import quoted, unknown

FIELDS = ("p_edited", "components", "claims", "notes", "patch", "fine")
REST = "rest"  # every component that is not named
SHOWS = ("affected", "paraphrase")  # strata on which an edit of their set shows


def report_of(data: object) -> Report:
    """The report in JSON data; its numbers are checked where it is handed in.

    Raises:
        ReportError: Data that are no report.
    """
    if not isinstance(data, Mapping):
        raise ReportError(f"report: got {shown(data)}, wanted an object with {', '.join(FIELDS)}")
    for name in data:
        if name not in FIELDS:
            raise ReportError(f"report: {unknown('field', str(name), FIELDS)}")
    if "p_edited" not in data:
        raise ReportError("report: p_edited is missing; wanted a number from 0 to 1")
    components, claims = data.get("components", {}), data.get("claims", [])
    if not isinstance(components, Mapping):
        raise ReportError(f"components: got {shown(components)}, wanted an object of names and numbers")
    named = {component_of(str(name)): p for name, p in components.items()}
    if not isinstance(claims, Sequence):
        raise ReportError(f"claims: got {shown(claims)}, wanted a list of objects")
    patch, fine = data.get("patch"), data.get("fine")
    try:
        return Report(
            data["p_edited"],
            named,
            tuple(claims),
            None if patch is None else patch_of(patch),
            None if fine is None else fine_of(fine),
            data.get("notes", ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wanted = "patch: {tensor: [left, right]}, fine: {matrices, neurons, directions}"
        raise ReportError(f"report: {error}; wanted {wanted}") from error


def reported(report: Report) -> dict[str, Any]:
    """The report as JSON-ready data, from which `report_of` makes the same."""
    return {
        "p_edited": float(report.p_edited),
        "components": {str(c): float(p) for c, p in sorted(report.components.items())},
        "claims": list(report.claims),
        "notes": report.notes,
        "patch": None if report.patch is None else patch_data(report.patch),
        "fine": None if report.fine is None else fine_data(report.fine),
    }


def component_of(name: str) -> Component:
    """The component of that name.

    Raises:
        ReportError: There is none.
    """
    try:
        return Component.parse(name)
    except ValueError as error:
        raise ReportError(f"components: {error}") from error


def shares(words: Sequence[str]) -> dict[str, float]:
    """Names with probabilities, from words such as `blocks.0.mlp=0.7`.

    Raises:
        ReportError: A word is none, or comes twice.
    """
    found: dict[str, float] = {}
    for word in words:
        name, equals, number = word.rpartition("=")
        if not equals or not name:
            raise ReportError(f"got {quoted(word)}; wanted NAME=P, such as blocks.0.mlp=0.7")
        if name in found:
            raise ReportError(f"{quoted(name)} is given twice")
        found[name] = number_of(name, number)
    return found


def number_of(where: str, text: str) -> float:
    """A probability in words.

    Raises:
        ReportError: It is none.
    """
    try:
        return probability(where, float(text))
    except ValueError as error:
        if isinstance(error, ReportError):
            raise
        raise ReportError(f"{where}: got {quoted(text)}, wanted a number from 0 to 1") from None


def belief_of(p_edited: str, words: Sequence[str], brief: Brief) -> Report:
    """The report of `0.7 blocks.0.mlp=0.5`, or of `0.7 blocks.0.mlp=0.6 rest=0.1`.

    Raises:
        ReportError: Words that are no belief.
    """
    return Report(number_of("p_edited", p_edited), places(words, brief))


def places(words: Sequence[str], brief: Brief) -> dict[Component, float]:
    """Probabilities of components; `rest=P` is shared by those not named, as the prior shares it.

    Raises:
        ReportError: A word is none, or names no component.
    """
    named = shares(words)
    rest = named.pop(REST, None)
    found = {component_of(name): p for name, p in named.items()}
    if rest is None:
        return found
    others = {c: p for c, p in brief.component_prior.items() if c not in found}
    total = math.fsum(others.values()) or 1.0
    return found | {component: rest * p / total for component, p in others.items()}


def judgement_of_data(data: object) -> Judgement:
    """The judgement in JSON data: a list of probabilities, or `{"changed": [...], "before": {...}}`.

    Raises:
        ReportError: Data that are no judgement.
    """
    if isinstance(data, list):
        return Judgement(tuple(data))
    if not isinstance(data, Mapping) or "changed" not in data or set(data) - {"changed", "before"}:
        wanted = 'a list of probabilities, or {"changed": [...], "before": {"prompt": {"token": p}}}'
        raise ReportError(f"judgement: got {shown(data)}, wanted {wanted}")
    try:
        before = {
            int(prompt): {int(token): p for token, p in odds.items()}
            for prompt, odds in data.get("before", {}).items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ReportError(f"before: {error}; wanted numbers of prompts and tokens") from error
    return Judgement(data["changed"], before)


def judgement_of_sets(
    challenge: Challenge,
    sets: Mapping[str, float],
    prompts: Mapping[str, float],
    p_edited: float,
    prior: float,
) -> Judgement:
    """What follows for every prompt from beliefs about whole sets, but for prompts that are named themselves.

    With b = P(edited, and this set is about what was edited), a prompt on which its set's edit shows gets
    rho b K / pi, at most P(edited); sets that are not named share evenly what the others leave of it. Near
    misses and unrelated prompts get rho P(edited) / pi. So whoever believes the prior says the prior.

    Args:
        challenge: What is asked.
        sets: b by the set's number.
        prompts: P(edited and the answer changed) by the prompt's number.
        p_edited: As reported.
        prior: pi, as declared.

    Raises:
        ReportError: A number that is none of a set or prompt, or more than there is to share.
    """
    count = 1 + max(challenge.target_set, default=-1)
    named = {_number("set", name, count): p for name, p in sets.items()}
    single = {_number("prompt", name, len(challenge.prior)): p for name, p in prompts.items()}
    left = p_edited - math.fsum(named.values())
    if left < -1e-6:
        raise ReportError(f"sets: sum {p_edited - left:.6g}; at most p_edited as reported, {p_edited:.6g}")
    rest = max(0.0, left) / max(1, count - len(named))
    changed = []
    for i, (rho, of) in enumerate(zip(challenge.prior, challenge.target_set, strict=True)):
        believed = named.get(of, rest)
        shows = challenge.stratum[i] in SHOWS
        weight = believed * count if shows else p_edited
        changed.append(single.get(i, min(p_edited, rho * weight / prior)))
    return Judgement(tuple(changed))


def _number(what: str, text: str, below: int) -> int:
    if not text.isdecimal() or int(text) >= below:
        raise ReportError(f"{what}: got {quoted(text)}; allowed: 0 to {below - 1}")
    return int(text)
