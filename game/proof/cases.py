"""The run's own row, and its cases: committed to, drawn from the master, stored as they were dealt."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from game.dealing.dealer import CasePlan, plan_cases
from game.dealing.master import Master
from game.dealing.suite import Suite
from game.proof import seal
from game.proof.evidence import Evidence, Row
from game.proof.findings import Fault, Rule, differing
from game.runs.run_folder import ARTIFACTS, artefact_path
from game.runs.serialise import truth_from_json


def suite_of_run(evidence: Evidence) -> Suite | None:
    """The suite whose cases a run is about; None where a red strategy or a test made them."""
    told = evidence.info.config.get("suite")
    return Suite.model_validate_json(json.dumps(told)) if isinstance(told, dict) else None


def plans(evidence: Evidence) -> dict[str, CasePlan]:
    """Group, label and control of each case to play, drawn again; none where no suite says how."""
    suite, master = suite_of_run(evidence), evidence.master
    if suite is None or master is None:
        return {}
    wanted = evidence.info.config.get("cases")
    drawn = {plan.id: plan for plan in plan_cases(suite, master)}
    return drawn if wanted is None else {case_id: drawn[case_id] for case_id in wanted}


def committed(evidence: Evidence) -> bool:
    """Whether every case was dealt."""
    return evidence.info.commitments is not None


def _run(evidence: Evidence, aspect: str) -> Iterator[Fault]:
    run = evidence.info
    where = f"run: {aspect}"
    if aspect == "digest":
        text = evidence.run["config"].encode()
        yield from differing(where, "SHA-256", hashlib.sha256(text).hexdigest(), run.digest)
    elif aspect == "seed":
        yield from differing(where, "not that of the configuration", run.config["seed"], run.seed)
    elif aspect == "state":
        yield from differing(where, "unlike its seal", "finished" if evidence.sealed else "open", run.state)
    elif aspect == "master":
        yield from _master(evidence, where)
    elif aspect == "commitments":
        found = {row["id"]: row["commitment"] for row in evidence.cases}
        wanted = seal.commitments_digest(evidence.run, found)
        yield from differing(where, "digest", wanted, run.commitments)


def _master(evidence: Evidence, where: str) -> Iterator[Fault]:
    run, master = evidence.info, evidence.master
    if (run.master is None) == evidence.sealed:
        yield Fault(where, "revealed", str(evidence.sealed), str(not evidence.sealed))
    if master is not None:
        yield from differing(where, "SHA-256", seal.master_hash(master.key), run.master_hash)
        if not run.rated:
            yield from differing(where, "of the seed", Master.of_seed(run.seed).key.hex(), master.key.hex())


def _aspects(evidence: Evidence) -> list[str]:
    before = ["digest", "seed", "state"]
    return [*before, "master", "commitments"] if committed(evidence) else before


def _open_cases(evidence: Evidence) -> tuple[Row, ...]:
    """The rows, once they are committed to and the master is known."""
    return evidence.cases if committed(evidence) and evidence.master else ()


def _commitment(evidence: Evidence, row: Row) -> Iterator[Fault]:
    master = evidence.master
    assert master is not None
    wanted = seal.commitment(master.nonce("commit", row["id"]), row)
    yield from differing(row["id"], "commitment", wanted, row["commitment"])


def _models(evidence: Evidence) -> list[Path]:
    """Every model that a case names or that lies there."""
    named = [sha for row in evidence.cases for sha in (row["artefact"], *json.loads(row["companions"]))]
    there = (evidence.folder / ARTIFACTS).glob("*") if evidence.sealed else ()
    return sorted({artefact_path(evidence.folder, sha) for sha in named} | set(there))


def _model(evidence: Evidence, path: Path) -> Iterator[Fault]:
    where = f"{ARTIFACTS}/{path.name}"
    named = {sha for row in evidence.cases for sha in (row["artefact"], *json.loads(row["companions"]))}
    if path.stem not in named:
        yield Fault(where, "case", "one that has it", "none")
    if not path.is_file():
        yield Fault(where, "missing", "a file", "none")
        return
    yield from differing(where, "SHA-256", path.name, f"{seal.file_hash(path)}.safetensors")


def _planned(evidence: Evidence) -> list[tuple[str, CasePlan | None, Row | None]]:
    wanted, rows = plans(evidence), {row["id"]: row for row in evidence.cases}
    if not wanted:
        return []
    names = wanted.keys() | rows.keys() if committed(evidence) else rows.keys()
    return [(name, wanted.get(name), rows.get(name)) for name in sorted(names)]


def _plan(_evidence: Evidence, item: tuple[str, CasePlan | None, Row | None]) -> Iterator[Fault]:
    name, plan, row = item
    if plan is None or row is None:
        yield Fault(name, "case", *("none", "one") if plan is None else ("one", "none"))
        return
    truth = truth_from_json(row["truth"])
    drawn: dict[str, Any] = {"id": plan.id, "group": plan.group, "edited": plan.edited}
    told: dict[str, Any] = {"id": row["id"], "group": truth.group, "edited": truth.edited}
    if not plan.edited:
        drawn["control"], told["control"] = plan.control, truth.kind
    for aspect, value in drawn.items():
        yield from differing(f"{name}: {aspect}", "not as drawn", value, told[aspect])


RUN = Rule("configuration, master and rules are those committed to", _aspects, _run)
COMMITMENTS = Rule("cases are those committed to", _open_cases, _commitment)
MODELS = Rule("models are those of the cases", _models, _model)
PLANS = Rule("labels, groups and controls were drawn by rule", _planned, _plan)
