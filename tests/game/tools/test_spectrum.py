from collections.abc import Callable

import pytest
import torch

from game.api import RequestError
from game.toolbox.live import ModelToolbox
from game.toolbox.prices import weight_price
from game.tools.spectrum import TRACY_WIDOM_BAND, estimate, spectrum
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]
W_OUT = "blocks.0.mlp.W_out"


def wide_box(seed: int, spike: float = 0.0) -> ModelToolbox:
    """A model whose W_out is 160 x 40 noise of deviation 0.1, with a rank-one part of that singular value."""
    config = TransformerConfig(1, 40, 1, 4, 160, 5, 4, (None,), (True,))
    model, generator = Transformer(config), named_generator("wide", seed)
    left, right = torch.randn(160, generator=generator), torch.randn(40, generator=generator)
    with torch.no_grad():
        model.get_parameter(W_OUT).normal_(0, 0.1, generator=generator)
        model.get_parameter(W_OUT).add_(spike * torch.outer(left / left.norm(), right / right.norm()))
    return ModelToolbox(model, league="whitebox", corpus=lambda *_: pytest.fail("not asked"), total=10)


def test_noise_ends_at_the_edge() -> None:
    found = [spectrum(wide_box(seed), W_OUT).arrays for seed in range(20)]
    inside = [TRACY_WIDOM_BAND[0] < arrays["z"] < TRACY_WIDOM_BAND[1] for arrays in found]
    assert sum(inside) >= 17  # 98 % of them, if the noise level were known and not estimated
    for arrays in found:
        assert float(arrays["singular_values"][0] / arrays["edge"]) == pytest.approx(1, abs=0.07)
        assert float(arrays["noise"]) == pytest.approx(0.1, rel=0.05)
        assert float(arrays["row_cosine"]) == pytest.approx(float(arrays["row_null"]), rel=0.03)
        assert float(arrays["column_cosine"]) == pytest.approx(float(arrays["column_null"]), rel=0.05)


def test_a_spike_leaves_the_band_and_its_vectors_are_found() -> None:
    arrays = spectrum(wide_box(0, spike=6.0), W_OUT).arrays
    generator = named_generator("wide", 0)
    left, right = (
        torch.randn(160, generator=generator).double(),
        torch.randn(40, generator=generator).double(),
    )
    assert arrays["z"] > 50
    assert arrays["share"] > 0.3
    assert (arrays["left"][0] @ left / left.norm()).abs() > 0.95
    assert (arrays["right"][0] @ right / right.norm()).abs() > 0.95
    assert arrays["row_cosine"] > 1.5 * arrays["row_null"]


@pytest.mark.parametrize("tensor", [W_OUT, "blocks.1.attn.W_O[1]", "blocks.0.attn.W_Q[0]", "embed.W_E"])
def test_the_singular_vectors_rebuild_the_matrix(box: ModelToolbox, tensor: str) -> None:
    arrays = spectrum(box, tensor, top=99).arrays
    name, _, head = tensor.partition("[")
    weight = box.weight(name) if not head else box.weight(name)[int(head[0])]
    rebuilt = arrays["left"].T @ arrays["singular_values"].diag() @ arrays["right"]
    torch.testing.assert_close(rebuilt.float(), weight, atol=1e-5, rtol=0)
    assert float(arrays["share"]) == pytest.approx(
        float(arrays["singular_values"][0] ** 2 / arrays["singular_values"].square().sum())
    )


def test_permuting_neurons_changes_no_number(make_box: MakeBox, tiny_model: Transformer) -> None:
    before = spectrum(make_box(), W_OUT).arrays
    weight = tiny_model.get_parameter(W_OUT)
    with torch.no_grad():
        weight.copy_(weight[torch.randperm(16, generator=named_generator("permutation"))])
    after = spectrum(make_box(), W_OUT).arrays
    for name in set(before) - {"left", "right"}:
        torch.testing.assert_close(after[name], before[name], msg=name)


def test_an_empty_head_has_plain_zeros(make_box: MakeBox, tiny_model: Transformer) -> None:
    with torch.no_grad():
        tiny_model.get_parameter("blocks.1.attn.W_O")[1] = 0
    arrays = spectrum(make_box(), "blocks.1.attn.W_O[1]").arrays
    assert all(bool(value.isfinite().all()) for value in arrays.values())
    assert float(arrays["share"]) == float(arrays["loudness"]) == float(arrays["edge"]) == 0


def test_a_head_pays_for_its_tensor_and_the_next_head_is_free(box: ModelToolbox) -> None:
    first, second = (spectrum(box, f"blocks.1.attn.W_O[{head}]") for head in (0, 1))
    assert (
        first.cost
        == estimate(box.config, "blocks.1.attn.W_O[0]")
        == weight_price(box.config, "blocks.1.attn.W_O")
    )
    assert second.cost == 0


# what is wrong                 and what the message says
BAD = [
    ("blocks.0.mlp.W_uot", 'unknown weight "blocks.0.mlp.W_uot"; .*did you mean "blocks.0.mlp.W_out"'),
    ("blocks.0.mlp.b_out", 'tensor: "blocks.0.mlp.b_out" is not one matrix'),
    ("blocks.0.mlp.W_out[0]", "is not one matrix"),
    ("blocks.0.attn.W_O", r"is not one matrix; allowed: blocks.0.attn.W_O\[0\] to blocks.0.attn.W_O\[1\]"),
    ("blocks.0.attn.W_O[2]", r"is not one matrix; allowed: blocks.0.attn.W_O\[0\] to"),
    ("blocks.0.attn.W_O[-1]", "unknown weight"),
]


@pytest.mark.parametrize(("tensor", "message"), BAD)
def test_what_is_no_matrix_is_refused(box: ModelToolbox, tensor: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        spectrum(box, tensor)
    assert box.budget.spent == 0


def test_an_unknown_tensor_has_no_price(tiny_config: TransformerConfig) -> None:
    with pytest.raises(KeyError, match=r"unknown weight \"embed\.W_F\""):
        estimate(tiny_config, "embed.W_F")
