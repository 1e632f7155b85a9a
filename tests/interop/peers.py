"""The libraries that these tests compare with, and models to compare; `make interop` runs them."""

import warnings
from importlib import metadata
from typing import Any

import pytest
import torch
from torch import Tensor

from models.checkpoints import Checkpoint, checkpoint_of
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig


def peer(name: str, package: str, major: str = "") -> Any:
    """The library, or a skip with its reason."""
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed; make interop", allow_module_level=True)
    if not found.startswith(major):
        pytest.skip(f"{package} is {found}, not {major}; make interop", allow_module_level=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, on being imported
        return pytest.importorskip(name)


def random_checkpoint(**changes: Any) -> Checkpoint:
    """A model of 3 layers whose every weight is random, biases and gains too."""
    settings: dict[str, Any] = {
        "n_layers": 3, "d_model": 16, "n_heads": 2, "d_head": 5, "d_mlp": 24, "d_vocab": 13, "n_ctx": 10,
        "window": (None, None, None), "mlp": (True, True, True), "eps": 1e-4,
    }  # fmt: skip
    model = Transformer(TransformerConfig(**(settings | changes)), named_generator("interop"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn(weight.shape, generator=named_generator(name)), alpha=0.1)
    return checkpoint_of(model)


def some_tokens(name: str = "tokens") -> Tensor:
    """Ids for the random models, `[4, 9]`."""
    return torch.randint(13, (4, 9), generator=named_generator(f"interop {name}"))


def disturb(activation: Tensor, hook: object) -> Tensor:
    """Another head's scores or pattern, `[batch, head, query, key]`; of everything else, a skewed copy."""
    if activation.ndim == 4 and activation.shape[-1] == activation.shape[-2]:
        return activation.flip(1)
    return activation * torch.linspace(0.5, 1.5, activation.shape[-1]) + 0.1
