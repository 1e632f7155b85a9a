"""Jails: what they hold, what they cost nobody, and that an auditor reports the same in one."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from game.api import Brief, Report
from game.blue.sayings import reported
from game.cli import main
from game.dealing.suite import Suite, load_suite
from game.hearing import copied
from game.loader import LoadError, load_auditor
from game.referee import play_round
from game.runs.tournament import OnEvent, Source, play_source
from game.sandbox import check, warden
from game.sandbox.isolated import IsolatedAuditor, code_of, load_isolated
from game.sandbox.seccomp import filter_of
from game.sandbox.tiers import ATTEMPTS, JAILS, PROMISES, IsolationError, Limits, Tier
from game.sandbox.warden import Sandbox
from game.scoring.scores import Declared
from game.selfcheck.gate import remember
from game.selfcheck.verdicts import Row, SelfCheck
from game.testing import stage
from game.toolbox.transcript import Recorded, Transcript
from tests.auditors.test_contract import NAMES
from tests.game import hand_made
from tests.game.jails import EXAMPLE, HAND_MADE, SandboxAt, sandbox_at

__all__ = ["sandbox_at"]

CASES = hand_made.cases(3)
OUTLIER = f"{EXAMPLE}@NormOutlier"


def timeless(record: Any) -> Any:
    return dataclasses.replace(record, wall_s=0.0, cpu_s=0.0, tier="in process")


@pytest.mark.parametrize("tier", JAILS)
def test_the_self_test_tries_everything_and_the_tier_holds_what_it_promises(
    tier: Tier, sandbox_at: SandboxAt
) -> None:
    with sandbox_at(tier).child(10) as child:
        assert [each.attempt for each in child.findings] == list(ATTEMPTS)
        held = {each.attempt for each in child.findings if each.held}
    assert held >= set(PROMISES[tier])


def test_every_tier_promises_what_the_one_below_does() -> None:
    promises = [set(PROMISES[tier]) for tier in ("in process", *JAILS)]
    assert [len(each) for each in promises] == [0, 4, 15, 16]
    assert all(lower < higher for lower, higher in pairwise(promises))


def test_a_jail_that_does_not_hold_is_refused_before_any_code_is_loaded(
    sandbox_at: SandboxAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = sandbox_at("process")
    monkeypatch.setitem(PROMISES, "process", ("write a large file", "read /etc/passwd"))
    with (
        pytest.raises(IsolationError, match=r"process: the self-test could read /etc/passwd \(it worked\)"),
        sandbox.child(10),
    ):
        pass
    monkeypatch.undo()
    with sandbox.child(10) as child:
        assert len(child.findings) == len(ATTEMPTS), "and the next one is fine"


def as_kept(report: Report, brief: Brief) -> dict[str, Any]:
    """A report as the referee keeps it, as data: tensors have no equality."""
    said = copied(report, Declared.of(brief), brief.config)
    return reported(dataclasses.replace(report, patch=said.patch, fine=said.fine))


@pytest.mark.parametrize("tier", JAILS)
@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_auditor_reports_the_same_to_the_last_bit(
    name: str, tier: Tier, sandbox_at: SandboxAt
) -> None:
    here, there = load_auditor(name, {}), load_isolated(name, {}, sandbox_at(tier))
    told = stage.brief()
    near, far = (stage.toolbox(here, told) for _ in range(2))
    assert isinstance(there.auditor, IsolatedAuditor)
    heard = there.auditor.hear(Recorded(far, Transcript()), told, None)
    assert (heard.status, heard.error) == ("DONE", "")
    assert heard.report is not None
    assert as_kept(heard.report, told) == as_kept(here.auditor.audit(near, told), told)
    assert far.budget == near.budget


@pytest.mark.parametrize("tier", JAILS)
def test_a_plug_in_s_round_is_the_same_but_for_times_and_tier(tier: Tier, sandbox_at: SandboxAt) -> None:
    settings = {"most": "10"}
    here, there = load_auditor(OUTLIER, settings), load_isolated(OUTLIER, settings, sandbox_at(tier))
    for case in CASES:
        far, near = (play_round(case, player, 3) for player in (there, here))
        assert (far.tier, near.tier) == (tier, "in process")
        assert timeless(far) == timeless(near)
        assert far.cpu_s > 0


def test_a_crash_is_told_as_in_process(sandbox_at: SandboxAt) -> None:
    reference = f"{HAND_MADE}@Crasher"
    far = play_round(CASES[0], load_isolated(reference, {}, sandbox_at("process")), 3)
    near = play_round(CASES[0], load_auditor(reference, {}), 3)
    assert far.error == near.error
    assert far.error.startswith("ZeroDivisionError: nothing to divide by (hand_made.py:")


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        # file                                                      settings
        ("import nothing_of_this_name", {}),
        ("def broken(:", {}),
        ("raise ValueError('no')", {}),
        ("class Mine: pass", {}),
        ("Mine = 1", {}),
        ("from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Mine:\n    p: float = 0.5\n", {}),
        (EXAMPLE.read_text().replace("NormOutlier", "Mine"), {"most": "many"}),
        (EXAMPLE.read_text().replace("NormOutlier", "Mine"), {"mist": "1"}),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told_in_the_same_words(
    text: str, settings: dict[str, Any], tmp_path: Path, sandbox_at: SandboxAt
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(LoadError) as near:
        load_auditor(f"{file}@Mine", settings)
    with pytest.raises(LoadError) as far:
        load_isolated(f"{file}@Mine", settings, sandbox_at("process"))
    assert str(far.value) == str(near.value)


def test_a_plug_in_is_never_imported_by_the_referee(tmp_path: Path, sandbox_at: SandboxAt) -> None:
    file = tmp_path / "traces.py"
    file.write_text("import os\nos.environ['TRACE_OF_IT'] = str(os.getpid())\n" + EXAMPLE.read_text())
    player = load_isolated(f"{file}@NormOutlier", {}, sandbox_at("process"))
    assert play_round(CASES[0], player, 3).status == "DONE"
    assert "TRACE_OF_IT" not in os.environ


def test_the_run_is_the_same_run_in_process_or_isolated(tmp_path: Path, sandbox_at: SandboxAt) -> None:
    """So that an interrupted run goes on with another `--isolation`."""
    configs = []
    for player in (load_auditor(OUTLIER, {}), load_isolated(OUTLIER, {}, sandbox_at("process"))):
        result = play_source(hand_made.source(CASES), [player], 3, tmp_path / player.tier)
        database = next((tmp_path / player.tier).iterdir()) / "run.db"
        configs.append(digest_of(database))
        assert {record.tier for record in result.rounds} == {player.tier}
    assert configs[0] == configs[1]


def digest_of(database: Path) -> str:
    from game.runs.store import read_run

    with read_run(database.parent) as store:
        return store.run().digest


def test_a_lost_fork_server_is_started_again() -> None:
    if reason := warden.unavailable("process"):
        pytest.skip(reason)
    with Sandbox("process", limits=Limits(memory=2**29)) as sandbox:
        player = load_isolated(OUTLIER, {}, sandbox)
        assert sandbox._process is not None
        first = sandbox._process.pid
        os.kill(first, signal.SIGKILL)
        assert play_round(CASES[0], player, 3).status == "DONE"
        assert sandbox._process.pid != first


def test_an_auditor_that_kills_the_fork_server_costs_itself(tmp_path: Path) -> None:
    if reason := warden.unavailable("process"):
        pytest.skip(reason)
    file = tmp_path / "killer.py"
    kill = "os.kill(os.getppid(), 9) or time.sleep(60)"
    body = EXAMPLE.read_text().replace("        try:\n", f"        {kill}\n        try:\n", 1)
    file.write_text(body.replace("import math\n", "import math\nimport os\nimport time\n"))
    with Sandbox("process", limits=Limits(memory=2**29)) as sandbox:
        killer, honest = (load_isolated(f"{path}@NormOutlier", {}, sandbox) for path in (file, EXAMPLE))
        record = play_round(CASES[0], killer, 3)
        assert (record.status, record.error) == (
            "ERROR",
            "its process ended without a report (nobody knows how)",
        )
        assert play_round(CASES[0], honest, 3).status == "DONE"


def test_an_installed_auditor_is_found_and_read_in_the_jail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = best()
    if tier == "in process":
        pytest.skip("no jail on this machine")
    folder = tmp_path / "site-packages"
    about = folder / "outlier-1.dist-info"
    about.mkdir(parents=True)
    (folder / "outlier_plugin.py").write_text(EXAMPLE.read_text())
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outlier\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[audit_game.auditors]\noutlier = outlier_plugin:NormOutlier\n")
    monkeypatch.syspath_prepend(str(folder))
    with Sandbox(tier, code_of("outlier"), Limits(memory=2**29)) as sandbox:
        far = play_round(CASES[0], load_isolated("outlier", {}, sandbox), 3)
    near = play_round(CASES[0], load_auditor(OUTLIER, {}), 3)
    assert (far.status, far.auditor, far.tier) == ("DONE", "outlier", tier)
    assert far.score == near.score


def test_nothing_runs_and_nothing_lies_about_after_closing() -> None:
    if reason := warden.unavailable("process"):
        pytest.skip(reason)
    with Sandbox("process") as sandbox, sandbox.child(10):
        assert sandbox._process is not None
        pid, canary = sandbox._process.pid, sandbox._canary
    assert not Path(f"/proc/{pid}").exists()
    assert not canary.exists()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_calls_jumps_nowhere_else(machine: str) -> None:
    program = filter_of(machine, 4711)
    assert 100 < len(program) < 4096
    for place, (_, if_true, if_false, _) in enumerate(program):
        assert place + max(if_true, if_false) + 1 < len(program) or (if_true, if_false) == (0, 0)
    assert program[-1] == (0x06, 0, 0, 0x00050001), "whatever is not listed fails with EPERM"


Play = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a command on hand-made cases: exit code, stdout, stderr."""

    def source(suite: Suite, on_event: OnEvent) -> Source:
        return hand_made.source(CASES, suite.name, digest=suite.digest)

    monkeypatch.setattr("game.runs.tournament.suite_source", source)
    monkeypatch.setattr("game.cli._names.shipped_yardsticks", list)

    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--json", "--log-dir", str(tmp_path / "logs")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def play(command: Play) -> Play:
    """Plays an auditor."""
    return lambda auditor, *words: command("play", "smoke", "--auditor", auditor, *words)


