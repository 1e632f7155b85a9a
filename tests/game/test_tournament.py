import dataclasses
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from game.case import Case
from game.dealing.master import Master
from game.loader import LoadedAuditor, load_auditor
from game.referee import RoundRecord
from game.runs.events import (
    CaseAwaited,
    CaseDealt,
    CasesCommitted,
    Event,
    ModelTraining,
    RoundEnded,
    RoundStarted,
    RunClosed,
    RunOpened,
)
from game.runs.interrupts import Stopped
from game.runs.store import RunInUseError, open_run, read_run
from game.runs.tournament import RunResult, Source, TournamentError, play_source, suite_source
from models.training import Progress
from tests.game import hand_made
from tests.game.hand_made import Interrupted, Sayer, players, source
from tests.tiny_suite import tiny_suite

ROOT = Path(__file__).resolve().parents[2]
CASES = hand_made.cases(5)
ROUNDS = len(CASES) * len(players())


def timeless(rounds: tuple[RoundRecord, ...]) -> list[RoundRecord]:
    return [dataclasses.replace(record, wall_s=0.0, cpu_s=0.0) for record in rounds]


class Died(Exception):
    pass


@dataclass
class Recorder:
    """Keeps every event, and dies with the driver after some rounds if told to."""

    dies_after: int = 0
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if sum(isinstance(each, RoundEnded) for each in self.events) == self.dies_after > 0:
            raise Died


def play(
    log_dir: Path, dealt: Source | None = None, seed: int = 3, watch: Recorder | None = None
) -> RunResult:
    return play_source(dealt or source(CASES), players(), seed, log_dir, watch or Recorder())


def test_every_player_plays_every_case_case_by_case(tmp_path: Path) -> None:
    result = play(tmp_path)
    names = [player.name for player in players()]
    assert [(r.case_id, r.auditor) for r in result.rounds] == [(c.id, n) for c in CASES for n in names]
    assert [each.id for each in result.cases] == [case.id for case in CASES]
    assert {r.auditor for r in result.rounds if r.status != "DONE"} == {"crasher"}
    assert {row.auditor: row.failures for row in result.leaderboard.rows} == {"yes": 0, "no": 0, "crasher": 5}


def test_events_tell_what_happens_and_nothing_of_beliefs_or_truths(tmp_path: Path) -> None:
    watch = Recorder()
    folder = play(tmp_path, watch=watch).folder
    with read_run(folder) as store:
        commitments, head = str(store.run().commitments), str(store.run().head)
    assert watch.events[0] == RunOpened(folder, 0, ROUNDS)
    assert watch.events[1:3] == [CaseAwaited("case-000"), CaseDealt("case-000", 1, len(CASES))]
    assert watch.events[11:14] == [
        CasesCommitted(commitments, len(CASES)),
        RoundStarted("case-000", "yes"),
        RoundEnded("case-000", "yes", False, 1, ROUNDS),
    ]
    assert watch.events[-2:] == [
        RoundEnded("case-004", "crasher", True, ROUNDS, ROUNDS),
        RunClosed(folder, head),
    ]


def test_an_auditors_seed_is_its_own_each_round_and_says_nothing_of_the_runs(tmp_path: Path) -> None:
    first, again, other = play(tmp_path / "a"), play(tmp_path / "b"), play(tmp_path / "c", seed=4)
    assert timeless(first.rounds) == timeless(again.rounds)
    notes = {r.notes for r in first.rounds if r.auditor == "yes"}
    assert len(notes) == len(CASES)  # each round has its own seed
    assert notes == {r.notes for r in other.rounds if r.auditor == "yes"}  # cases follow from the run's seed


@pytest.mark.parametrize("rounds", [1, 4, 6, ROUNDS - 1])
def test_an_unfinished_run_goes_on_where_it_stopped(rounds: int, tmp_path: Path) -> None:
    with pytest.raises(Died):
        play(tmp_path, watch=Recorder(rounds))
    dealt_again: list[str] = []
    cases = {case.id: case for case in CASES}

    def deal(case_id: str) -> Case:
        dealt_again.append(case_id)
        return cases[case_id]

    watch = Recorder()
    result = play(tmp_path, dataclasses.replace(source(CASES), dealer=lambda _: deal), watch=watch)
    assert [path.name for path in tmp_path.iterdir()] == [result.folder.name]
    assert watch.events[0] == RunOpened(result.folder, rounds, ROUNDS)
    assert sum(isinstance(event, RoundStarted) for event in watch.events) == ROUNDS - rounds
    assert dealt_again == []  # all were dealt before the first round
    assert timeless(result.rounds) == timeless(play(tmp_path / "whole").rounds)


def test_a_finished_run_is_followed_by_a_new_one(tmp_path: Path) -> None:
    first, second = play(tmp_path), play(tmp_path)
    assert first.folder != second.folder
    with read_run(first.folder) as store:
        assert store.run().state == "finished"


