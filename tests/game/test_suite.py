import pytest

from game.dealing.suite import declared_sites, load_suite, suite_names, suite_of
from models.strict_yaml import ConfigError, parse_document
from tests.tiny_suite import TINY_SUITE, tiny_suite


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_are_valid_and_named_after_their_file(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.parts[:2] == ("detection", "localisation")
    assert all(len(group.controls) >= 2 for group in suite.groups)


def test_starter_is_as_large_as_promised() -> None:
    starter = load_suite("starter")
    assert starter.n_cases == 60
    assert sum(bases.checkpoints for bases in starter.bases) == 12
    assert {bases.recipe for bases in starter.bases} == {"facts-small", "facts-plain"}


def test_a_star_stands_for_every_head_of_a_layer() -> None:
    suite = tiny_suite()
    heads = declared_sites(suite.groups[1], suite.recipes["facts-tiny"])
    assert [str(site) for site in heads] == [
        "blocks.0.attn.0", "blocks.0.attn.1", "blocks.1.attn.0", "blocks.1.attn.1",
        "blocks.2.attn.0", "blocks.2.attn.1", "blocks.3.attn.0",
    ]  # fmt: skip


def test_the_digest_depends_on_content_and_not_on_layout() -> None:
    spaced = suite_of(parse_document(TINY_SUITE.replace("count: 6", "count:   6"), "other.yaml"))
    assert spaced.digest == tiny_suite().digest
    assert tiny_suite().with_budget(6000).digest != tiny_suite().digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("facts-tiny, checkpoints", "facts-tyni, checkpoints", r'"facts-tyni".*did you mean "facts-tiny"'),
        ("kind: rrome", "kind: rromo", r't\.yaml:13:\d+: groups\.0\.edit\.kind: .*"rromo".*mean "rrome"'),
        ("blocks.0.mlp", "blocks.2.mlp", r'groups\.0\.sites\.facts-tiny\.0: unknown site "blocks\.2\.mlp"'),
        ("blocks.3.attn.0", "blocks.3.attn.2", r'unknown site "blocks\.3\.attn\.2".*"blocks\.3\.attn\.'),
        ("{facts-tiny: [blocks.0", "{facts-small: [blocks.0", r"unknown recipe of this suite"),
        ("random_rank1]", "random_rank2]", r'controls\.1: unknown control "random_rank2"'),
        ("[untouched, random_rank1]", "[untouched, rrome]", r'unknown control "rrome"'),
        ("name: heads", "name: facts", r'groups\.1\.name: "facts" names an earlier group'),
        ("budget: 5000", "budget: 0", r"t\.yaml:6:9: budget: "),
        ("prior: 0.5", "prior: 0.9", r"prior: "),
        ("score: [detection, localisation]", "score: []", r"score: "),
        ("score: [detection, localisation]", "score: [detction]", r'score\.0: .*"detction"'),
        ("league: whitebox", "league: witebox", r'league: .*"witebox".*did you mean "whitebox"'),
        ("count: 6", "count: six", r'groups\.0\.count: got "six"'),
        ("ridge: 1.0e-2", "rigde: 1.0e-2", r'unknown key "rigde".*did you mean "ridge"'),
    ],
)  # fmt: skip
def test_a_faulty_suite_is_told_with_its_place(old: str, new: str, message: str) -> None:
    assert old in TINY_SUITE
    with pytest.raises(ConfigError, match=message):
        suite_of(parse_document(TINY_SUITE.replace(old, new), "t.yaml"))


def test_an_unknown_suite_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r'unknown suite "startre".*did you mean "starter"'):
        load_suite("startre")


def test_a_fact_edit_in_a_suite_needs_models_of_facts() -> None:
    text = TINY_SUITE.replace("facts-tiny", "key-value")
    with pytest.raises(ConfigError, match=r"sites\.key-value: rrome edits models of facts, not of key_value"):
        suite_of(parse_document(text, "suite.yaml"))
