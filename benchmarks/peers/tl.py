"""Our models beside TransformerLens, whichever version this environment has: one JSON object.

    .venv-tl3/bin/python -m benchmarks.peers.tl

`max_abs` is the largest difference of a logit between our models and what they are exported to, over random
models of several shapes; `step_ratio` is TransformerLens's training step over ours, in the shape of
facts-plain and with our loss and optimiser; `cached_ratio` is its cache of everything over its plain forward
pass. CPU time of one thread.
"""

import json
import warnings
from collections.abc import Iterator
from importlib import metadata
from itertools import product
from typing import Any

import torch

from benchmarks.peers.speed import our_step, paired, shape, some_documents, training_step, without_gradient
from models.checkpoints import Checkpoint, checkpoint_of
from models.interop import hooked_transformer, transformer_bridge
from models.seeds import named_generator
from models.training import one_thread
from models.transformer import Transformer, TransformerConfig


def main() -> None:
    version = metadata.version("transformer-lens")
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs: 3.9 is deprecated
        found = {"max_abs": max(differences(version)), **ratios(version)}
    print(json.dumps({"peer": f"transformer-lens {version}", **found}))


def exported(checkpoint: Checkpoint, version: str) -> Any:
    """The TransformerLens model of this version."""
    return hooked_transformer(checkpoint) if version.startswith("3.") else transformer_bridge(checkpoint)


def differences(version: str) -> Iterator[float]:
    """Largest difference of a logit, for each of several shapes."""
    windows = ((None,) * 4, (2, 2, None, None)) if version.startswith("3.") else ((None,) * 4,)
    mlps = ((True,) * 4, (True, True, False, False))
    shapes = {
        "normalization_type": ("LN", "RMS", None),
        "act_fn": ("relu", "gelu"),
        "window": windows,
        "mlp": mlps,
    }
    for values in product(*shapes.values()):
        config = TransformerConfig.from_dict(shape().to_dict() | dict(zip(shapes, values, strict=True)))
        checkpoint, tokens = random_checkpoint(config), some_documents(config).tokens
        with torch.no_grad():
            yield (exported(checkpoint, version)(tokens) - checkpoint.model()(tokens)).abs().max().item()


def random_checkpoint(config: TransformerConfig) -> Checkpoint:
    """Initial weights, with some noise on all, so that no bias is zero."""
    model = Transformer(config, named_generator("peer"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn(weight.shape, generator=named_generator("peer", name)), alpha=0.02)
    return checkpoint_of(model)


def ratios(version: str) -> dict[str, float]:
    """Their training step over ours, and their cache over their forward pass."""
    config = shape()
    ours, documents = Transformer(config, named_generator("peer")), some_documents(config)
    theirs, tokens = exported(checkpoint_of(ours), version), documents.tokens[:, :-1]
    forward = without_gradient(lambda: theirs(tokens))
    cached = paired(without_gradient(lambda: theirs.run_with_cache(tokens)), forward)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, fused=True)
    step = paired(training_step(theirs, optimizer, documents), our_step(ours, documents))
    return {"step_ratio": step.value, "cached_ratio": cached.value}


if __name__ == "__main__":
    main()
