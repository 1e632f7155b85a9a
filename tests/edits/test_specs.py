from pathlib import Path

import pytest

import edits
from edits.kinds import edit_kinds, load_spec
from models.strict_yaml import ConfigError, parse_document, read_document

SPEC = """\
version: 1
id: e017
seed: 17
edit: {kind: rrome, facts: [{subject: 41, relation: 2, object_new: 7}]}
site: {tensor: blocks.0.mlp.W_out, token: subject_last}
solver: {cov: {ridge: 1e-2}}
gates: {paraphrase: {min: 0.6}}
"""
EXAMPLES = sorted((Path(edits.__path__[0]) / "specs").glob("*.yaml"))


def test_a_specification_reads_as_written() -> None:
    spec = load_spec(parse_document(SPEC, "e017.yaml"))
    assert spec.kind() == "rrome"
    assert {name: bound.min for name, bound in spec.effective_gates.items() if bound.min is not None} == {
        "efficacy": 1.0, "paraphrase": 0.6, "neighbourhood": 0.9, "retention": 0.8,
    }  # fmt: skip


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_worked_examples_are_valid(path: Path) -> None:
    load_spec(read_document(path))


def test_every_kind_has_a_worked_example() -> None:
    assert {load_spec(read_document(path)).kind() for path in EXAMPLES} == set(edit_kinds())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: rrome", "kind: rromo", r'e\.yaml:4:14: edit\.kind: unknown edit kind "rromo".*mean "rrome"'),
        ("kind: rrome, ", "", r"e\.yaml:4:7: edit\.kind: wanted a mapping with a kind"),
        ("seed: 17", "sead: 17", r'e\.yaml:3:1: .*unknown key "sead".*did you mean "seed"'),
        ("seed: 17", "seed: 17\nseed: 18", r"e\.yaml:4:1: .*duplicate key"),
        ("seed: 17", "seed: seventeen", r'e\.yaml:3:7: seed: got "seventeen"'),
        ("seed: 17", "seed: -1", r"e\.yaml:3:7: seed: "),
        ("subject: 41", "subject: true", r"edit\.facts\.0\.subject: got true"),
        ("7}]", "7}, {subject: 41, relation: 2, object_new: 1}]", "subject 41, relation 2 is named twice"),
        ("facts: [", "fact: [", r'unknown key "fact".*did you mean "facts"'),
        ("[{subject: 41, relation: 2, object_new: 7}]", "[]", r"edit\.facts: "),
        ("ridge: 1e-2", "ridge: .nan", r"e\.yaml:6:\d+: .*finite"),
        ("ridge: 1e-2", "ridge: 0", r"solver\.cov\.ridge: "),
        ("token: subject_last", "token: subject", r'site\.token: .*"subject"'),
        ("blocks.0.mlp.W_out", "blocks.0.mlp.W_in", r"site\.tensor: "),
        ("min: 0.6", "min: 0.4", r"gates\.paraphrase: looser than this kind's floor, \{'min': 0\.5\}"),
        ("paraphrase", "parafrase", r'gates\.parafrase: unknown gate "parafrase".*did you mean "paraphrase"'),
        ("{min: 0.6}", "{}", r"gates\.paraphrase: .*a bound needs min or max"),
        ("version: 1", "version: 2", r"version: "),
        ("gates:", "truth: {}\ngates:", r'unknown key "truth"'),
    ],
)  # fmt: skip
def test_a_faulty_specification_is_told_with_its_place(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_spec(parse_document(SPEC.replace(old, new), "e.yaml"))
