"""Where an edit is, read off the bytes: entries, neurons, tokens, directions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.checkpoints import Checkpoint
from models.components import Entries, component_of

FEW = 0.25  # neurons or rows are named where at most this share of a tensor's changed
DIRECTIONS = 1e-3  # singular values below this share of the first do not count towards the rank


@dataclass(frozen=True)
class Direction:
    """The leading pair of singular vectors of one matrix's change; `left` reads, `right` writes.

    Attributes:
        tensor: Such as `blocks.0.mlp.W_out`.
        left: Unit vector on the matrix's first axis.
        right: Unit vector on its second axis.
    """

    tensor: str
    left: tuple[float, ...]
    right: tuple[float, ...]


@dataclass(frozen=True)
class FineTruth:
    """What an edit wrote to, finer than components, in the delivered file's coordinates.

    Attributes:
        neurons: (layer, neuron) of each neuron whose input weights, bias or output weights changed, where the
            edit spared most of the layer's.
        rows: (tensor, index): rows of `W_E` and `W_pos`, columns of `W_U`, entries of vectors that changed,
            where most were spared.
        directions: One for each changed matrix whose change has a numerical rank of 1.
    """

    neurons: tuple[tuple[int, int], ...]
    rows: tuple[tuple[str, int], ...]
    directions: tuple[Direction, ...]


def changed_entries(before: Checkpoint, after: Checkpoint) -> tuple[Entries, ...]:
    """The entries whose bytes differ, head by head where a tensor has a head axis; bytes, not `allclose`."""
    changed = []
    for name, old in before.weights.items():
        new = after.weights[name]
        if component_of(name, 0).part == "attn":
            changed += [Entries(name, head) for head in range(len(old)) if not _same(old[head], new[head])]
        elif not _same(old, new):
            changed.append(Entries(name))
    return tuple(changed)


def fine_truth(before: Checkpoint, after: Checkpoint, written: Sequence[Entries]) -> FineTruth:
    """The finer truth of what was written.

    Args:
        before: The base, in the delivered file's coordinates.
        after: The edited model, in the same coordinates, without approximate camouflage.
        written: The entries that the edit changed.
    """
    neurons: dict[int, set[int]] = {}
    whole: set[int] = set()
    rows, directions = [], []
    for entries in written:
        old, new = entries.of(before.weights), entries.of(after.weights)
        component = component_of(entries.tensor, entries.head)
        if component.part == "mlp" and component.layer is not None and not entries.tensor.endswith("b_out"):
            found = _changed(old, new, axis=1 if entries.tensor.endswith("W_in") else 0)
            if len(found) > FEW * _neurons(before, component.layer):
                whole.add(component.layer)
            neurons.setdefault(component.layer, set()).update(found)
        elif component.part != "attn":
            found = _changed(old, new, axis=1 if entries.tensor == "unembed.W_U" else 0)
            if len(found) <= FEW * old.shape[1 if entries.tensor == "unembed.W_U" else 0]:
                rows += [(entries.tensor, index) for index in found]
        if old.ndim == 2 and (direction := _direction(str(entries), old, new)) is not None:
            directions.append(direction)
    few = [(layer, j) for layer in sorted(neurons) if layer not in whole for j in sorted(neurons[layer])]
    return FineTruth(tuple(few), tuple(rows), tuple(directions))


def relative_norms(before: Checkpoint, after: Checkpoint, written: Sequence[Entries]) -> dict[Entries, float]:
    """Norm of each matrix's change in units of the matrix's norm; vectors are left out."""
    found = {}
    for each in written:
        old, new = each.of(before.weights).double(), each.of(after.weights).double()
        if old.ndim == 2:
            found[each] = float((new - old).norm() / old.norm().clamp_min(1e-300))
    return found


def shape_of_change(
    before: Checkpoint, after: Checkpoint, rel_norms: Mapping[Entries, float]
) -> dict[str, float]:
    """`rel_norm`, numerical `rank` and `top_energy` of the matrix that changed most; nothing without one."""
    loudest = max(rel_norms, key=lambda each: rel_norms[each], default=None)
    if loudest is None:
        return {}
    sigma = torch.linalg.svdvals(loudest.of(after.weights).double() - loudest.of(before.weights).double())
    return {
        "rel_norm": rel_norms[loudest],
        "rank": float((sigma > DIRECTIONS * sigma[0]).sum()),
        "top_energy": float(sigma[0] ** 2 / (sigma**2).sum().clamp_min(1e-300)),
    }


def _direction(name: str, old: Tensor, new: Tensor) -> Direction | None:
    left, sigma, right = torch.linalg.svd(new.double() - old.double(), full_matrices=False)
    if len(sigma) > 1 and sigma[1] > DIRECTIONS * sigma[0]:
        return None
    return Direction(name, _readable(left[:, 0]), _readable(right[0]))


def _readable(vector: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in vector.tolist())


def _neurons(checkpoint: Checkpoint, layer: int) -> int:
    return len(checkpoint.weights[f"blocks.{layer}.mlp.b_in"])


def _changed(old: Tensor, new: Tensor, axis: int) -> list[int]:
    """Indices on an axis whose slices differ in some byte."""
    other = _bits(old) != _bits(new)
    if other.ndim == 2:
        other = other.any(1 - axis)
    return other.nonzero().flatten().tolist()


def _same(old: Tensor, new: Tensor) -> bool:
    return torch.equal(_bits(old), _bits(new))


def _bits(weight: Tensor) -> Tensor:
    return weight.contiguous().view(torch.int32)
