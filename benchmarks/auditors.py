"""What is each auditor worth, in which league, on which family of edits, at which budget?

Every auditor plays the cases of `rated-dev`, from worlds that no belief was fitted to. Each has a run of its
own under `--save FOLDER`: a killed measurement goes on where it was, and one with more auditors plays only
these; an auditor whose code or fit changed plays again. Budgets are tried on the first cases only. Every
paper of `benchmarks/claims` is measured beside. `--page` writes `docs/auditors-measured.md`.

    python -m benchmarks.auditors [--json] [--save FOLDER] [--cases N] [--auditors A,B] [--leagues L,M]
        [--budget-cases N] [--suite NAME] [--no-claims] [--page]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure, Missing, print_json, show
from benchmarks.players.page import page
from benchmarks.players.rounds import Field, Played
from benchmarks.players.rows import budget_area, claims, figure, mean, only, rows
from game.api import LEAGUES
from game.catalogue import auditors
from game.dealing.suite import load_suite
from game.loader import LoadedAuditor, load_auditor
from game.runs.events import CaseAwaited, Event, ModelTraining, RoundEnded

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "auditors-measured.md"
BUDGETS = (300.0, 1200.0, 5000.0)  # and the suite's own


def main() -> None:
    """Play, count, print, write."""
    parser = _parser()
    chosen = parser.parse_args()
    suite = load_suite(chosen.suite)
    names = chosen.auditors.split(",") if chosen.auditors else [e.name for e in auditors() if not e.broken]
    with TemporaryDirectory() as scratch:
        folder = chosen.save or Path(scratch)
        field = Field.of(suite, chosen.leagues.split(","), chosen.cases, folder, _tell)
        players = [load_auditor(name, {}) for name in names]
        played = [field.played(player, suite.budget) for player in players]
        curves = _curves(players, played, field.first(chosen.budget_cases))
    found: dict[str, Figure | Missing] = {}
    for each in played:
        found |= dict(rows(each, suite.parts))
    found |= {f"budget_area.{name}": budget_area(curve) for name, curve in curves.items()}
    if chosen.claims:
        found |= claims()
    if chosen.page:
        command = f"python -m benchmarks.auditors{_options(parser, chosen)}"
        PAGE.write_text(page(suite, played, found, curves, command), encoding="utf-8")
    if chosen.json:
        print_json(found)
    else:
        show(f"auditors on {suite.name}", found, "95 % intervals resample base checkpoints")


def _curves(
    players: Sequence[LoadedAuditor], played: Sequence[Played], few: Field
) -> dict[str, dict[float, Figure]]:
    """Headline skill by budget of each auditor that is ranked, on few cases."""
    curves: dict[str, dict[float, Figure]] = {}
    for player, full in zip(players, played, strict=True):
        if few.case_ids and not player.yardstick:
            tried = [few.played(player, budget) for budget in BUDGETS if budget < few.suite.budget]
            tried.append(only(full, few.case_ids))
            curves[player.name] = {each.budget: _headline(each, few) for each in tried}
    return curves


def _headline(played: Played, field: Field) -> Figure:
    return figure(mean(played, lambda record: record.score.headline(field.suite.parts)))


def _tell(event: Event) -> None:
    """A line on stderr now and then."""
    if isinstance(event, RoundEnded) and (event.done % 20 == 0 or event.done == event.rounds):
        print(f"{event.auditor}: {event.done} of {event.rounds} rounds", file=sys.stderr, flush=True)
    elif isinstance(event, CaseAwaited) and event.case_id.endswith("0"):
        print(f"dealing {event.case_id}", file=sys.stderr, flush=True)
    elif isinstance(event, ModelTraining) and event.step % 500 == 0:
        print(f"training {event.model}: step {event.step}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep every run there, and go on from it")
    parser.add_argument("--cases", type=int, default=1000, help="most cases in each league (default: all)")
    parser.add_argument("--auditors", default="", help="which (default: all shipped ones)")
    parser.add_argument("--leagues", default=",".join(LEAGUES), help="which (default: all)")
    parser.add_argument("--budget-cases", type=int, default=100, help="cases for budgets (default: 100)")
    parser.add_argument("--suite", default="rated-dev", help="what is played (default: rated-dev)")
    parser.add_argument("--no-claims", dest="claims", action="store_false", help="measure no paper's claims")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    return parser


def _options(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> str:
    """The options that decide the figures, where they are not the usual ones."""
    options = {"cases": "cases", "auditors": "auditors", "leagues": "leagues", "budget_cases": "budget-cases"}
    unusual = {flag: getattr(chosen, name) for name, flag in options.items()}
    return "".join(
        f" --{flag} {value}"
        for (name, flag), value in zip(options.items(), unusual.values(), strict=True)
        if value != parser.get_default(name)
    )


if __name__ == "__main__":
    main()
