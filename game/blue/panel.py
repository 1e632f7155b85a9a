"""What auditors make of a case that was played by hand, once it is over."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from game.case import Case
from game.loader import LoadedAuditor
from game.referee import RoundRecord, play_round
from game.rules.report import restated
from game.runs.run_folder import PANEL
from game.runs.store import read_run
from game.runs.tournament import auditor_seed
from models.checkpoints import write_atomically
from models.training import one_thread


@dataclass(frozen=True)
class Opinion:
    """What one player believed of the case.

    Attributes:
        auditor: Its name; `you` for the one by hand.
        yardstick: Whether it is a measure of the game itself.
        status: How its round ended.
        p_edited: As reported; None on failure.
        top: The component that it suspected most, with its probability.
        top_p: See `top`.
        headline: Its score.
        spent: Credits; None where they were not counted.
    """

    auditor: str
    yardstick: bool
    status: str
    p_edited: float | None
    top: str
    top_p: float | None
    headline: float
    spent: float | None


def opinions(folder: Path, players: Sequence[LoadedAuditor]) -> Iterator[Opinion]:
    """What each auditor makes of a case that is over; kept beside it, so that it is played only once.

    Raises:
        StoreError: The case is damaged.
    """
    with read_run(folder) as store:
        run = store.run()
        case = store.case(run.config["cases"][0])
    assert case is not None, folder
    kept = kept_opinions(folder)
    for player in players:
        if player.name not in kept:
            with one_thread():
                record = play_round(case, player, auditor_seed(run, case.id, player.name))
            kept[player.name] = opinion(case, record, player.yardstick, not player.sees_reference)
            data = [asdict(each) for each in kept.values()]
            write_atomically(folder / PANEL, json.dumps(data, indent=1).encode())
        yield kept[player.name]


def own_opinion(folder: Path) -> Opinion:
    """What was believed by hand."""
    with read_run(folder) as store:
        (record,) = store.rounds()
        case = store.case(record.case_id)
    assert case is not None, folder
    return opinion(case, record)


def kept_opinions(folder: Path) -> dict[str, Opinion]:
    """Those that were asked before, by name; a damaged file counts as none."""
    try:
        data: Any = json.loads((folder / PANEL).read_text(encoding="utf-8"))
        return {each["auditor"]: Opinion(**each) for each in data}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def opinion(case: Case, record: RoundRecord, yardstick: bool = False, metered: bool = True) -> Opinion:
    """A round in one line."""
    top, top_p = "", None
    if record.p_edited is not None:
        believed = restated(record.p_edited, record.components, case.brief).components
        best = max(sorted(believed), key=lambda component: believed[component])
        top, top_p = str(best), believed[best]
    return Opinion(
        record.auditor,
        yardstick,
        record.status,
        record.p_edited,
        top,
        top_p,
        record.score.headline(case.brief.parts),
        record.spent if metered else None,
    )
