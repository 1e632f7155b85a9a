"""The gate before a rated run: cases of its rule are dealt, looked at by leak auditors, and thrown away."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from game.catalogue import ROOT
from game.dealing.dealer import Dealer, plan_cases
from game.dealing.master import Master
from game.dealing.suite import Suite
from game.referee import base_parts
from game.selfcheck.chance import ALPHA, POWER, cases_needed, holm, power, power_beyond
from game.selfcheck.evidence import Evidence, Exhibit, examined, resized
from game.selfcheck.exact import SAMENESSES, difference
from game.selfcheck.probes import PROBES, fitting, from_untouched, judged, repeats
from game.selfcheck.verdicts import LeakError, Row, SelfCheck
from models.checkpoints import write_atomically
from models.folders import cache_folder
from models.training import Progress, one_thread

OnCase = Callable[[str], None]
OnStep = Callable[[str, Progress], None]
_CODE = ("models", "edits", "game")


def default_cases(suite: Suite) -> int:
    """As many as it takes to find an area of 0.65 with 80 % power, as one of all probes."""
    return cases_needed(suite.prior, len(PROBES))


def selfcheck(
    suite: Suite,
    cases: int,
    master: Master,
    on_case: OnCase = lambda _id: None,
    on_step: OnStep = lambda _name, _progress: None,
) -> SelfCheck:
    """What leak auditors make of that many cases, dealt for this and thrown away.

    Args:
        suite: Whose rule and models they come from.
        cases: How many.
        master: What they are drawn from; a fresh one, or the answer is about the cases of a known seed.
        on_case: Told the name of each case before it is dealt.
        on_step: As the dealer's.

    Raises:
        DealError: A case cannot be dealt.
    """
    many = resized(suite, cases)
    exhibits: list[Exhibit] = []
    with one_thread():
        dealer = Dealer(many, master, on_step)
        for plan in plan_cases(many, master):
            on_case(plan.id)
            case = dealer.deal(plan)
            recipe, _, seed = base_parts(case.base)
            base = dealer.base(recipe, seed).checkpoint
            exhibits.append(examined(case, base, master.nonce("commit", case.id)))
        return verdict(Evidence(many, tuple(exhibits)))


def verdict(evidence: Evidence) -> SelfCheck:
    """What every look at the evidence comes to."""
    edited = sum(seen.edited for seen in evidence.exhibits)
    others = len(evidence.exhibits) - edited
    return SelfCheck(
        suite=evidence.suite.name,
        cases=len(evidence.exhibits),
        edited=edited,
        power=power(edited, others, len(fitting(evidence))),
        rows=(*_exact(evidence), *_by_chance(evidence)),
    )


def require_no_leak(suite: Suite, on_case: OnCase, on_step: OnStep) -> SelfCheck:
    """A self-check that passed, with power: the one remembered of this suite and code, or one made now.

    Raises:
        LeakError: Something leaks; the message names it.
    """
    found = remembered(suite) or selfcheck(suite, default_cases(suite), fresh_master(), on_case, on_step)
    remember(suite, found)
    if found.leaks:
        raise LeakError(
            f"suite {suite.name}: leaks by {', '.join(found.leaks)}; see audit-game selfcheck {suite.name}"
        )
    return found


def fresh_master() -> Master:
    """A key from the operating system, for the suite's own models: they are trained already."""
    return Master(Master.fresh().key, rated=False)


def master_of(seed: int) -> Master:
    """A key that a seed gives, which no open run has: the cases can be dealt again, and not be replayed."""
    return Master(hashlib.sha256(b"audit-game/selfcheck/%d" % seed).digest(), rated=False)


def remembered(suite: Suite) -> SelfCheck | None:
    """The last self-check that passed with enough power, if suite, code and torch are still the same."""
    try:
        data = json.loads(_note(suite).read_bytes())
        found = SelfCheck(**data | {"rows": tuple(Row(**row) for row in data["rows"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _counts(found) else None


def remember(suite: Suite, found: SelfCheck) -> None:
    """Keep a self-check that passed with enough power; nothing else is kept."""
    if _counts(found):
        write_atomically(_note(suite), json.dumps(asdict(found)).encode())


def _counts(found: SelfCheck) -> bool:
    return not found.leaks and found.power >= POWER - 0.1  # labels are dealt: the classes are never even


def _note(suite: Suite) -> Path:
    facts = json.dumps([suite.digest, _code(), torch.__version__])
    return cache_folder() / "selfcheck" / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.json"


@cache
def _code() -> str:
    """SHA-256 of all code that cases and toolboxes come from."""
    digest = hashlib.sha256()
    for file in sorted(file for folder in _CODE for file in (ROOT / folder).rglob("*.py")):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _exact(evidence: Evidence) -> Iterable[Row]:
    for sameness in SAMENESSES:
        found = difference(sameness, evidence)
        yield Row(sameness.name, sameness.sees, "exact", bool(found), found)


def _by_chance(evidence: Evidence) -> list[Row]:
    probes = fitting(evidence)
    found = [judged(probe, evidence, ALPHA / len(probes)) for probe in probes]
    fails = holm([each.p for each, _, _ in found])
    beside = from_untouched(evidence)
    told = {"norm": f"against untouched models {beside.auroc:.2f}: told, not judged"}
    if again := repeats(evidence):
        told["file hash"] = f"{again} cases repeat a file: each file counts once"
    return [
        Row(
            probe.name,
            probe.sees,
            "chance",
            leaks,
            told.get(probe.name, ""),
            each.auroc,
            each.p,
            power_beyond(ones, zeros, each.needed),
        )
        for probe, (each, ones, zeros), leaks in zip(probes, found, fails, strict=True)
    ]
