"""A case that is played by hand as JSON-ready data, for scripts and agents; no truth before the report."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from game.api import Brief, Challenge, PublicTask
from game.blue.claims import Comparison
from game.blue.journal import read_journal
from game.blue.opening import Standing, journal_path
from game.blue.outlook import Outlook
from game.brief_text import brief_to_json
from game.report.debrief import Debrief
from game.runs.run_folder import SEAL
from game.runs.store import read_run


def brief_data(brief: Brief) -> dict[str, Any]:
    """What the player is told."""
    data: dict[str, Any] = json.loads(brief_to_json(brief))
    return {name: value for name, value in data.items() if name not in ("seed", "deadline")}


def brief_of(standing: Standing) -> Brief:
    """What the player of a case is told."""
    with read_run(standing.folder) as store:
        (case,) = store.cases()
    return case.brief


def status_data(standing: Standing) -> dict[str, Any]:
    """Where a case stands and what its player did, noted and said so far."""
    run = standing.run
    lines = (
        () if run.commitments is None else read_journal(journal_path(standing.folder, run), run.commitments)
    )
    kept: dict[str, list[dict[str, Any]]] = {"tool": [], "note": [], "belief": [], "said": []}
    for kind, body in lines:
        if kind in kept:
            kept[kind].append(body)
    budget = float(run.config["suite"]["budget"])
    return {
        "kind": "status",
        "folder": str(standing.folder),
        "suite": standing.suite,
        "case": standing.case_id,
        "sealed": run.rated,
        "seed": None if run.rated else run.seed,
        "stage": standing.stage,
        "commitments": run.commitments,
        "head": run.head if (standing.folder / SEAL).exists() else None,
        "budget": budget,
        "spent": standing.spent,
        "left": budget - standing.spent,
        "tools": kept["tool"],
        "notes": [body["text"] for body in kept["note"]],
        "belief": kept["belief"][-1] if kept["belief"] else None,
        "report": kept["said"][-1]["report"] if kept["said"] else None,
        "report_sha256": kept["said"][-1]["sha256"] if kept["said"] else None,
    }


def outlook_data(found: Sequence[Outlook]) -> list[dict[str, Any]]:
    """What a belief would score under each outcome."""
    return [asdict(each) | {"where": None if each.where is None else str(each.where)} for each in found]


def challenge_data(challenge: Challenge, task: PublicTask) -> dict[str, Any]:
    """What is asked, prompt by prompt."""
    prompts = []
    for number, rho in enumerate(challenge.prior):
        row = challenge.tokens[number, : int(challenge.lengths[number])].tolist()
        told = {"number": number, "set": challenge.target_set[number], "stratum": challenge.stratum[number]}
        prompts.append(told | {"prior": rho, "tokens": row, "text": task.text(row)})
    answers = {str(token): task.vocabulary[token] for token in challenge.answers}
    return {"kind": "challenge", "prompts": prompts, "answers": answers}


def debrief_data(debrief: Debrief, claims: Sequence[Sequence[Comparison]]) -> dict[str, Any]:
    """What was said, what is true, and what it scored."""
    case, record, truth = debrief.case, debrief.record, debrief.case.truth
    return {
        "kind": "debrief",
        "case": case.id,
        "truth": {
            "edited": truth.edited,
            "written": [str(component) for component in sorted(truth.written)],
            "kind": truth.kind,
            "group": truth.group,
            "base": case.base,
            "summary": truth.summary,
        },
        "p_edited": record.p_edited,
        "components": record.components,
        "headline": debrief.headline,
        **asdict(record.score),
        "readouts": dict(record.readouts),
        "spent": record.spent,
        "claims": [[asdict(each) | {"right": each.right} for each in claim] for claim in claims],
    }
