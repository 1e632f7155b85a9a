"""Pages of the tools, with what each shows on a known planted edit and where there is none.

`python -m benchmarks.tool_pages [NAME ...]` writes `docs/tools/NAME.md` with its pictures, and the list.
"""

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from edits.kinds import load_spec
from game.by_hand.menu import REQUIRED, Parameter, Tool, load_tool
from game.by_hand.subject import ToolSubject, edited_subjects, recipe_subject
from game.by_hand.words import given
from game.catalogue import tool_prices, tools
from game.cli._tool_parser import tool_parser, words_of
from game.drawing.panels import drawing, number
from game.drawing.picture import result_picture
from game.tools.kit.example import Example
from game.tools.kit.result import ToolResult, View
from models.recipe import named_recipe
from models.strict_yaml import read_document
from models.training import one_thread

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "tools"
SPECS = ROOT / "edits" / "specs"
SHOWN = ("found", "nothing")
VIEWS, PANELS = 4, 5  # in a picture, and of one view
_SAVED = re.compile(r"(\w+)\.json:.*")


def main(names: list[str]) -> None:
    listed = [entry for entry in tools() if not entry.broken]
    PAGES.mkdir(exist_ok=True)
    for name in names or [entry.name for entry in listed]:
        tool = load_tool(name)
        pair = results(tool) if tool.example else None
        if pair is not None:
            for shown, (result, subject), views in zip(SHOWN, pair, _on_one_scale(*pair), strict=True):
                picture = result_picture(result, subject.task, views=views, panels=PANELS)
                (PAGES / f"{name}-{shown}.png").write_bytes(_smaller(picture))
        page = "\n".join(page_lines(tool, None if pair is None else (pair[0][0], pair[1][0])))
        (PAGES / f"{name}.md").write_text(page + "\n", encoding="utf-8")
        print(f"{name}: {'pictures' if pair else 'no example yet'}", flush=True)
    prices = tool_prices()
    rows = [f"| {_linked(e.name)} | {e.summary} | {prices[e.name]} |" for e in listed]
    text = [
        "# Tools",
        "",
        INTRODUCTION,
        "",
        "| tool | what it tells | price in credits |",
        "|---|---|---|",
        *rows,
    ]
    (PAGES / "README.md").write_text("\n".join(text) + "\n", encoding="utf-8")


INTRODUCTION = (
    "Every page shows the tool on a known planted edit and on the same model untouched. "
    "`python -m benchmarks.tool_pages` draws them all; "
    "[writing a tool](../writing-a-tool.md) tells how one is made."
)


def results(tool: Tool) -> tuple[tuple[ToolResult, ToolSubject], ...]:
    """The example on the edited model and on the untouched one, each with what it was run on."""
    assert tool.example is not None
    where = tool.example
    return tuple(
        (_result(tool, subject, args), subject)
        for subject, args in zip(_subjects(where), (where.args, where.other_args or where.args), strict=True)
    )


def _on_one_scale(*pair: tuple[ToolResult, ToolSubject]) -> list[list[View]]:
    """The first views of both results, with the same ends of their scales, so that they can be compared."""
    shown = [[View(**view) for view in result.view[:VIEWS]] for result, _ in pair]
    for views in zip(*shown, strict=True):
        scales = [
            drawing(result, view, subject.task).scale
            for (result, subject), view in zip(pair, views, strict=True)
        ]
        for view in views:
            view["range"] = min(each.low for each in scales), max(each.high for each in scales)
    return shown


def commands(tool: Tool, example: Example) -> Iterator[str]:
    """The example as it is typed, and what is typed for the other recipe, if there is one."""
    edit = f" --edit edits/specs/{example.edit}.yaml" if example.edit else ""
    asked = [(example.recipe, edit, example.args)]
    if example.other:
        asked.append((example.other, "", example.other_args))
    for recipe, spec, args in asked:
        yield f"audit-game tool {tool.name} --on {recipe} --world {example.world}{spec} {args}".rstrip()


