from typing import Any

import pytest
import torch
from torch import Tensor

from models.hooks import HookPoint
from models.seeds import named_generator
from models.transformer import Normalization, Transformer, TransformerConfig


def config(norm: Normalization | None = "LN", act: str = "relu", **changes: Any) -> TransformerConfig:
    settings: dict[str, Any] = {
        "n_layers": 3, "d_model": 8, "n_heads": 2, "d_head": 4, "d_mlp": 12, "d_vocab": 11, "n_ctx": 9,
        "window": (2, None, None), "mlp": (True, True, False), "act_fn": act, "normalization_type": norm,
    }  # fmt: skip
    return TransformerConfig(**(settings | changes))


@pytest.fixture
def model() -> Transformer:
    return Transformer(config(), named_generator("transformer tests"))


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(11, (4, 7), generator=named_generator("tokens"))


@pytest.mark.parametrize("norm", ["LN", "RMS", None])
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_declared_names_and_shapes_are_those_of_the_live_model(norm: Normalization | None, act: str) -> None:
    cfg = config(norm, act)
    model = Transformer(cfg, named_generator("shapes"))
    logits, cache = model.run_with_cache(torch.zeros(2, 5, dtype=torch.int64))
    assert logits.shape == (2, 5, 11)
    assert {name: tuple(value.shape) for name, value in cache.items()} == cfg.hook_shapes(2, 5)
    weights = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert weights == cfg.weight_shapes()


def test_residual_stream_adds_up(model: Transformer, tokens: Tensor) -> None:
    _, cache = model.run_with_cache(tokens)
    for layer in (0, 1):
        block = f"blocks.{layer}."
        middle = cache[block + "hook_resid_pre"] + cache[block + "hook_attn_out"]
        torch.testing.assert_close(cache[block + "hook_resid_mid"], middle, rtol=0, atol=0)
        post = middle + cache[block + "hook_mlp_out"]
        torch.testing.assert_close(cache[block + "hook_resid_post"], post, rtol=0, atol=0)
    last = cache["blocks.2.hook_resid_pre"] + cache["blocks.2.hook_attn_out"]
    torch.testing.assert_close(cache["blocks.2.hook_resid_post"], last, rtol=0, atol=0)


def test_head_results_and_bias_add_up_to_the_attention_output(model: Transformer, tokens: Tensor) -> None:
    _, cache = model.run_with_cache(tokens)
    total = cache["blocks.1.attn.hook_result"].sum(2) + model.state_dict()["blocks.1.attn.b_O"]
    torch.testing.assert_close(cache["blocks.1.hook_attn_out"], total)


@pytest.mark.parametrize("norm", ["LN", "RMS"])
def test_hooked_and_fused_norms_agree(norm: Normalization, tokens: Tensor) -> None:
    model = Transformer(config(norm), named_generator("norms"))
    torch.testing.assert_close(model(tokens), model.run_with_cache(tokens)[0])


def test_attention_is_what_its_formula_says(model: Transformer, tokens: Tensor) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn(weight.shape, generator=named_generator(name)), alpha=0.3)
    _, cache = model.run_with_cache(tokens)
    weights, block = model.state_dict(), "blocks.0."
    x = cache[block + "ln1.hook_normalized"] * weights[block + "ln1.w"] + weights[block + "ln1.b"]
    q, k, v = (
        torch.einsum("bpd,hde->bhpe", x, weights[f"{block}attn.W_{letter}"])
        + weights[f"{block}attn.b_{letter}"][:, None]
        for letter in "QKV"
    )
    distance = torch.arange(7)[:, None] - torch.arange(7)
    scores = torch.einsum("bhqe,bhke->bhqk", q, k) / 2  # the root of d_head
    scores = torch.where((distance >= 0) & (distance < 2), scores, -torch.inf)
    z = torch.einsum("bhqk,bhke->bqhe", scores.softmax(-1), v)
    out = torch.einsum("bqhe,hed->bqd", z, weights[block + "attn.W_O"]) + weights[block + "attn.b_O"]
    torch.testing.assert_close(cache[block + "attn.hook_attn_scores"], scores)
    torch.testing.assert_close(cache[block + "hook_attn_out"], out)


def test_a_window_of_two_sees_only_itself_and_the_token_before(model: Transformer, tokens: Tensor) -> None:
    _, cache = model.run_with_cache(tokens)
    pattern = cache["blocks.0.attn.hook_pattern"]
    query, key = torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")
    outside = (key > query) | (query - key >= 2)
    assert pattern[..., outside].abs().max() == 0
    assert (cache["blocks.1.attn.hook_pattern"][..., query >= key] > 0).all()


