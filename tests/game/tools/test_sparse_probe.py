from collections.abc import Callable

import pytest
import torch

from game.api import RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.kit.sparse_probe import of_few, order_of_entry
from game.tools.sparse_probe import estimate, sparse_probe
from models.seeds import named_generator

MakeBox = Callable[..., ModelToolbox]
N = 80


@pytest.fixture
def samples() -> Samples:
    tokens = torch.randint(1, 11, (N, 5), generator=named_generator("sparse"))
    return Samples(tokens, torch.full((N,), 5))


def test_the_coordinates_that_make_up_a_label_enter_first() -> None:
    generator = named_generator("entry")
    x = torch.randn(200, 30, generator=generator) * torch.rand(30, generator=generator) * 10
    z = x / x.std(0)
    x[:, 9] = 7.0  # never changes
    labels = 3 * z[:, 4] + 2 * z[:, 17] - z[:, 25] > 0
    order = order_of_entry(x, labels).tolist()
    assert order[:3] == [4, 17, 25]
    assert 9 not in order
    assert len(set(order)) == len(order)


def test_the_first_to_enter_is_the_one_that_goes_best_with_the_label() -> None:
    for seed in range(5):
        generator = named_generator("first", seed)
        x, labels = torch.randn(50, 8, generator=generator), torch.rand(50, generator=generator) < 0.4
        z = (x - x.mean(0)) / x.std(0)
        expected = int((z.T @ (labels.float() - labels.float().mean())).abs().argmax())
        assert int(order_of_entry(x, labels)[0]) == expected


def test_probes_of_few_coordinates_are_scikit_learn_s_ridge_of_these() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = named_generator("few")
    x, labels = torch.randn(40, 6, generator=generator), torch.rand(40, generator=generator) < 0.5
    fold, orders = torch.arange(40) % 2, [torch.tensor([3, 1, 0]), torch.tensor([2, 5, 4])]
    found = of_few(x, labels, fold, orders, (1, 2), 2.0)
    peer = make_pipeline(StandardScaler(), Ridge(alpha=2.0))
    peer.fit(x[fold == 0][:, [2, 5]].double().numpy(), labels[fold == 0].double().numpy())
    expected = torch.from_numpy(peer.predict(x[fold == 1][:, [2, 5]].double().numpy()))
    torch.testing.assert_close(found[fold == 1, 1], expected)


def test_one_neuron_is_enough_for_what_it_alone_computes(box: ModelToolbox, samples: Samples) -> None:
    hook = "blocks.0.mlp.hook_post"
    fires = box.activations(samples.tokens, [hook])[hook][:, -1]
    neuron = int((fires > 0).double().mean(0).sub(0.5).abs().argmin())
    labels = fires[:, neuron] > fires[:, neuron].median()
    found = sparse_probe(box, samples, labels, hook, strength=0.1)
    assert found.summary[0].value > 0.98
    assert found.summary[0].stands_out
    assert found.arrays["order"][0] == neuron
    assert found.arrays["chosen"][0, neuron] == 1
    assert found.arrays["random_auc"][0] < found.arrays["auc"][0]
    assert (found.arrays["chosen"].sum(1) <= found.arrays["sizes"] + 1e-9).all()


def test_labels_without_meaning_stay_inside_their_band_at_the_promised_rate(
    box: ModelToolbox, samples: Samples
) -> None:
    generator, rounds = named_generator("coin"), 12
    found = [
        sparse_probe(
            box, samples, torch.rand(N, generator=generator) < 0.5, "hook_embed", shuffles=9, seed=seed
        )
        for seed in range(rounds)
    ]
    assert sum(bool(result.summary[0].stands_out) for result in found) <= 4  # 10 % each: P(more) < 0.005


def test_the_same_arguments_give_the_same_figures_and_cost_their_estimate(
    make_box: MakeBox, samples: Samples
) -> None:
    labels = samples.tokens[:, 4] % 2 == 1
    one, cut = (
        sparse_probe(make_box(max_rows=rows), samples, labels, "hook_embed", shuffles=2) for rows in (1024, 7)
    )
    torch.testing.assert_close(one.arrays["auc"], cut.arrays["auc"], atol=1e-6, rtol=0)
    assert one.cost == cut.cost == estimate(make_box().config, N) == N


def test_what_cannot_be_probed_is_refused_for_nothing(box: ModelToolbox, samples: Samples) -> None:
    labels = samples.tokens[:, 4] % 2 == 1
    with pytest.raises(RequestError, match='hook: got "nowhere"'):
        sparse_probe(box, samples, labels, "nowhere")
    with pytest.raises(RequestError, match="labels: got 0 samples of one class; wanted at least 5 of each"):
        sparse_probe(box, samples, 0 * labels, "hook_embed")
    with pytest.raises(RequestError, match="shuffles: got 0; allowed: 1 and more"):
        sparse_probe(box, samples, labels, "hook_embed", shuffles=0)
    with pytest.raises(RequestError, match="strength: got 0; allowed: above 0"):
        sparse_probe(box, samples, labels, "hook_embed", strength=0)
    assert box.budget.spent == 0
