"""Contrast pairs whose last token has an embedding in which truth, and a louder word, are planted."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from game.api import RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.ccs import METHODS, ccs, estimate
from game.tools.kit import contrast
from game.tools.kit.contrast import Scaling
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

PAIRS, VARIANTS, D = 120, 40, 16
TRUTH = torch.arange(PAIRS) % 2 == 1
WORD = torch.arange(PAIRS) // 2 % 2 == 1
ONE = torch.zeros(PAIRS, dtype=torch.int64)


def side(claimed: bool) -> Samples:
    """The pairs' prompts; the last token says truth, word and claim, in one of many variants."""
    variant = torch.randint(VARIANTS, (PAIRS,), generator=named_generator("variant", int(claimed)))
    last = 8 * variant + 4 * TRUTH + 2 * WORD + int(claimed)
    return Samples(torch.stack([ONE, last], 1), ONE + 2)


def planted(config: TransformerConfig, truth: float, word: float) -> ModelToolbox:
    """A model whose embeddings hold truth times claim, and word times claim, that loud, in noise."""
    model = Transformer(replace(config, d_vocab=8 * VARIANTS, d_model=D), named_generator("planted"))
    token = torch.arange(8 * VARIANTS)
    sign = {name: (token // place % 2 * 2 - 1.0)[:, None] for name, place in (("t", 4), ("w", 2), ("c", 1))}
    u, v = (torch.randn(D, generator=named_generator("planted", i)) for i in range(2))
    noise = torch.randn(len(token), D, generator=named_generator("noise"))
    embedding = truth * sign["t"] * sign["c"] * u + word * sign["w"] * sign["c"] * v + 0.3 * noise
    with torch.no_grad():
        model.embed.W_E.copy_(embedding + 0.5 * sign["c"])  # the claim itself is there too
    return ModelToolbox(model, league="whitebox", corpus=lambda *_: side(True), total=1000)


FEATURES = {"truth": TRUTH, "word": WORD}


def test_a_planted_truth_is_found_up_to_sign_by_every_method_but_the_unpaired(
    tiny_config: TransformerConfig,
) -> None:
    box = planted(tiny_config, truth=1.0, word=0.0)
    found = ccs(box, side(False), side(True), "hook_embed", FEATURES)
    agreement = dict(zip(METHODS, found.arrays["agreement"].tolist(), strict=True))
    for method in ("ccs", "crc", "eigen", "k-means", "supervised"):
        assert agreement[method][0] > 0.95, method
        assert agreement[method][1] < 0.7, method
    assert found.summary[0].stands_out
    assert not found.summary[1].stands_out
    assert found.notes[0].startswith("ccs follows truth")


def test_a_louder_distractor_wins_and_is_named(tiny_config: TransformerConfig) -> None:
    box = planted(tiny_config, truth=1.0, word=4.0)
    found = ccs(box, side(False), side(True), "hook_embed", FEATURES)
    assert found.arrays["agreement"][0, 1] > 0.95
    assert found.arrays["agreement"][0, 0] < 0.7
    assert found.arrays["agreement"][-1, 0] > 0.95  # the ceiling: truth is there all the same
    assert found.notes[0].startswith("ccs follows word")


def test_centring_within_the_distractors_clusters_brings_the_truth_back(
    tiny_config: TransformerConfig,
) -> None:
    box = planted(tiny_config, truth=1.0, word=4.0)
    found = ccs(box, side(False), side(True), "hook_embed", FEATURES, clusters=WORD.long())
    assert found.arrays["agreement"][0, 0] > 0.95
    assert found.notes[0].startswith("ccs follows truth")


def test_where_nothing_is_planted_nothing_stands_out(tiny_config: TransformerConfig) -> None:
    box = planted(tiny_config, truth=0.0, word=0.0)
    found = ccs(box, side(False), side(True), "hook_embed", FEATURES)
    assert not any(each.stands_out for each in found.summary)
    assert found.notes[0].startswith("ccs follows none of the features")


def test_belief_is_told_of_every_pair_and_the_cost_is_the_estimate(tiny_config: TransformerConfig) -> None:
    box = planted(tiny_config, truth=1.0, word=0.0)
    found = ccs(box, side(False), side(True), "hook_embed", FEATURES)
    believed, held_out = found.arrays["belief"] > 0.5, found.arrays["held_out"]
    share = contrast.up_to_sign(believed[held_out], TRUTH[held_out])
    assert float(share) == pytest.approx(float(found.arrays["agreement"][0, 0]))
    assert int(held_out.sum()) == PAIRS // 2
    assert found.cost == estimate(box.config, PAIRS) == 2 * PAIRS
    again = ccs(planted(tiny_config, 1.0, 0.0), side(False), side(True), "hook_embed", FEATURES)
    assert torch.equal(found.arrays["direction"], again.arrays["direction"])


def test_restarts_in_one_batch_are_the_restarts_alone() -> None:
    generator = named_generator("alone")
    x0, x1 = (torch.randn(20, 4, generator=generator).double() for _ in range(2))
    sides = Scaling.of(x0, x1, ONE[:20]).apply(x0, x1, ONE[:20])
    w, b, losses = contrast.ccs_restarts(sides, seed=3)
    p0, p1 = (torch.sigmoid(x @ w[4] + b[4]) for x in (sides.x0, sides.x1))
    expected = ((p0 + p1 - 1).square() + torch.minimum(p0, p1).square()).mean()
    assert float(losses[4]) == pytest.approx(float(expected), abs=1e-5)
    assert float(losses.max()) < 0.25


def test_the_eigenvector_beats_any_other_direction_in_its_ratio() -> None:
    generator = named_generator("eigen")
    x0, x1 = (torch.randn(60, 5, generator=generator).double() for _ in range(2))
    sides = Scaling.of(x0, x1, ONE[:60]).apply(x0, x1, ONE[:60])
    together = (sides.x0 + sides.x1).T @ (sides.x0 + sides.x1) / 60
    ridge = contrast.RIDGE * together.diagonal().mean() * torch.eye(5)

    def ratio(w: Tensor) -> float:
        return float((sides.difference @ w).square().mean() / (w @ (together + ridge) @ w))

    best = ratio(contrast.contrastive_eigenvector(sides))
    assert all(best >= ratio(w) - 1e-9 for w in contrast.random_directions(5, 200, 0))


def test_the_main_component_is_sklearns() -> None:
    from sklearn.decomposition import PCA

    generator = named_generator("crc")
    x0, x1 = (torch.randn(60, 5, generator=generator).double() for _ in range(2))
    sides = Scaling.of(x0, x1, ONE[:60]).apply(x0, x1, ONE[:60])
    peer = torch.from_numpy(PCA(1).fit(sides.difference.numpy()).components_[0])
    assert abs(float(peer @ contrast.crc(sides))) == pytest.approx(1)


def test_pairs_that_make_no_sense_are_refused_for_nothing(tiny_config: TransformerConfig) -> None:
    box = planted(tiny_config, 1.0, 0.0)
    few = Samples(side(True).tokens[:3], side(True).lengths[:3])
    with pytest.raises(RequestError, match="claimed_true: got 3 rows beside 120; wanted as many, from 16"):
        ccs(box, side(False), few, "hook_embed", FEATURES)
    with pytest.raises(RequestError, match="claimed_true: row 0 is the same as in claimed_false"):
        ccs(box, side(True), side(True), "hook_embed", FEATURES)
    with pytest.raises(RequestError, match="features: got none"):
        ccs(box, side(False), side(True), "hook_embed", {})
    with pytest.raises(RequestError, match="features: truth: got 0 samples of one class"):
        ccs(box, side(False), side(True), "hook_embed", {"truth": ONE})
    with pytest.raises(RequestError, match=r"clusters: got shape \[3\]; wanted \[120\] whole numbers"):
        ccs(box, side(False), side(True), "hook_embed", FEATURES, ONE[:3])
    assert box.budget.spent == 0