def test_padding_on_the_right_changes_nothing_before_it(model: Transformer, tokens: Tensor) -> None:
    padded = torch.cat([tokens, torch.zeros(4, 2, dtype=torch.int64)], 1)
    torch.testing.assert_close(model(padded)[:, :7], model(tokens))


def test_a_batch_gives_what_its_rows_give_alone(model: Transformer, tokens: Tensor) -> None:
    alone = torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(model(tokens), alone)


def test_running_on_from_a_layer_gives_the_same_logits(model: Transformer, tokens: Tensor) -> None:
    logits, cache = model.run_with_cache(tokens)
    resumed = model.logits_of(model.through_blocks(cache["blocks.1.hook_resid_pre"], start=1))
    torch.testing.assert_close(resumed, logits, rtol=1e-4, atol=1e-5)


def test_a_hook_replaces_what_passes_and_is_gone_afterwards(model: Transformer, tokens: Tensor) -> None:
    before = model(tokens)
    hooked = model.run_with_hooks(tokens, [("blocks.0.mlp.hook_post", lambda x, hook: torch.zeros_like(x))])
    assert not torch.equal(hooked, before)
    assert torch.equal(model(tokens), before)


def test_no_hook_survives_an_exception(model: Transformer, tokens: Tensor) -> None:
    def broken(_tensor: Tensor, hook: HookPoint) -> None:
        raise ZeroDivisionError(hook.name)

    with pytest.raises(ZeroDivisionError, match=r"blocks\.1\.hook_resid_pre"):
        model.run_with_hooks(tokens, [("hook_embed", lambda x, hook: x), ("blocks.1.hook_resid_pre", broken)])
    assert all(point.idle for point in model.hook_dict.values())


def test_hooks_act_in_order_and_may_change_in_place(model: Transformer, tokens: Tensor) -> None:
    def double_the_first_query_in_place(q: Tensor, hook: HookPoint) -> None:
        q[:, 0] *= 2

    seen: list[Tensor] = []
    name = "blocks.0.attn.hook_q"
    before = model.run_with_cache(tokens, name)[1][name]
    model.run_with_hooks(
        tokens, [(name, double_the_first_query_in_place), (name, lambda q, _: seen.append(q))]
    )
    torch.testing.assert_close(seen[0][:, 0], 2 * before[:, 0])
    torch.testing.assert_close(seen[0][:, 1:], before[:, 1:])


def test_writing_to_what_passes_never_writes_to_weights(model: Transformer) -> None:
    def wipe(activation: Tensor, hook: HookPoint) -> None:
        activation.zero_()

    model.requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.run_with_hooks(torch.tensor([[1, 2, 3]]), [(lambda name: not name.endswith("scale"), wipe)])
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_forward_hook_of_torchs_own_sees_results_too(model: Transformer, tokens: Tensor) -> None:
    shapes: list[torch.Size] = []
    handle = model.hook_dict["blocks.1.attn.hook_result"].register_forward_hook(
        lambda _module, _inputs, output: shapes.append(output.shape)
    )
    model(tokens)
    handle.remove()
    assert shapes == [(4, 7, 2, 8)]


def test_gradients_are_the_same_bytes_on_each_run(model: Transformer, tokens: Tensor) -> None:
    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(model(tokens).logsumexp(-1).sum(), list(model.parameters())))

    again = gradients()
    assert all(torch.equal(first, second) for first, second in zip(gradients(), again, strict=True))


def test_unknown_hook_is_refused_not_ignored(model: Transformer, tokens: Tensor) -> None:
    with pytest.raises(
        KeyError, match=r'unknown hook "blocks\.0\.hook_resid_past".*blocks\.0\.hook_resid_post'
    ):
        model.run_with_cache(tokens, ["blocks.0.hook_resid_past"])


def test_a_filter_that_selects_nothing_is_refused(model: Transformer, tokens: Tensor) -> None:
    with pytest.raises(KeyError, match="selects no hook point"):
        model.run_with_cache(tokens, lambda name: name.endswith("hook_typo"))


def test_state_dict_round_trip_gives_equal_logits(model: Transformer, tokens: Tensor) -> None:
    other = Transformer(model.cfg)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(tokens), model(tokens))


def test_config_survives_json() -> None:
    assert TransformerConfig.from_dict(config().to_dict()) == config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layers": 0}, "n_layers: got 0, wanted at least 1"),
        ({"window": (2, 2)}, "window: got 2 entries, wanted one for each of 3 layers"),
        ({"mlp": (True,) * 4}, "mlp: got 4 entries"),
        ({"window": (0, 2, None)}, "each entry is at least 1"),
        ({"act_fn": "swish"}, 'act_fn: got "swish"; allowed: relu, gelu'),
        ({"normalization_type": "BN"}, 'normalization_type: got "BN"; allowed: LN, RMS, null'),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)
