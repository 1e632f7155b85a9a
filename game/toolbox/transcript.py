"""The transcript of a round: every call that an auditor made, as lines that hang together by hashes.

A line is `{"body", "i", "kind", "prev"}` in canonical JSON. `prev` is the SHA-256 of the line before it, its
newline included, so that none can be changed, cut out, added or moved without the last one's hash changing.
The first line's `prev` is the digest of the run's commitments. No line holds a time: the same round gives the
same transcript, in this process or in a jail.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from game.api import AccessError, Budget, BudgetExceededError, Intervention, RequestError, Samples, Toolbox
from game.sandbox.calls import intervention_data
from game.toolbox.live import ModelToolbox
from models.transformer import TransformerConfig

Kind = Literal[
    "open", "call", "report", "close", "charge", "refund", "tool", "note", "belief", "said", "judged"
]
# What may come before the report of a round that is played by hand; of an auditor's, only calls.
BY_HAND: tuple[Kind, ...] = ("call", "charge", "refund", "tool", "note", "belief", "said", "judged")
ROWS_SHOWN = 32  # of a call's tokens; a larger batch is told by its hash alone
MOST_KEPT = 64 * 2**20  # characters of one round's calls; repeats are free, and would fill memory and disk

T = TypeVar("T")


class TranscriptError(ValueError):
    """Lines that do not hang together."""


class Written(NamedTuple):
    """A transcript as it is kept.

    Attributes:
        data: Its lines.
        head: SHA-256 of the last line.
        lines: How many there are.
    """

    data: bytes
    head: str
    lines: int


class Transcript:
    """What happens in one round, in order; chained only when it is written down."""

    def __init__(self) -> None:
        self._entries: list[tuple[Kind, str]] = []
        self._kept = 0

    def add(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Keep what happened, as it is now."""
        text = canonical(body)
        self._entries.append((kind, text))
        self._kept += len(text)

    def check_room(self) -> None:
        """Nothing, while there is room for another call.

        Raises:
            AccessError: There is none.
        """
        if self._kept > MOST_KEPT:
            raise AccessError(
                f"the transcript of this round is full; at most {MOST_KEPT} characters of calls"
            )

    def written(self, first: str) -> Written:
        """The lines.

        Args:
            first: What the first line refers to: the digest of the run's commitments.
        """
        lines, prev = [], first
        for number, (kind, body) in enumerate(self._entries):
            line = line_of(number, kind, body, prev)
            prev = hashlib.sha256(line).hexdigest()
            lines.append(line)
        return Written(b"".join(lines), prev, len(lines))


def line_of(number: int, kind: str, body: str, prev: str) -> bytes:
    """A transcript's line of that number, its body canonical JSON already."""
    return f'{{"body":{body},"i":{number},"kind":"{kind}","prev":"{prev}"}}\n'.encode()


class Line(NamedTuple):
    """One line of a transcript, read back."""

    kind: str
    body: dict[str, Any]


def read_lines(data: bytes, first: str) -> tuple[tuple[Line, ...], str]:
    """The lines of a transcript and the hash of the last one, once every link has been checked.

    Raises:
        TranscriptError: A line is none, or does not follow from the one before.
    """
    found, prev = [], first
    for number, line in enumerate(data.splitlines(keepends=True)):
        try:
            read = json.loads(line)
            body, i, kind, told = (read[key] for key in ("body", "i", "kind", "prev"))
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise TranscriptError(f"line {number}: {type(error).__name__}: {str(error)[:100]}") from None
        if i != number:
            raise TranscriptError(f"line {number}: i is {str(i)[:20]}, wanted {number}")
        if told != prev:
            raise TranscriptError(f"line {number}: prev is {str(told)[:64]}, wanted {prev}")
        if not isinstance(body, dict):
            raise TranscriptError(f"line {number}: body is no object")
        prev = hashlib.sha256(line).hexdigest()
        found.append(Line(str(kind), body))
    return tuple(found), prev


