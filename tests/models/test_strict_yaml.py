import contextlib
import json
import os
import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field, field_validator

from models.strict_yaml import (
    MAX_BYTES,
    ConfigError,
    Document,
    Fault,
    StrictModel,
    parse_document,
    read_document,
)
from models.yaml_nodes import MAX_DEPTH, MAX_NODES


class Rome(StrictModel):
    kind: Literal["rome"]
    layer: int
    axis: Literal["rows", "columns"] = "rows"
    span: tuple[int, int] = (0, 1)


class Memit(StrictModel):
    kind: Literal["memit"]
    layers: tuple[int, ...]


class Group(StrictModel):
    edit: Annotated[Rome | Memit, Field(discriminator="kind")] | None = None
    count: int | Literal["all"] = 1
    prior: float = Field(0.5, ge=0, le=1)
    weights: dict[str, float] = Field(default_factory=dict)
    parts: dict[Literal["detection", "repair"], float] = Field(default_factory=dict)


class Suite(StrictModel):
    seed: int
    name: str = "suite"
    hidden: bool = False
    groups: tuple[Group, ...] = ()

    @field_validator("name")
    @classmethod
    def _lower(cls, name: str) -> str:
        if name != name.lower():
            raise ValueError(f'name "{name}" has capital letters')
        return name


def parse(text: str) -> Document:
    return parse_document(text, "suite.yaml")


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(text).validate(Suite)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # YAML         value by the 1.2 core schema
        ("1e-3", 0.001),
        ("1.0e-2", 0.01),
        (".5", 0.5),
        ("-1.", -1.0),
        ("+2.5E+1", 25.0),
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("Y", "Y"),
        ("null", None),
        ("Null", None),
        ("~", None),
        ("", None),
        ("nULL", "nULL"),
        ("12:30", "12:30"),
        ("190:20:30", "190:20:30"),
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("e3", "e3"),
        (".", "."),
        ("'7'", "7"),
        ('"true"', "true"),
        ('"a\\tb"', "a\tb"),
        ("[1, a, [null]]", [1, "a", [None]]),
        ("{b: {c: 0.0}}", {"b": {"c": 0.0}}),
    ],
)
def test_a_scalar_means_what_the_core_schema_says(text: str, value: Any) -> None:
    read = parse(f"a: {text}\n").data["a"]
    assert read == value
    assert type(read) is type(value)


def test_the_shared_loader_of_pyyaml_is_left_as_it_was() -> None:
    parse("a: no")
    assert yaml.safe_load("a: no") == {"a": False}


