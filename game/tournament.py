"""Tournaments: every auditor on every case, one round after the other, each on disk before the next.

The same call goes on with an unfinished run of the same configuration, and starts a new one otherwise. Cases
come one after the other and each is played by every auditor, so that a case is dealt once and let go.
"""

import hashlib
import inspect
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from game.case import Case
from game.dealer import Dealer, plan_cases
from game.events import CaseAwaited, Event, ModelTraining, RoundEnded, RoundStarted, RunClosed, RunOpened
from game.interrupts import Interrupts
from game.leaderboard import Leaderboard, leaderboard
from game.loader import LoadedAuditor
from game.master import Master
from game.referee import RoundRecord, play_round
from game.serialise import to_json
from game.store import RunInfo, Store, StoredCase, create_run, find_unfinished, open_run, round_key
from game.suite import Suite
from game.version import framework_version
from models.naming import unknown
from models.seeds import named_seed
from models.training import Progress, one_thread

OnEvent = Callable[[Event], None]


class TournamentError(ValueError):
    """What was asked for cannot be played."""


@dataclass(frozen=True)
class Source:
    """Where the cases of a run come from.

    Attributes:
        suite: Name of the suite.
        league: What auditors are granted.
        parts: The parts of the headline.
        config: What determines the cases beside the public seed, as JSON-ready data.
        case_ids: The cases to play, in order.
        deal: The case of an id; the same one whenever it is asked for.
    """

    suite: str
    league: str
    parts: tuple[str, ...]
    config: dict[str, Any]
    case_ids: tuple[str, ...]
    deal: Callable[[str], Case]

    def only(self, case_id: str) -> Self:
        """The same source with one case to play.

        Raises:
            TournamentError: It has no such case.
        """
        if case_id not in self.case_ids:
            raise TournamentError(f"{self.suite}: {unknown('case', case_id, self.case_ids)}")
        return replace(self, case_ids=(case_id,), config=self.config | {"cases": [case_id]})


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, every case with its truth, every round, and what they add up to."""

    folder: Path
    cases: tuple[StoredCase, ...]
    rounds: tuple[RoundRecord, ...]
    leaderboard: Leaderboard


def quiet(_event: Event) -> None:
    """Shows nothing."""


def suite_source(suite: Suite, seed: int, on_event: OnEvent = quiet) -> Source:
    """The cases that a suite and a public seed determine; nothing is trained or edited yet."""

    def on_step(model: str, progress: Progress) -> None:
        on_event(ModelTraining(model, progress.step, progress.steps))

    master = Master.of_seed(seed)
    plans = {plan.id: plan for plan in plan_cases(suite, master)}
    dealer = Dealer(suite, master, on_step)
    return Source(
        suite.name,
        suite.league,
        suite.parts,
        config={"suite": suite.digest},
        case_ids=tuple(plans),
        deal=lambda case_id: dealer.deal(plans[case_id]),
    )


def run_tournament(
    suite: Suite, players: Sequence[LoadedAuditor], seed: int, log_dir: Path, on_event: OnEvent = quiet
) -> RunResult:
    """Every player on every case of the suite; see `play_source`."""
    return play_source(suite_source(suite, seed, on_event), players, seed, log_dir, on_event)


def play_source(
    source: Source, players: Sequence[LoadedAuditor], seed: int, log_dir: Path, on_event: OnEvent = quiet
) -> RunResult:
    """Every player on every case, each round on disk before the next starts.

    Args:
        source: Where the cases come from.
        players: The auditors, yardsticks included; no two of one name.
        seed: Public; from it comes each round's own seed.
        log_dir: Where runs are kept.
        on_event: Told what happens as it happens.

    Raises:
        TournamentError: No players, or two of one name.
        RunInUseError: Another process plays this very run.
        Stopped: A signal came; the round it fell into is finished and kept, and the same call goes on.
        OSError: The run's folder cannot be written to.
    """
    _check(players)
    configs = {player.name: _player_config(player) for player in players}
    interrupts = Interrupts()
    with interrupts.watched(), one_thread(), _opened(source, configs, seed, log_dir) as store:
        digest = store.run().digest
        keys = {name: partial(round_key, digest, player=to_json(config)) for name, config in configs.items()}
        _Driver(source, players, seed, store, keys, on_event, interrupts).play()
        result = _result(source, players, store)
    on_event(RunClosed(result.folder))
    return result


@dataclass(frozen=True)
class _Driver:
    """Plays what is left of a run; `keys` gives each auditor's round of a case its identity."""

    source: Source
    players: Sequence[LoadedAuditor]
    seed: int
    store: Store
    keys: Mapping[str, Callable[[str], str]]
    on_event: OnEvent
    interrupts: Interrupts

    def play(self) -> None:
        done = self.store.done()
        self.on_event(RunOpened(self.store.folder, len(done), self._rounds))
        for case_id in self.source.case_ids:
            left = [player for player in self.players if self.keys[player.name](case_id) not in done]
            if left:
                case = self._case(case_id)
                for player in left:
                    done.add(self._play_round(case, player, len(done) + 1))
        self.store.finish()

    def _case(self, case_id: str) -> Case:
        """The case from the store, or dealt and stored now."""
        case = self.store.case(case_id)
        if case is None:
            self.on_event(CaseAwaited(case_id))
            case = self.source.deal(case_id)
            self.store.save_case(case)
        return case

    def _play_round(self, case: Case, player: LoadedAuditor, number: int) -> str:
        """Play and keep one round; its key."""
        key = self.keys[player.name](case.id)
        self.on_event(RoundStarted(case.id, player.name))
        with self.interrupts.protected():
            started = _now()
            record = play_round(case, player, named_seed("auditor", case.id, player.name))
            self.store.save_round(key, record, started)
            self.on_event(RoundEnded(case.id, player.name, record.status != "DONE", number, self._rounds))
        return key

    @property
    def _rounds(self) -> int:
        return len(self.source.case_ids) * len(self.players)


