"""Challenges ask about many edits and do not tell which is true; answers are what the delivered bytes say."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from edits.targets import Prompt, Target
from game.api import Challenge, Stratum
from game.case import Answers, Bench, Case
from game.dealing.challenge import PER_STRATUM, STRATA, Rates, composed, declared_priors, label_only_skill
from game.dealing.dealer import CasePlan, Dealer, plan_cases
from game.dealing.master import Master
from game.dealing.suite import Grant, Suite, suite_of
from game.dealing.target_sets import SETS, most_sets, sampled_with
from game.referee import open_unmetered
from models.checkpoints import from_bytes
from models.seeds import named_generator
from models.strict_yaml import parse_document
from models.tasks.base import Probe, answer_log_probs
from models.zoo import Trained
from tests.tiny_suite import TINY_SUITE

MASTER = Master.of_seed(5)
GRANT = Grant("whitebox", "prompts")


def asking(text: str = TINY_SUITE) -> Suite:
    parts = "[detection, localisation, behaviour, repair]"
    return suite_of(parse_document(text.replace("[detection, localisation]", parts), "asking.yaml"))


@pytest.fixture(scope="module")
def dealer(tiny: Trained) -> Dealer:
    return Dealer(asking(), MASTER)


@pytest.fixture(scope="module")
def cases(dealer: Dealer) -> list[Case]:
    return [dealer.deal(plan) for plan in plan_cases(dealer.suite, MASTER)]


@pytest.fixture(scope="module")
def edited(dealer: Dealer) -> list[Case]:
    """Edits of one group on one base."""
    return [dealer.deal(CasePlan(f"more-{n:03d}", "facts", True, "untouched")) for n in range(24)]


def asked(case: Case) -> tuple[Challenge, Answers, Bench]:
    assert case.challenge is not None
    assert case.truth.answers is not None
    assert case.truth.bench is not None
    return case.challenge, case.truth.answers, case.truth.bench


def prompts(challenge: Challenge) -> list[Prompt]:
    rows = zip(challenge.tokens.tolist(), challenge.lengths.tolist(), strict=True)
    return [tuple(tokens[:length]) for tokens, length in rows]


def true_set(case: Case) -> int:
    """The set whose affected prompts changed most."""
    challenge, answers, _ = asked(case)
    rows = zip(challenge.target_set, challenge.stratum, answers.changed, strict=True)
    return Counter(s for s, stratum, hit in rows if stratum == "affected" and hit).most_common(1)[0][0]


def test_edits_and_controls_of_a_group_are_asked_in_the_same_way(cases: list[Case]) -> None:
    for group, sets in (("facts", SETS), ("heads", 4)):
        of_group = [asked(case)[0] for case in cases if case.truth.group == group]
        labels = {case.truth.edited for case in cases if case.truth.group == group}
        assert labels == {True, False}
        assert {max(challenge.target_set) + 1 for challenge in of_group} == {sets}
        for challenge in of_group:
            counts = Counter(zip(challenge.target_set, challenge.stratum, strict=True))
            assert counts == {(s, stratum): PER_STRATUM for s in range(sets) for stratum in STRATA}


def test_no_prompt_comes_twice_and_padding_is_only_behind_the_end(cases: list[Case]) -> None:
    for case in cases:
        challenge, pad = asked(case)[0], case.brief.task.pad
        assert len(set(prompts(challenge))) == len(challenge.prior)
        assert all(pad not in prompt for prompt in prompts(challenge))
        assert challenge.tokens.shape[1] == int(challenge.lengths.max())


def test_answers_are_those_of_the_delivered_bytes(dealer: Dealer, cases: list[Case]) -> None:
    base = dealer.base("facts-tiny", 0).model
    for case in cases:
        challenge, answers, bench = asked(case)
        probe = Probe(challenge.tokens, challenge.lengths - 1, challenge.lengths)
        before, after = (
            answer_log_probs(model, probe).argmax(-1) for model in (base, from_bytes(case.artefact).model())
        )
        assert list(answers.before) == before.tolist()
        assert list(answers.changed) == (before != after).tolist()
        assert set(answers.before) <= set(challenge.answers)
        moved = [x != y for x, y in zip(bench.before, bench.after, strict=True)]
        assert moved == [place < bench.affected for place in range(len(moved))]


def test_an_edit_shows_in_its_own_set_and_hardly_elsewhere(cases: list[Case]) -> None:
    for case in cases:
        challenge, answers, _ = asked(case)
        if not case.truth.edited:
            assert sum(answers.changed) <= 0.05 * len(answers.changed)
            continue
        own = true_set(case)
        shares: dict[tuple[bool, Stratum], list[bool]] = {}
        for s, stratum, hit in zip(challenge.target_set, challenge.stratum, answers.changed, strict=True):
            shares.setdefault((s == own, stratum), []).append(hit)
        assert sum(shares[True, "affected"]) == PER_STRATUM
        assert sum(shares[True, "paraphrase"]) >= PER_STRATUM - 1
        assert not any(shares[True, "near miss"] + shares[True, "unrelated"])
        assert sum(shares[False, "affected"]) <= 0.2 * len(shares[False, "affected"])


def test_near_misses_share_more_with_what_is_edited_than_unrelated_prompts(cases: list[Case]) -> None:
    for case in (case for case in cases if case.truth.group == "facts"):
        challenge = asked(case)[0]
        classes = case.brief.task.classes
        names = {token for group in ("first_names", "last_names") for token in classes.get(group, ())}
        words: dict[tuple[int, Stratum], list[set[int]]] = {}
        for prompt, s, stratum in zip(
            prompts(challenge), challenge.target_set, challenge.stratum, strict=True
        ):
            asked_of = set(prompt[-8:]) & names  # of the last sentence
            words.setdefault((s, stratum), []).append(asked_of)
        for s in range(SETS):
            subject = set.intersection(*words[s, "affected"])
            near = sum(bool(said & subject) for said in words[s, "near miss"])
            far = sum(bool(said & subject) for said in words[s, "unrelated"])
            assert (near >= 1, far) == (True, 0)


def test_the_true_set_stands_anywhere(edited: list[Case]) -> None:
    places = Counter(map(true_set, edited))
    expected = len(edited) / SETS
    chi_squared = sum((places[place] - expected) ** 2 / expected for place in range(SETS))
    assert chi_squared < 24.3  # 0.999 quantile at 7 degrees of freedom


@pytest.mark.parametrize(
    "feature", ["length", "confidence", "entropy", "order"], ids=lambda name: f"not by {name}"
)
def test_nothing_but_the_model_tells_the_true_set(feature: str, dealer: Dealer, edited: list[Case]) -> None:
    """The true set's rank among its case's sets by a feature is as a permutation's."""
    measures: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "length": lambda _, lengths: lengths.double(),
        "confidence": lambda log_probs, _: log_probs.max(-1).values.double(),
        "entropy": lambda log_probs, _: -(log_probs.exp() * log_probs).sum(-1).double(),
        "order": lambda _, lengths: torch.arange(len(lengths)).double(),
    }
    base, above = dealer.base("facts-tiny", 0).model, []
    for case in edited:
        challenge = asked(case)[0]
        log_probs = answer_log_probs(base, Probe(challenge.tokens, challenge.lengths - 1, challenge.lengths))
        values, sets = measures[feature](log_probs, challenge.lengths), torch.tensor(challenge.target_set)
        means = torch.stack([values[sets == s].mean() for s in range(SETS)])
        own = means[true_set(case)]
        above.append(float((means < own).double().mean() + (means == own).double().mean() / 2))
    mean, spread = sum(above) / len(above), ((1 - 1 / SETS**2) / 12 / len(above)) ** 0.5
    assert abs(mean - 0.5) < 3.3 * spread  # two-sided p > 0.001


