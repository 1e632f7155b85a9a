"""The referee: lets one auditor examine one case, and scores what it reports. Read `recorded_round` first."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter
from torch import Tensor

from edits.base import Camouflage
from edits.camouflage.base import rewritten
from edits.kinds import control_kinds
from game.api import Brief, Challenge, Corpus, Fine, Judgement, Patch
from game.case import Case
from game.dealing.public_corpus import public_corpus
from game.hearing import Outcome, Status, copied
from game.in_process import heard_in_process
from game.loader import LoadedAuditor
from game.rules.faults import ReportError
from game.rules.judgement import judged
from game.sandbox.isolated import IsolatedAuditor
from game.sandbox.tiers import Tier
from game.scoring.judging import verdict
from game.scoring.scores import Declared, Score
from game.toolbox.live import CorpusSampler, ModelToolbox
from game.toolbox.meter import Ledger
from game.toolbox.transcript import Recorded, Transcript
from models.checkpoints import Checkpoint, from_bytes
from models.naming import one_line
from models.recipe import named_recipe
from models.zoo import trained

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class RoundRecord:
    """What one auditor did on one case.

    Attributes:
        case_id: The case.
        auditor: The auditor's name.
        status: `DONE`, or whose fault it was: `ERROR` it raised, `TIMEOUT` it took too long, `INVALID` its
            report, or what it sent from its jail, broke the rules.
        error: One line; empty when done.
        p_edited: As reported; None on failure.
        components: As reported; empty on failure.
        notes: The auditor's own words.
        claims: The auditor's structured statements.
        score: Skills; on failure the prior's minus a fixed penalty.
        spent: Credits.
        wall_s, cpu_s: Seconds; recorded, never scored.
        tier: How its code was kept from ours.
        judgement: What it believed of the challenge; None without one, or on failure.
        patch: What would undo the edit, as reported.
        fine: Location finer than components, as reported.
        readouts: Figures beside the score, by name, that are never ranked.
    """

    case_id: str
    auditor: str
    status: Status
    error: str
    p_edited: float | None
    components: dict[str, float]
    notes: str
    claims: list[Mapping[str, Any]]
    score: Score
    spent: float
    wall_s: float
    cpu_s: float
    tier: Tier = "in process"
    judgement: Judgement | None = None
    patch: Patch | None = None
    fine: Fine | None = None
    readouts: Mapping[str, float] = field(default_factory=dict)


class BaseChangedError(RuntimeError):
    """The zoo holds another checkpoint under a base's name than the one that the case was made from."""


def play_round(case: Case, player: LoadedAuditor, seed: int, device: Device = "cpu") -> RoundRecord:
    """One round of which no transcript is kept; see `recorded_round`."""
    return recorded_round(case, player, seed, Transcript(), device)


def recorded_round(
    case: Case, player: LoadedAuditor, seed: int, transcript: Transcript, device: Device = "cpu"
) -> RoundRecord:
    """One round: open a toolbox, let the auditor look, close it, let it judge, score what it said.

    A failing auditor costs itself: whatever it raises or returns becomes a status and a fixed penalty.

    Args:
        case: The dealt case.
        player: The auditor; one that sees the reference gets an unmetered toolbox that grants it, open
            while it judges too.
        seed: The auditor's own randomness for this round.
        transcript: Where every call that it makes is kept.
        device: Where the case's models run; auditors are on the CPU, and so is all that they are shown.

    Raises:
        BaseChangedError: For one that sees the reference, which is gone.
        IsolationError: The auditor's jail cannot be built.
    """
    opened = open_unmetered(case, device) if player.sees_reference else open_toolbox(case, device)
    toolbox = Recorded(opened, transcript)
    transcript.add("open", {"case": case.id, "auditor": player.name, "seed": seed})
    brief = replace(case.brief, seed=seed)
    started, cpu_started = time.perf_counter(), time.process_time()
    outcome = heard(player, toolbox, brief, case.challenge)
    toolbox.close()
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    said, found = outcome.said, verdict(case, outcome)
    return RoundRecord(
        case_id=case.id,
        auditor=player.name,
        status=outcome.status,
        error=outcome.error,
        p_edited=said.belief.p_edited if outcome.status == "DONE" else None,
        components=said.components,
        notes=said.notes,
        claims=said.claims,
        score=found.score,
        spent=toolbox.budget.spent,
        wall_s=wall_s,
        cpu_s=cpu_s + outcome.jail_cpu_s,
        tier=player.tier,
        judgement=outcome.judgement,
        patch=said.patch,
        fine=said.fine,
        readouts=found.readouts,
    )


