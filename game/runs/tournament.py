"""Tournaments: every auditor on every case, one round after the other, each on disk before the next.

The same call goes on with an unfinished run of the same configuration, and starts a new one otherwise. First
every case is dealt, then all are committed to, and only then does the first auditor start; when the last
round is on disk the master is revealed and the folder sealed. Every step is taken up where it was left.
"""

import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from game.case import Case
from game.dealing.dealer import Dealer, plan_cases
from game.dealing.master import Master
from game.dealing.suite import Suite
from game.loader import LoadedAuditor, settings_of
from game.proof.sealing import commit, master_of, seal_run
from game.referee import Device, RoundRecord, recorded_round
from game.runs.database import StoreError
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
from game.runs.interrupts import Interrupts
from game.runs.serialise import to_json
from game.runs.store import RunInfo, Store, StoredCase, create_run, find_unfinished, open_run, round_key
from game.sources import digest_of, source_of
from game.standings.leaderboard import Leaderboard, leaderboard
from game.toolbox.transcript import Transcript
from game.version import framework_version
from models.naming import unknown
from models.seeds import named_seed
from models.training import Progress, one_thread

OnEvent = Callable[[Event], None]
Deal = Callable[[str], Case]


class TournamentError(ValueError):
    """What was asked for cannot be played."""


@dataclass(frozen=True)
class Source:
    """Where the cases of a run come from.

    Attributes:
        suite: Name of the suite.
        parts: The parts of the headline.
        config: What determines the cases beside the public seed, as JSON-ready data.
        case_ids: The cases to play, in order.
        dealer: From a run's master to what deals the case of an id, the same one whenever it is asked for.
        rated: Whether the master is a secret that is drawn anew for each run.
    """

    suite: str
    parts: tuple[str, ...]
    config: dict[str, Any]
    case_ids: tuple[str, ...]
    dealer: Callable[[Master], Deal]
    rated: bool = False

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


def suite_source(suite: Suite, on_event: OnEvent = quiet, own_decoys: bool = False) -> Source:
    """The cases that a suite and a master determine; nothing is trained or edited yet.

    Args:
        suite: The suite.
        on_event: Told of models that must be trained.
        own_decoys: As the dealer's.
    """

    def dealer(master: Master) -> Deal:
        def on_step(model: str, progress: Progress) -> None:
            shown = model.partition("@")[0] if master.rated else model  # its seeds give a rated base away
            on_event(ModelTraining(shown, progress.step, progress.steps))

        plans = {plan.id: plan for plan in plan_cases(suite, master)}
        found = Dealer(suite, master, on_step, own_decoys)
        return lambda case_id: found.deal(plans[case_id])

    return Source(
        suite.name,
        suite.parts,
        config={"suite": suite.model_dump(mode="json", by_alias=True), "suite_digest": suite.digest},
        case_ids=tuple(plan.id for plan in plan_cases(suite, Master.of_seed(0))),  # ids tell nothing
        dealer=dealer,
    )


def run_tournament(
    suite: Suite,
    players: Sequence[LoadedAuditor],
    seed: int,
    log_dir: Path,
    on_event: OnEvent = quiet,
    device: Device = "cpu",
) -> RunResult:
    """Every player on every case of the suite; see `play_source`."""
    return play_source(suite_source(suite, on_event), players, seed, log_dir, on_event, device)