@contextmanager
def _opened(source: Source, configs: Mapping[str, Any], seed: int, log_dir: Path) -> Iterator[Store]:
    """The unfinished run of this configuration, or a new one."""
    about = {
        "seed": seed,
        "auditors": list(configs.values()),
        "framework": framework_version(),
        "torch": torch.__version__,
    }
    config = source.config | about
    digest = hashlib.sha256(to_json(config).encode()).hexdigest()
    folder = find_unfinished(log_dir, source.suite, digest)
    run = RunInfo("", source.suite, digest, config, seed, "open", _now(), _versions())
    with open_run(folder) if folder else create_run(log_dir, run) as store:
        yield store


def _player_config(player: LoadedAuditor) -> dict[str, Any]:
    """The auditor's name, settings and source: changed in any of them, it is another competitor."""
    if player.identity is not None:
        return {"name": player.name, **player.identity}
    auditor: Any = player.auditor  # a dataclass, which the protocol cannot say
    settings = {each.name: _plain(getattr(auditor, each.name)) for each in fields(auditor) if each.init}
    source = Path(inspect.getfile(type(auditor))).read_bytes()
    return {"name": player.name, "settings": settings, "source": hashlib.sha256(source).hexdigest()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def _result(source: Source, players: Sequence[LoadedAuditor], store: Store) -> RunResult:
    cases, rounds = store.cases(), store.rounds()
    yardsticks = {player.name for player in players if player.yardstick}
    table = leaderboard(source.suite, source.league, source.parts, cases, rounds, yardsticks)
    return RunResult(store.folder, cases, rounds, table)


def _check(players: Sequence[LoadedAuditor]) -> None:
    names = [player.name for player in players]
    if not names:
        raise TournamentError("auditors: got none, wanted at least one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TournamentError(
            f"auditors: two are named {twice[0]}, and a round is known by its auditor's name"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    return {
        "audit-game": framework_version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
