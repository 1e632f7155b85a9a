"""Whether a run is what it claims to be: its files, its commitments, its chain, and every score once more."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from game.case import Case
from game.dealing.dealer import Dealer
from game.proof.by_hand import JOURNAL
from game.proof.cases import COMMITMENTS, MODELS, PLANS, RUN, committed, plans, suite_of_run
from game.proof.evidence import Evidence, read_evidence
from game.proof.files import SCHEMA, SEALED, ordinary, sealed
from game.proof.findings import Check, Fault, Rule, differing, guarded
from game.proof.rounds import CHAIN, END, SCORES, TRANSCRIPT
from game.proof.seal import scoring_rules
from game.runs.database import StoreError
from game.runs.run_folder import DATABASE, SEAL
from game.runs.store import case_row
from models.training import one_thread

RULES = (SEALED, SCHEMA, RUN, COMMITMENTS, MODELS, PLANS, TRANSCRIPT, JOURNAL, CHAIN, END, SCORES)


class NoRunError(ValueError):
    """There is no run in that folder."""


@dataclass(frozen=True)
class Wanted:
    """What is asked beside what a run says of itself.

    Attributes:
        head: A digest that was published, of the commitments or of the finished run; empty for none.
        redeal: How many cases to deal again.
        seed: Which ones.
    """

    head: str = ""
    redeal: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Verification:
    """What came of a verification.

    Attributes:
        folder: The run's.
        checks: In the order they were made.
        notes: What could not be checked, and why.
        commitments: The digest that should have been published before the first round; empty before that.
        head: The digest that should have been published at the end; empty before that.
    """

    folder: Path
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    commitments: str = ""
    head: str = ""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """All that does not hold."""
        return tuple(fault for check in self.checks for fault in check.faults)


def verify(folder: Path, wanted: Wanted) -> Verification:
    """What is right and wrong with a run; nothing in its folder is changed.

    Raises:
        NoRunError: There is none.
    """
    if not (folder / DATABASE).exists() and not (folder / SEAL).exists():
        raise NoRunError(f"{folder}: no run; wanted a folder with {DATABASE}")
    if (strange := ordinary(folder)).faults:
        return Verification(folder, (strange,), ("nothing else was looked at",))
    with one_thread():  # as the rounds were scored
        return _verified(folder, wanted)


def _verified(folder: Path, wanted: Wanted) -> Verification:
    outer = sealed(folder)
    try:
        evidence = read_evidence(folder)
    except StoreError as error:
        lost = Fault(DATABASE, "cannot be read", "a run", str(error))
        return Verification(folder, (outer, Check("the database can be read", 1, (lost,))), ())
    checks = [outer, *(rule.examined(evidence) for rule in RULES)]
    if wanted.head:
        checks.append(
            guarded("the published digest is this run's", 1, lambda: _published(evidence, wanted.head))
        )
    if wanted.redeal:
        checks.append(
            Rule("cases are dealt the same again", lambda e: _chosen(e, wanted), _dealt).examined(evidence)
        )
    told = (str(evidence.run.get(name) or "") for name in ("commitments", "head"))
    return Verification(folder, tuple(checks), _notes(evidence), *told)


def _published(evidence: Evidence, head: str) -> Iterator[Fault]:
    run = evidence.info
    if head.lower() not in (run.commitments, run.head):
        yield Fault("run", "digest", head, f"{run.commitments} (commitments), {run.head} (head)")


def _chosen(evidence: Evidence, wanted: Wanted) -> list[str]:
    """Cases to deal again; which ones does not depend on the run."""
    names = sorted(plans(evidence).keys() & {row["id"] for row in evidence.cases})
    return sorted(random.Random(wanted.seed).sample(names, min(wanted.redeal, len(names))))


def _dealt(evidence: Evidence, case_id: str) -> Iterator[Fault]:
    suite, master, kept = suite_of_run(evidence), evidence.master, evidence.case(case_id)
    assert suite is not None
    assert master is not None
    yield from differing(case_id, "recipes", evidence.info.config["suite_digest"], suite.digest)
    dealer = Dealer(suite, master, own_decoys=evidence.info.by_hand)
    case = dealer.deal(plans(evidence)[case_id])
    models = zip((case.artefact, *case.companions), (kept.artefact, *kept.companions), strict=True)
    for number, (again, then) in enumerate(models):
        where = f"{case_id}: model" if number == 0 else f"{case_id}: companion {number}"
        yield from differing(where, "SHA-256 when dealt again", _hash(again), _hash(then))
    told_again, told_then = _told(case), _told(kept)
    for name, value in told_again.items():
        yield from differing(f"{case_id}: {name}", "when dealt again", value, told_then[name])


def _told(case: Case) -> dict[str, Any]:
    """What a case says beside its models: what the auditor is told, and each thing that is true of it."""
    row = case_row(case)
    truth = {f"truth: {name}": value for name, value in json.loads(row["truth"]).items()}
    return {name: row[name] for name in ("recipe", "base", "brief", "challenge")} | truth


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _notes(evidence: Evidence) -> tuple[str, ...]:
    """What the checks say nothing about, in words."""
    try:
        return tuple(_missing(evidence))
    except Exception:
        return ("the run's own row is damaged",)


def _missing(evidence: Evidence) -> Iterator[str]:
    if not evidence.sealed:
        yield "unfinished: not sealed, so files and head are not checked; the same command goes on with it"
    if not committed(evidence):
        yield "not every case is dealt: nothing is committed to yet"
    elif evidence.master is None:
        yield "rated and not revealed yet: commitments, labels and controls cannot be checked"
    if committed(evidence) and evidence.info.scoring != scoring_rules(evidence.info.config["parts"]):
        yield "scored by another version's rules; where its scores hold, this version's give the same"
    if not isinstance(evidence.info.config.get("suite"), dict):
        yield "not a suite's cases: labels and controls are committed to, not drawn again"
    if evidence.info.rated:
        tiers = Counter(str(row["tier"]) for row in evidence.rounds)
        yield "rounds by tier: " + ", ".join(f"{tiers[tier]} {tier}" for tier in sorted(tiers))
