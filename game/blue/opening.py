"""Dealing one case to a person or a script, in a folder of its own, committed to before the first look."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from game.blue.journal import read_journal
from game.dealing.suite import Suite
from game.proof.sealing import commit, master_of
from game.runs.database import StoreError
from game.runs.events import CaseAwaited
from game.runs.run_folder import DATABASE, PRIVATE, SEAL, transcript_path
from game.runs.serialise import to_json
from game.runs.store import RunInfo, Store, create_run, find_unfinished, open_run, read_run, round_key
from game.runs.tournament import OnEvent, Source, new_run, quiet, suite_source
from models.training import one_thread

YOU = "you"
PLAYER: dict[str, Any] = {"name": YOU, "settings": {}, "source": "by hand"}

Stage = Literal["dealing", "looking", "judging", "closing", "over"]


@dataclass(frozen=True)
class Wanted:
    """Which case.

    Attributes:
        suite: What it is dealt from.
        case_id: One of the suite's; empty for the first, which is as good as any in a fresh draw.
        seed: Public, so that everyone can deal the same case; None for a draw from a fresh secret.
        new_worlds: Whether a secret draw also gets models of its own, which must be trained.
        another: Whether to deal another one though one like it is open.
    """

    suite: Suite
    case_id: str = ""
    seed: int | None = None
    new_worlds: bool = False
    another: bool = False


def open_case(wanted: Wanted, log_dir: Path, on_event: OnEvent = quiet) -> Path:
    """The folder of a case that is dealt and committed to: the open one like it, or a new one.

    Raises:
        TournamentError: The suite has no such case.
        DealError: It cannot be dealt.
        RunInUseError: Another process plays it.
        OSError: The folder cannot be written to.
    """
    source = _source(wanted, on_event)
    run = new_run(source, [PLAYER], wanted.seed or 0)
    found = None if wanted.another else find_unfinished(log_dir, source.suite, run.digest)
    with one_thread(), open_run(found) if found else create_run(log_dir, run) as store:
        if found is None:
            store.folder.chmod(PRIVATE)  # the truth is in it
        if store.run().commitments is None:
            on_event(CaseAwaited(*source.case_ids))
            _deal(source, store)
        return store.folder


def _deal(source: Source, store: Store) -> None:
    """Deal the case and commit to it; a killed process leaves it to the next."""
    (case_id,) = source.case_ids
    if case_id not in {case.id for case in store.cases()}:
        store.save_case(source.dealer(master_of(store))(case_id))
    commit(store, source.parts)


def _source(wanted: Wanted, on_event: OnEvent) -> Source:
    every = suite_source(wanted.suite, on_event, own_decoys=True)
    one = every.only(wanted.case_id or every.case_ids[0])
    played = {"by_hand": True, "new_worlds": wanted.new_worlds}
    name = f"case-{wanted.suite.name}"
    return replace(one, suite=name, rated=wanted.seed is None, config=one.config | played)


@dataclass(frozen=True)
class Standing:
    """Where a case stands, as whoever asks may know it.

    Attributes:
        folder: The case's.
        run: What it is a run of.
        stage: `dealing` before it is committed to, `looking`, `judging` between the report and the judgement,
            `closing` if a process was killed before the end, `over`.
        spent: Credits charged.
    """

    folder: Path
    run: RunInfo
    stage: Stage
    spent: float

    @property
    def case_id(self) -> str:
        """Of the suite."""
        return str(self.run.config["cases"][0])

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return str(self.run.config["suite"]["name"])


def standing(folder: Path) -> Standing:
    """Where a case stands; nothing is written.

    Raises:
        StoreError: There is none, or its journal is damaged.
    """
    if not (folder / DATABASE).is_file():
        raise StoreError(f"{folder}: no case; wanted the folder of one, which `case open` prints")
    with read_run(folder) as store:
        run = store.run()
    if not run.by_hand:
        raise StoreError(f"{folder}: a tournament's run; wanted the folder of a case that is played by hand")
    return Standing(folder, run, *_progress(folder, run))


def _progress(folder: Path, run: RunInfo) -> tuple[Stage, float]:
    if run.commitments is None:
        return "dealing", 0.0
    spent: dict[str, float] = {}
    kinds: set[str] = set()
    for kind, body in read_journal(journal_path(folder, run), run.commitments):
        kinds.add(kind)
        if kind == "charge":
            spent[body["call"]] = body["credits"]
        elif kind == "refund":
            spent.pop(body["call"], None)
    if (folder / SEAL).exists():
        stage: Stage = "over"
    elif "said" not in kinds:
        stage = "looking"
    else:
        asked = "behaviour" in run.config["parts"] and "judged" not in kinds
        stage = "judging" if asked else "closing"
    return stage, sum(spent.values())


def key_of(run: RunInfo) -> str:
    """The identity of the one round of a case."""
    return round_key(run.digest, run.config["cases"][0], to_json(PLAYER))


def journal_path(folder: Path, run: RunInfo) -> Path:
    """Where a case's journal is kept, which becomes its round's transcript."""
    return transcript_path(folder, key_of(run))


def cases_in(log_dir: Path) -> list[Standing]:
    """Every case that was dealt by hand, newest first; folders of other runs are left out.

    Raises:
        StoreError: One is damaged.
    """
    folders = [path.parent for path in log_dir.glob(f"*_case-*_*/{DATABASE}")]
    return [standing(folder) for folder in sorted(folders, reverse=True) if _is_by_hand(folder)]


def _is_by_hand(folder: Path) -> bool:
    try:
        with read_run(folder) as store:
            return store.run().by_hand
    except StoreError:  # hardly begun when it was killed
        return False