def test_of_unequal_odds_each_member_of_a_sample_is_equally_likely_to_be_the_given_one() -> None:
    odds = tuple(Fraction(weight, 24) for weight in (6, 6, 4, 3, 3, 1, 1))
    generator, size = named_generator("odds"), 4
    weights = torch.tensor([float(p) for p in odds])
    given_in: dict[tuple[int, ...], Counter[int]] = {}
    for _ in range(20_000):
        given = int(torch.multinomial(weights, 1, generator=generator))
        sample = tuple(sampled_with(given, odds, size, generator))
        assert len(sample) == size
        assert given in sample
        given_in.setdefault(sample, Counter())[given] += 1
    for sample, counts in given_in.items():
        seen = counts.total()
        if seen >= 200:
            chi_squared = sum((counts[i] - seen / size) ** 2 / (seen / size) for i in sample)
            assert chi_squared < 21.1, sample  # 0.9999 quantile at 3 degrees of freedom


def test_as_many_sets_as_can_be_equally_likely() -> None:
    assert most_sets([Fraction(1, 12)] * 12) == 8
    assert most_sets([Fraction(1, 5)] * 5) == 5
    assert most_sets([Fraction(2, 5), *[Fraction(1, 10)] * 6]) == 2


def test_sets_are_composed_alike_whichever_target_comes_first(dealer: Dealer) -> None:
    base = dealer.base("facts-tiny", 0)
    targets = list(dealer.pool(dealer.suite.groups[0], "facts-tiny", 0).targets)
    one, other = (composed(base, order, named_generator("composed")) for order in (targets, targets[::-1]))
    for sets in (one, other):
        assert len(sets.prompts) == len(targets) * len(STRATA) * PER_STRATUM
    first, last = (
        {prompt for prompt, *of in zip(*vars(sets).values(), strict=True) if of == [number, "affected"]}
        for sets, number in ((one, 0), (other, 7))
    )
    assert first == last  # nothing is drawn for what a target is about


