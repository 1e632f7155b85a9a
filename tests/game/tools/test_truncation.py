from collections.abc import Callable

import pytest
import torch

from game.api import RequestError
from game.toolbox.live import ModelToolbox
from game.tools import reverse as reversal
from game.tools import truncation_shift as shift
from game.tools.kit.truncation import Matrix, read_components
from game.tools.reverse import reverse
from game.tools.truncation_shift import truncation_shift
from models.transformer import Transformer
from tests.game.tools.conftest import Subject, close, samples_of

SAMPLES = samples_of(12, 8)


def names(subject: Subject) -> list[str]:
    head = subject.config.n_heads - 1
    found = ["embed.W_E", "pos_embed.W_pos", "blocks.0.attn.W_O"]
    found += [f"blocks.0.attn.W_{letter}[{head}]" for letter in "QKVO"]
    for layer, has_mlp in enumerate(subject.config.mlp):
        found += [f"blocks.{layer}.mlp.W_in", f"blocks.{layer}.mlp.W_out"] * has_mlp
    return found


def truncated(subject: Subject, name: str, drop: int) -> Transformer:
    """The model with the weight itself rewritten."""
    model = Transformer(subject.config)
    model.load_state_dict(subject.model.state_dict())
    matrix = Matrix.named(subject.config, name)
    weight = model.get_parameter(matrix.tensor).detach()
    part = weight if matrix.head is None else weight[matrix.head]
    left, values, right = torch.linalg.svd(part.flatten(0, -2).double(), full_matrices=False)
    values[:drop] = 0
    part.copy_((left * values @ right).view(part.shape))
    return model


@pytest.mark.parametrize("drop", [1, 3])
def test_reversal_is_the_truncated_weight_exactly(subject: Subject, drop: int) -> None:
    box, rows, at = subject.box(5), torch.arange(12), SAMPLES.lengths - 1
    for name in names(subject):
        found = reverse(box, SAMPLES, name, drop)
        with torch.no_grad():
            before, after = (
                model(SAMPLES.tokens)[rows, at].double().log_softmax(-1)
                for model in (subject.model, truncated(subject, name, drop))
            )
        close(found.arrays["kl"], (before.exp() * (before - after)).sum(-1), 2e-5)
        assert torch.equal(found.arrays["after"], after.argmax(-1)), name


def test_the_factors_take_the_components_out_of_the_weight(subject: Subject) -> None:
    box = subject.box()
    for name in names(subject):
        matrix, arrays = Matrix.named(subject.config, name), reverse(box, SAMPLES, name, 2).arrays
        weight = box.weight(matrix.tensor)
        weight = (weight if matrix.head is None else weight[matrix.head]).flatten(0, -2).double()
        values = torch.linalg.svdvals(weight + arrays["left"] @ arrays["right"])
        close(values[:-2], arrays["singular_values"][2:])


def test_the_shift_counts_what_reversal_changes(subject: Subject) -> None:
    box, drops = subject.box(9), (1, 2)
    tensors = ("blocks.0.attn.W_O", "embed.W_E")
    found = truncation_shift(box, SAMPLES, tensors, drops)
    assert found.cost == pytest.approx(shift.estimate(subject.config, SAMPLES, tensors, drops))
    for row, name in enumerate(tensors):
        for column, drop in enumerate(drops):
            arrays = reverse(box, SAMPLES, name, drop).arrays
            changed = (arrays["before"] != arrays["after"]).double().mean()
            close(found.arrays["changed"][row, column], changed)
            close(found.arrays["kl"][row, column], arrays["kl"].mean())


def test_the_estimate_is_the_cost(subject: Subject) -> None:
    found = reverse(subject.box(), SAMPLES, "blocks.0.attn.W_V[0]")
    assert found.cost == pytest.approx(reversal.estimate(subject.config, SAMPLES, "blocks.0.attn.W_V[0]"))


def test_a_component_is_owned_by_its_head_or_mlp(shaped: Callable[[str], Subject]) -> None:
    config = shaped("windows").config
    for name, owner in (
        ("blocks.1.attn.W_V[1]", "blocks.1.attn.1"),
        ("blocks.0.mlp.W_in", "blocks.0.mlp"),
        ("embed.W_E", "embed"),
        ("blocks.1.attn.W_O", "blocks.1.attn.0"),
    ):
        assert Matrix.named(config, name).component == owner


def test_a_bias_is_left_alone_by_the_cut(shaped: Callable[[str], Subject]) -> None:
    """A matrix without all its components writes its bias."""
    subject = shaped("rms-gelu")
    box = subject.box()
    parts = read_components(box, Matrix.named(subject.config, "blocks.1.mlp.W_out"))
    cut = parts.without(len(parts.values), subject.config.n_heads)
    name = "blocks.1.hook_mlp_out"
    found = box.activations(SAMPLES.tokens, [name], cut)[name]
    bias = subject.model.get_parameter("blocks.1.mlp.b_out").detach()
    close(found, bias.expand_as(found))


# what is wrong                           and what the message says
BAD = [
    (("blocks.0.mlp.W_uot", 1, 0.9), 'tensor: unknown weight "blocks.0.mlp.W_uot"'),
    (("unembed.W_U", 1, 0.9), 'tensor: "unembed.W_U" is not one of W_in, W_out'),
    (("blocks.0.attn.W_Q", 1, 0.9), 'tensor: "blocks.0.attn.W_Q" is not one of'),
    (("blocks.0.attn.W_Q[7]", 1, 0.9), r'tensor: "blocks.0.attn.W_Q\[7\]" is not one of'),
    (("blocks.0.attn.W_Q[0]", 0, 0.9), "drop: got 0; allowed: 1 to 4, the rank of"),
    (("embed.W_E", 1, 1.0), "sure: got 1.0; allowed: above 0, below 1"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_what_cannot_be_truncated_is_refused(
    shaped: Callable[[str], Subject], given: tuple[str, int, float], message: str
) -> None:
    box: ModelToolbox = shaped("windows").box()
    with pytest.raises(RequestError, match=message):
        reverse(box, SAMPLES, *given)
    assert box.budget.spent == 0


def test_drops_below_one_are_refused(shaped: Callable[[str], Subject]) -> None:
    box = shaped("attention-only").box()
    with pytest.raises(RequestError, match=r"drops: got \(0,\); allowed: 1 to \d+, the least rank"):
        truncation_shift(box, SAMPLES, ("embed.W_E",), (0,))
    with pytest.raises(RequestError, match="tensors: got none, and without an MLP there is no default"):
        truncation_shift(box, SAMPLES)
    assert box.budget.spent == 0