@pytest.fixture
def rated(command: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Plays a rated tournament, on a suite whose self-check has passed."""
    monkeypatch.setenv("AUDIT_GAME_CACHE", str(tmp_path / "cache"))
    remember(load_suite("smoke"), SelfCheck("smoke", 200, 100, 0.85, ()))
    return lambda auditor, *words: command(
        "tournament", "run", "smoke", "--auditors", auditor, "--rated", *words
    )


def tiers_of(out: str) -> set[str]:
    return {row["tier"] for row in map(json.loads, out.splitlines()) if row["kind"] == "round"}


@cache
def best() -> Tier:
    return next(
        (tier for tier in check.not_above("bubblewrap") if not check.examine(tier).reason), "in process"
    )


@pytest.mark.parametrize(
    ("auditor", "words", "isolated"),
    [
        # auditor         flags                        in a jail
        (OUTLIER, (), True),
        ("spectral_spike", (), False),
        (OUTLIER, ("--isolation", "none"), False),
        ("spectral_spike", ("--isolation", "bubblewrap", "--allow-lower-tier"), True),
    ],
)
def test_who_plays_where(auditor: str, words: tuple[str, ...], isolated: bool, play: Play) -> None:
    code, out, _ = play(auditor, *words)
    assert code == 0
    assert tiers_of(out) == {best() if isolated else "in process"}


def test_a_tier_that_is_not_reached_ends_the_command_with_4(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("game.sandbox.check.unavailable", lambda tier: f"no {tier} here")
    code, out, err = play("spectral_spike", "--isolation", "landlock")
    assert (code, out) == (4, "")
    assert err == "audit-game: error: --isolation landlock: not reached: landlock: no landlock here\n"


def test_a_lower_tier_is_told_and_recorded(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := warden.unavailable("process"):
        pytest.skip(reason)
    monkeypatch.setattr(
        "game.sandbox.check.unavailable", lambda tier: "" if tier == "process" else f"no {tier} here"
    )
    code, out, err = play("spectral_spike", "--isolation", "landlock", "--allow-lower-tier")
    assert (code, tiers_of(out)) == (0, {"process"})
    assert "--isolation landlock is not reached; playing at process" in err
    assert "it stops accidents only, and hostile code can read the answer" in err


def test_a_machine_without_any_jail_plays_in_process_and_says_so(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("game.sandbox.check.unavailable", lambda tier: "no such thing")
    code, out, err = play(OUTLIER)
    assert (code, tiers_of(out)) == (0, {"in process"})
    assert "no jail on this machine (bubblewrap: no such thing; landlock: no such thing; process" in err


@pytest.mark.parametrize("place", ["--log-dir", "AUDIT_GAME_CACHE", "AUDIT_GAME_DATA"])
def test_nothing_is_played_where_a_jail_could_read_the_answer(
    place: str, play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The runtime is readable in every jail: no run and no checkpoint may lie in it."""
    readable = tmp_path / ("logs" if place == "--log-dir" else "runtime")
    monkeypatch.setattr("game.sandbox.runtime_paths.runtime_paths", lambda: (str(readable),))
    if place != "--log-dir":
        monkeypatch.setenv(place, str(readable / "kept"))
    code, out, err = play(OUTLIER)
    assert (code, out) == (2, "")
    assert f"{place}: " in err
    assert f"lies in {readable}, which auditors in a jail may read" in err


def test_sandbox_check_tells_every_tier(capsys: pytest.CaptureFixture[str]) -> None:
    reached = best() != "in process"
    assert main(["sandbox", "check", "--json"]) == (0 if reached else 4)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["tier"] for row in rows] == list(JAILS)
    for row in rows:
        assert row["reached"] == (row["reason"] == "")
        assert all(each["held"] for each in row["attempts"] if each["promised"])