def test_a_stratum_that_one_target_cannot_fill_is_smaller_for_all(dealer: Dealer) -> None:
    base = dealer.base("facts-tiny", 0)
    rich, poor = dealer.pool(dealer.suite.groups[0], "facts-tiny", 0).targets[:2]
    poor = replace(poor, paraphrase=poor.paraphrase[:1])
    sets = composed(base, [rich, poor], named_generator("poor"))
    counts = Counter(zip(sets.target_set, sets.stratum, strict=True))
    assert [counts[s, "paraphrase"] for s in (0, 1)] == [1, 1]
    assert [counts[s, "affected"] for s in (0, 1)] == [PER_STRATUM] * 2
    empty = Target("nothing", (), (), frozenset())
    assert "affected" not in composed(base, [rich, empty], named_generator("empty")).stratum


def test_a_challenge_is_the_same_whichever_case_is_dealt_first(cases: list[Case]) -> None:
    again = Dealer(asking(), MASTER)
    for plan, case in list(zip(plan_cases(again.suite, MASTER), cases, strict=True))[::-3]:
        dealt = again.deal(plan)
        assert dealt.truth == case.truth
        assert dealt.challenge is not None
        assert torch.equal(dealt.challenge.tokens, asked(case)[0].tokens)
        assert dealt.challenge.prior == asked(case)[0].prior


