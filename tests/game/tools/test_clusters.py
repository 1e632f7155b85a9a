"""Clusters by importance and by place, and factors."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from game.api import Intervention, RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.attribution_factors import attribution_factors
from game.tools.attribution_factors import estimate as attribution_price
from game.tools.cluster_inputs import cluster_inputs
from game.tools.factors import factors
from game.tools.importance_clusters import estimate as cluster_price
from game.tools.importance_clusters import importance_clusters
from game.tools.kit import topic_tags
from game.tools.kit.exact_importances import exact_importances
from game.tools.kit.importances import importances, main_mass
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]
N, TOPICS = 96, 3
TOPIC = torch.arange(N) % TOPICS


@pytest.fixture
def samples() -> Samples:
    """Each topic has tokens of its own at the end."""
    generator = named_generator("topics")
    last = 1 + 3 * TOPIC + torch.randint(3, (N,), generator=generator)
    tokens = torch.randint(1, 11, (N, 5), generator=generator)
    tokens[:, 4] = last
    return Samples(tokens, torch.full((N,), 5))


def blocks(generator: torch.Generator) -> Tensor:
    """Profiles in which every topic has ten neurons of its own, `[row, neuron]`."""
    own = (torch.arange(30) // 10)[None] == TOPIC[:, None]
    return torch.rand(N, 30, generator=generator).double() * (own + 0.05)


def test_planted_blocks_are_found_and_tagged_with_their_topics() -> None:
    profiles = main_mass(blocks(named_generator("blocks")), 0.95)
    centres = topic_tags.centroids(profiles[: N // 2], TOPICS)
    assert len(centres) == TOPICS
    tags = topic_tags.tagged(profiles[N // 2 :] @ centres.T, TOPIC[N // 2 :], 2000, 0)
    assert sorted(tags.tag.tolist()) == [0, 1, 2]
    strongest = centres.view(TOPICS, 3, 10).sum(-1).argmax(1)
    assert torch.equal(strongest, tags.tag)
    assert (tags.lift.max(1).values > 2).all()


def test_shuffled_topics_are_tagged_no_more_often_than_allowed() -> None:
    wrong = 0
    for seed in range(40):
        generator = named_generator("shuffled", seed)
        profiles = main_mass(blocks(generator), 0.95)
        topics = TOPIC[torch.randperm(N, generator=generator)]
        centres = topic_tags.centroids(profiles[: N // 2], TOPICS)
        tags = topic_tags.tagged(profiles[N // 2 :] @ centres.T, topics[N // 2 :], 200, seed)
        wrong += bool((tags.tag != topic_tags.UNTAGGED).any())
    assert wrong <= 6  # at most 5 % of 40 are expected: P(more than 6) < 0.004


def test_the_main_mass_is_the_fewest_entries_that_hold_it() -> None:
    kept = main_mass(torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.0, 0, 0, 0], [1, 0, 0, 0]]).double(), 0.9)
    assert (kept > 0).sum(1).tolist() == [3, 0, 1]
    torch.testing.assert_close(kept.norm(dim=1), torch.tensor([1.0, 0, 1]).double())
    assert float(kept[0, 0] / kept[0, 1]) == pytest.approx(5 / 3)


def test_importances_are_what_small_scalings_of_a_neuron_do(box: ModelToolbox, samples: Samples) -> None:
    few = Samples(samples.tokens[:4], samples.lengths[:4])
    found = importances(box, few)
    assert found.shape == (4, 32)
    answer = box.logits(few.tokens)[:, -1].argmax(-1)
    rows, step = torch.arange(4), 1e-2
    for column, (layer, neuron) in {3: (0, 3), 20: (1, 4)}.items():
        hook, mask = f"blocks.{layer}.mlp.hook_post", torch.arange(16) == neuron
        ends = [
            box.logits(few.tokens, [Intervention(hook, torch.tensor(1 + sign * step), "scale", mask)])
            for sign in (1, -1)
        ]
        up, down = (logits[:, -1].double().log_softmax(-1)[rows, answer] for logits in ends)
        torch.testing.assert_close(found[:, column], (up - down).abs() / (2 * step), atol=2e-3, rtol=2e-2)


def test_importance_clusters_tell_held_out_prompts_apart(box: ModelToolbox, samples: Samples) -> None:
    found = importance_clusters(box, samples, 10 + TOPIC, clusters=6)
    assert found.summary[0].stands_out
    assert set(found.arrays["tag"].tolist()) <= {-1, 10, 11, 12}
    assert int(found.arrays["surprise"].isnan().sum()) == N // 2
    assert found.cost == 4 * N
    again = importance_clusters(box, samples, 10 + TOPIC, clusters=6)
    assert torch.equal(found.arrays["lift"], again.arrays["lift"])
    assert again.cost == 0


def separated(config: TransformerConfig) -> ModelToolbox:
    """A model in whose embeddings the tokens of a topic lie together."""
    model = Transformer(config, named_generator("separated"))
    with torch.no_grad():
        centre = 5 * torch.randn(4, 8, generator=named_generator("centres"))
        model.embed.W_E.copy_(0.2 * model.embed.W_E + centre[((torch.arange(11) + 2) // 3).clamp(max=3)])
    return ModelToolbox(model, league="whitebox", corpus=lambda *_: pytest.fail("not asked"), total=1e5)


def test_separated_blobs_are_told_apart_without_fault(
    tiny_config: TransformerConfig, samples: Samples
) -> None:
    found = cluster_inputs(separated(tiny_config), samples, TOPIC, "hook_embed", clusters=3)
    assert float(found.arrays["rand"]) == pytest.approx(1)
    assert found.summary[0].stands_out
    assert not found.arrays["misplaced"].any()
    assert int(found.arrays["count"].sum()) == N // 2


def test_a_prompt_of_another_topic_than_its_neighbours_is_misplaced(
    tiny_config: TransformerConfig, samples: Samples
) -> None:
    box = separated(tiny_config)
    held_out = cluster_inputs(box, samples, TOPIC, "hook_embed", clusters=3).arrays["held_out"]
    row = int(held_out.nonzero()[0])
    wrong = TOPIC.clone()
    wrong[row] = (wrong[row] + 1) % 3
    found = cluster_inputs(box, samples, wrong, "hook_embed", clusters=3)
    assert found.arrays["misplaced"].nonzero().flatten().tolist() == [row]


def test_clusters_agree_with_topics_of_no_meaning_by_chance_only(box: ModelToolbox, samples: Samples) -> None:
    topics = TOPIC[torch.randperm(N, generator=named_generator("no meaning"))]
    found = cluster_inputs(box, samples, topics, "logits", clusters=4)
    assert not found.summary[0].stands_out
    assert abs(float(found.arrays["rand"])) < 0.1


def test_the_factorisations_loss_never_rises_and_its_parts_rebuild_the_activation(
    box: ModelToolbox, samples: Samples
) -> None:
    found = factors(box, samples, "blocks.1.mlp.hook_post", parts=6)
    assert (found.arrays["loss"].diff() <= 1e-9).all()
    rebuilt = found.arrays["strengths"] @ found.arrays["factors"]
    x = box.activations(samples.tokens, ["blocks.1.mlp.hook_post"])["blocks.1.mlp.hook_post"]
    error = (rebuilt[..., :16] - x).square().sum() / x.square().sum()
    assert float(error) == pytest.approx(float(found.arrays["loss"][-1]), abs=0.05)
    assert (found.arrays["share"].diff() <= 0).all()
    assert found.cost == N


def test_parts_that_are_there_are_found_and_scrambled_ones_are_not(
    tiny_config: TransformerConfig, samples: Samples
) -> None:
    found = factors(separated(tiny_config), samples, "hook_embed", parts=4)
    assert found.summary[0].stands_out
    assert float(found.arrays["explained"]) > 0.9


def test_signed_activations_are_split_into_two_non_negative_ones(box: ModelToolbox, samples: Samples) -> None:
    found = factors(box, samples, "hook_embed", parts=8)
    both = found.arrays["strengths"] @ found.arrays["factors"]
    x = box.activations(samples.tokens, ["hook_embed"])["hook_embed"].double()
    share = 1 - (both[..., :8] - both[..., 8:] - x).square().sum() / x.square().sum()
    assert float(share) > 0.8
    assert (found.arrays["factors"] >= 0).all()


def test_what_cannot_be_clustered_is_refused_for_nothing(box: ModelToolbox, samples: Samples) -> None:
    with pytest.raises(RequestError, match="topics: got 1 different ones; wanted at least 2"):
        importance_clusters(box, samples, 0 * TOPIC)
    with pytest.raises(RequestError, match=r"topics: got torch.int64 \[3\]; wanted \[96\] whole numbers"):
        cluster_inputs(box, samples, TOPIC[:3], "logits")
    with pytest.raises(RequestError, match="clusters: got 40 for 96 samples; allowed: 2 to 24"):
        importance_clusters(box, samples, TOPIC, clusters=40)
    with pytest.raises(RequestError, match="clusters: got 1 for 96 samples; allowed: 2 to 24"):
        cluster_inputs(box, samples, TOPIC, "logits", clusters=1)
    with pytest.raises(RequestError, match="parts: got 17 of 96 samples; allowed: 1 to 16"):
        factors(box, samples, "blocks.1.mlp.hook_post", parts=17)
    with pytest.raises(RequestError, match='hook: got "nowhere"'):
        factors(box, samples, "nowhere")
    assert box.budget.spent == 0


def test_importances_by_ablation_are_what_a_neuron_s_mean_costs(box: ModelToolbox, samples: Samples) -> None:
    few = Samples(samples.tokens[:7], samples.lengths[:7])
    found = exact_importances(box, few)
    assert found.shape == (7, 32)
    answer = box.logits(few.tokens)[:, -1].argmax(-1)
    before = box.logits(few.tokens)[:, -1].double().log_softmax(-1)[torch.arange(7), answer]
    for column, (layer, neuron) in {3: (0, 3), 20: (1, 4)}.items():
        hook = f"blocks.{layer}.mlp.hook_post"
        mean = box.activations(few.tokens, [hook])[hook].mean((0, 1))
        cut = Intervention(hook, mean, "set", torch.arange(16) == neuron)
        after = box.logits(few.tokens, [cut])[:, -1].double().log_softmax(-1)[torch.arange(7), answer]
        torch.testing.assert_close(found[:, column], (after - before).abs(), atol=1e-5, rtol=0)


def test_clusters_by_ablation_cost_a_run_for_each_neuron(make_box: MakeBox, samples: Samples) -> None:
    box = make_box(total=1e6)
    found = importance_clusters(box, samples, 10 + TOPIC, clusters=6, by="ablation")
    assert found.cost == cluster_price(box.config, N, "ablation") == N * 33
    assert set(found.arrays["tag"].tolist()) <= {-1, 10, 11, 12}
    by_gradient = importance_clusters(make_box(), samples, 10 + TOPIC, clusters=6)
    assert by_gradient.cost == cluster_price(box.config, N) == 4 * N
    assert not torch.equal(found.arrays["surprise"], by_gradient.arrays["surprise"])
    with pytest.raises(RequestError, match='by: got "hand"; allowed: gradient, ablation'):
        importance_clusters(box, samples, TOPIC, by="hand")  # type: ignore[arg-type]


def test_parts_of_the_use_explain_held_out_tokens_and_vanish_where_nothing_is_used(
    box: ModelToolbox, samples: Samples
) -> None:
    found = attribution_factors(box, samples, "blocks.1.mlp.hook_post", parts=6)
    assert found.arrays["factors"].shape == (6, 16)
    assert (found.arrays["factors"] >= 0).all()
    assert (found.arrays["loss"].diff() <= 1e-9).all()
    assert found.cost == attribution_price(box.config, N) == 4 * N
    used = (found.arrays["strengths"] @ found.arrays["factors"]).sum(1)
    expected = importances(box, samples)[:, 16:]  # the second layer's, summed before the absolute value
    assert (used.sum(1) > 0.8 * expected.sum(1)).all()
    assert found.summary[0].value <= 1


def test_what_is_active_and_never_used_has_no_part(tiny_config: TransformerConfig, samples: Samples) -> None:
    model = Transformer(tiny_config, named_generator("unused"))
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp.W_out")[:8] = 0  # these neurons fire for nothing
    box = ModelToolbox(model, league="whitebox", corpus=lambda *_: pytest.fail("not asked"), total=1e5)
    active = factors(box, samples, "blocks.1.mlp.hook_post", parts=4)
    used = attribution_factors(box, samples, "blocks.1.mlp.hook_post", parts=4)
    assert active.arrays["factors"][:, :8].max() > 0.1
    assert used.arrays["factors"][:, :8].max() < 1e-6
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp.W_out")[:] = 0
    with pytest.raises(RequestError, match="no answer depends on it"):
        attribution_factors(
            ModelToolbox(model, league="whitebox", corpus=lambda *_: pytest.fail("not asked"), total=1e5),
            samples,
            "blocks.1.mlp.hook_post",
        )