def play_source(
    source: Source,
    players: Sequence[LoadedAuditor],
    seed: int,
    log_dir: Path,
    on_event: OnEvent = quiet,
    device: Device = "cpu",
) -> RunResult:
    """Every player on every case: deal, commit, play, reveal and seal, each step on disk before the next.

    Args:
        source: Where the cases come from.
        players: The auditors, yardsticks included; no two of one name.
        seed: Public; from it comes each round's own seed.
        log_dir: Where runs are kept.
        on_event: Told what happens as it happens.
        device: Where the models under audit run; part of what a run is, as rounding differs. Cases are dealt
            on the CPU.

    Raises:
        TournamentError: No players, or two of one name.
        RunInUseError: Another process plays this very run.
        Stopped: A signal came; the round it fell into is finished and kept, and the same call goes on.
        OSError: The run's folder cannot be written to.
    """
    _check(players)
    configs = {player.name: _player_config(player) for player in players}
    interrupts = Interrupts()
    with interrupts.watched(), one_thread(), _opened(source, configs, seed, log_dir, device) as store:
        digest = store.run().digest
        keys = {name: partial(round_key, digest, player=to_json(config)) for name, config in configs.items()}
        _Driver(source, players, seed, store, keys, on_event, interrupts, device).play()
        head = seal_run(store)
        result = _result(source, players, store)
    on_event(RunClosed(result.folder, head))
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
    device: Device

    def play(self) -> None:
        done = self.store.done()
        self.on_event(RunOpened(self.store.folder, len(done), self._rounds))
        self._commit()
        for case_id in self.source.case_ids:
            left = [player for player in self.players if self.keys[player.name](case_id) not in done]
            if left:
                case = self._case(case_id)
                for player in left:
                    done.add(self._play_round(case, player, len(done) + 1))

    def _commit(self) -> None:
        """Deal what is left to deal, and commit to all of it, unless that was done before."""
        run = self.store.run()
        if run.commitments is None:
            self._deal()
            run = commit(self.store, self.source.parts)
        self.on_event(CasesCommitted(str(run.commitments), len(self.source.case_ids)))

    def _deal(self) -> None:
        deal = self.source.dealer(master_of(self.store))
        dealt = {case.id for case in self.store.cases()}
        for case_id in self.source.case_ids:
            if case_id not in dealt:
                self.on_event(CaseAwaited(case_id))
                self.store.save_case(deal(case_id))
                dealt.add(case_id)
                self.on_event(CaseDealt(case_id, len(dealt), len(self.source.case_ids)))

    def _case(self, case_id: str) -> Case:
        """A case as it was committed to.

        Raises:
            StoreError: It is gone.
        """
        case = self.store.case(case_id)
        if case is None:
            raise StoreError(f"{self.store.folder}: {case_id} was committed to and is gone")
        return case

    def _play_round(self, case: Case, player: LoadedAuditor, number: int) -> str:
        """Play and keep one round; its key."""
        key = self.keys[player.name](case.id)
        self.on_event(RoundStarted(case.id, player.name))
        with self.interrupts.protected():
            started, transcript = now(), Transcript()
            seed = auditor_seed(self.store.run(), case.id, player.name)
            record = recorded_round(case, player, seed, transcript, self.device)
            self.store.save_round(key, record, started, transcript)
            self.on_event(RoundEnded(case.id, player.name, record.status != "DONE", number, self._rounds))
        return key

    @property
    def _rounds(self) -> int:
        return len(self.source.case_ids) * len(self.players)


def auditor_seed(run: RunInfo, case_id: str, auditor: str) -> int:
    """An auditor's own randomness in a round, which says nothing of what the cases are drawn from.

    An open run's public seed is left out, as its cases follow from it; a rated run's do not.
    """
    return named_seed("auditor", *([run.seed] if run.rated else []), case_id, auditor)


@contextmanager
def _opened(
    source: Source, configs: Mapping[str, Any], seed: int, log_dir: Path, device: Device
) -> Iterator[Store]:
    """The unfinished run of this configuration, or a new one."""
    run = new_run(source, list(configs.values()), seed, device)
    folder = find_unfinished(log_dir, source.suite, run.digest)
    with open_run(folder) if folder else create_run(log_dir, run) as store:
        yield store


def new_run(source: Source, players: Sequence[Any], seed: int, device: Device = "cpu") -> RunInfo:
    """A run that has not begun.

    Args:
        source: Where its cases come from.
        players: Who plays it: name, settings and source of each, as JSON-ready data.
        seed: Public.
        device: Where its models run.
    """
    about = {
        "seed": seed,
        "auditors": list(players),
        "framework": framework_version(),
        "torch": torch.__version__,
        "device": device,
    }
    config = source.config | about | {"rated": source.rated, "parts": list(source.parts)}
    digest = hashlib.sha256(to_json(config).encode()).hexdigest()
    return RunInfo("", source.suite, digest, config, seed, "open", now(), _versions())


def _player_config(player: LoadedAuditor) -> dict[str, Any]:
    """The auditor's name, settings and source: changed in any of them, it is another competitor."""
    if player.identity is not None:
        return {"name": player.name, **player.identity}
    settings = settings_of(player.auditor)
    return {"name": player.name, "settings": settings, "source": digest_of(source_of(player.auditor))}


def _result(source: Source, players: Sequence[LoadedAuditor], store: Store) -> RunResult:
    cases, rounds = store.cases(), store.rounds()
    yardsticks = {player.name for player in players if player.yardstick}
    table = leaderboard(source.suite, source.parts, cases, rounds, yardsticks)
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


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    return {
        "audit-game": framework_version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