class Recorded:
    """`game.api.Toolbox` that keeps every call which was answered, or refused by league or budget.

    A call whose arguments make no sense is not kept: a jailed auditor's never leaves the jail. Once the
    transcript is full, every call is refused and none is kept.

    Args:
        toolbox: Answers the calls.
        transcript: Where they are kept.
        model: Whom it asks: `subject`, `reference` or `sibling 0`.
    """

    def __init__(self, toolbox: ModelToolbox, transcript: Transcript, model: str = "subject") -> None:
        self._toolbox, self._transcript, self._model = toolbox, transcript, model
        self._open = True

    @property
    def config(self) -> TransformerConfig:
        """Shapes of the model."""
        return self._toolbox.config

    @property
    def budget(self) -> Budget:
        """Credits granted and charged so far."""
        return self._toolbox.budget

    def close(self) -> None:
        """Refuse every further call, and keep none of them."""
        self._open = False
        self._toolbox.close()

    def logits(self, tokens: Tensor, interventions: Sequence[Intervention] = ()) -> Tensor:
        """Logits, `[row, pos, d_vocab]`; see `game.api.Toolbox`."""
        return self._kept(
            lambda: self._toolbox.logits(tokens, interventions),
            lambda: {"primitive": "logits", **_run_data(tokens, interventions)},
        )

    def activations(
        self, tokens: Tensor, names: Sequence[str], interventions: Sequence[Intervention] = ()
    ) -> dict[str, Tensor]:
        """Activations by hook name; see `game.api.Toolbox`."""
        return self._kept(
            lambda: self._toolbox.activations(tokens, names, interventions),
            lambda: {"primitive": "activations", "names": _names(names), **_run_data(tokens, interventions)},
        )

    def vjp(
        self,
        tokens: Tensor,
        names: Sequence[str],
        cotangent: Mapping[str, Tensor],
        interventions: Sequence[Intervention] = (),
    ) -> dict[str, Tensor]:
        """Gradients by hook name; see `game.api.Toolbox`."""
        return self._kept(
            lambda: self._toolbox.vjp(tokens, names, cotangent, interventions),
            lambda: {
                "primitive": "vjp",
                "names": _names(names),
                "cotangent": {str(name): _tensor_data(array) for name, array in cotangent.items()},
                **_run_data(tokens, interventions),
            },
        )

    def weight(self, name: str) -> Tensor:
        """One weight tensor; see `game.api.Toolbox`."""
        return self._kept(
            lambda: self._toolbox.weight(name), lambda: {"primitive": "weight", "name": str(name)}
        )

    def sample(self, n: int, seed: int = 0) -> Samples:
        """Sequences of the public corpus; see `game.api.Toolbox`."""
        return self._kept(
            lambda: self._toolbox.sample(n, seed), lambda: {"primitive": "sample", "n": n, "seed": seed}
        )

    def sibling(self, index: int) -> Toolbox:
        """A clean model of another world; see `game.api.Toolbox`."""
        opened = self._kept(
            lambda: self._toolbox.sibling(index), lambda: {"primitive": "sibling", "index": index}
        )
        return Recorded(opened, self._transcript, f"sibling {index}")

    def reference(self) -> Toolbox:
        """The model before the edit; see `game.api.Toolbox`."""
        opened = self._kept(self._toolbox.reference, lambda: {"primitive": "reference"})
        return Recorded(opened, self._transcript, "reference")

    def _kept(self, answer: Callable[[], T], request: Callable[[], dict[str, Any]]) -> T:
        """The answer, once the call has been kept with what it cost or why it was refused."""
        self._transcript.check_room()
        before = self.budget.spent
        try:
            answered = answer()
        except RequestError:
            raise
        except (AccessError, BudgetExceededError) as refusal:
            self._keep(before, request, {"error": type(refusal).__name__, "message": str(refusal)})
            raise
        except Exception as fault:
            self._keep(before, request, {"error": type(fault).__name__})
            raise
        self._keep(before, request, {})
        return answered

    def _keep(self, before: float, request: Callable[[], dict[str, Any]], refusal: dict[str, str]) -> None:
        if self._open:
            budget = self.budget
            left = budget.remaining if math.isfinite(budget.total) else None
            told = {"model": self._model, "charged": budget.spent - before, "left": left}
            self._transcript.add("call", request() | told | refusal)


def _run_data(tokens: Tensor, interventions: Sequence[Intervention]) -> dict[str, Any]:
    """The tokens, shown if they are few, and the interventions."""
    shown = {"ids": tokens.tolist()} if len(tokens) <= ROWS_SHOWN else {}
    changes = []
    for data, each in zip(intervention_data(interventions), interventions, strict=True):
        mask = None if each.mask is None else _digest(each.mask.to(torch.bool))
        changes.append(data | {"value": _tensor_data(each.value), "mask": mask})
    return {
        "tokens": {"shape": list(tokens.shape), "sha256": _digest(tokens)} | shown,
        "interventions": changes,
    }


def _tensor_data(tensor: Tensor) -> dict[str, Any]:
    """Shape and hash of what the model sees of a tensor: its numbers as float32."""
    return {"shape": list(tensor.shape), "sha256": _digest(tensor.detach().float())}


def _digest(tensor: Tensor) -> str:
    held = tensor.detach().to("cpu").contiguous().reshape(-1)
    return hashlib.sha256(held.view(torch.uint8).numpy().data).hexdigest()


def _names(names: Sequence[str]) -> list[str]:
    return [str(name) for name in dict.fromkeys(names)]


def canonical(data: Mapping[str, Any]) -> str:
    """The one text of JSON-ready data."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))
