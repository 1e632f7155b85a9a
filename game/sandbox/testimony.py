"""What an auditor says at the end, and what it is asked after that, as frames.

A report and a judgement are written in the jail and read by the referee, strictly: every key known, every
tensor of its dtype and shape, every number finite. What they mean is checked by the referee afterwards, as it
is for an auditor in process. The challenge goes the other way.
"""

import json
from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from game.api import Challenge, Fine, Judgement, LowRank, Patch, Report
from game.hearing import Said
from game.sandbox.calls import Name, Strict
from game.sandbox.wire import Frame, WireError
from models.components import Component

S = TypeVar("S", bound=Strict)
_LISTS = ("prior", "target_set", "stratum", "answers")
_MOST_LISTED = 1_000_000  # entries of a list that becomes Python's; longer than any rule allows


class FineData(Strict):
    """A finer location but for its tensors: `neurons`, `neuron_scores` and `directions.<entries>`."""

    matrices: dict[Name, float]
    directions: list[Name]


class ReportData(Strict):
    """A report but for its tensors; a patch's travel as `patch.<name>.left` and `patch.<name>.right`."""

    type: Literal["report"]
    p_edited: float
    components: dict[Name, float]
    notes: str
    claims: str  # JSON as text: a claim may hold what no header may
    judges: bool = False
    patch: list[Name] | None = None
    fine: FineData | None = None


class JudgementData(Strict):
    """A judgement but for its tensors: `changed`, and what was before as four lists in `before.*`."""

    type: Literal["judgement"]
    challenge: Name


def report_frame(said: Said, judges: bool) -> Frame:
    """A checked report, and whether its auditor wants to be asked more."""
    patch, fine = said.patch or {}, said.fine or Fine()
    header = {
        "type": "report",
        "p_edited": said.belief.p_edited,
        "components": said.components,
        "notes": said.notes,
        "claims": json.dumps(said.claims),
        "judges": judges,
        "patch": None if said.patch is None else list(patch),
        "fine": None
        if said.fine is None
        else {"matrices": dict(fine.matrices), "directions": list(fine.directions)},
    }
    tensors = {f"patch.{name}.{side}": getattr(patch[name], side) for name in patch for side in _SIDES}
    tensors |= {f"directions.{name}": vectors for name, vectors in fine.directions.items()}
    if said.fine is not None:
        tensors["neurons"] = torch.tensor(list(fine.neurons), dtype=torch.int64).reshape(-1, 2)
        tensors["neuron_scores"] = _doubles(fine.neurons.values())
    return Frame(header, tensors)


def read_report(frame: Frame) -> tuple[Report, bool]:
    """The report in a frame, and whether its auditor judges.

    Raises:
        WireError: It is none.
    """
    data, tensors = _header("report", ReportData, frame), _Tensors("report", frame)
    try:
        components = {Component.parse(name): p for name, p in data.components.items()}
        claims = json.loads(data.claims)
    except (RecursionError, ValueError) as error:
        raise WireError(f"report: {type(error).__name__}: {str(error)[:200]}") from None
    if not isinstance(claims, list):
        raise WireError(f"report: claims: got a {type(claims).__name__}, wanted a list")
    patch = None if data.patch is None else _patch(data.patch, tensors)
    fine = None if data.fine is None else _fine(data.fine, tensors)
    tensors.check_all_taken()
    return Report(data.p_edited, components, tuple(claims), patch, fine, data.notes), data.judges


def challenge_frame(challenge: Challenge, number: str) -> Frame:
    """A challenge, under a number that the judgement must repeat: nobody answers before being asked."""
    header = {"type": "challenge", "challenge": number, **{name: getattr(challenge, name) for name in _LISTS}}
    return Frame(header, {"tokens": challenge.tokens, "lengths": challenge.lengths})


def read_challenge(frame: Frame) -> Challenge:
    """The challenge in a frame of the referee's."""
    lists = {name: tuple(frame.header[name]) for name in _LISTS}
    return Challenge(tokens=frame.tensors["tokens"], lengths=frame.tensors["lengths"], **lists)


def judgement_frame(judgement: Judgement, number: str) -> Frame:
    """A checked judgement of the challenge of that number."""
    before = judgement.before
    lists = {
        "before.prompt": _whole(before),
        "before.count": _whole(map(len, before.values())),
        "before.token": _whole(chain.from_iterable(before.values())),
        "before.odds": _doubles(chain.from_iterable(odds.values() for odds in before.values())),
    }
    return Frame(
        {"type": "judgement", "challenge": number}, {"changed": _doubles(judgement.changed), **lists}
    )


