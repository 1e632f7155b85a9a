"""`audit-game check`: what is wrong with a plug-in is found, and named with its place, before it plays."""

import json
from pathlib import Path

import pytest

from game.cli import main
from game.testing.check import LOADS, auditor_findings, check_auditor
from game.testing.contract import Finding, NotApplicableError, Rule, findings

MANIFEST = """\
name: sound
version: 0.1.0
api: 1
entry: sound.py@Sound
leagues: [blackbox, whitebox]
needs: []
budget: 100
"""
SOUND = '''\
from dataclasses import dataclass

from game.api import Component, Report


@dataclass(frozen=True)
class Sound:
    """Believes the prior, after a look at a few prompts."""

    share: float = 0.5

    def audit(self, toolbox, brief):
        affordable = int(min(20, toolbox.budget.remaining))
        if brief.corpus != "none" and affordable:
            toolbox.logits(toolbox.sample(affordable, seed=brief.seed).tokens)
        return Report(brief.prior)
'''
LAST = "        return Report(brief.prior)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound auditor."""
    made = tmp_path / "sound"
    made.mkdir()
    (made / "auditor.yaml").write_text(MANIFEST)
    (made / "sound.py").write_text(SOUND)
    return made


def broken(folder: Path, deadline: float = 20.0) -> dict[str, str]:
    """The message of each rule that is broken."""
    found = auditor_findings(str(folder), None, deadline)
    return {each.rule: each.message for each in found if each.verdict == "broken"}


def spoil(folder: Path, was: str, is_now: str) -> None:
    for path in (folder / "sound.py", folder / "auditor.yaml"):
        text = path.read_text()
        if was in text:
            path.write_text(text.replace(was, is_now))
            return
    raise AssertionError(was)


def test_a_sound_auditor_holds_and_what_does_not_apply_is_said(folder: Path) -> None:
    found = {each.rule: each for each in auditor_findings(str(folder), None)}
    assert {each.verdict for each in found.values()} == {"held", "not tried"}
    (left,) = (each for each in found.values() if each.verdict == "not tried")
    assert left.message == "it has no judge"


@pytest.mark.parametrize(
    ("was", "is_now", "message"),
    [
        # in the file                     becomes                       what is said
        ("(self, toolbox, brief):", "(self, toolbox, brief:", r"auditor .*sound\.py:12: "),
        ("def audit", "def adit", r"has no method `audit\(toolbox, brief\)`"),
        (
            "0.5\n",
            "'half'\n    most: int = -1\n    def __post_init__(self): raise ValueError('most')",
            "most",
        ),
        ("api: 1", "api: 3", r"auditor\.yaml:3:6: api: got 3; allowed: 1"),
        ("sound.py@Sound", "sound.py@Sount", r'unknown class "Sount".*did you mean "Sound"'),
    ],
)
def test_what_cannot_be_loaded_is_one_finding_and_nothing_else_is_tried(
    folder: Path, was: str, is_now: str, message: str
) -> None:
    spoil(folder, was, is_now)
    first, *others = auditor_findings(str(folder), None)
    assert (first.rule, first.verdict) == (LOADS, "broken")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(first.message)
    assert {each.verdict for each in others} == {"not tried"}


def test_a_setting_that_text_cannot_give_is_found(folder: Path) -> None:
    spoil(folder, "from dataclasses", "from typing import Literal\nfrom dataclasses")
    spoil(folder, "share: float", "share: Literal[0.5]")
    assert "setting '0.5'" in broken(folder)["every setting can be given as text"]


def test_an_endless_loop_is_found_with_its_line_and_ends_the_check(folder: Path) -> None:
    spoil(folder, LAST, "        while True:\n            pass\n")
    found = list(auditor_findings(str(folder), None, 0.3))
    (fault,) = (each for each in found if each.verdict == "broken")
    assert fault.rule == "it finishes within the deadline"
    assert fault.message in {
        f"whitebox: TIMEOUT: no report within 0.3 s (sound.py:{line})" for line in (16, 17)
    }
    assert [each.verdict for each in found[3:]] == ["not tried"] * len(found[3:])


def test_a_report_that_names_unknown_components_is_found(folder: Path) -> None:
    spoil(folder, LAST, '        return Report(0.5, {Component("attn", 7, 0): 0.1})\n')
    fault = broken(folder)["its report keeps the rules in every league that it declares"]
    assert fault.startswith("blackbox: INVALID: ")
    assert "blocks.7.attn.0" in fault
    assert fault.endswith("(sound.py:12)")


def test_probabilities_that_do_not_fit_together_are_found(folder: Path) -> None:
    spoil(folder, LAST, '        return Report(0.2, {Component("attn", 0, 0): 0.3})\n')
    fault = broken(folder)["its report keeps the rules in every league that it declares"]
    assert "blocks.0.attn.0" in fault
    assert "0.3" in fault
    assert "0.2" in fault


def test_a_crash_is_found_with_its_line(folder: Path) -> None:
    spoil(folder, LAST, "        return Report(brief.prior / len(brief.task.classes))\n")
    fault = broken(folder)["its report keeps the rules in every league that it declares"]
    assert fault == "blackbox: ERROR: ZeroDivisionError: float division by zero (sound.py:16)"


