"""Weights with TransformerLens's names made a checkpoint; whatever does not fit is told in one error."""

import re
from collections.abc import Iterator, Mapping, Sequence
from math import isclose
from typing import Any

import torch
from torch import Tensor

from models.checkpoints import Checkpoint
from models.transformer import TransformerConfig

MOST_LAYERS = 1000
SIZES = ("n_layers", "d_model", "n_heads", "d_head", "d_mlp", "d_vocab", "n_ctx")
NORMS = {"LN": "LN", "LNPre": "LN", "RMS": "RMS", "RMSPre": "RMS", None: None}

# Fields that change what is computed, with the values that our models can stand for, and why
ALLOWED: dict[str, tuple[tuple[object, ...], str]] = {
    "positional_embedding_type": (("standard",), "positions are learned, and added once at the start"),
    "attention_dir": (("causal",), "attention looks back only"),
    "parallel_attn_mlp": ((False,), "an MLP reads what its layer's attention wrote"),
    "gated_mlp": ((False,), "MLPs have no gate"),
    "num_experts": ((None,), "MLPs have no experts"),
    "n_key_value_heads": ((None,), "every head has keys and values of its own"),
    "per_layer_head_dim": ((None,), "all heads have one size"),
    "per_layer_num_key_value_heads": ((None,), "every head has keys and values of its own"),
    "use_attn_scale": ((True,), "scores are divided by the root of d_head"),
    "scale_attn_by_inverse_layer_idx": ((False,), "scores are divided by the root of d_head alone"),
    "use_logn_attn": ((False,), "scores are divided by the root of d_head alone"),
    "use_qk_norm": ((False,), "queries and keys are not normalised"),
    "clip_qkv": ((None,), "queries, keys and values are not clipped"),
    "use_attention_sinks": ((False,), "attention has no sinks"),
    "attn_scores_soft_cap": ((None, 0.0, -1.0), "scores have no soft cap"),
    "output_logits_soft_cap": ((None, 0.0, -1.0), "logits have no soft cap"),
    "post_embedding_ln": ((False,), "embeddings are not normalised"),
    "scale_embedding": ((None, False), "embeddings are not scaled"),
    "use_normalization_before_and_after": ((False,), "only what is read is normalised, not what is written"),
    "rmsnorm_uses_offset": ((False,), "RMS gains are used as they are"),
    "load_in_4bit": ((False,), "weights are float32"),
    "use_split_qkv_input": ((False,), "our models lack the hook points that it makes"),
    "use_attn_in": ((False,), "our models lack the hook points that it makes"),
    "use_hook_mlp_in": ((False,), "our models lack the hook points that it makes"),
}
# Fields that change nothing that is computed here; rotary ones do nothing under learned positions
IDLE = re.compile(
    "(rotary|yarn|NTK|use_NTK|use_yarn|use_dynamic_ntk|checkpoint|tokenizer|init|initializer|vision)_.*|"
    "device|dtype|default_prepend_bos|default_padding_side|layer_norm_folding|experts_per_token|model_name|"
    "use_attn_result|ungroup_grouped_query_attention|original_architecture|architecture|from_checkpoint|"
    "n_devices|seed|n_params|use_hook_tokens|trust_remote_code|tie_word_embeddings|attn_implementation|"
    "train_seq_length|decoder_start_token_id|quantization_method|norm_topk_prob|split_attention_weights|"
    "relative_attention_max_distance|relative_attention_num_buckets|mm_tokens_per_image"
)
OTHERS = {"act_fn", "normalization_type", "eps", "attn_only", "attn_scale", "d_vocab_out", "uses_rms_norm"}
OTHERS |= {"final_rms", "use_local_attn", "attn_types", "window_size", *SIZES}
BUFFER = re.compile(r"blocks\.\d+\.attn\.(mask|IGNORE)")


