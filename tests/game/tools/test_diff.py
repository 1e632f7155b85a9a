from dataclasses import replace

import pytest
import torch

from edits.camouflage.base import rewritten
from edits.camouflage.folder import exact_passes
from edits.camouflage.head_permute import HeadPermute
from game.api import AccessError, RequestError
from game.toolbox.live import ModelToolbox
from game.tools.diff import ROUNDING, diff, estimate
from models.checkpoints import checkpoint_of
from models.transformer import Transformer
from tests.game.tools.conftest import SHAPES, Subject, random_model, samples_of

SAMPLES = samples_of(10, 9)


def against(model: Transformer, base: Transformer) -> ModelToolbox:
    return ModelToolbox(model, league="reference", corpus=samples_of, total=1e6, reference=base)


def scrambled(subject: Subject, model: Transformer, seed: int) -> Transformer:
    weights = rewritten(checkpoint_of(model).weights, subject.config, exact_passes(subject.config), seed)
    moved = Transformer(subject.config)
    moved.load_state_dict(dict(weights))
    return moved


def permuted(subject: Subject, model: Transformer, seed: int) -> Transformer:
    weights = rewritten(
        checkpoint_of(model).weights, subject.config, [HeadPermute(kind="head_permute")], seed
    )
    moved = Transformer(subject.config)
    moved.load_state_dict(dict(weights))
    return moved


def copied(subject: Subject) -> Transformer:
    model = Transformer(subject.config)
    model.load_state_dict(subject.model.state_dict())
    return model


@pytest.mark.parametrize("seed", range(3))
def test_a_model_in_other_coordinates_does_not_differ(subject: Subject, seed: int) -> None:
    found = diff(against(scrambled(subject, subject.model, seed), subject.model), SAMPLES)
    assert found.arrays["relative"].max() < ROUNDING
    assert found.arrays["kl"].max() < 1e-5
    assert [each.stands_out for each in found.summary] == [False, False]
    assert found.cost == pytest.approx(estimate(subject.config, SAMPLES))


# what is changed                     the component that should be found
CHANGES = {
    "blocks.0.attn.W_V": "blocks.0.attn.0",
    "blocks.0.attn.W_Q": "blocks.0.attn.0",
    "blocks.0.attn.b_O": "blocks.0.attn.bias",
    "unembed.W_U": "unembed",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_matrix_is_found_through_all_rewritings(subject: Subject, name: str) -> None:
    model, generator = copied(subject), torch.Generator().manual_seed(1)
    weight = model.get_parameter(name).detach()
    part = weight[0] if weight.ndim == 3 else weight
    if part.ndim == 2:
        part += torch.outer(*(torch.randn(size, generator=generator) for size in part.shape))
    else:
        part += torch.randn(part.shape, generator=generator)
    found = diff(against(model, scrambled(subject, subject.model, 5)), SAMPLES)
    heads = {each: value for each, value in found.suspects.items() if not each.endswith("bias")}
    suspects = found.suspects if name.endswith("b_O") else heads  # W_V moves the folded b_V, and so b_O
    assert max(suspects, key=lambda each: suspects[each]) == CHANGES[name]
    assert found.summary[0].stands_out is True
    assert found.summary[1].stands_out is True


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("whose", ["model", "reference"])
def test_a_head_is_named_as_the_model_under_audit_has_it(seed: int, whose: str) -> None:
    """Four heads, of which one lost its output, in an order that one side alone has exchanged."""
    config = replace(SHAPES["windows"], n_heads=4, d_head=2)
    subject = Subject(random_model(config, "four heads"))
    edited = copied(subject)
    edited.get_parameter("blocks.1.attn.W_O").detach()[2] *= 0.1
    if whose == "model":
        box = against(permuted(subject, edited, seed), subject.model)
    else:
        box = against(edited, permuted(subject, subject.model, seed))
    found = diff(box, SAMPLES)
    # the edit leaves keys alone, so they tell which head of the model under audit it is
    keys, key = box.weight("blocks.1.attn.W_K"), edited.get_parameter("blocks.1.attn.W_K")[2]
    right = int((keys - key).flatten(1).norm(dim=1).argmin())
    assert (right == 2) or whose == "model"
    moved = {name for name, value in found.suspects.items() if value > ROUNDING}
    assert moved <= {f"blocks.1.attn.{right}", "blocks.1.attn.bias"}  # a value bias goes through W_O
    assert f"blocks.1.attn.{right}" in moved


@pytest.mark.parametrize("seed", range(3))
def test_exchanged_heads_alone_do_not_differ(subject: Subject, seed: int) -> None:
    if subject.config.n_heads > 1:
        found = diff(against(subject.model, permuted(subject, subject.model, seed)), SAMPLES)
        assert found.arrays["relative"].max() < ROUNDING
        assert [each.stands_out for each in found.summary] == [False, False]


def test_a_rank_one_edit_of_an_mlp_is_found_with_its_direction() -> None:
    subject = Subject(random_model(SHAPES["windows"], "windows"))
    model, generator = copied(subject), torch.Generator().manual_seed(2)
    write = torch.randn(8, generator=generator)
    write -= write.mean()
    model.get_parameter("blocks.1.mlp.W_out").detach().add_(
        torch.outer(torch.randn(16, generator=generator), write)
    )
    found = diff(against(model, scrambled(subject, subject.model, 6)), SAMPLES)
    row = [str(label) for label in found.view[0]["axes"][0]["labels"]].index("blocks.1.mlp.W_out")
    assert int(found.arrays["relative"].argmax()) == row
    assert int(found.arrays["rank"][row]) == 1
    assert float(found.arrays["direction"][row] @ write.double() / write.norm()) ** 2 > 0.99
    others = torch.arange(len(found.arrays["relative"])) != row
    assert found.arrays["relative"][others].max() < ROUNDING


def test_the_league_must_grant_the_other_model(subject: Subject) -> None:
    with pytest.raises(AccessError, match="reference: not granted by the whitebox league"):
        diff(subject.box(), SAMPLES)
    with pytest.raises(RequestError, match='other: got "base"; allowed: reference, sibling'):
        diff(subject.box(), SAMPLES, "base")  # type: ignore[arg-type]