def test_a_merge_key_is_an_ordinary_key() -> None:
    assert parse("<<: {a: 1}\nb: 2").data == {"<<": {"a": 1}, "b": 2}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # YAML                 refusal
        ("a: .inf", "1:4: got .inf; numbers must be finite"),
        ("a: -.Inf", "1:4: got -.Inf; numbers must be finite"),
        ("a: [1, .nan]", "1:8: got .nan; numbers must be finite"),
        ("a: 1e400", "1:4: got 1e400; numbers must be finite"),
        ("a: " + "9" * 5000, "1:4: number of 5000 characters; at most 100"),
        ("a: 0x" + "f" * 5000, "1:4: number of 5002 characters; at most 100"),
        ("a: &x 1\nb: *x", "1:4: anchors and aliases (& and *) are not allowed; write it out"),
        ("a: *x", "1:4: anchors and aliases (& and *) are not allowed; write it out"),
        ("a: 1\n\nb:\n  c: 1\n  c: 1", '5:3: duplicate key "c"; first on line 4'),
        ("{a: 1, 'a': 2}", '1:8: duplicate key "a"; first on line 1'),
        ("a: {1: 2}", '1:5: key "1" is an integer; keys are text in quotes'),
        ("null: 2", '1:1: key "null" is null; keys are text in quotes'),
        ("? [a]\n: 2", "1:3: key is a list; keys are text in quotes"),
        ("a: !!str 1", '1:4: explicit tag "!!str" is not allowed'),
        ("a: !!python/object/apply:os.system [ls]", '1:4: explicit tag "!!python/object/apply:os.system"'),
        ("!x {a: 1}", '1:1: explicit tag "!x" is not allowed'),
        ("%YAML 1.1\n---\na: 1", "1:1: a % directive is not allowed; the file is read as YAML 1.2"),
        ("a: 1\n---\nb: 2", "2:1: expected a single document in the stream, but found another document"),
        ("- 1", "1:1: got a list at the top, wanted a mapping"),
        ("7", "1:1: got an integer at the top, wanted a mapping"),
        ("---\n", "2:1: got null at the top, wanted a mapping"),
        ("a: b\r\nc: \x00", "2:4: character U+0000 is not allowed"),
        ("a: \x85b", "1:4: character U+0085 is not allowed"),
        ("a: 1 # x\u2028b: 2", "1:9: character U+2028 is not allowed"),
        ("a: \u202eb", "1:4: character U+202E is not allowed"),
        ("a: \ud800", "1:4: character U+D800 is not allowed"),
        ('a: "\\0"', "1:4: text with the character U+0000, which is not allowed"),
        ('a: "\\e[31m"', "1:4: text with the character U+001B, which is not allowed"),
        ('a: "\\udc00"', "1:4: text with the character U+DC00, which is not allowed"),
        ('a: "\\UFFFFFFFF"', "1:7: malformed escape or directive"),
        ("a: [1", "1:6: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        (
            "a:\n\t- b",
            "2:1: while scanning for the next token, found character '\\t' that cannot start any token",
        ),
        ("a: b: c", "1:5: mapping values are not allowed here"),
    ],
)
def test_what_a_configuration_must_not_hold_is_refused_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert str(refused.value).startswith(f"suite.yaml:{fault}")
    assert len(refused.value.faults) == 1


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "\ufeff"])
def test_an_empty_file_is_refused_as_a_whole(text: str) -> None:
    assert refusal(text) == "suite.yaml: the file is empty, wanted a mapping"


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert parse("\ufeffseed: 1").data == {"seed": 1}


