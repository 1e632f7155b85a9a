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
from game.by_hand.subject import ToolSubject, edited_subjects
from game.by_hand.words import given
from game.catalogue import tool_prices, tools
from game.cli._tool_parser import tool_parser, words_of
from game.drawing.panels import number
from game.drawing.picture import result_picture
from game.tools.kit.example import Example
from game.tools.kit.result import ToolResult
from models.recipe import named_recipe
from models.strict_yaml import read_document

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "tools"
SPECS = ROOT / "edits" / "specs"
SHOWN = ("found", "nothing")
VIEWS, PANELS = 3, 4  # in a picture, and of one view
_SAVED = re.compile(r"(\w+)\.json:.*")


def main(names: list[str]) -> None:
    listed = [entry for entry in tools() if not entry.broken]
    PAGES.mkdir(exist_ok=True)
    for name in names or [entry.name for entry in listed]:
        tool = load_tool(name)
        pair = results(tool) if tool.example else None
        if pair is not None:
            for shown, (result, subject) in zip(SHOWN, pair, strict=True):
                picture = result_picture(result, subject.task, views=result.view[:VIEWS], panels=PANELS)
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
        (_result(tool, where, subject), subject)
        for subject in _subjects(where.recipe, where.world, where.edit)
    )


def command(tool: Tool, example: Example) -> str:
    """The example as it is typed."""
    where = f"--on {example.recipe} --world {example.world} --edit edits/specs/{example.edit}.yaml"
    return f"audit-game tool {tool.name} {where} {example.args}".rstrip()


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
    yield from ("", "```sh", command(tool, example), "```", "", "## When you find it", "", example.found, "")
    yield f"![{tool.name} on an edited model]({tool.name}-found.png)"
    yield from ("", "## When there is nothing", "", example.nothing, "")
    yield f"![{tool.name} on the same model untouched]({tool.name}-nothing.png)"
    if edited.summary:
        yield from (
            "",
            "## Its figures",
            "",
            "| figure | edited | untouched | null band | n |",
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
        yield from ("", f"Most suspect: `{most[0]}` on the edited model, `{most[1]}` on the untouched one.")


def _argument_line(each: Parameter) -> str:
    default = "" if each.default in (REQUIRED, None) else f"`{each.default}`"
    flag = each.flag if each.form != "unreadable" else f"{each.name} (programs only)"
    return f"| `{flag}` | {each.text} | {default} |"


@cache
def _subjects(recipe: str, world: int, edit: str) -> tuple[ToolSubject, ToolSubject]:
    spec = load_spec(read_document(SPECS / f"{edit}.yaml"))
    return edited_subjects(named_recipe(recipe), world, spec)


def _result(tool: Tool, example: Example, subject: ToolSubject) -> ToolResult:
    """The example; results that it takes arrays of are made first, by those tools' own examples."""
    with TemporaryDirectory() as folder:
        args = []
        for arg in shlex.split(example.args):
            saved = _SAVED.fullmatch(arg)
            if saved is not None:
                _save(Path(folder) / f"{saved[1]}.json", saved[1], subject)
                arg = f"{folder}/{arg}"
            args.append(arg)
        chosen = tool_parser(tool).parse_args(["--on", example.recipe, *args])
        found = given(tool, words_of(tool, chosen), subject, chosen.draw)
        return tool.function(subject.box, **found.arguments)


def _save(path: Path, name: str, subject: ToolSubject) -> None:
    tool = load_tool(name)
    if not path.exists() and tool.example is not None:
        path.write_text(json.dumps(_result(tool, tool.example, subject).to_dict()), encoding="utf-8")


def _linked(name: str) -> str:
    return f"[{name}]({name}.md)" if (PAGES / f"{name}.md").exists() else name


def _smaller(picture: bytes) -> bytes:
    """The same picture with 256 colours, a third of the size; rare colours are kept."""
    found, image = io.BytesIO(), Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(256, Image.Quantize.MAXCOVERAGE).save(found, format="png", optimize=True)
    return found.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
