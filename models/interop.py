"""Checkpoints in other libraries' forms: TransformerLens 3.9 and 4, CircuitsVis; and back again.

Names and shapes of weights and hook points are TransformerLens's own, so little is converted. The libraries
are imported only where one of their objects is made, and are no dependency. nnsight needs nothing from here:
`nnsight.NNsight(checkpoint.model())` traces a model by its hook points' names.
"""

import json
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor

from models.checkpoints import Checkpoint, write_atomically
from models.tl_import import ImportFault, checkpoint_of_state, from_tl_state_dict
from models.transformer import TransformerConfig

__all__ = [
    "ExportError",
    "ImportFault",
    "PeerMissing",
    "checkpoint_of_state",
    "circuitsvis_attention",
    "circuitsvis_log_probs",
    "circuitsvis_neurons",
    "export",
    "from_tl_state_dict",
    "hooked_transformer",
    "tl_fields",
    "tl_state_dict",
    "transformer_bridge",
]

Target = Literal["tl3", "tl4"]
NATIVE = (
    "TransformerLensNative"  # the architecture that TransformerLens 4 builds without a Hugging Face model
)

LOADING: dict[Target, tuple[str, str]] = {  # version, and how to load what `export` wrote
    "tl3": (
        "3.9",
        """\
import json
from safetensors.torch import load_file
from transformer_lens import HookedTransformer, HookedTransformerConfig
model = HookedTransformer(HookedTransformerConfig(**json.load(open("config.json")), device="cpu"))
model.load_state_dict(load_file("model.safetensors"), strict=False)  # attention masks are no weights
""",
    ),
    "tl4": (
        "4",
        """\
import json
from safetensors.torch import load_file
from transformer_lens import TransformerBridgeConfig, conversion_utils, model_bridge
config = TransformerBridgeConfig(**json.load(open("config.json")))
model = model_bridge.TransformerBridge.boot_native(config, device="cpu").eval()
model.load_state_dict(conversion_utils.convert_tl_checkpoint(load_file("model.safetensors"), config))
""",
    ),
}


class ExportError(ValueError):
    """The target library cannot express the model."""


class PeerMissing(ImportError):
    """The library that is wanted is not installed, or in another version."""


def tl_fields(config: TransformerConfig) -> dict[str, Any]:
    """Fields of TransformerLens's config; those of local attention only where a layer has a window.

    Layers without an MLP are described as having one, which `tl_state_dict` fills with zeros. Activations
    are called the same: `gelu` is the exact one there too.

    Raises:
        ExportError: Layers have windows of different sizes.
    """
    fields = {name: value for name, value in config.to_dict().items() if name not in ("window", "mlp")}
    windows = _windows(config)
    sizes = {window for window in windows if window is not None}
    if len(sizes) > 1:
        raise ExportError(f"window: got {windows}, but TransformerLens has one window size for all layers")
    if sizes:
        types = ["global" if window is None else "local" for window in windows]
        fields |= {"use_local_attn": True, "attn_types": types, "window_size": sizes.pop()}
    return fields


