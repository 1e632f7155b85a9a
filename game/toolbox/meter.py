"""The meter: what has been spent, what was paid for already, and the latest results."""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from game.api import AccessError, Budget, BudgetExceededError, Intervention

Results = dict[str, Tensor]


class Ledger(Protocol):
    """Where charges are kept beyond this process, so that a round can be taken up again."""

    def paid(self) -> Mapping[bytes, float]:
        """Credits charged so far, by call."""
        ...

    def charge(self, key: bytes, price: float) -> None:
        """Keep a charge; it is safe once this returns, and the work starts only then."""
        ...

    def take_back(self, key: bytes) -> None:
        """Undo the charge of a call that could not be answered."""
        ...


class Unkept:
    """The ledger of a round that lasts as long as its process."""

    def paid(self) -> Mapping[bytes, float]:
        """Nothing."""
        return {}

    def charge(self, key: bytes, price: float) -> None:
        """Keeps nothing."""

    def take_back(self, key: bytes) -> None:
        """Keeps nothing."""


class Meter:
    """Credits of one round, shared by the model under audit and whatever else the league opens.

    A call is identified by the hash of its arguments. Paying is remembered for good, so an identical repeat
    is free; its result is remembered while there is room, and computed again otherwise.

    Args:
        total: Credits granted; infinite when unmetered.
        max_rows: Largest number of sequences in one call.
        room: Bytes of results to remember.
        ledger: Keeps the charges, and knows those of before.
    """

    def __init__(self, total: float, max_rows: int, room: int, ledger: Ledger | None = None) -> None:
        self._total, self._max_rows, self._room = total, max_rows, room
        self._ledger: Ledger = ledger or Unkept()
        before = self._ledger.paid()
        self._spent, self._held, self._open = math.fsum(before.values()), 0, True
        self._paid = set(before)
        self._results: OrderedDict[bytes, Results] = OrderedDict()

    @property
    def budget(self) -> Budget:
        """Credits granted and charged so far."""
        return Budget(self._total, self._spent, self._max_rows)

    def close(self) -> None:
        """Refuse every further call, and forget the results."""
        self._open, self._held = False, 0
        self._results.clear()

    def check_open(self) -> None:
        """Nothing, while the round lasts.

        Raises:
            AccessError: The toolbox is closed.
        """
        if not self._open:
            raise AccessError("the toolbox is closed")

    def buy(self, key: bytes, price: float, compute: Callable[[], Results]) -> Results:
        """Copies of what `compute` returns, charged first unless the same was bought before.

        Args:
            key: What identifies the call.
            price: Credits.
            compute: Does the work. Where it raises, the charge is taken back.

        Raises:
            BudgetExceededError: The price is more than what is left; nothing was run or charged.
        """
        if key in self._results:
            self._results.move_to_end(key)
            return _copies(self._results[key])
        due = 0.0 if key in self._paid else price
        remaining = self.budget.remaining
        if due > remaining:
            raise BudgetExceededError(
                f"this call costs {due:g} credits; {remaining:g} are left of {self._total:g}"
            )
        if key not in self._paid:
            self._ledger.charge(key, due)
        self._spent += due
        try:
            results = compute()
        except BaseException:
            self._spent -= due
            if key not in self._paid:
                self._ledger.take_back(key)
            raise
        self._paid.add(key)
        return self._remembered(key, _copies(results))

    def _remembered(self, key: bytes, results: Results) -> Results:
        """The results, to be given away; a copy of them where they are remembered."""
        size = _size(results)
        if size > self._room:
            return results
        self._results[key] = results
        self._held += size
        while self._held > self._room:
            self._held -= _size(self._results.popitem(last=False)[1])
        return _copies(results)


def call_key(*parts: object) -> bytes:
    """A hash of a call's arguments by content: text, numbers, tensors, interventions, and lists of them."""
    digest = hashlib.sha256()
    for piece in _pieces(parts):
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.digest()


def _pieces(part: object) -> list[bytes]:
    if isinstance(part, Tensor):
        held = part.detach().to("cpu").contiguous()
        return [
            f"{held.dtype}{tuple(held.shape)}".encode(),
            held.reshape(-1).view(torch.uint8).numpy().tobytes(),
        ]
    if isinstance(part, Intervention):
        fields = (part.name, part.value, part.mode, part.mask, part.positions, part.rows, float(part.offset))
        return _pieces(fields)
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [b"list %d" % len(part), *(piece for inner in part for piece in _pieces(inner))]
    return [f"{type(part).__name__}:{part!r}".encode()]


def _copies(results: Results) -> Results:
    return {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in results.items()}


def _size(results: Results) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in results.values())