@pytest.mark.parametrize(
    ("was", "is_now", "rule", "message"),
    [
        # in the file            becomes                         rule                         what is said
        (
            LAST,
            "        return Report(brief.prior * float(toolbox.weight('unembed.b_U').mean() == 0))\n",
            "it makes do where a league or a corpus is refused",
            r"weight.*blackbox.*\(sound\.py:16\)",
        ),
        (
            "min(20, toolbox.budget.remaining)",
            "20",
            "it makes do with few credits",
            r"0 credits, of 20 that it would spend: ERROR: BudgetExceededError: .*\(sound\.py:15\)",
        ),
        (
            "budget: 100",
            "budget: 10",
            "it spends no more than its manifest says",
            r"spent 20 of 5000 credits",
        ),
        (
            "toolbox.logits(toolbox.sample(affordable, seed=brief.seed).tokens)",
            "toolbox.activations(toolbox.sample(affordable).tokens, ['blocks.0.hook_resid_pre'])",
            "it asks for no more than its manifest says",
            r"does not say `needs: \[activations\]`",
        ),
        (
            LAST,
            "        import random\n        return Report(random.random())\n",
            "nothing depends on a global generator",
            r"wanted one of its own, made from brief\.seed",
        ),
        (
            LAST,
            "        import os\n        return Report(os.urandom(1)[0] / 255)\n",
            "the same seed gives the same report",
            r"two rounds with the same brief and seed",
        ),
        (
            "(frozen=True)",
            "",
            "its class is a frozen dataclass that says what it does in one sentence",
            ":7: ",
        ),
        (
            "Believes the prior, after a look at a few prompts.",
            "Looks.",
            "its class is a frozen dataclass that says what it does in one sentence",
            r"sound\.py:7: the first line of its docstring has 6 characters",
        ),
        (
            LAST,
            LAST + "\n    def judge(self, challenge):\n        return None\n",
            "its judgement keeps the rules",
            "judgement: got a NoneType",
        ),
    ],
)
def test_each_rule_finds_what_breaks_it(folder: Path, was: str, is_now: str, rule: str, message: str) -> None:
    if "weight(" in is_now:
        spoil(folder, "[blackbox, whitebox]", "[whitebox]")
        spoil(folder, "needs: []", "needs: [weights]")
    spoil(folder, was, is_now)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(broken(folder)[rule])


def test_check_prints_a_row_a_rule_and_tells_by_its_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder), "--isolation", "none"]) == 0
    assert "in process: all 12 rules that apply hold" in " ".join(capsys.readouterr().out.split())
    spoil(folder, LAST, "        return Report(2.0)\n")
    assert main(["check", f"{folder}/", "--json", "--isolation", "none"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["kind"] for row in rows} == {"finding"}
    assert {row["tier"] for row in rows} == {"in process"}
    assert any(row["verdict"] == "broken" and "sound.py:12" in row["message"] for row in rows)


def test_check_plays_in_a_jail_where_there_is_one_and_an_endless_loop_costs_its_deadline(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(folder, LAST, "        while True:\n            pass\n")
    assert main(["check", str(folder), "--deadline", "0.5", "--display", "plain"]) == 1
    assert "TIMEOUT: no report within 0.5 s (sound.py:1" in capsys.readouterr().out


def test_a_global_generator_is_found_out_in_a_jail_too(folder: Path) -> None:
    spoil(folder, LAST, "        import random\n        return Report(random.random())\n")
    found = {each.rule: each.verdict for each in check_auditor(f"{folder}/")}
    assert found["nothing depends on a global generator"] == "broken"
    assert found["the same seed gives the same report"] == "held"  # every jail starts from the same number


def test_a_fault_of_the_manifest_is_a_finding_of_the_function_too(folder: Path) -> None:
    spoil(folder, "api: 1", "api: 2")
    first, *_ = check_auditor(f"{folder}/")
    assert (first.rule, first.verdict) == (LOADS, "broken")
    assert "auditor.yaml:3:6: api: got 2" in first.message


def test_check_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for reference, message in (("none/", "none/: no such folder"), ("oracel", 'did you mean "oracle"')):
        assert main(["check", reference]) == 2
        assert message in capsys.readouterr().err


def test_a_rule_that_does_not_apply_is_neither_held_nor_broken() -> None:
    def faults(subject: int) -> list[str]:
        if subject == 0:
            raise NotApplicableError("nothing there")
        return ["odd"] if subject % 2 else []

    rules = [Rule[int]("first", lambda n: iter(faults(n)), vital=True), Rule[int]("next", lambda n: iter(()))]
    assert [each.verdict for each in findings(rules, 0)] == ["not tried", "held"]
    assert [each.verdict for each in findings(rules, 2)] == ["held", "held"]
    assert list(findings(rules, 1)) == [
        Finding("first", "broken", "odd"),
        Finding("next", "not tried", "as this is broken: first"),
    ]