def test_nesting_is_allowed_to_the_limit_and_refused_beyond_it() -> None:
    assert parse("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)).where == "suite.yaml"
    with pytest.raises(ConfigError, match=r"^suite.yaml:1:35: nested deeper than 32 levels$"):
        parse("a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize("bomb", ["[", "{", "- ", "? ", '{"a":', "a: ["])
def test_a_nesting_bomb_is_refused_before_it_grows(bomb: str) -> None:
    with pytest.raises(ConfigError, match=r"nested deeper than 32 levels|expected|not allowed here"):
        parse(bomb * 100_000)


def test_more_values_than_a_configuration_can_need_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^suite.yaml:1:\d+: more than 100000 keys and values$"):
        parse("a: [" + "1," * MAX_NODES + "]")


def test_a_large_text_is_refused_as_a_whole() -> None:
    with pytest.raises(ConfigError, match=r"^suite.yaml: larger than 1048576 bytes$"):
        parse("#" * (MAX_BYTES + 1))


def test_a_file_is_read_and_knows_its_name(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_bytes("name: caf\u00e9\nseed: 3\n".encode())
    document = read_document(path)
    assert document.where == str(path)
    assert document.data == {"name": "caf\u00e9", "seed": 3}


def test_a_file_that_cannot_be_read_is_one_clear_fault(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"\xff" * (MAX_BYTES + 1))
    for path, message in [
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "is a directory, wanted a YAML file"),
        (large, "larger than 1048576 bytes"),
        (Path("a\0b"), "cannot be read: embedded null byte"),
    ]:
        with pytest.raises(ConfigError) as refused:
            read_document(path)
        assert refused.value.faults == (Fault(str(path), None, None, "", message),)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads every file")
def test_a_forbidden_file_says_why_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.touch(mode=0o000)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        read_document(path)


def test_bytes_that_are_not_utf8_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"seed: 1\nname: \xc3\xa9t\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml:2:9: is not UTF-8 text$"):
        read_document(path)


def test_an_endless_device_is_refused_at_the_size_limit() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no such device on this system")
    with pytest.raises(ConfigError, match="larger than"):
        read_document(Path("/dev/zero"))


def test_a_legal_document_becomes_its_model() -> None:
    suite = parse("seed: 1\ngroups:\n  - prior: 1\n    edit: {kind: memit, layers: [1, 2]}\n").validate(Suite)
    assert suite == Suite(seed=1, groups=(Group(prior=1.0, edit=Memit(kind="memit", layers=(1, 2))),))


FIVE_FAULTS = """\
sead: 1
name: Loud
groups:
  - edit: {kind: rome, layer: "3"}
  - edit: {kind: moon, layers: [1]}
    prior: 1.5
"""


def test_five_faults_are_all_told_in_file_order_at_their_exact_places() -> None:
    assert refusal(FIVE_FAULTS.replace("sead: 1", "seed: 1\nsead: 1")).splitlines() == [
        'suite.yaml:2:1: unknown key "sead"; allowed: seed, name, hidden, groups; did you mean "seed"?',
        'suite.yaml:3:7: name: name "Loud" has capital letters',
        'suite.yaml:5:31: groups.0.edit.layer: got "3" (text), wanted an integer',
        'suite.yaml:6:18: groups.1.edit.kind: unknown kind "moon"; allowed: rome, memit',
        "suite.yaml:7:12: groups.1.prior: got 1.5; should be less than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # YAML                                     fault
        ("name: a", '1:1: missing key "seed"'),
        ("seed: true", "1:7: seed: got true (a boolean), wanted an integer"),
        ('seed: "1"', '1:7: seed: got "1" (text), wanted an integer'),
        ("seed: 1.0", "1:7: seed: got 1.0 (a number), wanted an integer"),
        ("seed:", "1:6: seed: got null, wanted an integer"),
        ("seed: {a: 1}", "1:7: seed: got a mapping, wanted an integer"),
        ("seed: 1\nname: 3", "2:7: name: got 3 (an integer), wanted text"),
        ("seed: 1\nhidden: 0", "2:9: hidden: got 0 (an integer), wanted true or false"),
        ("seed: 1\nhidden: no", '2:9: hidden: got "no" (text), wanted true or false'),
        ("seed: 1\ngroups: 3", "2:9: groups: got 3 (an integer), wanted a list"),
        ("seed: 1\ngroups: [3]", "2:10: groups.0: got 3 (an integer), wanted a mapping"),
        ("seed: 1\ngroups: [{edit: 3}]", "2:17: groups.0.edit: got 3 (an integer), wanted a mapping"),
        ("seed: 1\ngroups: [{edit: {}}]", '2:17: groups.0.edit: missing key "kind"'),
        ("seed: 1\ngroups: [{edit: {kind: 3}}]", "2:24: groups.0.edit.kind: got 3; allowed: rome, memit"),
        ("seed: 1\ngroups: [{edit: {kind: rome}}]", '2:17: groups.0.edit: missing key "layer"'),
        ("seed: 1\ngroups: [{weights: {a: x}}]", '2:24: groups.0.weights.a: got "x" (text), wanted a number'),
        (
            "seed: 1\ngroups: [{count: true}]",
            '2:18: groups.0.count: got true (a boolean), wanted an integer or "all"',
        ),
        (
            "seed: 1\ngroups: [{count: al}]",
            '2:18: groups.0.count: got "al" (text), wanted an integer or "all"',
        ),
        (
            "seed: 1\ngroups: [{parts: {repare: 1}}]",
            '2:19: groups.0.parts: key "repare"; allowed: "detection", "repair"',
        ),
    ],
)
def test_a_fault_says_what_was_got_and_what_is_allowed(text: str, fault: str) -> None:
    assert refusal(text).startswith(f"suite.yaml:{fault}")


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        # a rome edit with       fault
        ("axis: row", '26: edit.axis: got "row"; allowed: "rows", "columns"; did you mean "rows"?'),
        ("span: [1]", "26: edit.span: missing item 1"),
        ("span: [1, 2, 3]", "26: edit.span: Tuple should have at most 2 items after validation, not 3"),
        (
            "laier: 1",
            '20: edit: unknown key "laier"; allowed: kind, layer, axis, span; did you mean "layer"?',
        ),
        ("rome: 1", '20: edit: unknown key "rome"; allowed: kind, layer, axis, span'),
    ],
)
def test_a_fault_inside_a_tagged_union_speaks_of_the_tagged_member_alone(edit: str, fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(f"edit: {{kind: rome, {edit}, layer: 1}}").validate(Group)
    assert str(refused.value) == f"suite.yaml:1:{fault}"


def test_a_key_named_like_the_tag_does_not_mislead_the_place_of_another_fault() -> None:
    with pytest.raises(ConfigError) as refused:
        parse("edit:\n  rome: 1\n  kind: rome\n").validate(Group)
    assert [(fault.line, fault.path, fault.message[:11]) for fault in refused.value.faults] == [
        (2, "edit", "missing key"),
        (2, "edit", "unknown key"),
    ]


def test_each_missing_key_of_a_mapping_is_a_fault_of_its_own() -> None:
    with pytest.raises(ConfigError) as refused:
        parse("{}").validate(Rome)
    assert str(refused.value).splitlines() == [
        'suite.yaml:1:1: missing key "kind"',
        'suite.yaml:1:1: missing key "layer"',
    ]


def test_strings_and_booleans_never_become_numbers() -> None:
    for value in ('"0.5"', "true", "no"):
        with pytest.raises(ConfigError, match="wanted a number"):
            parse(f"prior: {value}").validate(Group)


def test_part_of_a_document_is_validated_by_a_model_of_its_own() -> None:
    document = parse("seed: 1\ngroups:\n  - edit: {kind: rome, layer: x}\n")
    with pytest.raises(ConfigError, match=r'^suite.yaml:3:31: groups.0.edit.layer: got "x" \(text\)'):
        document.validate(Rome, at=("groups", 0, "edit"))


def test_a_caller_locates_its_own_faults_in_the_document() -> None:
    document = parse("seed: 1\ngroups:\n  - prior: 0.3\n")
    assert (
        str(document.error(("groups", 0, "prior"), "too low")) == "suite.yaml:3:12: groups.0.prior: too low"
    )
    assert document.fault((), "unfinished") == Fault("suite.yaml", 1, 1, "", "unfinished")


def test_a_missing_value_is_located_at_its_nearest_parent() -> None:
    document = parse("seed: 1\ngroups:\n  - prior: 0.3\n")
    assert document.fault(("groups", 0, "edit", "kind"), "absent").line == 3
    assert str(document.error(("groups", 7), "absent")) == "suite.yaml:3:3: groups.7: absent"


def test_faults_of_several_checks_are_told_together_in_file_order() -> None:
    document = parse("seed: 1\nname: a\n")
    error = ConfigError([document.fault(("name",), "second"), document.fault(("seed",), "first")])
    assert str(error) == "suite.yaml:1:7: seed: first\nsuite.yaml:2:7: name: second"


def test_hostile_names_stay_on_the_line_of_their_fault() -> None:
    message = refusal('seed: 1\n"a\\nb": 2\n')
    assert message.splitlines() == [message]
    assert r'unknown key "a\nb"' in message


def test_an_error_survives_the_way_between_processes() -> None:
    error = parse("seed: 1").error(("seed",), "odd")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


YAML_LIKE = st.text(alphabet="ab1.:-?[]{},&*!|>'\"%@`#~ \t\n\r\\0xue", max_size=80)
KEYS = st.sampled_from(["seed", "name", "groups", "edit", "kind", "rome", "count"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("rome"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def faults_of(text: str) -> tuple[Fault, ...]:
    try:
        parse(text).validate(Suite)
    except ConfigError as error:
        assert str(error).splitlines() == [str(fault) for fault in error.faults]  # noqa: PT017
        return error.faults
    return ()


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=80), YAML_LIKE))
@example('"\\ud800": 1')
@example("? ")
@example("a: |9\n")
def test_arbitrary_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    assert all(fault.message for fault in faults_of(text))


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_arbitrary_values_are_taken_or_refused_with_their_place(data: dict[str, Any]) -> None:
    assert all(fault.line and fault.column for fault in faults_of(json.dumps(data)))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        read_document(path)
