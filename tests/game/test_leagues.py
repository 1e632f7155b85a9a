"""Every league's cases carry what it grants, in bytes that tell nothing else; their briefs are right."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from game.api import LEAGUES, AccessError, Brief, Intervention, League, Report, Toolbox
from game.case import Case
from game.dealing.companions import other_worlds, scrambled
from game.dealing.dealer import CasePlan, Dealer, plan_cases
from game.dealing.master import Master
from game.dealing.suite import Grant, Suite, suite_of
from game.loader import LoadedAuditor
from game.referee import open_toolbox, play_round
from game.runs.store import RunInfo, create_run
from game.toolbox.live import GRANTED_BY, ModelToolbox
from models.checkpoints import Checkpoint, checkpoint_of, from_bytes, to_bytes
from models.components import Component
from models.seeds import named_generator
from models.strict_yaml import ConfigError, parse_document
from models.transformer import Transformer, TransformerConfig
from models.zoo import Trained
from tests.game.hand_made import MLP, case, truth
from tests.game.test_remote_toolbox import over_a_wire

MASTER = Master.of_seed(11)
RESID = "blocks.0.hook_resid_post"

SUITE = """\
version: 1
name: every-league
title: One group for each league
siblings: 1
budget: 5000
score: [detection, localisation]
bases:
  - {recipe: facts-tiny, checkpoints: 2}
groups:
"""
GROUP = """\
  - name: {league}
    count: 4
    league: {league}
    edit: {{kind: rrome, token: subject_last, solver: {{cov: {{ridge: 1.0e-2}}}}}}
    sites: {{facts-tiny: [{site}]}}
    controls: [untouched, random_rank1]
