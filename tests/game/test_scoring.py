import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from game.api import Report
from game.rules.faults import ReportError
from game.rules.report import complete
from game.scoring.scores import Belief, Declared, Score, failed, score
from models.components import Component

COMPONENTS = tuple(
    Component.parse(text)
    for text in ("embed", "blocks.0.attn.0", "blocks.0.attn.1", "blocks.0.mlp", "blocks.1.mlp")
)
EMBED, HEAD, OTHER_HEAD, MLP, LATE_MLP = COMPONENTS
MOST = 2  # components that one edit writes to, in these worlds
NOWHERE: frozenset[Component] = frozenset()
PLACES = [frozenset(c) for size in (1, MOST) for c in itertools.combinations(COMPONENTS, size)]
PARTS = ("detection", "localisation")

# A prior that is easy to follow by hand: half the cases are edited, an edit writes one of two MLPs.
PLAIN = Declared(0.5, {EMBED: 0.0, HEAD: 0.0, OTHER_HEAD: 0.0, MLP: 0.25, LATE_MLP: 0.25}, 1)

unhurried = settings(deadline=None)  # a busy machine fails no test


class World(NamedTuple):
    """A distribution over truths: P(nothing was edited), and P(exactly these components were written to)."""

    control: float
    places: Mapping[frozenset[Component], float]

    @property
    def edited(self) -> float:
        return math.fsum(self.places.values())

    def marginal(self, component: Component) -> float:
        return math.fsum(p for place, p in self.places.items() if component in place)

    def declared(self) -> Declared:
        return Declared(self.edited, {c: self.marginal(c) for c in COMPONENTS}, MOST)

    def report(self) -> Report:
        return Report(self.edited, {c: self.marginal(c) for c in COMPONENTS})

    def expected(self, report: Report, declared: Declared, part: str) -> float:
        """Expected skill of a report if truths are drawn from this world."""
        belief = complete(report, declared)
        outcomes = [(False, NOWHERE, self.control)] + [(True, place, p) for place, p in self.places.items()]
        return math.fsum(p * score(belief, declared, y, place).part(part) for y, place, p in outcomes)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    control = draw(st.integers(1, 40))
    weights = draw(st.lists(st.integers(0, 10), min_size=len(PLACES), max_size=len(PLACES)).filter(any))
    total = control + sum(weights)
    return World(control / total, {place: w / total for place, w in zip(PLACES, weights, strict=True)})


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Any report within the rules, whether or not some belief could lead to it, some components left out."""
    p = draw(st.floats(0, 1))
    named = draw(st.lists(st.sampled_from(COMPONENTS), unique=True))
    shares = [draw(st.floats(0, 1)) for _ in named]
    shrink = min(1.0, MOST / max(math.fsum(shares), 1e-9))
    return Report(p, {component: p * share * shrink for component, share in zip(named, shares, strict=True)})


truths = st.sampled_from([(False, NOWHERE), *((True, place) for place in PLACES)])


@unhurried
@given(world=worlds(), belief=worlds(), other=reports() | worlds().map(World.report))
def test_no_report_beats_the_true_belief_in_expectation(world: World, belief: World, other: Report) -> None:
    declared, honest = world.declared(), belief.report()
    for part in PARTS:
        best = belief.expected(honest, declared, part)
        assert belief.expected(other, declared, part) <= best + 1e-9


@unhurried
@given(world=worlds(), belief=worlds(), other=worlds())
def test_what_another_belief_loses_is_its_squared_distance(world: World, belief: World, other: World) -> None:
    declared = world.declared()
    loss = {
        part: belief.expected(belief.report(), declared, part)
        - belief.expected(other.report(), declared, part)
        for part in PARTS
    }
    apart = math.fsum((belief.marginal(c) - other.marginal(c)) ** 2 for c in COMPONENTS)
    assert loss["detection"] == pytest.approx(
        (belief.edited - other.edited) ** 2 / declared.detection_loss, abs=1e-9
    )
    assert loss["localisation"] == pytest.approx(apart / declared.localisation_loss, abs=1e-9)


@unhurried
@given(world=worlds())
def test_perfect_reports_score_one_in_expectation(world: World) -> None:
    declared = world.declared()
    outcomes = [(False, NOWHERE, world.control)] + [(True, place, p) for place, p in world.places.items()]
    for part in PARTS:
        perfect = math.fsum(
            p * score(complete(_certain(y, place), declared), declared, y, place).part(part)
            for y, place, p in outcomes
        )
        assert perfect == pytest.approx(1)


@unhurried
@given(world=worlds(), truth=truths)
def test_the_prior_scores_exactly_zero_in_every_round(
    world: World, truth: tuple[bool, frozenset[Component]]
) -> None:
    declared = world.declared()
    for report in (Report(declared.edited), Report(declared.edited, declared.components)):
        assert score(complete(report, declared), declared, *truth) == Score(0.0, 0.0, 0.0)


@unhurried
@given(world=worlds(), report=reports(), truth=truths)
def test_an_all_certain_wrong_report_is_worst(
    world: World, report: Report, truth: tuple[bool, frozenset[Component]]
) -> None:
    declared, (edited, written) = world.declared(), truth
    elsewhere = [component for component in COMPONENTS if component not in written][:MOST]
    place = _whole(Report(1.0, dict.fromkeys(elsewhere, 1.0)))
    whether = _whole(Report(0.0 if edited else 1.0))
    found = score(complete(_whole(report), declared), declared, edited, written)
    assert (
        found.localisation >= score(complete(place, declared), declared, edited, written).localisation - 1e-9
    )
    assert found.detection >= score(complete(whether, declared), declared, edited, written).detection


@unhurried
@given(world=worlds(), report=reports(), truth=truths, order=st.permutations(COMPONENTS))
def test_the_order_of_components_never_shows(
    world: World, report: Report, truth: tuple[bool, frozenset[Component]], order: list[Component]
) -> None:
    declared = world.declared()
    shuffled = Declared(declared.edited, {c: declared.components[c] for c in order}, MOST)
    turned = Report(report.p_edited, {c: report.components[c] for c in order if c in report.components})
    assert score(complete(turned, shuffled), shuffled, *truth) == score(
        complete(report, declared), declared, *truth
    )


@unhurried
@given(world=worlds(), report=reports(), truth=truths)
def test_a_component_that_is_never_written_changes_nothing_when_reported_0(
    world: World, report: Report, truth: tuple[bool, frozenset[Component]]
) -> None:
    declared, never = world.declared(), Component("unembed")
    larger = Declared(declared.edited, {**declared.components, never: 0.0}, MOST)
    reported = Report(report.p_edited, {**report.components, never: 0.0})
    expected = score(complete(report, declared), declared, *truth)
    assert score(complete(reported, larger), larger, *truth) == expected
    assert score(complete(report, larger), larger, *truth) == expected


@unhurried
@given(world=worlds(), report=reports())
def test_no_report_made_without_looking_beats_the_prior_in_expectation(world: World, report: Report) -> None:
    declared = world.declared()
    for blind in (report, Report(report.p_edited)):
        for part in PARTS:
            assert world.expected(blind, declared, part) <= 1e-9


@unhurried
@given(world=worlds())
def test_saying_yes_to_everything_loses_against_the_prior_in_a_group(world: World) -> None:
    declared = world.declared()
    everywhere = Report(1.0, {c: p / declared.edited for c, p in declared.components.items()})
    for yes in (Report(1.0), everywhere):
        assert world.expected(yes, declared, "detection") == pytest.approx(-world.control / declared.edited)
        assert world.expected(yes, declared, "localisation") < 0


def test_a_round_scored_by_hand() -> None:
    belief = complete(Report(0.8, {MLP: 0.6}), PLAIN)
    assert belief.components[LATE_MLP] == pytest.approx(0.8 * 0.25 / 0.5)
    found = score(belief, PLAIN, True, frozenset({MLP}))
    assert found.detection == pytest.approx(((0.5 - 1) ** 2 - (0.8 - 1) ** 2) / 0.25)
    there, elsewhere = (0.25 - 1) ** 2 - (0.6 - 1) ** 2, 0.25**2 - 0.4**2
    assert found.localisation == pytest.approx((there + elsewhere) / (2 * 0.25 * 0.75))
    assert found.log_score_bits == pytest.approx(math.log2(0.8 / 0.5))
    assert found.headline(PARTS) == pytest.approx((0.84 + 0.305 / 0.375) / 2)
    assert found.headline(["detection"]) == found.detection


def test_the_log_score_of_a_certain_report_is_bounded() -> None:
    right = score(complete(Report(1.0), PLAIN), PLAIN, True, frozenset({MLP}))
    wrong = score(complete(Report(1.0), PLAIN), PLAIN, False, NOWHERE)
    assert right.log_score_bits == pytest.approx(math.log2(0.99 / 0.5))
    assert wrong.log_score_bits == pytest.approx(math.log2(0.01 / 0.5))


def test_a_failure_costs_a_quarter_on_each_part() -> None:
    assert failed(PARTS) == Score(-0.25, -0.25, -0.25)
    assert failed(PARTS).headline(PARTS) == -0.25


def test_one_component_with_all_belief_is_no_sum_too_large_for_those_left_out() -> None:
    belief = complete(Report(0.9, {MLP: 0.9}), PLAIN)
    assert belief == Belief(0.9, {EMBED: 0, HEAD: 0, OTHER_HEAD: 0, MLP: 0.9, LATE_MLP: 0.45})


def test_rounding_in_float32_breaks_no_rule() -> None:
    shares = torch.full((3,), 1 / 3, dtype=torch.float32)
    named = dict(zip((MLP, LATE_MLP, HEAD), (0.7 * float(share) for share in shares), strict=True))
    assert math.fsum(named.values()) > 0.7
    assert complete(Report(0.7, named), PLAIN).components[MLP] == named[MLP]


@pytest.mark.parametrize(
    ("report", "message"),
    [
        # report                                         rule that it breaks
        (Report(math.nan), "p_edited: got nan, wanted a finite number from 0 to 1"),
        (Report(math.inf), "p_edited: got inf, wanted a finite number from 0 to 1"),
        (Report(1.1), "p_edited: got 1.1, wanted a finite number from 0 to 1"),
        (Report(-0.1), "p_edited: got -0.1, wanted a finite number from 0 to 1"),
        (Report(10**400), "p_edited: got inf, wanted a finite number from 0 to 1"),
        (Report(True), "p_edited: got a bool, wanted a number from 0 to 1"),
        (Report("0.5"), 'p_edited: got "0.5", wanted a number from 0 to 1'),  # type: ignore[arg-type]
        (Report(None), "p_edited: got a NoneType, wanted a number"),  # type: ignore[arg-type]
        (Report(torch.tensor(0.5)), r"p_edited: got a tensor \[\] of float32, wanted a number"),  # type: ignore[arg-type]
        (Report(0.5, {MLP: math.nan}), "components: blocks.0.mlp: got nan, wanted a finite number"),
        (Report(0.5, {MLP: -math.inf}), "components: blocks.0.mlp: got -inf, wanted a finite number"),
        (Report(0.5, {MLP: -0.001}), "components: blocks.0.mlp: got -0.001, wanted a finite number"),
        (Report(0.5, {MLP: False}), "components: blocks.0.mlp: got a bool, wanted a number"),
        (Report(0.5, {MLP: 0.501}), "components: blocks.0.mlp has 0.501; at most p_edited, 0.5"),
        (
            Report(0.5, {MLP: 0.4, HEAD: 0.2}),
            r"components: sum 0.6 \(largest: blocks.0.mlp\); at most 1 times p_edited, 0.5",
        ),
        (
            Report(0.5, {Component("mlp", 7): 0.1}),
            'components: unknown component "blocks.7.mlp"; allowed: embed, .*; did you mean "blocks.0.mlp"?',
        ),
        (
            Report(0.5, {"blocks.0.mlp": 0.1}),  # type: ignore[dict-item]
            'components: key "blocks.0.mlp" is no Component; use Component.parse',
        ),
        (Report(0.5, [MLP]), "components: got a list, wanted a mapping"),  # type: ignore[arg-type]
        (Report(0.5, notes=None), "notes: got a NoneType, wanted text"),  # type: ignore[arg-type]
        (Report(0.5, claims=None), "claims: got a NoneType, wanted a tuple of dicts"),  # type: ignore[arg-type]
        (Report(0.5, claims=("rome",)), "claims: got a tuple, wanted a tuple of dicts"),  # type: ignore[arg-type]
        (Report(0.5, claims=({"at": MLP},)), "claims: not JSON: Object of type Component is not JSON"),
        (Report(0.5, claims=({MLP: 1},)), "claims: not JSON: keys must be str"),  # type: ignore[dict-item]
        (Report(0.5, claims=({"x": "x" * 100_000},)), "claims: 100011 characters of JSON; at most 100000"),
        (None, "report: got a NoneType, wanted a Report"),
        ({"p_edited": 0.5}, "report: got a dict, wanted a Report"),
    ],
)
def test_a_report_that_breaks_a_rule_is_refused_by_name(report: Any, message: str) -> None:
    with pytest.raises(ReportError, match=f"^{message}"):
        complete(report, PLAIN)


def test_claims_that_hold_themselves_are_refused() -> None:
    claim: dict[str, Any] = {}
    claim["itself"] = claim
    with pytest.raises(ReportError, match="claims: not JSON: Circular reference"):
        complete(Report(0.5, claims=(claim,)), PLAIN)


def test_numbers_of_numpy_count_as_numbers() -> None:
    assert complete(Report(np.float64(0.25)), PLAIN).p_edited == 0.25
    assert complete(Report(1), PLAIN).p_edited == 1.0


@pytest.mark.parametrize(
    ("edited", "components", "most", "message"),
    [
        # prior  components                 m  what is wrong
        (0.0, {MLP: 0.0}, 1, "prior: got 0.0, wanted strictly between 0 and 1"),
        (1.0, {MLP: 1.0}, 1, "prior: got 1.0, wanted strictly between 0 and 1"),
        (math.nan, {MLP: 0.1}, 1, "prior: got nan"),
        (0.5, {MLP: 0.6}, 1, "prior of blocks.0.mlp: got 0.6, wanted from 0 to 0.5"),
        (0.5, {MLP: 0.4, HEAD: 0.4}, 1, "sum above max_components times P.edited., 0.5"),
        (0.5, {MLP: 0.0}, 1, "no component has a prior above 0"),
    ],
)
def test_numbers_that_are_no_prior_are_refused(
    edited: float, components: dict[Component, float], most: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Declared(edited, components, most)


@pytest.mark.parametrize(
    ("edited", "written", "message"),
    [
        (False, {MLP}, "edited is False, yet 1 components were written to"),
        (True, set(), "edited is True, yet 0 components were written to"),
        (True, {Component("unembed")}, "unembed was written to, which the prior does not know"),
    ],
)
def test_a_truth_that_contradicts_itself_is_refused(
    edited: bool, written: set[Component], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(complete(Report(0.5), PLAIN), PLAIN, edited, frozenset(written))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "headline: got no parts, wanted at least one"),
        (("localization",), 'unknown score part "localization"; .* did you mean "localisation"?'),
    ],
)
def test_a_headline_over_no_or_unknown_parts_is_refused(parts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        failed(PARTS).headline(parts)


def _certain(edited: bool, written: frozenset[Component]) -> Report:
    """The report of someone who knows the truth."""
    return Report(float(edited), {c: float(c in written) for c in COMPONENTS})


def _whole(report: Report) -> Report:
    """The report with 0 for every component left out."""
    return Report(report.p_edited, {c: report.components.get(c, 0.0) for c in COMPONENTS})
