"""Checks of the arguments of a toolbox call; every fault is a `RequestError` that says what is allowed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from game.api import RequestError
from models.naming import unknown
from models.transformer import TransformerConfig

Shape = tuple[int, ...]
MOST_NUMBERS = 2**28  # in one answer, 1 GiB: what a referee of ordinary memory can copy and send
MOST_SAMPLES = 100_000  # sequences in one `sample`: free, so that only memory bounds it
_MOST_SEED = 2**63 - 1


def check_tokens(tokens: object, config: TransformerConfig, max_rows: int) -> None:
    """Nothing, if the tokens are a batch that the model can take in one call.

    Raises:
        RequestError: Wrong type, shape, length, number of rows, or token id.
    """
    check_rows(len(checked_prompts(tokens, config)), max_rows, "sequences")


def checked_prompts(tokens: object, config: TransformerConfig, where: str = "tokens") -> Tensor:
    """The tokens, if the model can take them, in as many calls as it needs.

    Args:
        tokens: What the caller gave.
        config: Of the model.
        where: What the caller knows them as.

    Raises:
        RequestError: Wrong type, shape or length, no row, or no such token id.
    """
    if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64 or tokens.ndim != 2:
        got = f"{tokens.dtype} {list(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise RequestError(f"{where}: got {got}, wanted an int64 tensor [row, pos]")
    if not len(tokens):
        raise RequestError(f"{where}: got none, wanted at least 1 sequence")
    if not 1 <= tokens.shape[1] <= config.n_ctx:
        raise RequestError(f"{where}: got length {tokens.shape[1]}; allowed: 1 to {config.n_ctx} (n_ctx)")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= config.d_vocab:
        raise RequestError(f"{where}: got id {low if low < 0 else high}; allowed: 0 to {config.d_vocab - 1}")
    return tokens


def check_rows(rows: int, max_rows: int, what: str) -> None:
    """Nothing, if that many rows fit into one call.

    Raises:
        RequestError: None, or too many.
    """
    if not 1 <= rows <= max_rows:
        raise RequestError(f"tokens: got {rows} {what}; allowed: 1 to {max_rows} (budget.max_rows)")


def check_answer(names: Iterable[str], shapes: Mapping[str, Shape], copies: int = 1) -> None:
    """Nothing, if the answer is not too large.

    Args:
        names: What is wanted, each of which has a shape.
        shapes: Of all that there is.
        copies: How many of each.

    Raises:
        RequestError: It is.
    """
    numbers = copies * sum(prod(shapes[name]) for name in names)
    if numbers > MOST_NUMBERS:
        raise RequestError(f"names: got an answer of {numbers} numbers; at most {MOST_NUMBERS} in one call")


def checked_names(kind: str, names: object, allowed: Iterable[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        RequestError: No list, an empty one, or an unknown name.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise RequestError(f"names: got {names!r}, wanted a list of {kind} names")
    if not names:
        raise RequestError(f"names: got none, wanted at least 1 {kind}")
    for name in names:
        check_name(kind, name, allowed)
    return tuple(dict.fromkeys(names))


def check_name(kind: str, name: object, allowed: Iterable[str]) -> None:
    """Nothing, if the name is allowed.

    Raises:
        RequestError: It is not.
    """
    if name not in (allowed := tuple(allowed)):
        raise RequestError(unknown(kind, str(name), allowed))


@dataclass(frozen=True)
class Cotangents:
    """What a backward pass starts from.

    Attributes:
        arrays: Hook name or `logits` to `[K, *shape]`.
        stacked: Whether the caller gave the axis K; otherwise it is 1 and results come without it.
    """

    arrays: dict[str, Tensor]
    stacked: bool

    @property
    def count(self) -> int:
        """K, the number of gradients for each sequence."""
        return len(next(iter(self.arrays.values())))


def checked_cotangents(cotangent: object, shapes: Mapping[str, Shape]) -> Cotangents:
    """The cotangents, all with a leading axis K.

    Args:
        cotangent: What the caller gave.
        shapes: Shape of every activation that may be named.

    Raises:
        RequestError: Unknown name, wrong shape, different K, or a number that is not finite.
    """
    if not isinstance(cotangent, Mapping) or not cotangent:
        raise RequestError("cotangent: wanted a dict of hook name to tensor, with at least 1 entry")
    for name, array in cotangent.items():
        check_name("hook", name, shapes)
        _check_cotangent(name, array, shapes[name])
    leading = {array.shape[: array.ndim - len(shapes[name])] for name, array in cotangent.items()}
    if len(leading) > 1:
        raise RequestError(
            f"cotangent: leading axes {sorted(map(list, leading))} differ; wanted one K for all"
        )
    stacked = len(leading.pop()) == 1
    arrays = {name: array.detach().float() for name, array in sorted(cotangent.items())}
    return Cotangents(arrays if stacked else {name: array[None] for name, array in arrays.items()}, stacked)


def _check_cotangent(name: str, array: object, shape: Shape) -> None:
    if not isinstance(array, Tensor) or not array.is_floating_point():
        raise RequestError(f"cotangent of {name}: wanted a floating-point tensor")
    extra = array.ndim - len(shape)
    if extra not in (0, 1) or tuple(array.shape[extra:]) != shape or array.numel() == 0:
        raise RequestError(
            f"cotangent of {name}: got shape {list(array.shape)}; allowed: {list(shape)}, or [K, the same]"
        )
    if not bool(array.isfinite().all()):
        raise RequestError(f"cotangent of {name}: got NaN or infinity; allowed: finite numbers")


def check_whole(name: str, number: int, lowest: int, highest: int) -> None:
    """Nothing, if the argument is a whole number in the range, both ends included.

    Raises:
        RequestError: It is not.
    """
    if type(number) is not int or not lowest <= number <= highest:
        raise RequestError(f"{name}: got {number!r}; allowed: whole numbers from {lowest} to {highest}")


def check_draw(n: int, seed: int) -> None:
    """Nothing, if that many sequences may be sampled with that seed.

    Raises:
        RequestError: A number is out of range.
    """
    check_whole("n", n, 1, MOST_SAMPLES)
    check_whole("seed", seed, 0, _MOST_SEED)
