from collections.abc import Callable

import pytest
import torch

from game.api import RequestError, Samples
from game.tools.kit.readout import read_readout
from game.tools.kit.translators import fitted_translator
from game.tools.lens import lens, site_names
from game.tools.tuned_lens import estimate, tuned_lens
from tests.game.tools.conftest import D_VOCAB, Subject, close, samples_of

TOKENS, SAMPLES = samples_of(3, 2).tokens, samples_of(40, 7)


def test_the_last_site_is_the_identity_and_the_model(subject: Subject) -> None:
    box = subject.box()
    found = tuned_lens(box, TOKENS, SAMPLES, top=D_VOCAB)
    arrays = found.arrays
    assert not arrays["translators"][-1].any()
    assert not arrays["biases"][-1].any()
    assert (arrays["kl"] >= 0).all()
    close(arrays["kl"][-1], torch.zeros(3, 6))
    best = box.logits(TOKENS).double().log_softmax(-1).topk(D_VOCAB)
    close(arrays["top_log_probs"][-1], best.values)
    assert found.cost == pytest.approx(estimate(subject.config, 3, SAMPLES))


def test_it_is_never_worse_than_the_plain_lens_where_it_was_fitted(subject: Subject) -> None:
    for steps in (1, 3, 60):
        plain, tuned = tuned_lens(subject.box(), TOKENS, SAMPLES, steps=steps).arrays["fitted_kl"]
        assert (tuned <= plain + 1e-12).all()
    assert (tuned[:-1] < 0.9 * plain[:-1]).all()


def test_its_plain_kl_is_the_logit_lens_s_on_the_held_out_tokens(subject: Subject) -> None:
    found = tuned_lens(subject.box(), TOKENS, SAMPLES)
    rows = found.arrays["held_out"]
    holds = torch.arange(6) < SAMPLES.lengths[rows, None]
    plain = lens(subject.box(), SAMPLES.tokens[rows]).arrays["kl"][:, holds].mean(1)
    close(found.arrays["held_out_kl"][0], plain, 1e-4)


def test_jumps_add_up_to_what_was_left_to_learn_at_the_embedding(subject: Subject) -> None:
    """The tuned KL at a sample's last token falls from its value at the embedding to 0."""
    box = subject.box()
    found = tuned_lens(box, TOKENS, SAMPLES)
    rows = found.arrays["held_out"]
    names, readout = site_names(subject.config), read_readout(box)
    streams = box.activations(SAMPLES.tokens[rows], names)
    at = torch.arange(len(rows)), SAMPLES.lengths[rows] - 1
    first, last = streams[names[0]][at].double(), streams[names[-1]][at].double()
    carried = first + first @ found.arrays["translators"][0] + found.arrays["biases"][0]
    final, read = (readout.logits(each).log_softmax(-1) for each in (last, carried))
    close(found.arrays["jump"].sum(0), (final.exp() * (final - read)).sum(-1))


def test_a_stream_in_other_coordinates_is_carried_back(shaped: Callable[[str], Subject]) -> None:
    """Where the final stream is an affine map of the site's, held-out tokens are read without error."""
    subject = shaped("rms-gelu")
    readout = read_readout(subject.box())
    generator = torch.Generator().manual_seed(3)
    stream = torch.randn(400, 12, generator=generator).double()
    turn = 0.3 * torch.randn(12, 12, generator=generator).double()
    final = readout.logits(stream + stream @ turn + 1).log_softmax(-1)
    found = fitted_translator(stream[:300], final[:300], readout, 1e-6, 300)
    read = readout.logits(found.carried(stream[300:])).log_softmax(-1)
    assert (final[300:].exp() * (final[300:] - read)).sum(-1).max() < 1e-4


def test_translators_beat_exchanged_tokens_where_streams_tell_something(
    shaped: Callable[[str], Subject],
) -> None:
    subject = shaped("windows")
    share = tuned_lens(subject.box(), TOKENS, samples_of(200, 5)).summary[0]
    assert share.name == "share recovered"
    assert share.stands_out
    assert share.null is not None
    assert share.value > share.null[1]


def test_the_same_arguments_give_the_same_figures_in_any_batches(subject: Subject) -> None:
    one, two = (tuned_lens(subject.box(rows), TOKENS, SAMPLES) for rows in (1024, 7))
    close(one.arrays["held_out_kl"], two.arrays["held_out_kl"], 1e-3)
    again = tuned_lens(subject.box(), TOKENS, SAMPLES)
    assert torch.equal(one.arrays["translators"], again.arrays["translators"])


def test_what_does_not_fit_is_refused_for_nothing(subject: Subject) -> None:
    box = subject.box()
    few = Samples(SAMPLES.tokens[:3], SAMPLES.lengths[:3])
    for bad, message in (
        ({"samples": few}, "samples: got 3; allowed: 8 and more"),
        ({"top": 99}, "top: got 99; allowed: 1 to 13"),
        ({"strength": 0.0}, "strength, steps: got 0.0, 60; allowed: above 0, and 1 and more"),
        ({"targets": TOKENS[:1]}, r"targets: got shape \[1, 6\], wanted the tokens' \[3, 6\]"),
    ):
        with pytest.raises(RequestError, match=message):
            tuned_lens(box, **({"tokens": TOKENS, "samples": SAMPLES} | bad))  # type: ignore[arg-type]
    assert box.budget.spent == 0
