"""Hostile auditors: each costs itself, gets nothing, and leaves the next round as it was."""

import os
import random
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from game.referee import RoundRecord, play_round
from game.sandbox.isolated import load_isolated
from game.sandbox.tiers import JAILS, Tier
from game.sandbox.warden import Sandbox
from tests.game.hand_made import MLP, case, challenged, truth
from tests.game.jails import EXAMPLE, HOSTILE, SandboxAt, sandbox_at

__all__ = ["sandbox_at"]

DEALT = challenged(case(0, truth(MLP, "rome")), parts=("detection", "localisation"))


class Attack(NamedTuple):
    """A plug-in, the weakest tier that promises to contain it, and what must come of it."""

    file: str
    name: str
    tier: Tier
    statuses: str
    words: str  # in the notes of a report or the error of a failure
    deadline: float = 20.0


ATTACKS = [
    # file, class, weakest tier, status, words, deadline in seconds
    Attack("looking", "Collector", "process", "DONE", "held"),
    Attack("looking", "FrameWalker", "process", "DONE", "held"),
    Attack("looking", "ToolboxOpener", "process", "DONE", "held"),
    Attack("looking", "EnvironmentReader", "process", "DONE", "held"),
    Attack("looking", "DescriptorReader", "process", "DONE", "held"),
    Attack("looking", "FileReader", "landlock", "DONE", "held"),
    Attack("looking", "Detour", "landlock", "DONE", "held"),
    Attack("looking", "Guesser", "bubblewrap", "DONE", "held"),
    Attack("looking", "MemoryReader", "landlock", "DONE", "held"),
    Attack("looking", "Tracer", "landlock", "DONE", "held"),
    Attack("looking", "Caller", "landlock", "DONE", "held"),
    Attack("looking", "SharedMemory", "landlock", "DONE", "held"),
    Attack("acting", "Overwriter", "landlock", "DONE", "held"),
    Attack("acting", "Relabeller", "landlock", "DONE", "held"),
    Attack("acting", "Linker", "landlock", "DONE", "held"),
    Attack("acting", "Saboteur", "landlock", "DONE", "held"),
    Attack("acting", "DiskFiller", "process", "DONE", "held"),
    Attack("acting", "ForkBomb", "landlock", "DONE", "held"),
    Attack("acting", "ThreadBomb", "landlock", "DONE", "held"),
    Attack("acting", "ProgramRunner", "landlock", "DONE", "held"),
    Attack("acting", "Killer", "landlock", "DONE", "held"),
    Attack("acting", "Namespaces", "landlock", "DONE", "held"),
    Attack("acting", "KernelProber", "landlock", "DONE", "held"),
    Attack("acting", "Usurper", "process", "DONE", "held"),
    Attack("acting", "Meddler", "landlock", "DONE", "held"),
    Attack("exhausting", "Hog", "process", "ERROR", "MemoryError"),
    Attack("exhausting", "HandleHoarder", "process", "DONE", "held: True"),
    Attack("exhausting", "Chatterbox", "process", "DONE", "held"),
    Attack("exhausting", "Sleeper", "process", "TIMEOUT", r"within 0.5 s \(exhausting\.py:\d+\)", 0.5),
    Attack("exhausting", "Spinner", "process", "TIMEOUT", "no report within 0.5 s", 0.5),
    Attack("exhausting", "Deaf", "process", "TIMEOUT", "no report within 0.5 s", 0.5),
    Attack("exhausting", "Stopped", "process", "TIMEOUT", "no report within 0.5 s", 0.5),
    Attack("exhausting", "Quitter", "process", "ERROR", r"ended without a report \(exit code 0\)"),
    Attack("exhausting", "Crasher", "process", "ERROR", "killed by SIGSEGV"),
    Attack("exhausting", "Suicide", "process", "ERROR", "killed by SIGKILL"),
    Attack("exhausting", "DeepDiver", "process", "ERROR", "RecursionError"),
    Attack("lying", "Mumbler", "process", "INVALID", "header is not JSON"),
    Attack("lying", "Boaster", "process", "INVALID", "header of 4294967295 bytes"),
    Attack("lying", "Stutterer", "process", "TIMEOUT", "no report within 0.5 s", 0.5),
    Attack("lying", "Flooder", "process", "TIMEOUT", "no report within 0.5 s", 0.5),
    Attack("lying", "GarbageFlooder", "process", "INVALID", "header is not JSON"),
    Attack("lying", "Pickler", "process", "INVALID", "payload"),
    Attack("lying", "Nester", "process", "INVALID", "header is not JSON"),
    Attack("lying", "Usher", "process", "INVALID", "type 'hello'; allowed: call, report, fault"),
    Attack("lying", "TwoFaced", "process", "DONE", "held: the first"),
    Attack("lying", "Impossible", "process", "INVALID", "p_edited: got 7"),
    Attack("lying", "Windbag", "process", "INVALID", "claims: 10000011 characters of JSON"),
    Attack("lying", "Overdrawer", "process", "DONE", "held: this call costs 101 credits; 100 are left"),
    Attack("lying", "Trespasser", "process", "DONE", "held: AccessError"),
    Attack("lying", "Poisoner", "process", "DONE", "held"),
    Attack("lying", "Rewriter", "process", "DONE", "held"),
    Attack("judging", "Relapser", "process", "ERROR", "AccessError: the toolbox is closed"),
    Attack("judging", "Swollen", "process", "INVALID", "changed: got 5000000 probabilities; allowed: 4"),
    Attack("judging", "SwollenPast", "process", "INVALID", "'changed': got 8000000; allowed: at most"),
    Attack("judging", "Terse", "process", "INVALID", "changed: got 1 probabilities; allowed: 4"),
    Attack("judging", "Undecided", "process", "INVALID", r"changed\[0\]: got nan"),
    Attack("judging", "UndecidedPast", "process", "INVALID", "'changed' holds NaN or infinity"),
    Attack("judging", "Endless", "process", "INVALID", "'changed' holds NaN or infinity"),
    Attack("judging", "Fabulist", "process", "INVALID", r"before\[1\]: got token 5; allowed: answers"),
    Attack("judging", "Miscounter", "process", "INVALID", "before: the lists do not fit together"),
    Attack("judging", "Foreteller", "process", "INVALID", "'judgement'; allowed: call, report, fault"),
    Attack("judging", "Premature", "process", "INVALID", "judgement: came before the challenge"),
    Attack("judging", "Repeater", "process", "INVALID", "'report'; allowed: call, judgement, fault"),
    Attack("judging", "Titan", "process", "INVALID", "got rank 1000000000 in left"),
    Attack("judging", "Mountain", "process", "INVALID", "patch: blocks.0.mlp.W_out: .*rank"),
    Attack("judging", "Inventor", "process", "INVALID", "patch: unknown weight"),
    Attack("judging", "Explorer", "process", "INVALID", "fine: neurons: got"),
    Attack("judging", "Stowaway", "process", "INVALID", "report: tensor 'score' is not wanted"),
    Attack("judging", "Dreamer", "process", "TIMEOUT", "no report within 0.5 s", 0.5),
    Attack("judging", "Leaver", "process", "ERROR", r"ended without a judgement \(exit code 3\)"),
    Attack("judging", "LatePoisoner", "process", "DONE", "held"),
    Attack("judging", "Rummager", "process", "DONE", "held"),
]  # fmt: skip
AT_EACH_TIER = [
    pytest.param(tier, attack, id=f"{attack.name}-{tier}")
    for attack in ATTACKS
    for tier in JAILS[JAILS.index(attack.tier) :]
]


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What every attacker would like to read or break."""
    path = tmp_path / "run.db"
    path.write_text("blocks.0.mlp was written to", encoding="utf-8")
    monkeypatch.setenv("AUDIT_GAME_SECRET", "blocks.0.mlp")
    return path


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def played(
    sandbox: Sandbox, reference: str, settings: dict[str, object], deadline: float = 20.0
) -> RoundRecord:
    player = load_isolated(reference, settings, sandbox)
    told = replace(DEALT, brief=replace(DEALT.brief, deadline=deadline))
    return play_round(told, player, seed=7)


def honest(sandbox: Sandbox) -> RoundRecord:
    """An honest auditor's round, without its times."""
    record = played(sandbox, f"{EXAMPLE}@NormOutlier", {})
    return replace(record, wall_s=0.0, cpu_s=0.0)


