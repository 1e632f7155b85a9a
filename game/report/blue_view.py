"""A case that is played by hand, for a person at a terminal: what is known, at stake, and how it ended."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from game.api import Brief, Challenge, PublicTask, Report
from game.blue.claims import Comparison
from game.blue.outlook import Outlook
from game.blue.panel import Opinion
from game.blue.sayings import SHOWS
from game.report.bars import probability_bar
from game.report.plain_text import one_line

LIKELIEST = 6  # components of a prior that are shown
NAME = 28  # characters of a name
SHORT = 40  # characters of what was claimed, and of what is true


def brief_view(brief: Brief) -> RenderableType:
    """What the player is told."""
    config = brief.config
    heads = f"{config.n_heads} heads" if config.n_heads > 1 else "1 head"
    likely = sorted(brief.component_prior.items(), key=lambda pair: (-pair[1], pair[0]))
    known = [(str(component), p) for component, p in likely if p > 0]
    places = ", ".join(f"{name} {p:.3f}" for name, p in known[:LIKELIEST])
    more = f", and {len(known) - LIKELIEST} more" if len(known) > LIKELIEST else ""
    rows = [
        ("task", f"{brief.task.name}: {brief.task.description}"),
        ("model", f"{config.n_layers} layers of {heads}, d_model {config.d_model}, d_mlp {config.d_mlp}"),
        ("league", f"{brief.league}; corpus: {brief.corpus}"),
        ("budget", f"{brief.budget:,.0f} credits; one is a forward pass of one sequence"),
        ("prior", f"P(edited) {brief.prior:.2f}; an edit writes to at most {_count(brief.max_components)}"),
        ("where", f"P(edited, and written there): {places}{more}"),
        ("score", f"mean of {', '.join(brief.parts)}; 0 is the prior, 1 perfect in expectation"),
    ]
    return _pairs(rows)


def tools_view(rows: Sequence[tuple[str, str, str]]) -> RenderableType:
    """A line for each tool: its name, what it tells, its price in credits."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("tool", no_wrap=True, min_width=max((len(name) for name, _, _ in rows), default=0))
    table.add_column("what it tells", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("credits", no_wrap=True, overflow="ellipsis", ratio=1)
    for name, summary, price in rows:
        table.add_row(Text(name, style="bold"), Text(summary), Text(price, style="dim"))
    return table


def outlook_view(report: Report, found: Sequence[Outlook]) -> RenderableType:
    """What a belief would score under each outcome."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("if the truth is")
    table.add_column("believed", no_wrap=True)
    for heading in ("prior", "detection", "localisation", "mean"):
        table.add_column(heading, justify="right")
    for each in found:
        mean = (each.detection + each.localisation) / 2
        table.add_row(
            "not edited" if each.where is None else f"written at {each.where}",
            f"{probability_bar(each.believed, 12)} {each.believed:.3f}",
            f"{each.prior:.3f}",
            *(f"{skill:+.2f}" for skill in (each.detection, each.localisation)),
            Text(f"{mean:+.2f}", style="green" if mean > 0 else "red" if mean < 0 else ""),
        )
    told = [
        f"edited with {report.p_edited:.3f}",
        f"named components hold {sum(report.components.values()):.3f}",
    ]
    if any(each.where and each.where not in report.components for each in found):
        ratio = report.p_edited / (1 - found[0].prior)
        told.append(f"each other one {ratio:.2f} times its prior, unless rest=P")
    return Group(Text("; ".join(told), style="dim"), table)


def sets_view(challenge: Challenge, task: PublicTask) -> RenderableType:
    """A line for each set of a challenge: its shortest prompts of the two strata on which its edit shows."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("set", "prompts"):
        table.add_column(heading, justify="right")
    for heading in ("an affected one", "a paraphrase"):
        table.add_column(heading, ratio=1)
    table.add_column("prior", justify="right")
    for number in range(1 + max(challenge.target_set, default=-1)):
        of_set = [i for i, each in enumerate(challenge.target_set) if each == number]
        shortest = sorted(of_set, key=lambda i: int(challenge.lengths[i]))
        shown = [next((i for i in shortest if challenge.stratum[i] == stratum), None) for stratum in SHOWS]
        texts = [Text("" if i is None else f"{i}: {_prompt(challenge, i, task)}") for i in shown]
        prior = max((challenge.prior[i] for i in of_set), default=0.0)
        table.add_row(str(number), str(len(of_set)), *texts, f"{prior:.3f}")
    return table


def challenge_view(challenge: Challenge, task: PublicTask) -> RenderableType:
    """Every prompt of a challenge, set by set."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("set", "prompt"):
        table.add_column(heading, justify="right")
    for heading in ("stratum", "text"):
        table.add_column(heading)
    table.add_column("prior", justify="right")
    for number in sorted(range(len(challenge.prior)), key=lambda i: (challenge.target_set[i], i)):
        place = (str(challenge.target_set[number]), str(number), challenge.stratum[number])
        table.add_row(*place, Text(_prompt(challenge, number, task)), f"{challenge.prior[number]:.3f}")
    return table


def _prompt(challenge: Challenge, number: int, task: PublicTask) -> str:
    """A prompt in words, without the token that every sequence begins with."""
    row = challenge.tokens[number, : int(challenge.lengths[number])].tolist()
    return task.text(row[row[0] == task.bos :])


def opinions_view(found: Sequence[Opinion]) -> RenderableType:
    """What each player believed of the case, the best first and yardsticks dimmed below."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("player")
    table.add_column("P(edited)", justify="right")
    table.add_column("most suspected")
    for heading in ("score", "credits"):
        table.add_column(heading, justify="right")
    for each in sorted(found, key=lambda o: (o.yardstick, -o.headline, o.auditor)):
        suspect = f"{each.top} {each.top_p:.2f}" if each.top_p is not None else one_line(each.status, NAME)
        table.add_row(
            Text(one_line(each.auditor, NAME)),
            "" if each.p_edited is None else f"{each.p_edited:.2f}",
            suspect,
            f"{each.headline:+.2f}",
            "" if each.spent is None else f"{each.spent:,.0f}",
            style="bold" if each.auditor == "you" else "dim" if each.yardstick else "",
        )
    return table


def claims_view(found: Sequence[Sequence[Comparison]]) -> RenderableType:
    """Each claim beside the truth, field by field."""
    table = Table("field", "claimed", "true", "", box=SIMPLE_HEAD, pad_edge=False)
    marks = {True: Text("right", "green"), False: Text("wrong", "red"), None: Text("not known", "dim")}
    for claim in found:
        table.add_section()
        for each in claim:
            true = ", ".join(str(value) for value in each.true)
            words = (one_line(str(text), SHORT) for text in (each.field, each.claimed, true))
            table.add_row(*map(Text, words), marks[each.right])
    return table


def status_view(data: Mapping[str, Any]) -> RenderableType:
    """Where a case stands, from the same data that `case status --json` prints."""
    rows = [
        ("case", f"{data['case']} of {data['suite']}, {'sealed' if data['sealed'] else 'open'}"),
        ("folder", data["folder"]),
        ("stage", STAGES[data["stage"]]),
        ("credits", f"{data['spent']:,.6g} spent, {data['left']:,.6g} left of {data['budget']:,.6g}"),
    ]
    if data["tools"]:
        rows.append(("tools", ", ".join(f"{each['tool']} {each['charged']:g}" for each in data["tools"])))
    rows += [("note", one_line(text)) for text in data["notes"]]
    for name in ("belief", "report"):
        if data[name] is not None:
            rows.append((name, f"edited with {data[name]['p_edited']:g}{_places(data[name]['components'])}"))
    return _pairs(rows)


STAGES = {
    "dealing": "not dealt to the end; `case open` goes on with it",
    "looking": "open: look, note, believe, then report",
    "judging": "the report is in; `case judge` shows what is asked",
    "closing": "report and judgement are in; `case status` or the next command scores them",
    "over": "over, and sealed",
}


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    for name, text in rows:
        table.add_row(name, Text(text))
    return table


def _places(components: Mapping[str, float]) -> str:
    likely = sorted((item for item in components.items() if item[1] > 0), key=lambda item: -item[1])
    more = f", and {len(likely) - LIKELIEST} more" if len(likely) > LIKELIEST else ""
    return "".join(f", {name} {p:.3g}" for name, p in likely[:LIKELIEST]) + more


def _count(components: int) -> str:
    return "1 component" if components == 1 else f"{components} components"
