"""What the documentation shows is tried: commands, YAML, code and every file that it names."""

import importlib.util
import io
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from edits.apply import apply
from edits.base import EditSpec
from edits.circuits.heads import HeadAblate
from edits.kinds import load_spec
from edits.moments import Base
from game.api import Samples
from game.by_hand.menu import load_tool
from game.case import Truth
from game.cli import main
from game.cli._entry import build_parser, command_names
from game.cli._tool_parser import tool_parser, words_of
from game.dealing.suite import suite_of
from game.loader import load_auditor
from game.plugins.manifest import AuditorManifest
from game.referee import play_round
from game.rules.judgement import judged
from game.testing.check import auditor_findings
from game.toolbox.live import ModelToolbox
from models.checkpoints import checkpoint_of, from_bytes
from models.recipe import load_recipe, named_recipe
from models.seeds import named_generator
from models.strict_yaml import parse_document
from models.transformer import Transformer
from models.zoo import Trained
from tests.game.hand_made import CHALLENGE, HEAD, MLP, case, repairable, truth

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
EXAMPLE = ROOT / "docs" / "examples" / "norm_outlier.py"

TO_BE_WRITTEN = "edits/unembed_bias_raise.py"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
OURS = re.compile(r"(?:game|models|edits|auditors|tests|benchmarks|docs)/[\w./-]*")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def command_lines(page: Path) -> list[str]:
    lines = (line for text in blocks(page, "sh") for line in text.splitlines())
    return [line for line in lines if line.startswith("audit-game ")]


def module_of(text: str, path: Path) -> ModuleType:
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


YAML = [(name_of(page), text) for page in PAGES for text in blocks(page, "yaml")]
LINES = [(name_of(page), line) for page in PAGES for line in command_lines(page)]


def test_there_is_something_to_try() -> None:
    assert len(PAGES) >= 15
    assert len(YAML) >= 2
    assert len(LINES) >= 8


@pytest.mark.parametrize(("page", "text"), YAML, ids=[page for page, _ in YAML])
def test_yaml_is_valid(page: str, text: str) -> None:
    document = parse_document(text, page)
    assert {"edit", "groups", "architecture", "entry"} & document.data.keys()
    if "entry" in document.data:
        assert document.validate(AuditorManifest).leagues
    elif "architecture" in document.data:
        assert load_recipe(document).architecture.n_layers > 0
    elif "groups" in document.data:
        assert suite_of(document).n_cases > 0
    else:
        assert isinstance(load_spec(document), EditSpec)


@pytest.mark.parametrize(("page", "line"), LINES, ids=[line for _, line in LINES])
def test_a_command_line_parses_with_all_its_flags(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    args = build_parser(words).parse_args(words)  # leaves with a message if a flag or an action is unknown
    assert callable(args.run), page


@pytest.mark.parametrize("line", [line for _, line in LINES if re.match(r"audit-game tool \w", line)])
def test_a_tool_s_command_line_parses_with_its_own_flags(line: str) -> None:
    _, _, name, *words = shlex.split(line, comments=True)
    tool = load_tool(name)
    assert words_of(tool, tool_parser(tool).parse_args(words)).keys() <= {
        each.name for each in tool.parameters
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_in_a_sentence_is_a_command(page: Path) -> None:
    spans = [span.split() for span in SPAN.findall(prose(page)) if span.startswith("audit-game ")]
    assert {words[1] for words in spans} <= set(command_names())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    links = [link for link in LINK.findall(prose(page)) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_in_a_sentence_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    spans = SPAN.findall(FENCE.sub("", text)) + [
        word for line in command_lines(page) for word in line.split()
    ]
    files = [span.partition("@")[0] for span in spans]
    ours = [file for file in files if OURS.fullmatch(file) and file != TO_BE_WRITTEN]
    assert [file for file in ours if not (ROOT / file).exists()] == []


def test_the_game_that_a_page_shows_can_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "playing-blue.md"
    (transcript,) = blocks(page, "text")
    typed = [line.removeprefix("blue> ") for line in transcript.splitlines() if line.startswith("blue> ")]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(typed)))
    monkeypatch.setenv("COLUMNS", "100")
    suite = str(ROOT / "docs" / "examples" / "first-case.yaml")
    where = ["--seed", "2", "--log-dir", str(tmp_path), "--panel", "none"]
    assert main(["play", suite, "--as", "blue", *where]) == 0
    said = capsys.readouterr()
    shown = {line.strip() for line in (said.out + said.err).splitlines()}
    told = [
        line.strip()
        for line in transcript.splitlines()
        if line.startswith((" ", "\u2502", "spike", "charged"))
    ]
    missing = [line for line in told if line not in shown]
    assert len(told) >= 30
    assert len(missing) <= 10, missing  # seconds, the panel, and digits that hang on the processor


def test_the_picture_is_drawn_on_its_own_ground() -> None:
    picture = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert '<rect width="1080" height="760" rx="8" fill="#ffffff"/>' in picture


def test_the_page_shows_the_example_task_as_it_is() -> None:
    example = ROOT / "docs" / "examples" / "weekdays.py"
    assert example.read_text(encoding="utf-8") in blocks(ROOT / "docs" / "models.md", "python")


def test_the_example_task_is_learned_and_its_model_is_edited_like_any_other(weekdays: Base) -> None:
    assert weekdays.trained.metrics["accuracy"] >= 0.99
    assert weekdays.known.double().mean() >= 0.99
    head = {"version": 1, "id": "cut", "seed": 0, "edit": {"kind": "head_ablate", "head": (1, 0)}}
    edited = apply(weekdays, HeadAblate.model_validate(head))
    assert edited.record.components == ("blocks.1.attn.0",)
    assert 0 < edited.record.measured["changed"] <= 1


def test_the_page_shows_the_example_tool_as_it_is() -> None:
    example = ROOT / "docs" / "examples" / "margin.py"
    assert example.read_text(encoding="utf-8") in blocks(ROOT / "docs" / "writing-a-tool.md", "python")


def test_the_first_commands_of_the_page_on_auditors_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "writing-an-auditor.md"
    new, _, check, _ = (shlex.split(line, comments=True)[1:] for line in command_lines(page)[:4])
    monkeypatch.chdir(tmp_path)
    assert main(new) == 0
    capsys.readouterr()
    assert main([*check, "--isolation", "none"]) == 0
    shown = next(text for text in blocks(page, "text") if text.startswith("$ audit-game check"))
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert said[1:] == [" ".join(line.split()) for line in shown.splitlines()[2:]]
    assert shown.splitlines()[1].endswith(said[0].partition(": ")[2])
    (manifest,) = blocks(page, "yaml")
    written = parse_document((tmp_path / "my_auditor" / "auditor.yaml").read_text(), "written")
    assert parse_document(manifest, "shown").data == written.data


def test_readme_shows_what_new_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "auditor", "my_auditor"]) == 0
    printed = capsys.readouterr()
    shown = next(t for t in blocks(ROOT / "README.md", "text") if t.startswith("$ audit-game new auditor"))
    assert shown.partition("\n")[2] == printed.out + printed.err


