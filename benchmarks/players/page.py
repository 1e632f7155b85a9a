"""`docs/auditors-measured.md`: what the figures of auditors come to, as tables."""

from collections.abc import Mapping, Sequence

from benchmarks.figures import Figure, Missing
from benchmarks.players.rounds import Played
from benchmarks.players.rows import by_group
from game.api import LEAGUES
from game.dealing.suite import Suite

Found = Mapping[str, Figure | Missing]
Curves = Mapping[str, Mapping[float, Figure]]
HEAD = """\
# Auditors, measured

Made by `{command}`, on {cases} cases of `{suite}`: twenty models of worlds that no belief was fitted
to ([fitting](fitting.md)). Skills are 0 for the declared prior and 1 for a perfect report, with a 95 %
interval that resamples base checkpoints; yardsticks (`oracle`, `prior`, `random_guess`, `shortcut`) are shown
and never ranked. A league that an auditor cannot look at leaves it the prior, exactly 0.
"""


def page(suite: Suite, played: Sequence[Played], found: Found, curves: Curves, command: str) -> str:
    """The page as Markdown."""
    names = sorted((each.auditor for each in played), key=lambda name: -_best(found, name))
    cases = max(len(each.cases) for each in played)
    families = sorted({case.brief.task.name for each in played for case in each.cases.values()})
    parts = [
        HEAD.format(command=command, cases=cases, suite=suite.name),
        "## Headline by league\n",
        table(names, {league: f"headline.{{}}.{league}" for league in LEAGUES}, found),
        "## `whitebox` by family of tasks\n",
        table(names, {family: f"headline.{{}}.whitebox.{family}" for family in families}, found),
        "## Detection, the ends of its interval\n",
        _detection(names, found),
        "## Calibration, and false alarms by kind of control\n",
        "Expected calibration error of P(edited), over the leagues in which an auditor said anything but the "
        "prior; share of controls whose P(edited) was above the prior.\n",
        table(names, {"calibration": "calibration.{}"} | _kinds(found), found),
        "## Headline by group\n",
        _groups(names, played, suite),
    ]
    if curves:
        parts += ["## Score against budget\n", _budgets(curves, found)]
    papers = {key: each for key, each in found.items() if key.startswith("claim.")}
    if papers:
        parts += ["## What papers claim, on our models\n", _claims(papers)]
    return "\n".join(parts)


def table(names: Sequence[str], columns: Mapping[str, str], found: Found) -> str:
    """A row for each auditor; a column's key has a gap for the name."""
    shown = {heading: key for heading, key in columns.items() if any(key.format(n) in found for n in names)}
    rows = [[f"`{name}`", *(cell(found.get(key.format(name))) for key in shown.values())] for name in names]
    return _markdown(["auditor", *shown], rows)


def cell(value: Figure | Missing | None) -> str:
    """A figure with its range."""
    if not isinstance(value, Figure):
        return ""
    if value.low == value.high:
        return f"{value.value:.3f}"
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _best(found: Found, name: str) -> float:
    values = [found.get(f"headline.{name}.{league}") for league in ("whitebox", *LEAGUES)]
    return next((each.value for each in values if isinstance(each, Figure)), 0.0)


def _detection(names: Sequence[str], found: Found) -> str:
    def ends(name: str, league: str) -> str:
        low, high = (found.get(f"detection_{end}.{name}.{league}") for end in ("low", "high"))
        if not (isinstance(low, Figure) and isinstance(high, Figure)):
            return ""
        return f"{low.value:.2f} to {high.value:.2f}"

    dealt = [league for league in LEAGUES if any(ends(name, league) for name in names)]
    return _markdown(["auditor", *dealt], [[f"`{n}`", *(ends(n, league) for league in dealt)] for n in names])


def _kinds(found: Found) -> dict[str, str]:
    kinds = sorted({key.rpartition(".")[2] for key in found if key.startswith("false_alarm.")})
    return {kind: f"false_alarm.{{}}.{kind}" for kind in kinds}


def _groups(names: Sequence[str], played: Sequence[Played], suite: Suite) -> str:
    """A row for each group, a column for each auditor; the mean alone, so that it can be read."""
    means = {each.auditor: by_group(each, suite.parts) for each in played}
    dealt = [group.name for group in suite.groups if any(group.name in each for each in means.values())]
    rows = [
        [group, *(f"{means[n][group].value:.2f}" if group in means[n] else "" for n in names)]
        for group in dealt
    ]
    return _markdown(["group", *(f"`{name}`" for name in names)], rows)


def _budgets(curves: Curves, found: Found) -> str:
    budgets = sorted({budget for curve in curves.values() for budget in curve})
    rows = [
        [
            f"`{name}`",
            *(cell(curve.get(budget)) for budget in budgets),
            cell(found.get(f"budget_area.{name}")),
        ]
        for name, curve in curves.items()
    ]
    return _markdown(["auditor", *(f"{budget:,.0f} credits" for budget in budgets), "area"], rows)


def _claims(papers: Found) -> str:
    rows = []
    for key, value in papers.items():
        name = f"`{key.removeprefix('claim.')}`"
        if isinstance(value, Missing):
            rows.append([name, "not measured", "", value.reason])
        else:
            theirs = "" if value.peer is None else f"{value.peer:.3g}"
            rows.append([name, cell(value), theirs, value.unit])
    return _markdown(["claim", "ours", "the paper's", "unit"], rows)


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
