from collections.abc import Callable
from typing import Any

import pytest
import torch

from game.api import Intervention, RequestError
from game.tools.ablate import ablate, estimate
from game.tools.kit.questions import Questions
from tests.game.tools.conftest import Subject, close, samples_of

SAMPLES = samples_of(20, 5)


def test_a_zeroed_head_is_the_head_taken_out(subject: Subject, asked: Questions) -> None:
    box = subject.box()
    arrays = ablate(box, asked, SAMPLES, "head", "zero").arrays
    for layer in range(subject.config.n_layers):
        for head in range(subject.config.n_heads):
            mask = (torch.arange(subject.config.n_heads) == head)[:, None]
            cut = Intervention(f"blocks.{layer}.attn.hook_z", torch.zeros(()), mask=mask)
            logits = box.logits(asked.tokens, [cut])
            close(arrays["effect_of"][layer, head], arrays["margin"] - asked.margin(logits))
    close(arrays["effect"], arrays["effect_of"].mean(-1))
    assert (arrays["kl"] >= 0).all()


def test_the_mean_is_over_the_samples_own_tokens(shaped: Callable[[str], Subject], asked: Questions) -> None:
    subject = shaped("rms-gelu")
    box, name = subject.box(), "blocks.1.hook_mlp_out"
    effect = ablate(box, asked, SAMPLES, "mlp_layer").arrays["effect_of"][0]
    rows = [
        box.activations(SAMPLES.tokens[[row]], [name])[name][0, :length]
        for row, length in enumerate(SAMPLES.lengths.tolist())
    ]
    logits = box.logits(asked.tokens, [Intervention(name, torch.cat(rows).mean(0))])
    close(effect, asked.margin(box.logits(asked.tokens)) - asked.margin(logits))


def test_a_sample_of_itself_changes_nothing(subject: Subject, asked: Questions) -> None:
    same = Questions(
        *(part[:1].repeat(3, *[1] * (part.ndim - 1)) for part in (asked.tokens, asked.at, asked.answer))
    )
    own = samples_of(1, 0)
    own = type(own)(asked.tokens[:1], torch.tensor([6]))
    arrays = ablate(subject.box(), same, own, "head", "resample").arrays
    assert arrays["effect"].abs().max() < 1e-5
    assert arrays["kl"].max() < 1e-6


@pytest.mark.parametrize("site", ["attn", "head", "head_position", "attn_layer"])
@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
def test_the_estimate_is_the_cost(subject: Subject, asked: Questions, site: Any, replacement: Any) -> None:
    found = ablate(subject.box(50), asked, SAMPLES, site, replacement)
    assert found.cost == estimate(subject.config, 4, 6, SAMPLES, site, replacement)


def test_what_cannot_be_ablated_is_refused(subject: Subject, asked: Questions) -> None:
    box = subject.box()
    with pytest.raises(RequestError, match="site: got resid, which everything passes"):
        ablate(box, asked, SAMPLES, "resid")
    with pytest.raises(RequestError, match='replacement: got "noise"; allowed: zero, mean, resample'):
        ablate(box, asked, SAMPLES, "head", "noise")  # type: ignore[arg-type]
    assert box.budget.spent == 0
