import subprocess
import sys

import pytest

from models.naming import listing, nearest, one_line, quoted, unknown

EDITS = ("rome", "memit", "alphaedit", "finetune")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        # got        the legal name that was meant
        ("rom", "rome"),
        ("ROME", "rome"),
        ("orme", "rome"),
        ("memmit", "memit"),
        ("alphedt", "alphaedit"),
        ("fine_tuning", "finetune"),
    ],
)
def test_a_slip_names_the_legal_name_that_was_meant(name: str, meant: str) -> None:
    assert nearest(name, EDITS) == f'; did you mean "{meant}"?'


@pytest.mark.parametrize("name", ["", "xyz", "transcoder", "rome" * 100])
def test_a_name_far_from_all_legal_names_suggests_nothing(name: str) -> None:
    assert nearest(name, EDITS) == ""


def test_short_names_that_share_no_letter_are_not_near() -> None:
    assert nearest("q", ["k", "v"]) == ""
    assert nearest("ab", ["xy"]) == ""


def test_of_several_near_names_the_nearest_is_meant() -> None:
    assert nearest("blocks.1.mlp", ["blocks.10.mlq", "blocks.2.mlp"]) == '; did you mean "blocks.2.mlp"?'


def test_an_unknown_name_is_told_what_is_allowed_and_what_was_meant() -> None:
    expected = 'unknown edit "rom"; allowed: rome, memit, alphaedit, finetune; did you mean "rome"?'
    assert unknown("edit", "rom", EDITS) == expected


def test_an_unknown_name_far_from_all_gets_no_suggestion() -> None:
    assert unknown("league", "moon", ["blackbox"]) == 'unknown league "moon"; allowed: blackbox'


def test_allowed_names_are_used_once_even_from_a_generator() -> None:
    assert unknown("edit", "rom", (name for name in EDITS)).endswith('did you mean "rome"?')


def test_a_set_of_allowed_names_is_listed_in_alphabetical_order() -> None:
    assert listing("x", {"rome", "memit", "alphaedit"}) == "alphaedit, memit, rome"


def test_nothing_allowed_says_so() -> None:
    assert unknown("tool", "lens", []) == 'unknown tool "lens"; allowed: none'


def test_a_long_list_is_cut_to_the_names_most_like_what_was_got() -> None:
    hooks = [f"blocks.{layer}.hook_{name}" for layer in range(20) for name in ("resid_pre", "mlp_out")]
    message = unknown("hook", "blocks.7.hook_resid_pre_", hooks)
    assert "allowed: blocks.7.hook_resid_pre, " in message
    assert message.endswith(', ... (40 in all); did you mean "blocks.7.hook_resid_pre"?')
    assert message.count("blocks.") == 14


def test_hostile_text_is_clipped_and_stays_on_one_line() -> None:
    assert quoted("a\nb\x1b[31m\u202e") == r'"a\nb\x1b[31m\u202e"'
    assert quoted("x" * 1000) == '"' + "x" * 57 + '..."'
    assert one_line("caf\u00e9\ud800") == "caf\u00e9\\ud800"


def test_importing_names_loads_no_package_outside_the_standard_library() -> None:
    script = "import sys, models.naming; print(*{name.partition('.')[0] for name in sys.modules})"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "numpy", "pydantic", "yaml"} & set(output.split())
