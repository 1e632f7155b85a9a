"""The rules of a patch: known weights, low rank, shapes that fit, finite, and not too many numbers."""

from collections.abc import Mapping

from torch import Tensor

from game.api import LowRank, Patch
from game.rules.faults import ReportError, finite_floats, shown
from models.naming import unknown
from models.transformer import TransformerConfig

MAX_RANK = 32  # of one tensor's change
MAX_NUMBERS = 200_000  # in all factors together

Shape = tuple[int, ...]


def checked_patch(patch: object, config: TransformerConfig) -> Patch:
    """A plain copy of a patch: its factors in float32 on the CPU.

    Raises:
        ReportError: It breaks a rule; the message names the weight and what is allowed.
    """
    if not isinstance(patch, Mapping):
        raise ReportError(f"patch: got {shown(patch)}, wanted a mapping of weight names to LowRank")
    shapes, checked, numbers = config.weight_shapes(), {}, 0
    for name, change in patch.items():
        if not isinstance(name, str) or name not in shapes:
            raise ReportError(f"patch: {unknown('weight', str(name), shapes)}")
        if not isinstance(change, LowRank):
            raise ReportError(f"patch: {name}: got {shown(change)}, wanted a LowRank")
        checked[str(name)] = _checked(f"patch: {name}", change, shapes[name])
        numbers += sum(each.numel() for each in (checked[name].left, checked[name].right))
        if numbers > MAX_NUMBERS:
            raise ReportError(f"patch: more than {MAX_NUMBERS} numbers; at most that many in all its factors")
    return checked


def delta(change: LowRank, shape: Shape) -> Tensor:
    """The change of a weight of that shape that two factors stand for."""
    return (change.left @ change.right).reshape(shape)


def _checked(where: str, change: LowRank, shape: Shape) -> LowRank:
    """The factors as copies whose product has the weight's shape; a vector is one row."""
    *leading, rows, columns = shape if len(shape) > 1 else (1, *shape)
    axes = [*leading, rows]
    left, right = change.left, change.right
    _check_shape(f"{where}: left", left, [*axes, "rank"])
    _check_shape(f"{where}: right", right, [*leading, "rank", columns])
    rank = left.shape[-1]
    if rank != right.shape[-2] or not 1 <= rank <= MAX_RANK:
        got = f"{rank} in left and {right.shape[-2]} in right"
        raise ReportError(f"{where}: got rank {got}; allowed: the same in both, from 1 to {MAX_RANK}")
    return LowRank(
        finite_floats(f"{where}: left", left, "[..., rows, rank]"),
        finite_floats(f"{where}: right", right, "[..., rank, columns]"),
    )


def _check_shape(where: str, factor: object, wanted: list[int | str]) -> None:
    """Refuse another shape; a name in what is wanted stands for any length."""
    text = f"[{', '.join(map(str, wanted))}]"
    if not isinstance(factor, Tensor):
        raise ReportError(f"{where}: got {shown(factor)}, wanted a floating-point tensor {text}")
    fits = len(factor.shape) == len(wanted) and all(
        isinstance(length, str) or got == length for got, length in zip(factor.shape, wanted, strict=True)
    )
    if not fits:
        raise ReportError(f"{where}: got shape {list(factor.shape)}; allowed: {text}")
