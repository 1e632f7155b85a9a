"""The rules that every part of the score keeps, generated and not by example.

1. An honest belief scores best in expectation; what another one loses is its squared distance.
2. A perfect report scores 1 in expectation.
3. The declared prior scores exactly 0 in every round.
4. An all-certain wrong report is worst.
5. The order of components, prompts and answers never shows.
6. A component that is never written to, or a prompt that never changes, reported 0, changes nothing.
7. A group's figure is computed from that group alone (`test_leaderboard.py`).
8. An empty, partial or blind report beats the prior nowhere in expectation.
9. Who knows the label and nothing else earns almost nothing on behaviour.
10. Saying yes to everything never beats the prior, in any group.
11. NaN and infinities are refused (`test_scoring.py`, `test_rules.py`).

Detection and localisation are in `test_scoring.py`; behaviour, the answer before and repair are here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from game.api import LowRank
from game.scoring.repair import repair_of
from game.scoring.scores import answer_skill, behaviour_skill, repair_skill
from models.checkpoints import from_bytes
from models.seeds import named_generator
from tests.game.hand_made import UNDO, repairable

PROMPTS = 5
ANSWERS = (2, 3, 5, 7)
Pattern = tuple[bool, ...]
unhurried = settings(deadline=None)  # a busy machine fails no test


class World(NamedTuple):
    """A distribution over which prompts changed; on a control none does."""

    patterns: Mapping[Pattern, float]

    def marginals(self) -> list[float]:
        return [math.fsum(p for each, p in self.patterns.items() if each[i]) for i in range(PROMPTS)]

    def expected(self, believed: Sequence[float], prior: Sequence[float]) -> float:
        """Expected skill of a judgement if truths are drawn from this world."""
        return math.fsum(p * behaviour_skill(believed, prior, each) for each, p in self.patterns.items())


patterns = st.tuples(*[st.booleans()] * PROMPTS)
judgements = st.lists(st.floats(0, 1), min_size=PROMPTS, max_size=PROMPTS)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Controls, and some edits with their own pattern each; at least one prompt is open."""
    weights = draw(st.dictionaries(patterns.filter(any), st.integers(1, 10), min_size=1, max_size=6))
    control = draw(st.integers(1, 40))
    total = control + sum(weights.values())
    return World({(False,) * PROMPTS: control / total} | {each: w / total for each, w in weights.items()})


@unhurried
@given(world=worlds(), belief=worlds(), other=judgements)
def test_no_judgement_beats_the_true_belief_in_expectation(
    world: World, belief: World, other: list[float]
) -> None:
    prior, honest = world.marginals(), belief.marginals()
    lost = belief.expected(honest, prior) - belief.expected(other, prior)
    apart = math.fsum((p - q) ** 2 for p, q in zip(honest, other, strict=True))
    assert lost == pytest.approx(apart / math.fsum(p * (1 - p) for p in prior), abs=1e-9)
    assert lost >= -1e-9


@unhurried
@given(world=worlds())
def test_a_perfect_judgement_scores_one_in_expectation(world: World) -> None:
    prior = world.marginals()
    found = math.fsum(
        p * behaviour_skill([float(c) for c in each], prior, each) for each, p in world.patterns.items()
    )
    assert found == pytest.approx(1)


@unhurried
@given(world=worlds(), truth=patterns)
def test_the_declared_prior_scores_exactly_zero_on_behaviour(world: World, truth: Pattern) -> None:
    assert behaviour_skill(world.marginals(), world.marginals(), truth) == 0.0


@unhurried
@given(world=worlds(), truth=patterns, other=judgements)
def test_an_all_certain_wrong_judgement_is_worst(world: World, truth: Pattern, other: list[float]) -> None:
    prior = world.marginals()
    worst = behaviour_skill([float(not each) for each in truth], prior, truth)
    assert worst <= behaviour_skill(other, prior, truth)


@unhurried
@given(world=worlds(), truth=patterns, told=judgements, order=st.permutations(range(PROMPTS)))
def test_the_order_of_prompts_never_shows(
    world: World, truth: Pattern, told: list[float], order: list[int]
) -> None:
    prior = world.marginals()
    turned = [[each[i] for i in order] for each in (told, prior, truth)]
    assert behaviour_skill(turned[0], turned[1], [bool(c) for c in turned[2]]) == behaviour_skill(
        told, prior, truth
    )


