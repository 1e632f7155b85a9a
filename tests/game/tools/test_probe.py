from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from game.api import RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.kit.linear_probe import auc, calibration_error, fitted, out_of_fold
from game.tools.probe import estimate, probe
from models.seeds import named_generator

MakeBox = Callable[..., ModelToolbox]


@pytest.fixture
def samples() -> Samples:
    tokens = torch.randint(1, 11, (60, 5), generator=named_generator("probe"))
    return Samples(tokens, torch.full((60,), 5))


def parity(samples: Samples, pos: int) -> Tensor:
    """Whether the token at a position is odd."""
    return samples.tokens[:, pos] % 2 == 1


def test_what_a_token_says_is_read_at_the_token_and_by_chance_before_it(
    box: ModelToolbox, samples: Samples
) -> None:
    arrays = probe(box, samples, parity(samples, 2), strength=0.1).arrays
    assert arrays["auc"].shape == (4, 5)
    assert arrays["auc"][0, 2] > 0.99
    assert arrays["stands_out"][0, 2]
    assert not arrays["stands_out"][:, :2].any()  # attention looks back only
    assert not arrays["stands_out"][0, 3:].any()
    assert arrays["selectivity"][0, 2] > 0.3


def test_labels_without_meaning_stay_inside_their_band_at_the_promised_rate(
    box: ModelToolbox, samples: Samples
) -> None:
    generator, rounds = named_generator("coin"), 20
    found = [
        probe(box, samples, torch.rand(60, generator=generator) < 0.5, shuffles=9, positions=2, seed=i)
        for i in range(rounds)
    ]
    assert sum(bool(result.summary[0].stands_out) for result in found) <= 6  # 10 % each: P(more) < 0.003
    mean = torch.stack([result.arrays["auc"].mean() for result in found]).mean()
    assert abs(float(mean) - 0.5) < 0.06


def test_a_group_never_sits_in_two_folds_and_is_shuffled_as_one(box: ModelToolbox, samples: Samples) -> None:
    group = torch.arange(60) // 6
    tokens = samples.tokens.clone()
    tokens[:, 4] = 1 + group  # names the group, so that rows of a group know each other
    named = Samples(tokens, samples.lengths)
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 0, 1])[group]
    alone = probe(box, named, labels, strength=0.1)
    together = probe(box, named, labels, group, strength=0.1)
    assert alone.arrays["auc"][0, 4] > 0.99
    assert together.arrays["auc"][0, 4] < alone.arrays["auc"][0, 4] - 0.15
    assert not together.arrays["stands_out"].any()


def test_the_same_arguments_give_the_same_figures_and_cost_their_estimate(
    make_box: MakeBox, samples: Samples
) -> None:
    one, cut = (
        probe(box, samples, parity(samples, 4), shuffles=3) for box in (make_box(), make_box(max_rows=7))
    )
    torch.testing.assert_close(one.arrays["auc"], cut.arrays["auc"], atol=1e-3, rtol=0)
    assert one.cost == cut.cost == estimate(make_box().config, 60) == 60


def test_a_probe_in_raw_coordinates_is_the_probe_of_standardised_ones() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = torch.randn(80, 5, generator=named_generator("raw")).double() * torch.tensor([1, 5, 0.1, 2, 0]) + 3
    labels = x[:, 0] + 10 * x[:, 2] > 33
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000)).fit(
        x.numpy(), labels.numpy()
    )
    expected = torch.from_numpy(peer.decision_function(x.numpy()))
    torch.testing.assert_close(fitted(x, labels, 2.0).logit(x), expected, atol=1e-4, rtol=1e-4)


def test_many_labels_at_once_are_the_ridge_of_each() -> None:
    from sklearn.linear_model import Ridge

    generator = named_generator("ridge")
    x, labels = torch.randn(40, 6, generator=generator), torch.rand(40, 3, generator=generator) < 0.5
    fold = torch.arange(40) % 4
    found = out_of_fold(x, labels, fold, 2.0)
    train, test = x[fold != 1].double(), x[fold == 1].double()
    mean, spread = train.mean(0), train.std(0, correction=0)
    peer = Ridge(alpha=2.0).fit(((train - mean) / spread).numpy(), labels[fold != 1, 2].double().numpy())
    expected = torch.from_numpy(peer.predict(((test - mean) / spread).numpy()))
    torch.testing.assert_close(found[fold == 1, 2], expected)


def test_auc_and_calibration_follow_their_definitions() -> None:
    from sklearn.metrics import roc_auc_score

    generator = named_generator("scores")
    scores = torch.randint(5, (50, 2), generator=generator).double()  # with ties
    labels = torch.rand(50, 2, generator=generator) < 0.4
    for column in range(2):
        expected = roc_auc_score(labels[:, column].numpy(), scores[:, column].numpy())
        assert float(auc(scores, labels)[column]) == pytest.approx(expected)
    assert calibration_error(labels[:, 0].double(), labels[:, 0]) == pytest.approx(0)
    assert calibration_error((~labels[:, 0]).double(), labels[:, 0]) == pytest.approx(1)


def test_what_cannot_be_probed_is_refused_for_nothing(box: ModelToolbox, samples: Samples) -> None:
    wrong = torch.zeros(60)
    with pytest.raises(RequestError, match=r"labels: got 0 samples of one class; wanted at least 5 of each"):
        probe(box, samples, wrong)
    with pytest.raises(RequestError, match=r"labels: got shape \[3\]; wanted one for each of 60 samples"):
        probe(box, samples, wrong[:3])
    with pytest.raises(RequestError, match="labels: got a value that is neither 0 nor 1"):
        probe(box, samples, wrong + 2)
    with pytest.raises(RequestError, match=r"groups: got shape .* with 2 different numbers; .* at least 5"):
        probe(box, samples, parity(samples, 0), torch.arange(60) % 2)
    with pytest.raises(RequestError, match="folds: got 1; allowed: 2 and more"):
        probe(box, samples, parity(samples, 0), folds=1)
    with pytest.raises(RequestError, match="samples: got none, wanted at least 1"):
        probe(box, Samples(samples.tokens[:0], samples.lengths[:0]), wrong[:0])
    assert box.budget.spent == 0
