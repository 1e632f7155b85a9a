"""One case in the hands of its player: looking, noting, reporting, judging, and how it ends."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from game.api import Brief, Challenge, Judgement, Report
from game.blue.journal import Journal
from game.blue.opening import YOU, journal_path, key_of
from game.blue.sayings import report_of, reported
from game.by_hand.subject import ToolSubject
from game.case import Case
from game.hearing import Outcome, copied
from game.proof.seal import report_digest
from game.proof.sealing import master_of, seal_run
from game.referee import RoundRecord, open_toolbox
from game.rules.judgement import judged
from game.runs.database import StoreError
from game.runs.run_folder import RESULTS
from game.runs.serialise import judgement_data, judgement_of
from game.runs.store import Store, open_run
from game.runs.tournament import auditor_seed
from game.scoring.judging import verdict
from game.scoring.scores import Declared
from game.toolbox.transcript import Recorded
from models.training import one_thread


class StageError(ValueError):
    """What was asked for comes before or after its time."""


@dataclass(frozen=True)
class Play:
    """A case that is open for writing; see `playing`.

    Attributes:
        store: Of the case's folder.
        case: With the truth, which nothing here shows before the report.
        journal: What happened so far.
        subject: What tools are run on; closed once the report is in.
    """

    store: Store
    case: Case
    journal: Journal
    subject: ToolSubject

    @property
    def brief(self) -> Brief:
        """What the player is told."""
        return self.case.brief

    @property
    def results(self) -> Path:
        """Where results of tools are kept for later lines; `spike.json:read[0]` is a part of one."""
        return self.store.folder / RESULTS

    @property
    def said(self) -> Mapping[str, Any] | None:
        """The report that was handed in, as data."""
        return next((body["report"] for body in self.journal.bodies("said")), None)

    @property
    def believed(self) -> Mapping[str, Any] | None:
        """The running belief, as data of a report."""
        found = list(self.journal.bodies("belief"))
        return found[-1] if found else None

    @property
    def asked(self) -> bool:
        """Whether there is a challenge left to judge."""
        waiting = self.case.challenge is not None and "behaviour" in self.brief.parts
        return waiting and next(self.journal.bodies("judged"), None) is None

    def note(self, text: str) -> None:
        """Keep a note."""
        self.journal.add("note", {"text": text})

    def believe(self, report: Report) -> None:
        """Keep a running belief, once it is checked.

        Raises:
            ReportError: It breaks a rule.
        """
        self.journal.add("belief", reported(self._checked(report)))

    def report(self, report: Report) -> str:
        """Hand a report in, for good; what commits to it.

        Raises:
            ReportError: It breaks a rule; nothing was handed in.
            StageError: There is one already.
        """
        if self.said is not None:
            raise StageError(f"{self.case.id}: the report is in; a second one cannot be")
        data = reported(self._checked(report))
        nonce = master_of(self.store).nonce("report", self.case.id)
        digest = report_digest(nonce, data)
        self.journal.add("said", {"report": data, "nonce": nonce.hex(), "sha256": digest})
        self.subject.box.close()  # type: ignore[attr-defined]  # `Recorded`, which `playing` made
        return digest

    def challenge(self) -> Challenge:
        """What is asked, once the report is in.

        Raises:
            StageError: It is not, or the case asks for nothing.
        """
        if self.case.challenge is None or "behaviour" not in self.brief.parts:
            raise StageError(f"{self.case.id}: behaviour is no part of the score; there is nothing to judge")
        if self.said is None:
            raise StageError(f"{self.case.id}: the challenge is shown once the report is in")
        return self.case.challenge

    def judge(self, judgement: Judgement) -> None:
        """Hand in what is believed of the challenge, for good.

        Raises:
            ReportError: It breaks a rule; nothing was handed in.
            StageError: It is not the time, or the case asks for none.
        """
        challenge = self.challenge()
        if not self.asked:
            raise StageError(f"{self.case.id}: the judgement is in; a second one cannot be")
        self.journal.add("judged", judgement_data(judged(judgement, challenge)))

    def finish(self) -> str:
        """Score what was said, reveal the truth and seal the folder; the head to publish.

        Killed meanwhile, call it again.
        """
        if self.said is None or self.asked:
            raise StageError(f"{self.case.id}: report and judgement come first")
        record, run = self._record(self.said), self.store.run()
        self.store.save_round(key_of(run), record, run.created, self.journal.closed())
        return seal_run(self.store)

    def _checked(self, report: Report) -> Report:
        copied(report, Declared.of(self.brief), self.brief.config)
        return report

    def _record(self, data: Mapping[str, Any]) -> RoundRecord:
        said = copied(report_of(data), Declared.of(self.brief), self.brief.config)
        judgement = next(map(judgement_of, self.journal.bodies("judged")), None)
        found = verdict(self.case, Outcome("DONE", "", said, judgement))
        created = datetime.fromisoformat(self.store.run().created)
        return RoundRecord(
            case_id=self.case.id,
            auditor=YOU,
            status="DONE",
            error="",
            p_edited=said.belief.p_edited,
            components=said.components,
            notes=said.notes,
            claims=said.claims,
            score=found.score,
            spent=self.subject.box.budget.spent,
            wall_s=max(0.0, time.time() - created.timestamp()),
            cpu_s=0.0,
            judgement=judgement,
            patch=said.patch,
            fine=said.fine,
            readouts=found.readouts,
        )


@contextmanager
def playing(folder: Path) -> Iterator[Play]:
    """A case open for writing; nobody else plays it meanwhile.

    Raises:
        RunInUseError: Another process plays it.
        StoreError: It is over, was never dealt to the end, or is damaged.
    """
    with open_run(folder) as store, one_thread():  # as auditors play, so that a repeat shows the same
        run = store.run()
        case = store.case(run.config["cases"][0])
        if case is None or run.commitments is None:
            raise StoreError(f"{folder}: not dealt to the end; `case open` goes on with it")
        journal = Journal(journal_path(folder, run), run.commitments)
        box = Recorded(open_toolbox(case, ledger=journal), journal)
        if not journal.lines:
            seed = auditor_seed(run, case.id, YOU)
            journal.add("open", {"case": case.id, "auditor": YOU, "seed": seed})
        play = Play(store, case, journal, ToolSubject(case.id, box, case.brief.task))
        if play.said is not None:
            box.close()
        play.results.mkdir(exist_ok=True)
        yield play