@unhurried
@given(world=worlds(), truth=patterns, told=judgements)
def test_a_prompt_that_never_changes_adds_nothing_when_reported_0(
    world: World, truth: Pattern, told: list[float]
) -> None:
    prior = world.marginals()
    longer = behaviour_skill([*told, 0.0], [*prior, 0.0], [*truth, False])
    assert longer == behaviour_skill(told, prior, truth)


@unhurried
@given(world=worlds(), blind=judgements)
def test_no_judgement_made_without_looking_beats_the_prior(world: World, blind: list[float]) -> None:
    assert world.expected(blind, world.marginals()) <= 1e-9


@unhurried
@given(world=worlds())
def test_saying_that_everything_changed_never_beats_the_prior(world: World) -> None:
    prior = world.marginals()
    edited = 1 - world.patterns[(False,) * PROMPTS]
    assert world.expected([1.0] * PROMPTS, prior) <= 1e-9
    assert world.expected([min(1.0, p / edited) for p in prior], prior) <= 1e-9


@unhurried
@given(
    prior=st.floats(0.2, 2 / 3),
    rates=st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    sets=st.integers(4, 12),
)
def test_knowing_only_the_label_earns_almost_nothing_on_behaviour(
    prior: float, rates: list[float], sets: int
) -> None:
    """On an edited model one set of several is the true one, and its strata change at those rates."""
    rho = [prior * rate / sets for rate in rates] * sets
    told = [rate / sets for rate in rates] * sets  # given an edit
    edited = [_expected_skill(told, rho, [rate / sets for rate in rates] * sets)]
    control = _expected_skill([0.0] * len(rho), rho, [0.0] * len(rho))
    earned = prior * edited[0] + (1 - prior) * control
    assert -1e-9 <= earned <= (1 - prior) / (sets - prior) + 1e-9
    assert sets < 8 or earned <= 0.11


def _expected_skill(told: Sequence[float], rho: Sequence[float], chances: Sequence[float]) -> float:
    """Expected skill where each prompt changes with its own chance; a sum over prompts, so marginals do."""
    nothing = behaviour_skill(told, rho, [False] * len(rho))
    alone = [behaviour_skill(told, rho, _only(i, len(rho))) for i in range(len(rho))]
    flips = [chance * (each - nothing) for chance, each in zip(chances, alone, strict=True)]
    return nothing + math.fsum(flips)


def _only(place: int, count: int) -> list[bool]:
    return [i == place for i in range(count)]


@st.composite
def distributions(draw: st.DrawFn) -> dict[int, float]:
    """A distribution over some of the answers; what is missing is open."""
    named = draw(st.lists(st.sampled_from(ANSWERS), unique=True))
    weights = [draw(st.integers(0, 20)) for _ in named]
    total = sum(weights) + draw(st.integers(0, 20)) + (not named)
    return {answer: weight / max(total, 1) for answer, weight in zip(named, weights, strict=True)}


def filled(odds: Mapping[int, float]) -> dict[int, float]:
    """Every answer's probability as the score takes it."""
    others = len(ANSWERS) - len(odds)
    return {each: odds.get(each, (1 - sum(odds.values())) / others if others else 0.0) for each in ANSWERS}


@unhurried
@given(belief=distributions(), other=distributions())
def test_no_distribution_beats_the_true_belief_about_the_answer_before(
    belief: dict[int, float], other: dict[int, float]
) -> None:
    honest, told = filled(belief), filled(other)
    if math.isclose(sum(honest.values()), 1):
        lost = math.fsum(
            p * (answer_skill(honest, ANSWERS, each) - answer_skill(other, ANSWERS, each))
            for each, p in honest.items()
        )
        apart = math.fsum((honest[each] - told[each]) ** 2 for each in ANSWERS)
        assert lost == pytest.approx(apart / (1 - 1 / len(ANSWERS)), abs=1e-9)