def test_the_examples_of_the_page_keep_to_the_contract() -> None:
    for reference in (f"{EXAMPLE}@NormOutlier", f"{ROOT}/docs/examples/word_memory.py@WordMemory"):
        found = auditor_findings(reference, None)
        assert [each for each in found if each.verdict == "broken"] == []


def test_the_page_shows_the_example_auditor_as_it_is() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") in blocks(ROOT / "docs" / "writing-an-auditor.md", "python")


def test_the_page_shows_the_auditor_that_judges_as_it_is() -> None:
    example = ROOT / "docs" / "examples" / "word_memory.py"
    assert example.read_text(encoding="utf-8") in blocks(ROOT / "docs" / "writing-an-auditor.md", "python")


def test_the_auditor_that_judges_remembers_what_it_asked() -> None:
    auditor: Any = load_auditor(f"{ROOT}/docs/examples/word_memory.py@WordMemory", {"prompts": "40"}).auditor
    dealt = repairable(3)

    def corpus(n: int, seed: int) -> Samples:
        tokens = torch.randint(1, 6, (n, 3), generator=named_generator("words", seed))
        return Samples(tokens, torch.full((n,), 3))

    model = from_bytes(dealt.artefact).model()
    box = ModelToolbox(model, league="blackbox", corpus=corpus, total=100.0)
    assert auditor.audit(box, dealt.brief).p_edited == dealt.brief.prior
    assert box.budget.spent == 40
    assert set(auditor.doubt) == {1, 2, 3, 4, 5}
    changed = judged(auditor.judge(CHALLENGE), CHALLENGE).changed
    assert {p > rho for p, rho in zip(changed, CHALLENGE.prior, strict=True) if rho} == {True, False}


def test_the_auditor_that_judges_makes_do_without_credits() -> None:
    player = load_auditor(f"{ROOT}/docs/examples/word_memory.py@WordMemory", {})
    dealt = repairable(3)
    record = play_round(replace(dealt, brief=replace(dealt.brief, budget=0.0)), player, seed=1)
    assert (record.status, record.error) == ("DONE", "")
    assert record.score.behaviour is not None
    assert abs(record.score.behaviour) < 0.5


@pytest.mark.parametrize(
    "revealed", [truth(), truth(MLP, "rome"), truth(HEAD, "ov_rewire")], ids=lambda t: t.kind
)
def test_the_example_auditor_plays(revealed: Truth) -> None:
    player = load_auditor(f"{EXAMPLE}@NormOutlier", {"most": "10"})
    record = play_round(case(1, revealed), player, seed=1)
    assert (record.status, record.error) == ("DONE", "")
    assert record.p_edited is not None
    assert 0 < record.p_edited < 1
    assert 0 < record.spent < 1
    assert sum(record.components.values()) <= record.p_edited + 1e-6


def test_the_kind_that_a_page_adds_can_be_applied(tmp_path: Path) -> None:
    (text,) = (b for b in blocks(ROOT / "docs" / "writing-an-edit.md", "python") if b.startswith('"""'))
    module = module_of(text, tmp_path / "unembed_bias_raise_of_the_docs.py")
    recipe = named_recipe("facts-tiny")
    config = recipe.architecture.config(recipe.task.build(0))
    untrained = checkpoint_of(Transformer(config, named_generator("docs")))
    base = Base(Trained(recipe, 0, 0, untrained, {}))
    family = module.UnembedBiasRaiseFamily(kind="unembed_bias_raise")
    (site,) = family.open_sites(config)
    spec = family.draw(base, site, "docs", 0)
    edited = apply(base, spec)
    assert edited.record.components == (str(site),)
    raised = edited.checkpoint.weights["unembed.b_U"] - untrained.weights["unembed.b_U"]
    assert raised.nonzero().flatten().tolist() == [spec.edit.token]
    assert raised.max() > 0
    assert edited.record.measured["effect"] > 0
