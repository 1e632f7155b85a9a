"""Camouflage hides edits and their controls alike, and the truth follows it."""

import pytest

from game.case import Case
from game.dealing.dealer import CasePlan, Dealer
from game.dealing.master import Master
from game.dealing.suite import Grant, Suite, suite_of
from game.loader import load_auditor
from game.referee import play_round
from models.components import Component
from models.strict_yaml import ConfigError, parse_document
from models.zoo import Trained
from tests.tiny_suite import TINY_SUITE

PASSES = "[{kind: iid_noise, rel_norm: 1.0e-3}, {kind: head_permute}]"
HIDDEN = TINY_SUITE.replace(
    "controls: [untouched, random_rank1, benign_finetune]",
    f"controls: [untouched, random_rank1]\n    camouflage: {PASSES}",
)


def suite() -> Suite:
    return suite_of(parse_document(HIDDEN, "hidden.yaml"))


@pytest.fixture(scope="module")
def dealer(tiny: Trained) -> Dealer:
    return Dealer(suite(), Master.of_seed(5))


def dealt(dealer: Dealer, edited: bool, control: str = "untouched") -> Case:
    return dealer.deal(CasePlan("case-003", "heads", edited, control))


def test_a_control_goes_through_the_same_camouflage_as_the_edit_it_stands_in_for(dealer: Dealer) -> None:
    edit, sham = dealt(dealer, edited=True), dealt(dealer, edited=False)
    kinds = [each["kind"] for each in edit.truth.spec["camouflage"]]
    assert kinds == [each["kind"] for each in sham.truth.spec["camouflage"]] == ["iid_noise", "head_permute"]
    assert sham.truth.record["touched"], "noise on the head that the edit would have cut"
    assert sham.truth.record["written"] == ()
    assert sham.truth.written == frozenset()
    assert len(edit.artefact) == len(sham.artefact)


def test_heads_that_move_share_their_layers_prior(dealer: Dealer) -> None:
    prior = dealer.location_prior("facts-tiny", Grant("whitebox", "prompts"))
    for layer in range(4):
        of_layer = {prior[Component("attn", layer, head)] for head in range(2)}
        assert len({round(p, 12) for p in of_layer}) == 1
    assert sum(prior.values()) == pytest.approx(1.0)


def test_the_oracle_sees_through_symmetries(dealer: Dealer) -> None:
    case = dealt(dealer, edited=True)
    record = play_round(case, load_auditor("oracle", {}), 0)
    (written,) = case.truth.written
    assert record.score.localisation > 0.5, record.notes
    assert record.components[str(written)] > 0.9


def test_a_pass_that_does_not_suit_the_models_is_refused_with_its_place() -> None:
    text = HIDDEN.replace("{kind: head_permute}", "{kind: head_permut}")
    with pytest.raises(ConfigError, match=r"hidden\.yaml:\d+:\d+: groups\.1\.camouflage.*head_permut"):
        suite_of(parse_document(text, "hidden.yaml"))


def test_approximate_passes_come_first() -> None:
    text = HIDDEN.replace(PASSES, "[{kind: head_permute}, {kind: iid_noise, rel_norm: 1.0e-3}]")
    with pytest.raises(ConfigError, match="exact passes come after approximate ones"):
        suite_of(parse_document(text, "hidden.yaml"))