def page_lines(tool: Tool, found: tuple[ToolResult, ToolResult] | None) -> Iterator[str]:
    """The page of a tool, as Markdown."""
    paragraphs = (tool.function.__doc__ or "").strip().split("\n\n")
    told = [
        " ".join(part.split()) for part in paragraphs if not part.lstrip().startswith(("Args:", "Raises:"))
    ]
    yield from (f"# {tool.name}", "", told[0])
    if found is not None and tool.example is not None:
        yield from _example_lines(tool, tool.example, *found)
    yield from ("", "## How it works", "")
    yield "\n\n".join(told[1:])
    yield from ("", "## Arguments", "", "| flag | what it is | default |", "|---|---|---|")
    yield from (_argument_line(each) for each in tool.parameters)


def _example_lines(tool: Tool, example: Example, edited: ToolResult, untouched: ToolResult) -> Iterator[str]:
    with_it, without = ("edited", "untouched") if example.edit else (example.recipe, example.other)
    yield from (
        "",
        "```sh",
        *commands(tool, example),
        "```",
        "",
        "## When you find it",
        "",
        example.found,
        "",
    )
    yield f"![{tool.name}, {with_it}]({tool.name}-found.png)"
    yield from ("", "## When there is nothing", "", example.nothing, "")
    yield f"![{tool.name}, {without}]({tool.name}-nothing.png)"
    if edited.summary:
        yield from (
            "",
            "## Its figures",
            "",
            f"| figure | {with_it} | {without} | null band | n |",
            "|---|---|---|---|---|",
        )
        before = {each.name: each.value for each in untouched.summary}
        for each in edited.summary:
            band = f"{number(each.null[0])} to {number(each.null[1])}" if each.null else "unknown"
            other = number(before[each.name]) if each.name in before else ""
            yield f"| {each.name} | {number(each.value)} | {other} | {band} | {each.n} |"
    if edited.suspects:
        most = [
            max(result.suspects, key=lambda place: result.suspects[place]) for result in (edited, untouched)
        ]
        yield from ("", f"Most suspect: `{most[0]}` ({with_it}), `{most[1]}` ({without}).")


def _argument_line(each: Parameter) -> str:
    default = "" if each.default in (REQUIRED, None) else f"`{each.default}`"
    flag = each.flag if each.form != "unreadable" else f"{each.name} (programs only)"
    return f"| `{flag}` | {each.text} | {default} |"


@cache
def _subjects(example: Example) -> tuple[ToolSubject, ToolSubject]:
    """With what is to be found, and without."""
    recipe = named_recipe(example.recipe)
    if example.other:
        other = recipe_subject(named_recipe(example.other), example.world)
        return recipe_subject(recipe, example.world), other
    return edited_subjects(recipe, example.world, load_spec(read_document(SPECS / f"{example.edit}.yaml")))


def _result(tool: Tool, subject: ToolSubject, args: str) -> ToolResult:
    """The tool with these arguments; results that it takes arrays of are made first, by their own ones."""
    with TemporaryDirectory() as folder:
        words = []
        for arg in shlex.split(args):
            saved = _SAVED.fullmatch(arg)
            if saved is not None:
                _save(Path(folder) / f"{saved[1]}.json", saved[1], subject)
                arg = f"{folder}/{arg}"
            words.append(arg)
        chosen = tool_parser(tool).parse_args(["--on", subject.name, *words])
        found = given(tool, words_of(tool, chosen), subject, chosen.draw)
        return tool.function(subject.box, **found.arguments)


def _save(path: Path, name: str, subject: ToolSubject) -> None:
    tool = load_tool(name)
    if not path.exists() and tool.example is not None:
        path.write_text(json.dumps(_result(tool, subject, tool.example.args).to_dict()), encoding="utf-8")


def _linked(name: str) -> str:
    return f"[{name}]({name}.md)" if (PAGES / f"{name}.md").exists() else name


def _smaller(picture: bytes) -> bytes:
    """The same picture with 256 colours, a third of the size; rare colours are kept."""
    found, image = io.BytesIO(), Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2).save(found, format="png", optimize=True)
    return found.getvalue()


if __name__ == "__main__":
    with one_thread():
        main(sys.argv[1:])
