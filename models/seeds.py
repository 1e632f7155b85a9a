"""Randomness by name: every draw comes from an explicit generator derived from named seeds."""

import hashlib

import torch


def named_seed(*names: str | int) -> int:
    """A 63-bit seed that depends on every name, in order.

    Args:
        names: What the randomness is for, such as a seed, a purpose and an index.
    """
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def named_generator(*names: str | int) -> torch.Generator:
    """A fresh generator (on the CPU, whatever the device) seeded by `named_seed`."""
    return torch.Generator().manual_seed(named_seed(*names))