class ImportFault(ValueError):
    """Weights or fields that are none of our models.

    Attributes:
        faults: Everything that does not fit, one line each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def from_tl_state_dict(state: Mapping[str, Tensor], fields: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that computes what TransformerLens computes with this state dict and config.

    Norms that were folded away (`LNPre`, `RMSPre`) become norms with unit gain and no bias, which is exact.
    An MLP of zeros stays an MLP.

    Args:
        state: `HookedTransformer.state_dict()`, or `TransformerBridge.tl_parameters()`, of any float type.
        fields: The config's fields, such as `cfg.to_dict()`.

    Raises:
        ImportFault: Every field that means something else than our models compute, or else every tensor that
            is missing, unknown, misshaped or not finite.
    """
    config = config_of_fields(fields)
    folded = fields.get("normalization_type") in ("LNPre", "RMSPre")
    return _checkpoint(state, _unit_norms(config) if folded else {}, config)


def checkpoint_of_state(state: Mapping[str, Tensor], config: TransformerConfig) -> Checkpoint:
    """The checkpoint of a known config; masks are ignored, as are MLPs of zeros where the config has none.

    Raises:
        ImportFault: Every tensor that is missing, unknown, misshaped or not finite in float32.
    """
    return _checkpoint(state, {}, config)


def _checkpoint(
    state: Mapping[str, Tensor], folded: Mapping[str, Tensor], config: TransformerConfig
) -> Checkpoint:
    """The checkpoint of a state and of what was folded away from it."""
    idle = {name for name in state if BUFFER.fullmatch(str(name))} | set(_idle_mlps(state, config))
    faults = [f"{name}: a folded norm has no such tensor" for name in folded if name in state]
    whole = {name: tensor for name, tensor in {**state, **folded}.items() if name not in idle}
    faults += _tensor_faults(whole, config)
    if faults:
        raise ImportFault(faults)
    return Checkpoint(config, {name: _copied(whole[name]) for name in config.weight_shapes()})


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def config_of_fields(fields: Mapping[str, Any]) -> TransformerConfig:
    """Our config of a model that TransformerLens describes by these fields.

    Raises:
        ImportFault: Every field that is missing, or that means something else than our models compute.
    """
    faults = [*_size_faults(fields), *_meaning_faults(fields)]
    if faults:
        raise ImportFault(faults)
    sizes = {name: int(fields[name]) for name in SIZES if fields.get(name) is not None}
    sizes.setdefault("d_mlp", 4 * sizes["d_model"])  # TransformerLens's own default
    layers, local = sizes["n_layers"], fields.get("use_local_attn", False)
    types = fields["attn_types"] if local else ["global"] * layers
    return TransformerConfig(
        **sizes,
        window=tuple(fields["window_size"] if kind == "local" else None for kind in types),
        mlp=(not fields.get("attn_only", False),) * layers,
        act_fn=fields.get("act_fn", "relu"),
        normalization_type=NORMS[fields.get("normalization_type", "LN")],  # type: ignore[arg-type]
        eps=float(fields.get("eps", 1e-5)),
    )


def _size_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    for name in SIZES:
        size = fields.get(name)
        if not (_is_size(size) or (size is None and name == "d_mlp")):
            yield f"{name}: got {size!r}, wanted a whole number of at least 1"
        elif name == "n_layers" and fields[name] > MOST_LAYERS:
            yield f"n_layers: got {size}, wanted at most {MOST_LAYERS}"


