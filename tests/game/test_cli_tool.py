"""`audit-game tool` as a user meets it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from game.by_hand.subject import recipe_subject
from game.cli import main
from models.recipe import named_recipe
from models.zoo import Trained
from tests.tiny_suite import TINY_SUITE

Run = Callable[..., tuple[int, str, str]]
CUT = """\
version: 1
id: cut
seed: 3
edit: {kind: head_ablate, head: [2, 1]}
"""
TINY = ("--on", "facts-tiny")


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny: Trained
) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.yaml").write_text(CUT)
    (tmp_path / "tiny.yaml").write_text(TINY_SUITE)
    (tmp_path / "poor.yaml").write_text(TINY_SUITE.replace("budget: 5000", "budget: 12"))
    (tmp_path / "outside.yaml").write_text(TINY_SUITE.replace("league: whitebox", "league: blackbox"))

    def call(*words: str) -> tuple[int, str, str]:
        try:
            code = main(["tool", *words])
        except SystemExit as left:
            code = int(str(left.code))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def a_prompt() -> tuple[str, ...]:
    """Words of a public prompt of the tiny world, without its first token."""
    subject = recipe_subject(named_recipe("facts-tiny"), 0)
    drawn = subject.box.sample(1, 3)
    return tuple(subject.task.vocabulary[token] for token in drawn.tokens[0, 1 : drawn.lengths[0]])


def test_without_a_name_every_tool_is_listed_with_its_price(run: Run) -> None:
    code, out, _ = run("--display", "plain")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert ["lens", "rows (1 + layers)"] in [row[:2] for row in rows]
    assert all(len(row) == 3 and all(row) for row in rows)


def test_help_is_read_off_signature_and_docstring(run: Run) -> None:
    code, out, _ = run("patch", "--help")
    assert code == 0
    for words in ("one cell of the clean run", "--clean", "--corrupt", "--site", "default: resid", "nearest"):
        assert words in out


def test_a_prompt_in_words_is_drawn_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = a_prompt()
    code, out, err = run("lens", *TINY, "--tokens", " ".join(words), "--display", "rich")
    assert (code, err) == (0, "")
    assert "facts-tiny@0" in out
    assert words[0] in out
    assert "site down, pos across" in out


def test_a_result_can_be_had_as_json_and_as_a_picture(run: Run, tmp_path: Path) -> None:
    words = ("spectrum", *TINY, "--tensor", "blocks.0.mlp.W_out", "--json", "--save", "found.png")
    code, out, _ = run(*words)
    data = json.loads(out)
    assert code == 0
    assert data["kind"] == "tool"
    assert data["on"] == "facts-tiny@0"
    assert data["args"] == {"tensor": "blocks.0.mlp.W_out", "top": 8}
    assert len(data["arrays"]["left"]) == 8
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_what_one_tool_found_another_one_takes(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("spike", *TINY, "--samples", "sample:50", "--json")
    (tmp_path / "spike.json").write_text(out)
    vectors = ("--read", "spike.json:read[0]", "--write", "spike.json:write[0]")
    code, out, _ = run("excise", *TINY, "--samples", "sample:20", "--layer", "0", *vectors, "--json")
    assert code == 0
    assert [each["name"] for each in json.loads(out)["summary"]] == ["restored", "lost"]


def test_a_planted_edit_is_seen_where_it_is(run: Run) -> None:
    words = ("ablate", *TINY, "--tokens", "sample:6", "--samples", "sample:12", "--json")
    _, before, _ = run(*words)
    code, after, _ = run(*words, "--edit", "cut.yaml")
    assert code == 0
    assert abs(json.loads(after)["arrays"]["effect"][2][1]) < 1e-6  # nothing is left to be lost
    assert abs(json.loads(before)["arrays"]["effect"][2][1]) > 1e-3


def test_on_a_case_the_price_is_told_before_and_charged_after(run: Run) -> None:
    code, _, err = run("spectrum", "--on", "tiny.yaml:case-001", "--tensor", "blocks.0.mlp.W_out", "--json")
    assert code == 0
    told, charged = err.strip().splitlines()[-2:]
    price = told.removeprefix("spectrum costs ").removesuffix(" credits")
    assert 0 < float(price) < 1
    assert charged == f"charged {price} credits; {5000 - float(price):g} of 5000 are left"


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("lenz",), 'unknown tool "lenz"; allowed: .*; did you mean "lens"'),
    (("lens",), "the following arguments are required: --on"),
    (("lens", "--on", "facts-tinny"), '--on: unknown recipe "facts-tinny"; .*did you mean "facts-tiny"'),
    (("lens", "--on", "tiny.yaml:case-999"), 'unknown case "case-999"; allowed: case-000'),
    (("lens", "--on", "tiny.yaml:case-000", "--world", "1"), "is a case, .*leave --edit and --world out"),
    (("lens", *TINY, "--tokens", "Nobody"), '--tokens: unknown token "Nobody"; allowed: '),
    (("lens", *TINY, "--tokens", "#999"), '--tokens: got "999"; allowed: 0 to 102'),
    (("lens", *TINY, "--tokens", "sample:0"), "wanted 1 prompt or more"),
    (("lens", *TINY, "--tokens", "affected"), "affected: wanted --edit, which says what is affected"),
    (("lens", *TINY, "--tokens", "nearest"), "nearest: wanted prompts before it"),
    (("lens", *TINY, "--top", "many"), '--top: got "many"; wanted a whole number'),
    (("lens", *TINY, "--top", "0"), "lens: top: got 0; allowed: 1 to 103"),
    (("spectrum", *TINY), "--tensor: missing; wanted: a matrix such as"),
    (("spectrum", *TINY, "--tensor", "blocks.0.mlp.W_ou"), 'did you mean "blocks.0.mlp.W_out"'),
    (("spectrum", *TINY, "--tensor", "blocks.0.attn.W_O[9]"), r"allowed: blocks.0.attn.W_O\[0\] to"),
    (("excise", *TINY, "--layer", "7"), '--layer: got "7"; allowed: 0 to 3'),
    (("excise", *TINY, "--layer", "0", "--read", "no.json:read"), "--read: no.json: No such file"),
    (("excise", *TINY, "--layer", "0", "--read", "?"), r'--read: got "\?"; wanted a weight'),
    (("patch", *TINY, "--site", "rezid"), '--site: unknown choice "rezid"; .*did you mean "resid"'),
    (("patch", *TINY, "--answer", "Oslo", "Rome", "Lima"), "--answer: .*"),
    (
        ("lens", *TINY, "--save", "found.jpg"),
        "--save: got found.jpg; allowed: names that end in",
    ),
    (("lens", "--on", "poor.yaml:case-000"), "lens: costs 40 credits; 12 are left of 12"),
    (("lens", "--on", "outside.yaml:case-000"), "activations: not granted by the blackbox league"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_makes_no_sense_is_one_error_that_says_what_does(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert "charged" not in err

    assert re.search(message, err.splitlines()[-1])