def test_a_rated_run_plays_foreign_code_at_landlock_or_better(rated: Play) -> None:
    if best() not in ("landlock", "bubblewrap"):
        pytest.skip(f"this machine reaches {best()}")
    code, out, err = rated(OUTLIER)
    assert (code, tiers_of(out)) == (0, {best()})
    assert err.startswith("no leak found in a self-check of 200 cases, 100 of them edited\n")


@pytest.mark.parametrize("words", [("--isolation", "none"), ("--isolation", "process")])
def test_a_rated_run_refuses_a_lower_tier_for_foreign_code(words: tuple[str, ...], rated: Play) -> None:
    code, out, err = rated(OUTLIER, *words)
    assert (code, out) == (4, "")
    assert f"{' '.join(words)}: in a rated run code that is not shipped plays at landlock or better" in err
    assert rated("spectral_spike", "--isolation", "none")[0] == 0, "shipped code may"


def test_a_rated_run_without_a_strong_jail_ends_with_4_unless_a_lower_tier_is_allowed(
    rated: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "game.sandbox.check.unavailable", lambda tier: "" if tier == "process" else f"no {tier} here"
    )
    code, out, err = rated(OUTLIER)
    assert (code, out) == (4, "")
    assert "; not reached: bubblewrap: no bubblewrap here; landlock: no landlock here" in err
    if not warden.unavailable("process"):
        code, out, err = rated(OUTLIER, "--allow-lower-tier")
        assert (code, tiers_of(out)) == (0, {"process"})


def test_a_rated_run_does_not_begin_where_something_leaks(
    rated: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = Row("order", "the number", "chance", True, auroc=0.9, p=0.0001, power=0.9)
    monkeypatch.setattr(
        "game.selfcheck.gate.remembered", lambda suite: SelfCheck("smoke", 200, 100, 0.9, (row,))
    )
    code, out, err = rated("spectral_spike")
    assert (code, out) == (3, "")
    assert err == "audit-game: error: suite smoke: leaks by order; see audit-game selfcheck smoke\n"
    assert not list((tmp_path / "logs").iterdir())