def _meaning_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    """Fields whose value our models cannot stand for."""
    norm = fields.get("normalization_type", "LN")
    rms = norm in ("RMS", "RMSPre")
    root = fields["d_head"] ** 0.5 if _is_size(fields.get("d_head")) else 1.0
    allowed = ALLOWED | {
        "act_fn": (("relu", "gelu"), "`gelu` is the exact one, not an approximation by tanh"),
        "normalization_type": (tuple(NORMS), "no other norm"),
        "attn_only": ((False, True), "all layers have an MLP or none"),
        "final_rms": ((False, rms), "the last norm is of the same kind as the others"),
        "uses_rms_norm": ((False, rms), "norms are as normalization_type says"),
        "d_vocab_out": ((-1, fields.get("d_vocab")), "tokens read and predicted are the same"),
    }
    for name, value in fields.items():
        if name in allowed:
            values, why = allowed[name]
            if not any(value is each or _equal(value, each) for each in values):
                listed = ", ".join(dict.fromkeys(str(each) for each in values))
                yield f"{name}: got {value!r}; allowed: {listed} ({why})"
        elif name not in OTHERS and not IDLE.fullmatch(name) and value is not None and value is not False:
            yield f"{name}: got {value!r}; this field is not known here, leave it out if it changes nothing"
    scale = fields.get("attn_scale", -1.0)
    if not (_is_number(scale) and (scale == -1 or isclose(scale, root, rel_tol=1e-6))):
        yield f"attn_scale: got {scale!r}; allowed: -1, {root:g} (scores are divided by the root of d_head)"
    eps = fields.get("eps", 1e-5)
    if not (_is_number(eps) and 0 < eps < 1):
        yield f"eps: got {eps!r}, wanted a number between 0 and 1"
    if fields.get("use_local_attn", False) is not False:
        yield from _window_faults(fields)


def _window_faults(fields: Mapping[str, Any]) -> Iterator[str]:
    types, size, layers = fields.get("attn_types"), fields.get("window_size"), fields.get("n_layers")
    fits = isinstance(types, list | tuple) and len(types) == layers
    if not fits or any(kind not in ("global", "local") for kind in types or ()):
        yield f'attn_types: got {types!r}, wanted "global" or "local" for each of {layers} layers'
    if not _is_size(size):
        yield f"window_size: got {size!r}, wanted a whole number of at least 1"


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(value: object, other: object) -> bool:
    """Whether two plain values are the same; true is not 1."""
    plain = isinstance(value, str | int | float) and isinstance(value, bool) == isinstance(other, bool)
    return plain and value == other


def _unit_norms(config: TransformerConfig) -> dict[str, Tensor]:
    """Gains of one and biases of zero for every norm."""
    size = config.d_model
    norms = [name for name in config.weight_shapes() if re.search(r"(^|\.)ln\w+\.[wb]$", name)]
    return {name: torch.ones(size) if name.endswith(".w") else torch.zeros(size) for name in norms}


def _idle_mlps(state: Mapping[str, Tensor], config: TransformerConfig) -> Iterator[str]:
    """Tensors of MLPs that add nothing, in layers to which the config gives no MLP."""
    for layer in (layer for layer, has_mlp in enumerate(config.mlp) if not has_mlp):
        block = f"blocks.{layer}."
        written = [state.get(block + name) for name in ("mlp.W_out", "mlp.b_out")]
        if all(isinstance(tensor, Tensor) and not bool(tensor.any()) for tensor in written):
            names = ("ln2.w", "ln2.b", "mlp.W_in", "mlp.b_in", "mlp.W_out", "mlp.b_out")
            yield from (block + name for name in names if block + name in state)


def _tensor_faults(state: Mapping[str, object], config: TransformerConfig) -> Iterator[str]:
    shapes = config.weight_shapes()
    for name, shape in shapes.items():
        tensor = state.get(name)
        if tensor is None:
            yield f"{name}: is missing, wanted {list(shape)}"
        elif not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            yield f"{name}: got {got}, wanted a floating-point tensor {list(shape)}"
        elif tuple(tensor.shape) != shape:
            yield f"{name}: got {list(tensor.shape)}, wanted {list(shape)}"
        elif not bool(tensor.to(torch.float32).isfinite().all()):
            yield f"{name}: holds values that are not finite in float32, {list(shape)}"
    for name in (name for name in state if name not in shapes):
        yield f"{name}: this model has no such tensor"
