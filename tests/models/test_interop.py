import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from models.checkpoints import Checkpoint, checkpoint_of
from models.interop import (
    ExportError,
    ImportFault,
    PeerMissing,
    checkpoint_of_state,
    circuitsvis_attention,
    circuitsvis_log_probs,
    circuitsvis_neurons,
    export,
    from_tl_state_dict,
    hooked_transformer,
    tl_fields,
    tl_state_dict,
    transformer_bridge,
)
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(
    n_layers=3, d_model=8, n_heads=2, d_head=3, d_mlp=12, d_vocab=11, n_ctx=9,
    window=(2, None, 2), mlp=(True, False, True), act_fn="gelu", eps=1e-3,
)  # fmt: skip
FIELDS = {
    "n_layers": 3, "d_model": 8, "n_heads": 2, "d_head": 3, "d_mlp": 12, "d_vocab": 11, "n_ctx": 9,
    "act_fn": "gelu", "normalization_type": "LN", "eps": 1e-3,
}  # fmt: skip


def checkpoint(config: TransformerConfig = CONFIG) -> Checkpoint:
    model = Transformer(config, named_generator("interop tests"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn(weight.shape, generator=named_generator(name)), alpha=0.2)
    return checkpoint_of(model)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(11, (4, 7), generator=named_generator("interop tokens"))


def faults(state: Any, fields: Any) -> tuple[str, ...]:
    with pytest.raises(ImportFault) as caught:
        from_tl_state_dict(state, fields)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def test_fields_are_those_of_transformer_lens_and_json() -> None:
    local = {"use_local_attn": True, "attn_types": ["local", "global", "local"], "window_size": 2}
    assert json.loads(json.dumps(tl_fields(CONFIG))) == FIELDS | local
    assert tl_fields(replace(CONFIG, window=(None, 9, 20))) == FIELDS


def test_a_missing_mlp_becomes_one_of_zeros_which_adds_nothing(tokens: Tensor) -> None:
    original = checkpoint()
    whole = Checkpoint(replace(CONFIG, mlp=(True,) * 3), tl_state_dict(original))
    _, cache = whole.model().run_with_cache(tokens, "blocks.1.hook_mlp_out")
    assert cache["blocks.1.hook_mlp_out"].abs().max() == 0
    assert torch.equal(whole.model()(tokens), original.model()(tokens))


@pytest.mark.parametrize("target", ["tl3", "tl4"])
def test_windows_of_two_sizes_are_refused_before_anything_is_written(target: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"window: got \[2, None, 3\].*one window size"):
        export(checkpoint(replace(CONFIG, window=(2, None, 3))), target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_any_window_is_refused_for_version_4(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="TransformerLens 4 has no windows; tl3 has"):
        export(checkpoint(), "tl4", tmp_path / "out")
    with pytest.raises(ExportError, match='target: got "tl5"; allowed: tl3, tl4'):
        export(checkpoint(), "tl5", tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("target", "window"), [("tl3", (2, None, 2)), ("tl4", (None, None, None))])
def test_what_is_exported_can_be_imported_again(target: Any, window: Any, tmp_path: Path) -> None:
    original = checkpoint(replace(CONFIG, window=window))
    export(original, target, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    fields = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    state = load((tmp_path / "out" / "model.safetensors").read_bytes())
    assert from_tl_state_dict(state, fields).config.window == window
    assert checkpoint_of_state(state, original.config).hash == original.hash
    assert original.hash in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_library_that_is_not_here_is_named_with_what_to_install() -> None:
    whole = checkpoint(replace(CONFIG, window=(None,) * 3))
    for load_in, version in ((hooked_transformer, 3), (transformer_bridge, 4)):
        with pytest.raises(PeerMissing, match=rf"TransformerLens {version} is wanted, .*interop-tl{version}"):
            load_in(whole)


def test_masks_are_ignored_and_other_float_types_converted(tokens: Tensor) -> None:
    original = checkpoint(replace(CONFIG, mlp=(True,) * 3))
    state = {name: weight.double() for name, weight in original.weights.items()}
    state["blocks.0.attn.mask"], state["blocks.2.attn.IGNORE"] = torch.ones(9, 9), torch.tensor(-torch.inf)
    assert from_tl_state_dict(state, tl_fields(original.config)).hash == original.hash
    state["unembed.b_U"] = state["unembed.b_U"].half()
    imported = from_tl_state_dict(state, tl_fields(original.config))
    assert {weight.dtype for weight in imported.weights.values()} == {torch.float32}
    torch.testing.assert_close(imported.model()(tokens), original.model()(tokens), rtol=0, atol=1e-3)


def test_an_import_shares_no_memory_with_what_it_came_from() -> None:
    state = tl_state_dict(checkpoint())
    imported = checkpoint_of_state(state, CONFIG)
    before = imported.weights["embed.W_E"].clone()
    state["embed.W_E"].zero_()
    assert torch.equal(imported.weights["embed.W_E"], before)


def test_every_tensor_that_does_not_fit_is_told_at_once_with_what_is_wanted() -> None:
    state: dict[str, Any] = dict(checkpoint(replace(CONFIG, mlp=(True,) * 3)).weights)
    del state["blocks.0.attn.W_Q"]
    state["blocks.1.mlp.W_in"] = state["blocks.1.mlp.W_in"].T
    state["ln_final.w"] = torch.ones(8, dtype=torch.int64)
    state["unembed.b_U"] = torch.full((11,), math.nan)
    state["embed.W_E"] = torch.full((11, 8), 1e300, dtype=torch.float64)
    state["pos_embed.W_pos"] = [[0.0] * 8] * 9
    state["blocks.3.attn.W_Q"] = torch.zeros(2, 8, 3)
    state["attn.mask"] = torch.zeros(1)
    assert faults(state, tl_fields(CONFIG)) == (
        "embed.W_E: holds values that are not finite in float32, [11, 8]",
        "pos_embed.W_pos: got list, wanted a floating-point tensor [9, 8]",
        "blocks.0.attn.W_Q: is missing, wanted [2, 8, 3]",
        "blocks.1.mlp.W_in: got [12, 8], wanted [8, 12]",
        "ln_final.w: got torch.int64, wanted a floating-point tensor [8]",
        "unembed.b_U: holds values that are not finite in float32, [11]",
        "blocks.3.attn.W_Q: this model has no such tensor",
        "attn.mask: this model has no such tensor",
    )


def test_an_mlp_that_does_something_is_not_dropped_where_the_config_has_none() -> None:
    state = tl_state_dict(checkpoint())
    state["blocks.1.mlp.b_out"][0] = 1.0
    with pytest.raises(ImportFault, match=r"blocks\.1\.mlp\.b_out: this model has no such tensor"):
        checkpoint_of_state(state, CONFIG)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("positional_embedding_type", "rotary", "allowed: standard"),
        ("act_fn", "silu", "allowed: relu, gelu"),
        ("act_fn", "gelu_new", "not an approximation by tanh"),
        ("normalization_type", "BN", "allowed: LN, LNPre, RMS, RMSPre, None"),
        ("parallel_attn_mlp", True, "allowed: False"),
        ("gated_mlp", True, "allowed: False"),
        ("use_split_qkv_input", True, "allowed: False"),
        ("n_key_value_heads", 1, "allowed: None"),
        ("attn_scores_soft_cap", 30.0, "allowed: None, 0.0, -1.0"),
        ("attention_dir", "bidirectional", "allowed: causal"),
        ("d_vocab_out", 5, "allowed: -1, 11"),
        ("final_rms", True, "allowed: False"),
        ("attn_scale", 8.0, "allowed: -1, 1.73205"),
        ("use_attn_scale", False, "allowed: True"),
        ("eps", 0.0, "wanted a number between 0 and 1"),
        ("n_layers", 10**9, "wanted at most 1000"),
        ("n_heads", "2", "wanted a whole number of at least 1"),
        ("d_model", True, "wanted a whole number of at least 1"),
        ("window_size", 0, "wanted a whole number of at least 1"),
        ("attn_types", ["local", "global"], 'wanted "global" or "local" for each of 3 layers'),
        ("n_layer", 3, "this field is not known here"),
    ],
)
def test_a_field_that_means_something_else_is_refused_with_what_is_allowed(
    field: str, value: Any, message: str
) -> None:
    found = faults(tl_state_dict(checkpoint()), tl_fields(CONFIG) | {field: value})
    assert [line for line in found if line.startswith(f"{field}: got {value!r}") and message in line]


def test_all_fields_that_do_not_fit_are_told_at_once() -> None:
    fields = tl_fields(CONFIG) | {"act_fn": "silu", "gated_mlp": True, "model_name": "mine", "seed": 3}
    del fields["d_vocab"]
    names = [line.split(":")[0] for line in faults(tl_state_dict(checkpoint()), fields)]
    assert names == ["d_vocab", "act_fn", "gated_mlp"]


def test_a_model_of_attention_alone_comes_as_layers_without_mlps() -> None:
    alone = replace(CONFIG, mlp=(False,) * 3)
    fields = tl_fields(CONFIG) | {"attn_only": True, "d_mlp": None}
    imported = from_tl_state_dict(checkpoint(alone).weights, fields)
    assert imported.config == replace(alone, d_mlp=32)


@pytest.mark.parametrize("kind", ["LN", "RMS"])
def test_folded_norms_come_with_unit_gain(kind: Any) -> None:
    whole = checkpoint(replace(CONFIG, mlp=(True,) * 3, normalization_type=kind))
    norms = [name for name in whole.weights if name.endswith((".w", ".b"))]
    bare = {name: weight for name, weight in whole.weights.items() if name not in norms}
    fields = tl_fields(whole.config) | {"normalization_type": f"{kind}Pre"}
    imported = from_tl_state_dict(bare, fields)
    assert imported.config == whole.config
    assert all((imported.weights[name] == float(name.endswith(".w"))).all() for name in norms)
    assert faults(whole.weights, fields)[0] == "blocks.0.ln1.w: a folded norm has no such tensor"


def test_arrays_for_circuitsvis_have_its_axes(tokens: Tensor) -> None:
    logits, cache = checkpoint().model().run_with_cache(tokens[:1])
    pattern = cache["blocks.0.attn.hook_pattern"]
    assert torch.equal(circuitsvis_attention(pattern), pattern[0])  # [head, dest, src]
    assert torch.equal(circuitsvis_attention(pattern[0]), pattern[0])
    assert circuitsvis_attention(pattern)[:, 0, 1:].abs().max() == 0  # the first token sees no later source
    assert torch.equal(circuitsvis_neurons(cache)[:, 1], cache["blocks.2.mlp.hook_post"][0])
    assert circuitsvis_neurons(cache).shape == (7, 2, 12)
    torch.testing.assert_close(circuitsvis_log_probs(logits).exp().sum(-1), torch.ones(7))
    with pytest.raises(ValueError, match=r"got shape \[4, 7, 11\], wanted \[pos, d_vocab\] of one sequence"):
        circuitsvis_log_probs(checkpoint().model()(tokens))
    with pytest.raises(ValueError, match=r"no mlp\.hook_post"):
        circuitsvis_neurons({})


def test_tokens_are_ids_and_text_is_refused() -> None:
    model = checkpoint().model()
    assert model.to_tokens([1, 2, 3]).tolist() == [[1, 2, 3]]
    assert model.to_tokens([[1, 2], [3, 4]]).shape == (2, 2)
    assert model.to_tokens(torch.tensor([5], dtype=torch.int32)).dtype == torch.int64
    assert model.to_single_token(4) == 4
    for text in ("Paris", ["Paris", "Rome"]):
        with pytest.raises(TypeError, match="got text, but these models have no tokenizer"):
            model.to_tokens(text)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ids lie in 0\.\.10"):
        model.to_tokens([11])
    with pytest.raises(TypeError, match=r"got torch\.float32, wanted integer ids"):
        model.to_tokens(torch.tensor([1.5]))


def test_accumulated_bias_is_what_biases_add_to_the_residual_stream(tokens: Tensor) -> None:
    model = checkpoint().model()
    state = model.state_dict()
    first = state["blocks.0.attn.b_O"] + state["blocks.0.mlp.b_out"]
    assert torch.equal(model.accumulated_bias(0), torch.zeros(8))
    torch.testing.assert_close(model.accumulated_bias(1), first)
    torch.testing.assert_close(
        model.accumulated_bias(1, mlp_input=True, include_mlp_biases=False),
        state["blocks.0.attn.b_O"] + state["blocks.1.attn.b_O"],
    )
    with pytest.raises(ValueError, match=r"layer: got 4, wanted 0\.\.3"):
        model.accumulated_bias(4)


def test_a_tokens_direction_is_its_column_of_the_unembedding() -> None:
    model = checkpoint().model()
    assert torch.equal(model.tokens_to_residual_directions(3), model.W_U[:, 3])
    assert model.tokens_to_residual_directions(torch.tensor([[3, 4], [5, 6]])).shape == (2, 2, 8)
    assert torch.equal(model.tokens_to_residual_directions(torch.tensor([3, 4]))[1], model.W_U[:, 4])


def test_the_config_answers_what_transformer_lens_asks() -> None:
    assert not CONFIG.attn_only
    assert replace(CONFIG, mlp=(False,) * 3).attn_only
    assert (CONFIG.device, CONFIG.dtype, CONFIG.n_key_value_heads) == ("cpu", torch.float32, None)
    assert "device" not in CONFIG.to_dict()
