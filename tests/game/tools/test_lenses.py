import pytest
import torch

from game.api import Intervention, RequestError, Samples
from game.tools import class_lens as by_class
from game.tools import jacobian_lens as by_jacobian
from game.tools import vector_lens as by_vector
from game.tools.class_lens import class_lens
from game.tools.jacobian_lens import jacobian_lens, mean_jacobian
from game.tools.lens import lens, site_names
from game.tools.vector_lens import vector_lens
from tests.game.tools.conftest import D_VOCAB, Subject, close, samples_of

TOKENS = samples_of(3, 2).tokens


def test_a_partition_of_the_vocabulary_has_mass_one(subject: Subject) -> None:
    classes = {"low": tuple(range(5)), "middle": (5, 7, 9), "rest": (6, 8, *range(10, D_VOCAB))}
    box = subject.box()
    found = class_lens(box, TOKENS, classes)
    close(found.arrays["mass"].sum(0), torch.ones(subject.config.n_layers + 1, 3, 6))
    close(found.arrays["mass"][0, -1], box.logits(TOKENS).softmax(-1)[..., :5].sum(-1))
    assert found.cost == by_class.estimate(subject.config, 3)
    assert lens(box, TOKENS).cost == 0


def test_a_class_that_is_none_is_refused(subject: Subject) -> None:
    with pytest.raises(RequestError, match="classes: got none, wanted at least 1"):
        class_lens(subject.box(), TOKENS, {})
    with pytest.raises(RequestError, match="classes: cities is not at least one token from 0 to 12"):
        class_lens(subject.box(), TOKENS, {"cities": (3, 13)})


def test_the_last_site_of_the_jacobian_lens_is_the_model(subject: Subject) -> None:
    box, samples = subject.box(100), samples_of(5, 3)
    found = jacobian_lens(box, TOKENS, samples, top=D_VOCAB)
    arrays = found.arrays
    close(arrays["jacobian"][-1], torch.eye(subject.config.d_model))
    best = box.logits(TOKENS).double().log_softmax(-1).topk(D_VOCAB)
    close(arrays["top_log_probs"][-1], best.values)
    assert found.cost == pytest.approx(by_jacobian.estimate(subject.config, 3, samples))


def test_the_jacobian_is_what_a_small_step_does(subject: Subject) -> None:
    """Central differences of the last stream, one vector at each site."""
    box, samples, step = subject.box(), samples_of(6, 4), 1e-3
    jacobian, names = mean_jacobian(box, samples), site_names(subject.config)
    vector = torch.randn(subject.config.d_model, generator=torch.Generator().manual_seed(1))
    rows = torch.arange(6)
    for site, name in enumerate(names):
        up, down = (
            box.activations(samples.tokens, names[-1:], [Intervention(name, sign * step * vector, "add")])
            for sign in (1, -1)
        )
        slope = (up[names[-1]] - down[names[-1]])[rows, samples.lengths - 1] / (2 * step)
        close(vector.double() @ jacobian[site], slope.mean(0), 2e-2)


def test_the_vector_lens_is_the_slope_of_the_log_probabilities(subject: Subject) -> None:
    box, samples = subject.box(64), samples_of(6, 4)
    vectors = torch.eye(subject.config.d_model)[:2] * 5
    found = vector_lens(box, samples, 0, vectors, step=0.01, controls=3, top=D_VOCAB)
    name, rows, at = "blocks.0.hook_resid_post", torch.arange(6), samples.lengths - 1
    stream = box.activations(samples.tokens, [name])[name]
    holds = torch.arange(6) < samples.lengths[:, None]
    length = 0.01 * stream[holds].norm(dim=-1).mean()
    log_probs = box.logits(samples.tokens).log_softmax(-1)
    token = 4
    cotangent = torch.zeros_like(log_probs)
    probs = log_probs[rows, at].exp()
    cotangent[rows, at] = torch.nn.functional.one_hot(torch.tensor(token), D_VOCAB) - probs
    slope = box.vjp(samples.tokens, [name], {"logits": cotangent})[name].sum(1).mean(0)
    close(found.arrays["effect"][:, token] / length, slope[:2], 2e-2)
    assert found.cost == by_vector.estimate(subject.config, samples, vectors, 3)
    assert found.summary[0].null is not None


def test_a_lens_refuses_what_does_not_fit(subject: Subject) -> None:
    box, d_model = subject.box(), subject.config.d_model
    for bad, message in (
        ({"layer": 9}, "layer: got 9; allowed: 0 to"),
        ({"vectors": torch.ones(2, 3)}, r"vectors: got shape \[2, 3\]"),
        ({"vectors": torch.zeros(1, d_model)}, "vectors: got a zero vector"),
        ({"step": 0.0}, "step: got 0.0; allowed: above 0"),
        ({"controls": 1}, "controls: got 1; allowed: at least 2"),
        ({"top": 99}, "top: got 99; allowed: 1 to 13"),
    ):
        given = {"layer": 0, "vectors": torch.ones(1, d_model)} | bad
        with pytest.raises(RequestError, match=message):
            vector_lens(box, samples_of(2, 0), **given)  # type: ignore[arg-type]
    none = Samples(TOKENS[:0], torch.zeros(0, dtype=torch.long))
    with pytest.raises(RequestError, match="samples: got none"):
        jacobian_lens(box, TOKENS, none)
    with pytest.raises(RequestError, match="gradients; a call holds 4"):
        jacobian_lens(subject.box(4), TOKENS, samples_of(2, 0))
    assert box.budget.spent == 0
