"""A tool's line, as a person types it."""

from dataclasses import replace
from pathlib import Path

import pytest

from game.api import BudgetExceededError
from game.by_hand.line import read_line, run_ready
from game.by_hand.menu import MenuError
from game.by_hand.subject import ToolSubject, recipe_subject
from game.by_hand.words import WordsError
from game.toolbox.live import ModelToolbox
from models.recipe import named_recipe
from models.seeds import named_generator
from models.transformer import Transformer


@pytest.fixture(scope="module")
def subject() -> ToolSubject:
    return recipe_subject(named_recipe("facts-tiny"), 0)


def test_a_line_is_a_tool_with_its_arguments_and_price(subject: ToolSubject, tmp_path: Path) -> None:
    ready = read_line("lens --tokens sample:8 --top 2", subject, tmp_path)
    assert (ready.tool.name, ready.arguments["top"], len(ready.arguments["tokens"])) == ("lens", 2, 8)
    assert ready.price is not None
    result = run_ready(ready, subject, tmp_path)
    assert result.arrays["top_tokens"].shape[-1] == 2


def test_a_line_that_costs_too_much_is_refused_before_the_model_is_asked(
    subject: ToolSubject, tmp_path: Path
) -> None:
    model = Transformer(subject.box.config, named_generator("a poor case"))
    poor = replace(
        subject, box=ModelToolbox(model, league="whitebox", corpus=subject.box.sample, total=300.0)
    )
    line = "attribution_patching --clean sample:8 --corrupt nearest"  # 8 + 256 + 8 answers, then 5 x 8
    with pytest.raises(BudgetExceededError, match=r"costs 312 credits; 300 are left of 300"):
        read_line(line, poor, tmp_path)
    assert poor.box.budget.spent == 0


def test_a_class_in_angle_brackets_stands_for_each_of_its_words(subject: ToolSubject, tmp_path: Path) -> None:
    names = subject.task.classes["first_names"]
    tokens = read_line("lens --tokens '<first_names> speaks'", subject, tmp_path).arguments["tokens"]
    assert tokens[:, 1].tolist() == list(names)
    assert len(set(tokens[:, 2].tolist())) == 1


def test_labels_and_groups_are_read_off_prompts_and_answers(subject: ToolSubject, tmp_path: Path) -> None:
    asked = "probe_reliability --samples sample:32 --name blocks.0.hook_resid_post --groups of:first_names"
    known = read_line(f"{asked} --labels in:sample:32", subject, tmp_path).arguments
    assert known["labels"].tolist() == [1] * 32
    assert set(known["groups"].tolist()) <= set(subject.task.classes["first_names"])
    first, second = (
        read_line(f"{asked} --labels says:{pair}", subject, tmp_path).arguments["labels"]
        for pair in ("Oslo/Vienna", "Vienna/Oslo")
    )
    assert (first + second).tolist() == [1] * 32


def test_a_result_is_at_hand_for_the_lines_that_follow(subject: ToolSubject, tmp_path: Path) -> None:
    found = run_ready(read_line("spike --samples sample:64", subject, tmp_path), subject, tmp_path)
    line = "excise --samples sample:16 --layer 0 --read spike.json:read[0] --write spike.json:write[0]"
    read = read_line(line, subject, tmp_path).arguments["read"]
    assert read.tolist() == pytest.approx(found.arrays["read"][0].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        # typed                      what is said
        ("lens --token sample:8", r'unknown argument of lens "--token".*did you mean "--tokens"'),
        ("lens sample:8", r'got "sample:8"; wanted an argument of lens, such as --tokens'),
        ("lens --tokens", r"--tokens: got nothing behind it"),
        ("lens --tokens 'sample:8", r"No closing quotation"),
        ("heads --length two", r"--length: .*whole number"),
    ],
)
def test_a_line_that_does_not_fit_is_refused(
    line: str, message: str, subject: ToolSubject, tmp_path: Path
) -> None:
    with pytest.raises(WordsError, match=message):
        read_line(line, subject, tmp_path)


def test_an_unknown_tool_is_refused_with_the_nearest(subject: ToolSubject, tmp_path: Path) -> None:
    with pytest.raises(MenuError, match="did you mean"):
        read_line("lense", subject, tmp_path)
