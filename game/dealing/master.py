"""The master secret of a run: everything that is drawn of its cases comes from it, by name."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Self

import torch

_DOMAIN = b"audit-game/v1/"


@dataclass(frozen=True)
class Master:
    """The key of a run's draws.

    A rated run draws it from the operating system, so that nobody who knows the code can draw the same cases;
    an open run's follows from its public seed, so that everybody can.

    Attributes:
        key: 32 bytes.
        rated: Whether worlds and training seeds are drawn from it too, as in every rated run; a case that is
            dealt to a person may have the suite's own.
    """

    key: bytes = field(repr=False)
    rated: bool

    @classmethod
    def of_seed(cls, seed: int) -> Self:
        """The master of an open run."""
        return cls(hashlib.sha256(_DOMAIN + b"open/%d" % seed).digest(), rated=False)

    @classmethod
    def fresh(cls) -> Self:
        """The master of a rated run, from the operating system."""
        return cls(secrets.token_bytes(32), rated=True)

    def seed(self, *names: str | int) -> int:
        """A 63-bit seed for a named purpose: HMAC-SHA256 of the names under the key."""
        return int.from_bytes(self._digest(names)[:8], "big") >> 1

    def nonce(self, *names: str | int) -> bytes:
        """32 bytes for a named purpose."""
        return self._digest(("nonce", *names))

    def generator(self, *names: str | int) -> torch.Generator:
        """A fresh generator on the CPU for a named purpose."""
        return torch.Generator().manual_seed(self.seed(*names))

    def _digest(self, names: tuple[str | int, ...]) -> bytes:
        text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
        return hmac.new(self.key, _DOMAIN + text.encode(), hashlib.sha256).digest()