def test_pools_are_kept_and_found_again_and_damaged_ones_are_solved_again(
    own_cache: Path, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_cache / "target-sets"
    again = Dealer(asking(), MASTER)
    with monkeypatch.context() as patch:
        patch.setattr("game.dealing.target_sets.tries", lambda *_: pytest.fail("solved again"))
        pools = [again.pool(group, "facts-tiny", 0) for group in again.suite.groups]
    assert [pool.sets for pool in pools] == [8, 4]
    kept = {path: path.read_bytes() for path in folder.iterdir()}  # of other tests' dealers too
    for path in kept:
        path.write_text("nonsense")
    Dealer(asking(), MASTER).pool(again.suite.groups[0], "facts-tiny", 0)
    solved = {path for path in kept if path.read_bytes() == kept[path]}
    assert solved
    assert all(path.read_text() == "nonsense" for path in kept.keys() - solved)
    for path, data in kept.items():
        path.write_bytes(data)


def test_another_master_has_other_decoys_and_its_key_is_not_in_the_files(own_cache: Path) -> None:
    secret = Master(b"\x07" * 32, rated=False)
    other = Dealer(asking(), secret)
    pools = [
        dealer.pool(other.suite.groups[0], "facts-tiny", 0) for dealer in (other, Dealer(asking(), MASTER))
    ]
    assert pools[0].targets != pools[1].targets
    for path in (own_cache / "target-sets").iterdir():
        assert secret.key.hex() not in path.name + path.read_text()


def test_the_declared_prior_depends_on_nothing_that_a_case_hides(dealer: Dealer, cases: list[Case]) -> None:
    for case in cases:
        challenge = asked(case)[0]
        group = next(each for each in dealer.suite.groups if each.name == case.truth.group)
        declared = dealer.stratum_priors(group, "facts-tiny", max(challenge.target_set) + 1)
        assert challenge.prior == tuple(declared[stratum] for stratum in challenge.stratum)
        assert all(0 < rho < 1 for rho in challenge.prior)


def test_the_declared_prior_is_the_share_that_changes(dealer: Dealer, edited: list[Case]) -> None:
    declared = dealer.stratum_priors(dealer.suite.groups[0], "facts-tiny", SETS)
    for stratum in STRATA:
        hits = [
            hit
            for case in edited
            for hit, of in zip(asked(case)[1].changed, asked(case)[0].stratum, strict=True)
            if of == stratum
        ]
        assert declared[stratum] / dealer.suite.prior == pytest.approx(sum(hits) / len(hits), abs=0.03)


def test_declared_priors_by_hand() -> None:
    counts: dict[Stratum, tuple[int, int]] = dict.fromkeys(STRATA, (0, 0))
    loud = Rates({**counts, "affected": (9, 9)}, {**counts, "affected": (0, 9)})
    quiet = Rates({**counts, "affected": (4, 9)}, {**counts, "affected": (1, 9)})
    rho = declared_priors([loud, quiet], prior=0.6, sets=4)
    own, cross = (0.95 + 0.45) / 2, (0.05 + 0.15) / 2
    assert rho["affected"] == pytest.approx(0.6 * (own + 3 * cross) / 4)
    assert 0 < rho["unrelated"] < 0.6  # never measured


def test_benches_hold_changed_and_kept_prompts_that_the_challenge_lacks(cases: list[Case]) -> None:
    for case in cases:
        challenge, _, bench = asked(case)
        assert not set(bench.prompts) & set(prompts(challenge))
        assert len(set(bench.prompts)) == len(bench.prompts)
        assert len(bench.prompts) - bench.affected == 128
        if case.truth.edited:
            assert 16 <= bench.affected <= 32
        elif case.truth.kind == "untouched":
            assert bench.affected == 0


def test_knowing_only_the_label_earns_next_to_nothing(cases: list[Case], edited: list[Case]) -> None:
    assert 0 < label_only_skill(cases) < 0.12
    challenge = replace(asked(cases[0])[0], prior=(0.2, 0.1))
    by_hand = (0.04 + 0.01) / (0.16 + 0.09)  # at pi = 0.5
    assert label_only_skill([replace(cases[0], challenge=challenge)]) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="no case has a challenge"):
        label_only_skill([replace(cases[0], challenge=None)])


def test_strength_is_what_the_dials_say(cases: list[Case]) -> None:
    strengths = {case.truth.group: case.truth.strength for case in cases}
    assert strengths == {"facts": {"facts": 1.0, "ridge": 0.01}, "heads": {}}


def test_a_suite_that_does_not_score_behaviour_asks_nothing(tiny: Trained) -> None:
    plain = Dealer(suite_of(parse_document(TINY_SUITE, "plain.yaml")), MASTER)
    case = plain.deal(CasePlan("case-000", "facts", False, "untouched"))
    assert (case.challenge, case.truth.answers, case.truth.bench) == (None, None, None)
    assert case.truth.strength == {"facts": 1.0, "ridge": 0.01}


def test_a_control_with_weights_of_its_own_is_its_own_base(dealer: Dealer) -> None:
    case = dealer.deal(CasePlan("own-000", "facts", False, "gauge_only"))
    _, answers, bench = asked(case)
    assert not any(answers.changed)
    assert bench.affected == 0
    box = open_unmetered(case)
    for name in box.config.weight_shapes():
        assert torch.equal(box.weight(name), box.reference().weight(name))