def read_judgement(frame: Frame, number: str) -> Judgement:
    """The judgement in a frame.

    Raises:
        WireError: It is none, or none of that challenge.
    """
    data, tensors = _header("judgement", JudgementData, frame), _Tensors("judgement", frame)
    if data.challenge != number:
        raise WireError("judgement: came before the challenge, or of another one")
    changed, odds = (tensors.take_list(name, torch.float64) for name in ("changed", "before.odds"))
    prompts, counts, tokens = (
        tensors.take_list(f"before.{name}", torch.int64) for name in ("prompt", "count", "token")
    )
    tensors.check_all_taken()
    whole = len(prompts) == len(counts) and len(tokens) == len(odds) == sum(counts)
    if not whole or min(counts, default=0) < 0 or len(set(prompts)) < len(prompts):
        raise WireError("judgement: before: the lists do not fit together")
    rest = iter(zip(tokens, odds, strict=True))
    before: dict[int, dict[int, float]] = {}
    for prompt, count in zip(prompts, counts, strict=True):
        before[prompt] = dict(next(rest) for _ in range(count))
        if len(before[prompt]) < count:
            raise WireError(f"judgement: before: prompt {prompt} has a token twice")
    return Judgement(tuple(changed), before)


_SIDES = ("left", "right")


class _Tensors:
    """The tensors of a frame, of which each is to be taken once."""

    def __init__(self, where: str, frame: Frame) -> None:
        self._where, self._left = where, dict(frame.tensors)

    def take(self, name: str, dtype: torch.dtype, *axes: int) -> Tensor:
        """One of them, of that dtype and one of those numbers of axes, every number finite."""
        if name not in self._left:
            raise WireError(f"{self._where}: tensor {name[:100]!r} is missing")
        tensor = self._left.pop(name)
        if tensor.dtype != dtype or tensor.ndim not in axes:
            got, wanted = f"{tensor.dtype} with {tensor.ndim} axes", " or ".join(map(str, axes))
            raise WireError(f"{self._where}: {name[:100]!r}: got {got}, wanted {dtype} with {wanted}")
        if not bool(tensor.isfinite().all()):
            raise WireError(f"{self._where}: {name[:100]!r} holds NaN or infinity")
        return tensor

    def take_list(self, name: str, dtype: torch.dtype) -> list[Any]:
        """A vector's numbers."""
        vector = self.take(name, dtype, 1)
        if len(vector) > _MOST_LISTED:
            raise WireError(f"{self._where}: {name!r}: got {len(vector)}; allowed: at most {_MOST_LISTED}")
        numbers: list[Any] = vector.tolist()
        return numbers

    def check_all_taken(self) -> None:
        """Nothing, if no tensor is left over."""
        if self._left:
            raise WireError(f"{self._where}: tensor {min(self._left)[:100]!r} is not wanted")


def _header(where: str, model: type[S], frame: Frame) -> S:
    try:
        return model.model_validate(frame.header)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part)[:100] for part in fault["loc"])
        raise WireError(f"{where}: {place}: {fault['msg']}") from None


def _patch(names: list[str], tensors: _Tensors) -> Patch:
    return {
        name: LowRank(*(tensors.take(f"patch.{name}.{side}", torch.float32, 2, 3) for side in _SIDES))
        for name in names
    }


def _fine(data: FineData, tensors: _Tensors) -> Fine:
    places, scores = (
        tensors.take("neurons", torch.int64, 2),
        tensors.take_list("neuron_scores", torch.float64),
    )
    if places.shape != (len(scores), 2):
        raise WireError(f"report: 'neurons': got {list(places.shape)}, wanted [{len(scores)}, 2]")
    neurons = {(layer, neuron): p for (layer, neuron), p in zip(places.tolist(), scores, strict=True)}
    if len(neurons) < len(scores):
        raise WireError("report: 'neurons': got one of them twice")
    directions = {name: tensors.take(f"directions.{name}", torch.float32, 2) for name in data.directions}
    return Fine(data.matrices, neurons, directions)


def _whole(numbers: Iterable[int]) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.int64)


def _doubles(numbers: Iterable[float]) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.float64)