def tl_state_dict(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights, and an MLP of zeros for each layer without one, which adds exactly nothing."""
    config = checkpoint.config
    whole = TransformerConfig(**config.to_dict() | {"mlp": (True,) * config.n_layers})
    return {
        name: checkpoint.weights[name]
        if name in checkpoint.weights
        else (torch.ones(shape) if name.endswith("ln2.w") else torch.zeros(shape))
        for name, shape in whole.weight_shapes().items()
    }


def hooked_transformer(checkpoint: Checkpoint) -> Any:
    """A `HookedTransformer` of TransformerLens 3.9 with the same function.

    Raises:
        ExportError: It cannot express the model.
        PeerMissing: TransformerLens 3 is not installed.
    """
    fields = _fields_for(checkpoint.config, "tl3")
    _need_transformer_lens("3")
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    model = HookedTransformer(HookedTransformerConfig(**fields, device="cpu", init_weights=False))
    loaded = model.load_state_dict(tl_state_dict(checkpoint), strict=False)
    lacking = [name for name in loaded.missing_keys if not name.endswith((".mask", ".IGNORE"))]
    if lacking or loaded.unexpected_keys:
        raise ExportError(f"weights differ: missing {lacking}, unknown {loaded.unexpected_keys}")
    return model.eval()


def transformer_bridge(checkpoint: Checkpoint) -> Any:
    """A native `TransformerBridge` of TransformerLens 4 with the same function.

    Three of its hook points differ in 4.3: `hook_attn_scores` holds the pattern and ignores edits, an edit at
    `hook_resid_mid` reaches the MLP alone, and `hook_result` is never computed.

    Raises:
        ExportError: It cannot express the model.
        PeerMissing: TransformerLens 4 is not installed.
    """
    fields = _fields_for(checkpoint.config, "tl4")
    _need_transformer_lens("4")
    from transformer_lens import TransformerBridgeConfig
    from transformer_lens.conversion_utils import convert_tl_checkpoint
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(**fields)
    model = TransformerBridge.boot_native(config, device="cpu").eval()
    model.load_state_dict(convert_tl_checkpoint(tl_state_dict(checkpoint), config), strict=True)
    return model


def export(checkpoint: Checkpoint, target: Target, folder: Path) -> None:
    """Write `model.safetensors`, `config.json`, and a `README.md` that says how to load them.

    Raises:
        ExportError: The target cannot express the model; nothing is written then.
        OSError: The folder cannot be written to.
    """
    fields = _fields_for(checkpoint.config, target)
    version, code = LOADING[target]
    readme = (
        f"# A model for TransformerLens {version}\n\nCheckpoint {checkpoint.hash}. It reads token ids, and "
        f"has no tokenizer. To load it:\n\n```python\n{code}```\n"
    )
    weights = {name: tensor.contiguous() for name, tensor in tl_state_dict(checkpoint).items()}
    write_atomically(folder / "README.md", readme.encode())
    write_atomically(folder / "config.json", json.dumps(fields, indent=2).encode() + b"\n")
    write_atomically(folder / "model.safetensors", save(weights))


def circuitsvis_attention(pattern: Tensor) -> Tensor:
    """Attention as `circuitsvis.attention.attention_heads` wants it: `[head, dest, src]`.

    Args:
        pattern: `attn.hook_pattern` of one sequence, `[head, query, key]` or `[1, head, query, key]`; query
            is CircuitsVis's dest and key its src, so no axis moves.

    Raises:
        ValueError: More than one sequence, or not a pattern's shape.
    """
    return _of_one_sequence(pattern, 3, "[head, query, key]")


def circuitsvis_neurons(cache: dict[str, Tensor]) -> Tensor:
    """MLP neurons as `circuitsvis.activations.text_neuron_activations` wants them: `[token, layer, neuron]`.

    Args:
        cache: Holds `mlp.hook_post` of one sequence, `[pos, d_mlp]` or `[1, pos, d_mlp]` each; layers without
            an MLP are left out.

    Raises:
        ValueError: No such activation, or more than one sequence.
    """
    posts = [value for name, value in cache.items() if name.endswith("mlp.hook_post")]
    if not posts:
        raise ValueError("the cache holds no mlp.hook_post")
    return torch.stack([_of_one_sequence(post, 2, "[pos, d_mlp]") for post in posts], dim=1)


def circuitsvis_log_probs(logits: Tensor) -> Tensor:
    """Log-probabilities as `circuitsvis.logits.token_log_probs` wants them: `[pos, d_vocab]`.

    Args:
        logits: Of one sequence, `[pos, d_vocab]` or `[1, pos, d_vocab]`.

    Raises:
        ValueError: More than one sequence.
    """
    return _of_one_sequence(logits, 2, "[pos, d_vocab]").log_softmax(-1)


def _of_one_sequence(tensor: Tensor, axes: int, wanted: str) -> Tensor:
    single = tensor[0] if tensor.ndim == axes + 1 and len(tensor) == 1 else tensor
    if single.ndim != axes:
        raise ValueError(f"got shape {list(tensor.shape)}, wanted {wanted} of one sequence")
    return single.detach().cpu()


def _windows(config: TransformerConfig) -> list[int | None]:
    """Each layer's window; one that covers the whole context is none."""
    return [None if window is None or window >= config.n_ctx else window for window in config.window]


def _fields_for(config: TransformerConfig, target: Target) -> dict[str, Any]:
    """The target's config.

    Raises:
        ExportError: It cannot express the model.
    """
    if target not in LOADING:
        raise ExportError(f'target: got "{target}"; allowed: {", ".join(LOADING)}')
    fields = tl_fields(config)
    if target == "tl4" and "window_size" in fields:
        raise ExportError(f"window: got {_windows(config)}, but TransformerLens 4 has no windows; tl3 has")
    return fields | ({"architecture": NATIVE} if target == "tl4" else {})


def _need_transformer_lens(major: str) -> None:
    try:
        found = metadata.version("transformer-lens")
    except metadata.PackageNotFoundError:
        found = "none"
    if found.split(".")[0] != major:
        advice = f"pip install 'audit-game[interop-tl{major}]' in an environment of its own"
        raise PeerMissing(f"TransformerLens {major} is wanted, {found} is installed: {advice}")