def settings_for(attack: Attack, secret: Path, port: int) -> dict[str, object]:
    text = (HOSTILE / f"{attack.file}.py").read_text(encoding="utf-8")
    body = re.split(rf"^class {attack.name}\b", text, flags=re.MULTILINE)[1].partition("@dataclass")[0]
    known: dict[str, object] = {"target": str(secret), "referee": os.getpid(), "port": port}
    return {name: value for name, value in known.items() if re.search(rf"^    {name}: ", body, re.MULTILINE)}


def global_state() -> tuple[object, ...]:
    return (
        bytes(torch.get_rng_state().numpy()),
        random.getstate(),
        str(np.random.get_state()),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
    )


def footprint(secret: Path) -> tuple[object, ...]:
    known = secret.stat()
    return (
        secret.read_text(encoding="utf-8"),
        known.st_mtime_ns,
        known.st_mode,
        sorted(os.listdir(secret.parent)),
    )


@pytest.mark.parametrize(("tier", "attack"), AT_EACH_TIER)
def test_a_hostile_auditor_costs_itself_alone(
    tier: Tier,
    attack: Attack,
    sandbox_at: SandboxAt,
    secret: Path,
    port: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    sandbox = sandbox_at(tier)
    expected, state, before = honest(sandbox), global_state(), footprint(secret)
    settings = settings_for(attack, secret, port)
    record = played(sandbox, f"{HOSTILE / attack.file}.py@{attack.name}", settings, attack.deadline)
    assert (record.status, record.tier) == (attack.statuses, tier)
    assert "ESCAPED" not in record.notes + record.error
    assert record.status == "DONE" or record.judgement is None
    assert re.search(attack.words, record.notes if record.status == "DONE" else record.error)
    assert record.score.detection == pytest.approx(detection_of(record))
    assert record.spent <= DEALT.brief.budget
    assert honest(sandbox) == expected
    assert global_state() == state
    assert footprint(secret) == before
    assert capfd.readouterr() == ("", "")


def detection_of(record: RoundRecord) -> float:
    """The skill that the rules give for what was reported on an edited model at a prior of one half."""
    return -0.25 if record.p_edited is None else (0.25 - (1 - record.p_edited) ** 2) / 0.25


def test_what_one_round_poisons_the_next_one_does_not_see(sandbox_at: SandboxAt) -> None:
    sandbox = sandbox_at("process")
    notes = {played(sandbox, f"{HOSTILE / 'lying'}.py@Poisoner", {}).notes for _ in range(2)}
    assert notes == {"held: poisoned only itself"}


def test_no_process_is_left_behind(sandbox_at: SandboxAt) -> None:
    sandbox = sandbox_at("process")
    for name in ("Deaf", "Quitter", "Sleeper"):
        played(sandbox, f"{HOSTILE / 'exhausting'}.py@{name}", {}, deadline=0.2)
    assert sandbox._process is not None
    children = Path(f"/proc/{sandbox._process.pid}/task/{sandbox._process.pid}/children")
    if not children.exists():
        pytest.skip("this kernel does not list a process's children")
    assert children.read_text(encoding="ascii") == ""


def test_every_hostile_class_is_in_the_table() -> None:
    found = {
        (path.stem, name)
        for path in HOSTILE.glob("*.py")
        for name in re.findall(r"^class ([A-Z]\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found == {(attack.file, attack.name) for attack in ATTACKS}
    assert len(found) >= 30