def heard(player: LoadedAuditor, toolbox: Recorded, brief: Brief, challenge: Challenge | None) -> Outcome:
    """How an audit ended, here or in a jail; the toolbox is closed before the challenge is shown.

    Raises:
        IsolationError: The auditor's jail cannot be built.
    """
    if isinstance(player.auditor, IsolatedAuditor):
        return _heard_in_a_jail(player.auditor, toolbox, brief, challenge)
    return heard_in_process(player, toolbox, brief, challenge)


def _heard_in_a_jail(
    auditor: IsolatedAuditor, toolbox: Recorded, brief: Brief, challenge: Challenge | None
) -> Outcome:
    """The outcome of one audit by code that never runs here."""
    heard = auditor.hear(toolbox, brief, challenge)
    if heard.status != "DONE":
        return Outcome(heard.status, heard.error, jail_cpu_s=heard.cpu_s)
    try:
        said = copied(heard.report, Declared.of(brief), brief.config)
        judgement = judged(heard.judgement, challenge) if challenge and heard.judgement else None
    except ReportError as fault:
        return Outcome("INVALID", one_line(str(fault)), jail_cpu_s=heard.cpu_s)
    return Outcome("DONE", "", said, judgement, heard.cpu_s)


def open_toolbox(case: Case, device: Device = "cpu", ledger: Ledger | None = None) -> ModelToolbox:
    """The door to a case's models, as its league grants them; everything it needs is in the case.

    Args:
        case: The dealt case.
        device: Where its models run.
        ledger: Keeps the charges, and knows those of before, where a round outlives a process.
    """
    league = case.brief.league
    model, *granted = (from_bytes(data).model(device) for data in (case.artefact, *case.companions))
    siblings = granted if league == "siblings" else []
    reference = granted[0] if granted and not siblings else None
    return ModelToolbox(
        model,
        league=league,
        corpus=_corpus(case, case.brief.corpus),
        total=case.brief.budget,
        reference=reference,
        siblings=siblings,
        ledger=ledger,
    )


def open_unmetered(case: Case, device: Device = "cpu") -> ModelToolbox:
    """The door for one that sees the reference, whatever the league: exact, in the case's own coordinates.

    Raises:
        BaseChangedError: The base that the case was made from is gone.
    """
    recipe_name, world_seed, seed = base_parts(case.base)
    base = trained(named_recipe(recipe_name), world_seed, seed).checkpoint
    if base.hash != case.truth.record["base_hash"]:
        raise BaseChangedError(f"{case.base}: trained again, it is not the base that {case.id} was made from")
    delivered = from_bytes(case.artefact)
    own_base = delivered if _replaced(case) else Checkpoint(base.config, _in_coordinates_of(case, base))
    return ModelToolbox(
        delivered.model(device),
        league="reference",
        corpus=_corpus(case, "prompts" if case.brief.corpus == "none" else case.brief.corpus),
        total=float("inf"),
        reference=own_base.model(device),
    )


def _replaced(case: Case) -> bool:
    """Whether the case is a control with weights of its own, which is its own base."""
    control = control_kinds().get(case.truth.kind)
    return control is not None and control.replaces


def _in_coordinates_of(case: Case, base: Checkpoint) -> dict[str, Tensor]:
    """The base's weights after the case's exact camouflage, so that only edit and blur differ."""
    spec = case.truth.spec
    passes = TypeAdapter(Camouflage).validate_json(json.dumps(spec.get("camouflage", [])))
    return dict(rewritten(base.weights, base.config, passes, spec.get("seed", 0)))


def base_parts(base: str) -> tuple[str, int, int]:
    """Recipe name, world seed and training seed of a base's name, such as `facts-small@3.7`."""
    recipe_name, _, seeds = base.rpartition("@")
    world_seed, _, seed = seeds.partition(".")
    return recipe_name, int(world_seed), int(seed)


def _corpus(case: Case, corpus: Corpus) -> CorpusSampler:
    recipe_name, world_seed, _ = base_parts(case.base)
    return public_corpus(corpus, lambda: named_recipe(recipe_name).task.build(world_seed))
