"""Checkpoints: weights with the config that gives them meaning, in one canonical byte form.

Every model, clean or edited, goes through the same serialiser, so that files of one architecture differ in
nothing but the numbers: same tensor order, same header, same size.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.transformer import Transformer, TransformerConfig

WRITING = ".writing-"  # how the names of unfinished files begin


class CheckpointError(ValueError):
    """Bytes that are no checkpoint of the wanted architecture."""


@dataclass(frozen=True)
class Checkpoint:
    """A model as data; nobody writes to the tensors.

    Attributes:
        config: Shapes.
        weights: Every weight by TransformerLens name, float32, contiguous, on the CPU.
    """

    config: TransformerConfig
    weights: Mapping[str, Tensor]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical bytes, hexadecimal."""
        return hashlib.sha256(to_bytes(self)).hexdigest()

    def model(self, device: str = "cpu") -> Transformer:
        """A fresh model holding copies of the weights."""
        model = Transformer(self.config)
        model.load_state_dict(dict(self.weights))
        return model.requires_grad_(False).to(device)


def checkpoint_of(model: Transformer) -> Checkpoint:
    """A model's weights, copied."""
    weights = {
        name: tensor.detach().to("cpu", torch.float32).clone() for name, tensor in model.state_dict().items()
    }
    return Checkpoint(model.cfg, weights)


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Canonical safetensors bytes: float32, contiguous, the config as the only metadata."""
    weights = {name: checkpoint.weights[name].contiguous() for name in checkpoint.config.weight_shapes()}
    return save(weights, {"config": json.dumps(checkpoint.config.to_dict(), sort_keys=True)})


def from_bytes(data: bytes) -> Checkpoint:
    """The checkpoint in canonical bytes.

    Raises:
        CheckpointError: Not safetensors, no config, or tensors that do not fit the config.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        config = TransformerConfig.from_dict(json.loads(header["__metadata__"]["config"]))
        weights = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"not a checkpoint: {error}") from error
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != config.weight_shapes() or any(tensor.dtype != torch.float32 for tensor in weights.values()):
        raise CheckpointError("not a checkpoint: the tensors do not fit the config")
    return Checkpoint(config, {name: weights[name] for name in config.weight_shapes()})


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: a killed writer or a full disk leaves no half file behind.

    Raises:
        OSError: The folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=WRITING)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