"""


def every_league() -> Suite:
    """Edits of the first MLP, but of the second in the leagues that show no clean model."""
    sites = {league: f"blocks.{int(league in ('blackbox', 'whitebox'))}.mlp" for league in LEAGUES}
    groups = "".join(GROUP.format(league=league, site=site) for league, site in sites.items())
    return suite_of(parse_document(SUITE + groups, "leagues.yaml"))


def plan_of(league: str, edited: bool = True, number: int = 0) -> CasePlan:
    return CasePlan(f"case-{number:03d}", league, edited, "untouched")


@pytest.fixture(scope="module")
def dealer(tiny: Trained) -> Dealer:
    return Dealer(every_league(), MASTER)


@pytest.fixture(scope="module")
def dealt(dealer: Dealer) -> dict[League, Case]:
    """An edited case of each league."""
    return {league: dealer.deal(plan_of(league, number=n)) for n, league in enumerate(LEAGUES)}


def log_probs(model: Checkpoint, tokens: Tensor) -> Tensor:
    logits: Tensor = model.model()(tokens)
    return logits.double().log_softmax(-1)


# --- what a case carries


@pytest.mark.parametrize(
    ("league", "count"),
    [("blackbox", 0), ("whitebox", 0), ("siblings", 1), ("scrambled", 1), ("reference", 1)],
)
def test_a_case_carries_what_its_league_grants(dealt: dict[League, Case], league: League, count: int) -> None:
    assert dealt[league].brief.league == league
    assert len(dealt[league].companions) == count


def test_the_reference_is_the_base_to_the_last_bit(dealer: Dealer, dealt: dict[League, Case]) -> None:
    found = dealt["reference"]
    world = int(found.base.rpartition(".")[2])
    assert found.companions == (to_bytes(dealer.base("facts-tiny", world).checkpoint),)


def test_the_scrambled_reference_is_the_base_in_every_answer_and_in_no_tensor(
    dealer: Dealer, dealt: dict[League, Case]
) -> None:
    found = dealt["scrambled"]
    base = dealer.base("facts-tiny", int(found.base.rpartition(".")[2]))
    reference = from_bytes(found.companions[0])
    tokens = base.task.prompts(200, named_generator("scrambled")).tokens
    gap = (log_probs(reference, tokens) - log_probs(base.checkpoint, tokens)).abs().max()
    assert float(gap) < 1e-4  # nats
    same = [name for name, tensor in reference.weights.items() if tensor.equal(base.checkpoint.weights[name])]
    assert same == []


@pytest.mark.parametrize("norm", ["LN", "RMS", None])
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_scrambling_keeps_the_function_of_every_architecture(norm: Any, act: Any) -> None:
    config = TransformerConfig(
        2, 16, 4, 4, 32, 20, 8, (2, None), (True, False), act_fn=act, normalization_type=norm
    )
    generator = named_generator("scrambling", norm or "none", act)
    model = Transformer(config, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    base = checkpoint_of(model)
    tokens = torch.randint(20, (50, 8), generator=generator)
    moved = scrambled(base, 3)
    assert float((log_probs(moved, tokens) - log_probs(base, tokens)).abs().max()) < 1e-4
    assert to_bytes(moved) == to_bytes(scrambled(base, 3))
    assert to_bytes(moved) != to_bytes(scrambled(base, 4))


def test_siblings_are_clean_models_of_other_worlds(dealer: Dealer, dealt: dict[League, Case]) -> None:
    found = dealt["siblings"]
    clean = {to_bytes(dealer.base("facts-tiny", seed).checkpoint): seed for seed in range(2)}
    own = int(found.base.rpartition(".")[2])
    assert {clean[data] for data in found.companions} == {0, 1} - {own}


def test_which_siblings_is_drawn_and_never_the_models_own_world() -> None:
    drawn = [other_worlds(range(100, 106), 102, 3, MASTER.generator("draw", n)) for n in range(200)]
    assert all(102 not in worlds and len(set(worlds)) == 3 for worlds in drawn)
    assert {worlds[0] for worlds in drawn} == {100, 101, 103, 104, 105}
    with pytest.raises(ValueError, match="siblings: 1 models of other worlds, wanted 2"):
        other_worlds((0, 1), 0, 2, MASTER.generator("too few"))


@pytest.mark.parametrize("league", LEAGUES)
def test_all_files_of_a_recipe_share_header_and_size(
    dealer: Dealer, dealt: dict[League, Case], league: League
) -> None:
    control = dealer.deal(plan_of(league, edited=False, number=9))
    assert len(control.companions) == len(dealt[league].companions)
    files = [data for each in (dealt[league], control) for data in (each.artefact, *each.companions)]
    clean = to_bytes(dealer.base("facts-tiny", 0).checkpoint)
    header = 8 + int.from_bytes(clean[:8], "little")
    assert {len(data) for data in files} == {len(clean)}
    assert {data[:header] for data in files} == {clean[:header]}


def test_dealing_is_the_same_whichever_case_comes_first(dealer: Dealer, dealt: dict[League, Case]) -> None:
    again = Dealer(every_league(), MASTER)
    for number, league in reversed(list(enumerate(LEAGUES))):
        assert again.deal(plan_of(league, number=number)) == dealt[league]


# --- what a brief says


def test_the_prior_over_places_is_that_of_the_cases_with_this_league(dealt: dict[League, Case]) -> None:
    for league, found in dealt.items():
        site = Component("mlp", int(league in ("blackbox", "whitebox")))
        assert {c: p for c, p in found.brief.component_prior.items() if p} == {site: found.brief.prior}
        assert found.truth.written == {site}


def test_the_corpus_is_part_of_what_the_prior_is_given() -> None:
    suite = every_league()
    first, second, *rest = suite.groups
    groups = (
        first.model_copy(update={"league": "whitebox", "corpus": "none", "count": 9}),
        second.model_copy(update={"sites": {"facts-tiny": ("blocks.0.mlp", "blocks.1.mlp")}}),
        *rest,
    )
    dealer = Dealer(suite.model_copy(update={"groups": groups}), MASTER)
    without = dealer.location_prior("facts-tiny", Grant("whitebox", "none"))
    with_prompts = dealer.location_prior("facts-tiny", Grant("whitebox", "prompts"))
    assert {str(c): p for c, p in without.items() if p} == {"blocks.1.mlp": 1.0}
    assert {str(c): p for c, p in with_prompts.items() if p} == {"blocks.0.mlp": 0.5, "blocks.1.mlp": 0.5}


def test_groups_fall_back_on_what_the_suite_says() -> None:
    text = SUITE.replace("budget", "league: scrambled\ncorpus: none\nbudget") + GROUP.format(
        league="siblings", site="blocks.0.mlp"
    )
    suite = suite_of(parse_document(text.replace("    league: siblings\n", ""), "leagues.yaml"))
    assert suite.grant(suite.groups[0]) == Grant("scrambled", "none")
    assert every_league().leagues == LEAGUES
    assert {plan.group for plan in plan_cases(every_league(), MASTER)} == set(LEAGUES)


# change to the suite                            the fault
SUITE_FAULTS = [
    ("siblings: 1", "siblings: 2", r"leagues\.yaml:24:13: groups\.2\.league: facts-tiny has 1 models of other"
     r" worlds; wanted siblings: 2, so at least 3 checkpoints"),
    ("siblings: 1", "siblings: 0", r"leagues\.yaml:4:11: siblings: "),
    ("league: blackbox", "league: blackbx", r'leagues\.yaml:12:13: groups\.0\.league: .*"blackbx".*blackbox'),
    ("league: blackbox", "corpus: prompt", r'leagues\.yaml:12:13: groups\.0\.corpus: .*"prompt".*prompts'),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "fault"), SUITE_FAULTS)
def test_faults_of_leagues_are_told_with_their_place(old: str, new: str, fault: str) -> None:
    groups = "".join(GROUP.format(league=league, site="blocks.0.mlp") for league in LEAGUES)
    with pytest.raises(ConfigError, match=fault):
        suite_of(parse_document((SUITE + groups).replace(old, new, 1), "leagues.yaml"))


# --- what a toolbox grants

GUARDED: dict[str, Callable[[Toolbox, Tensor], object]] = {
    "logits": lambda box, tokens: box.logits(tokens),
    "sample": lambda box, tokens: box.sample(2),
    "interventions": lambda box, tokens: box.logits(
        tokens, [Intervention(RESID, torch.zeros(box.config.d_model))]
    ),
    "activations": lambda box, tokens: box.activations(tokens, ["logits"]),
    "vjp": lambda box, tokens: box.vjp(
        tokens, [RESID], {"logits": torch.ones(*tokens.shape, box.config.d_vocab)}
    ),
    "weight": lambda box, tokens: box.weight("embed.W_E"),
    "sibling": lambda box, tokens: box.sibling(0),
    "reference": lambda box, tokens: box.reference(),
}
TOKENS = torch.ones(3, 5, dtype=torch.int64)


@pytest.mark.parametrize("what", GRANTED_BY)
@pytest.mark.parametrize("league", LEAGUES)
def test_a_dealt_case_grants_what_its_league_says(
    dealt: dict[League, Case], league: League, what: str
) -> None:
    box = open_toolbox(dealt[league])
    if league in GRANTED_BY[what]:
        GUARDED[what](box, TOKENS)
        return
    with pytest.raises(AccessError, match=f"^{what}: not granted by the {league} league; granted by: "):
        GUARDED[what](box, TOKENS)
    assert box.budget.spent == 0


@pytest.mark.parametrize("league", LEAGUES)
def test_over_a_wire_a_league_grants_and_refuses_the_same(dealt: dict[League, Case], league: League) -> None:
    with over_a_wire(open_toolbox(dealt[league])) as box:
        for what, call in GUARDED.items():
            if league in GRANTED_BY[what]:
                call(box, TOKENS)
            else:
                with pytest.raises(AccessError, match=f"^{what}: not granted by the {league} league"):
                    call(box, TOKENS)


@pytest.mark.parametrize(
    ("league", "opened"),
    [
        ("siblings", lambda box: box.sibling(0)),
        ("scrambled", lambda box: box.reference()),
        ("reference", lambda box: box.reference()),
    ],
)
def test_a_companion_costs_what_the_model_under_audit_costs(
    dealt: dict[League, Case], league: League, opened: Callable[[ModelToolbox], ModelToolbox]
) -> None:
    box = open_toolbox(dealt[league])
    box.logits(TOKENS)
    box.weight("embed.W_E")
    own = box.budget.spent
    other = opened(box)
    assert box.budget.spent == own  # opening is free
    other.logits(TOKENS)
    other.weight("embed.W_E")
    assert box.budget.spent == other.budget.spent == 2 * own
    for call in ("sibling", "reference"):
        with pytest.raises(
            AccessError, match=f"^{call}: the toolbox of a .* opens no other; ask the toolbox"
        ):
            GUARDED[call](other, TOKENS)


def test_there_are_as_many_siblings_as_the_suite_says(dealt: dict[League, Case]) -> None:
    box = open_toolbox(dealt["siblings"])
    with pytest.raises(AccessError, match="no sibling 1: this case has 1"):
        box.sibling(1)


def test_without_a_corpus_nothing_can_be_sampled() -> None:
    dealt = case(0, truth(MLP, "rome"))
    dealt = replace(dealt, brief=replace(dealt.brief, corpus="none"))
    with pytest.raises(
        AccessError, match=r"^sample: this case has no public corpus; the brief says corpus: none$"
    ):
        open_toolbox(dealt).sample(3)


@dataclass(frozen=True)
class Compares:
    """Says whether the reference has another first tensor."""

    yardstick: ClassVar[bool] = False

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        name = "blocks.0.mlp.W_out"
        return Report(float(not toolbox.reference().weight(name).equal(toolbox.weight(name))))


def test_a_stored_case_is_opened_without_a_zoo(
    dealt: dict[League, Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    run = RunInfo("", "every-league", "0" * 64, {}, 0, "open", "2026-01-01T00:00:00+00:00", {})
    with create_run(tmp_path, run) as store:
        for each in dealt.values():
            store.save_case(each)
        monkeypatch.setenv("AUDIT_GAME_CACHE", str(tmp_path / "nothing"))
        kept = store.case(dealt["reference"].id)
        assert kept is not None
        record = play_round(kept, LoadedAuditor("compares", Compares(), False), seed=1)
    assert (record.status, record.p_edited) == ("DONE", 1.0)
    assert not (tmp_path / "nothing").exists()
