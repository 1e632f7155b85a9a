import pytest
import torch

from game.api import Intervention, RequestError
from game.tools import causal_trace as by_exchange
from game.tools import noise_trace as by_noise
from game.tools.causal_trace import causal_trace
from game.tools.kit.questions import Contrast, Questions
from game.tools.noise_trace import noise_trace
from tests.game.tools.conftest import Subject, close

ONE = torch.ones(4, dtype=torch.long)


def test_restoring_every_embedding_that_was_exchanged_brings_all_back(
    subject: Subject, pairs: Contrast
) -> None:
    found = causal_trace(subject.box(), pairs)
    arrays = found.arrays
    close(arrays["resid"][0, 1], arrays["total"])  # only position 1 differs
    assert arrays["resid"][0, [0, 2, 3, 4, 5]].abs().max() < 1e-6
    rows = torch.arange(4)
    close(arrays["resid"][-1, pairs.at, rows], arrays["total"])
    assert found.cost == by_exchange.estimate(subject.config, 4, 6)


def test_a_window_restores_neighbouring_layers_together(subject: Subject, pairs: Contrast) -> None:
    box, layers = subject.box(), subject.config.n_layers
    wide = causal_trace(box, pairs, window=layers).arrays["attn"][layers // 2, 5]
    names = [f"blocks.{layer}.hook_attn_out" for layer in range(layers)]
    clean = box.activations(pairs.clean, names)
    covered = names[: layers // 2 + (layers + 1) // 2]
    logits = box.logits(
        pairs.corrupt, [Intervention(name, clean[name][:, [5]], positions=(5,)) for name in covered]
    )
    rows = torch.arange(4)
    close(wide, pairs.metric(logits, rows) - pairs.metric(box.logits(pairs.corrupt), rows))


def test_noise_is_undone_by_restoring_the_subject(subject: Subject, asked: Questions) -> None:
    found = noise_trace(subject.box(100), asked, ONE, ONE, samples=3)
    close(found.arrays["resid"][0, 1], found.arrays["total"])
    assert found.arrays["resid"][0, 3].abs().max() < 1e-6
    assert found.arrays["total"].abs().max() > 1e-3
    assert found.cost == by_noise.estimate(subject.config, 4, 6, 3)


def test_the_noise_is_drawn_once_for_all_cells_and_by_seed(subject: Subject, asked: Questions) -> None:
    first, cut, other = (
        noise_trace(subject.box(rows), asked, ONE, ONE, samples=2, seed=seed).arrays["attn"]
        for rows, seed in ((1024, 0), (7, 0), (1024, 1))
    )
    close(first, cut)
    assert (first - other).abs().max() > 1e-4


def test_arguments_that_do_not_fit_are_refused(subject: Subject, asked: Questions, pairs: Contrast) -> None:
    box = subject.box()
    with pytest.raises(RequestError, match="window: got 0; allowed: 1 to"):
        causal_trace(box, pairs, window=0)
    with pytest.raises(RequestError, match="last: wanted one position from 0 to 5 for each question"):
        noise_trace(box, asked, ONE, ONE + 5)
    with pytest.raises(RequestError, match="first: the subject's first token lies behind its last one"):
        noise_trace(box, asked, ONE + 1, ONE)
    with pytest.raises(RequestError, match="noise: got 0; allowed: above 0"):
        noise_trace(box, asked, ONE, ONE, noise=0)
    with pytest.raises(RequestError, match="samples: got 0; allowed: at least 1"):
        noise_trace(box, asked, ONE, ONE, samples=0)
    assert box.budget.spent == 0