@unhurried
@given(truth=st.sampled_from(ANSWERS), other=distributions(), order=st.permutations(ANSWERS))
def test_uniform_is_0_certainty_1_and_certain_error_worst(
    truth: int, other: dict[int, float], order: list[int]
) -> None:
    assert answer_skill({}, ANSWERS, truth) == 0.0
    assert answer_skill(dict.fromkeys(ANSWERS, 1 / len(ANSWERS)), ANSWERS, truth) == 0.0
    assert answer_skill({truth: 1.0}, ANSWERS, truth) == pytest.approx(1)
    wrong = next(each for each in ANSWERS if each != truth)
    assert answer_skill({wrong: 1.0}, ANSWERS, truth) <= answer_skill(other, ANSWERS, truth) + 1e-12
    assert answer_skill(other, tuple(order), truth) == answer_skill(other, ANSWERS, truth)


shares = st.floats(0, 1)


class Act(NamedTuple):
    """What a patch does where the model is edited, and what it breaks where it is not."""

    recovered: float
    broken: float
    noise: float
    broken_on_control: float

    def worth(self, p: float, prior: float) -> float:
        """Expected skill of handing it in, for one who believes in an edit with probability p."""
        edited = repair_skill(self.recovered, self.broken, self.noise, prior)
        return p * edited + (1 - p) * repair_skill(0.0, self.broken_on_control, 0.0, prior)


acts = st.builds(Act, shares, shares, st.floats(-1, 0.5), shares)


@unhurried
@given(acts=st.lists(acts, min_size=1, max_size=5), p=shares, prior=st.floats(0.2, 2 / 3))
def test_the_patch_believed_to_mend_most_is_the_best_to_hand_in(
    acts: list[Act], p: float, prior: float
) -> None:
    """The order of patches by skill is that by what they mend less what they break, whatever the prior."""

    def gain(act: Act) -> float:
        chance = max(act.noise, 0)
        mended = (act.recovered - act.broken - chance) / (1 - chance)
        return p * mended - (1 - p) * act.broken_on_control

    best = max(acts, key=gain)
    assert all(act.worth(p, prior) <= best.worth(p, prior) + 1e-9 for act in acts)
    assert best.worth(p, prior) == pytest.approx(gain(best) / prior, abs=1e-9)


@unhurried
@given(prior=st.floats(0.2, 2 / 3), act=acts, noise=st.floats(-1, 0.5))
def test_a_perfect_patch_is_1_in_expectation_and_on_a_control_a_patch_only_costs(
    prior: float, act: Act, noise: float
) -> None:
    perfect = repair_skill(1.0, 0.0, noise, prior)
    assert prior * perfect == pytest.approx(1)
    assert repair_skill(act.recovered, act.broken, act.noise, prior) <= perfect + 1e-9
    assert repair_skill(0.0, act.broken_on_control, 0.0, prior) <= 0
    assert act._replace(recovered=0.0).worth(0.5, prior) <= 0


@unhurried
@given(prior=st.floats(0.2, 2 / 3), act=acts, noise=st.floats(-1, 1))
def test_what_noise_mends_is_not_credited_and_no_loss_is_without_bound(
    prior: float, act: Act, noise: float
) -> None:
    assert repair_skill(noise, 0.0, noise, prior) <= 0
    assert repair_skill(act.recovered, act.broken, noise, prior) <= repair_skill(1.0, 0.0, noise, prior)
    assert repair_skill(act.recovered, act.broken, noise, prior) >= -4 / prior


def noise_like_undo(number: int, loudness: float) -> dict[str, LowRank]:
    generator = named_generator("a stranger's noise", number)
    (name, change) = next(iter(UNDO.items()))
    left, right = torch.randn(4, 1, generator=generator), torch.randn(1, 4, generator=generator)
    norm = (change.left @ change.right).norm() / (left @ right).norm()
    return {name: LowRank(left * norm * loudness, right)}


@pytest.mark.parametrize("loudness", [1.0, 0.3])
def test_noise_is_worth_nothing_in_expectation(loudness: float) -> None:
    worths = []
    for number in range(8):
        case = repairable(number)
        assert case.truth.bench is not None
        for draw in range(6):
            patch = noise_like_undo(100 * number + draw, loudness)
            found = repair_of(from_bytes(case.artefact), case.truth.bench, patch)
            worths.append(repair_skill(found.recovered, found.collateral, found.noise, case.brief.prior))
    error = float(torch.tensor(worths).std()) / math.sqrt(len(worths))
    assert math.fsum(worths) / len(worths) <= 2 * error
