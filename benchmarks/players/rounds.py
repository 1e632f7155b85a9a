"""Rounds of one auditor after the other, each auditor in a run of its own that is kept and gone on with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from game.case import Case
from game.catalogue import ROOT
from game.dealing.dealer import plan_cases
from game.dealing.master import Master
from game.dealing.suite import Suite
from game.fitting.practice import SEED, Practice
from game.loader import LoadedAuditor, settings_of
from game.referee import RoundRecord
from game.runs.run_folder import SEAL, folders_of
from game.runs.serialise import to_json
from game.runs.store import StoredCase, read_run
from game.runs.tournament import OnEvent, Source, play_source, suite_source
from game.sources import digest_of, imported_by, source_of
from models.zoo import code_of

OF_PLAYERS = ("auditors", "game.auditing", "game.tools")  # whose code decides what is reported


@dataclass(frozen=True)
class Played:
    """One auditor's rounds.

    Attributes:
        auditor: Its name.
        budget: Credits a round.
        cases: By id, with their truths.
        rounds: One a case.
    """

    auditor: str
    budget: float
    cases: dict[str, StoredCase]
    rounds: tuple[RoundRecord, ...]


@dataclass(frozen=True)
class Field:
    """Cases that every auditor plays.

    Attributes:
        suite: What is dealt.
        case_ids: Which of its cases.
        folder: Where runs are kept.
        on_event: Told what happens.
    """

    suite: Suite
    case_ids: tuple[str, ...]
    folder: Path
    on_event: OnEvent

    @classmethod
    def of(cls, suite: Suite, leagues: Sequence[str], most: int, folder: Path, on_event: OnEvent) -> "Field":
        """The first cases of those leagues in the dealer's order, which tells nothing of groups.

        Args:
            suite: What is dealt.
            leagues: Which leagues.
            most: Cases in each league.
            folder: Where runs are kept.
            on_event: Told what happens.
        """
        granted = {group.name: suite.grant(group).league for group in suite.groups}
        plans = plan_cases(suite, Master.of_seed(SEED))
        ids = {league: [plan.id for plan in plans if granted[plan.group] == league] for league in leagues}
        chosen = {case_id for each in ids.values() for case_id in each[:most]}
        return cls(suite, tuple(plan.id for plan in plans if plan.id in chosen), folder, on_event)

    def first(self, most: int) -> "Field":
        """Fewer of the same cases."""
        return replace(self, case_ids=self.case_ids[:most])

    def played(self, player: LoadedAuditor, budget: float) -> Played:
        """An auditor's rounds, found where they were played before or played now."""
        source = self._source(budget)
        told = to_json([source.config, player.name, settings_of(player.auditor), played_by(player)])
        folder = self.folder / f"{player.name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        finished = next((run for run in folders_of(folder, source.suite) if (run / SEAL).exists()), None)
        if finished is None:
            finished = play_source(source, [player], SEED, folder, self.on_event).folder
        with read_run(finished) as store:
            return Played(player.name, budget, {case.id: case for case in store.cases()}, store.rounds())

    def _source(self, budget: float) -> Source:
        """These cases under that budget; dealt once, and kept like those for practice."""
        dealt = Practice(self.suite, self.suite.n_cases)

        def case(case_id: str) -> Case:
            found = dealt.case(case_id)
            return replace(found, brief=replace(found.brief, budget=budget))

        source = suite_source(self.suite)
        config = source.config | {"cases": list(self.case_ids), "budget": budget, "dealt": dealt.digest}
        return replace(source, case_ids=self.case_ids, config=config, dealer=lambda _master: case)


def played_by(player: LoadedAuditor) -> list[str]:
    """Digests of all that decides what an auditor reports: its files, their fits, and what they look with."""
    source = source_of(player.auditor)
    with_it = [file for file in imported_by(source, OF_PLAYERS) if not file.is_relative_to(ROOT / "auditors")]
    code = [hashlib.sha256(code_of(file).encode()).hexdigest() for file in with_it]
    return [digest_of(source), *code]