@pytest.mark.parametrize(
    "change",
    [
        # what differs from the unfinished run
        {"seed": 4},
        {"dealt": source(CASES, version=2)},
        {"dealt": source(CASES).only("case-001")},
        {"dealt": source(CASES, suite="another")},
    ],
)
def test_another_configuration_starts_its_own_run(change: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(Died):
        play(tmp_path, watch=Recorder(2))
    watch = Recorder()
    play(tmp_path, **change, watch=watch)  # type: ignore[arg-type]
    assert isinstance(watch.events[0], RunOpened)
    assert watch.events[0].done == 0


def test_other_settings_of_an_auditor_start_another_run(tmp_path: Path) -> None:
    with pytest.raises(Died):
        play_source(source(CASES), [LoadedAuditor("a", Sayer(0.3), False)], 3, tmp_path, Recorder(2))
    watch = Recorder()
    play_source(source(CASES), [LoadedAuditor("a", Sayer(0.4), False)], 3, tmp_path, watch)
    assert isinstance(watch.events[0], RunOpened)
    assert watch.events[0].done == 0


def test_an_auditor_whose_code_changed_starts_another_run(tmp_path: Path) -> None:
    file, text = tmp_path / "mine.py", Path(hand_made.__file__).read_text()
    for number in (0, 1):
        file.write_text(f"{text}# {number}\n")
        with pytest.raises(Died):
            play_source(source(CASES), [load_auditor(f"{file}@Sayer", {})], 3, tmp_path / "logs", Recorder(2))
    assert len(list((tmp_path / "logs").iterdir())) == 2


def test_one_case_can_be_played_alone(tmp_path: Path) -> None:
    result = play(tmp_path, source(CASES).only("case-003"))
    assert [case.id for case in result.cases] == ["case-003"]
    assert len(result.rounds) == len(players())


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(
        TournamentError, match=r'hand-made: unknown case "case-03"; allowed: case-000, .* "case-003"\?'
    ):
        source(CASES).only("case-03")


def test_a_run_that_another_process_plays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Died):
        play(tmp_path, watch=Recorder(1))
    (folder,) = tmp_path.iterdir()
    with open_run(folder), pytest.raises(RunInUseError, match="another process plays this run"):
        play(tmp_path)


def test_two_auditors_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = [LoadedAuditor("a", Sayer(0.3), False), LoadedAuditor("a", Sayer(0.4), False)]
    with pytest.raises(TournamentError, match="auditors: two are named a"):
        play_source(source(CASES), twice, 3, tmp_path)
    with pytest.raises(TournamentError, match="auditors: got none, wanted at least one"):
        play_source(source(CASES), [], 3, tmp_path)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_lets_the_round_finish_and_keeps_it(signum: int, code: int, tmp_path: Path) -> None:
    handler = signal.getsignal(signum)
    both = [LoadedAuditor("a", Interrupted(signals=(signum,)), False), LoadedAuditor("b", Sayer(), False)]
    with pytest.raises(Stopped) as stopped:
        play_source(source(CASES), both, 3, tmp_path)
    assert stopped.value.exit_code == code
    assert signal.getsignal(signum) is handler
    (folder,) = tmp_path.iterdir()
    with read_run(folder) as store:
        assert [(r.auditor, r.p_edited) for r in store.rounds()] == [("a", 0.9)]
        assert store.run().state == "open"


def test_the_second_signal_waits_for_nothing(tmp_path: Path) -> None:
    stubborn = [LoadedAuditor("a", Interrupted(signals=(signal.SIGINT, signal.SIGINT)), False)]
    with pytest.raises(Stopped):
        play_source(source(CASES), stubborn, 3, tmp_path)
    (folder,) = tmp_path.iterdir()
    with read_run(folder) as store:
        assert store.rounds() == ()


def test_a_signal_while_a_case_is_dealt_waits_for_nothing(tmp_path: Path) -> None:
    def deal(case_id: str) -> Case:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError(case_id)

    with pytest.raises(Stopped, match="stopped by SIGINT"):
        play(tmp_path, dataclasses.replace(source(CASES), dealer=lambda _: deal))


DRIVER = """
import sys
from pathlib import Path
from game.runs.tournament import play_source
from tests.game import hand_made
cases = hand_made.cases(40)
tell = lambda event: print(event, flush=True)
play_source(hand_made.source(cases), hand_made.players(), 3, Path(sys.argv[1]), tell)
"""


def test_a_driver_killed_at_any_moment_loses_no_finished_round(tmp_path: Path) -> None:
    moments, kept = random.Random(0), 0
    for _ in range(3):
        told = kill_after(moments.randrange(1, 45), moments.uniform(0, 0.01), tmp_path / "killed")
        (folder,) = (tmp_path / "killed").iterdir()
        with read_run(folder) as store:
            assert kept + told <= len(store.rounds()) <= kept + told + 1
            kept = len(store.rounds())
            assert all(store.case(case.id) is not None for case in store.cases())
    forty = hand_made.cases(40)
    result = play_source(source(forty), players(), 3, tmp_path / "killed")
    assert len(list((tmp_path / "killed").iterdir())) == 1
    whole = play_source(source(forty), players(), 3, tmp_path / "whole")
    assert timeless(result.rounds) == timeless(whole.rounds)
    assert result.leaderboard == whole.leaderboard


def kill_after(rounds: int, seconds: float, log_dir: Path) -> int:
    """Start a driver and kill it soon after it told of that many rounds; how many it told of in all."""
    command = [sys.executable, "-c", DRIVER, str(log_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as driver:
        assert driver.stdout is not None
        told = 0
        for line in driver.stdout:
            told += line.startswith("RoundEnded")
            if told == rounds:
                time.sleep(seconds)
                driver.kill()
    assert driver.wait() == -signal.SIGKILL
    return told


@pytest.mark.parametrize(
    ("master", "shown"), [(Master.of_seed(1), "facts-tiny@7.7"), (Master.fresh(), "facts-tiny")]
)
def test_progress_tells_the_seeds_of_no_rated_base(
    master: Master, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the console could train the base, and compare."""
    watch, told = Recorder(), []
    monkeypatch.setattr(
        "game.runs.tournament.Dealer", lambda _suite, _master, on_step, _own: told.append(on_step)
    )
    suite_source(tiny_suite(), watch).dealer(master)
    told[0]("facts-tiny@7.7", Progress(step=1, steps=9, loss=1.0, accuracy=0.5))
    assert [event.model for event in watch.events if isinstance(event, ModelTraining)] == [shown]
