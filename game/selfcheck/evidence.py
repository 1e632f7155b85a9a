"""What an auditor could see of a case beside the model's behaviour, taken down case by case."""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import get_args

import torch
from pydantic import TypeAdapter

from edits.base import Camouflage
from edits.camouflage.base import rewritten
from game.api import Stratum, Toolbox
from game.brief_text import brief_to_json
from game.case import Case
from game.dealing.suite import Suite
from game.proof.seal import commitment
from game.referee import open_toolbox
from game.runs.store import case_row
from game.sandbox.isolated import start_frame
from game.sandbox.wire import encode
from models.checkpoints import Checkpoint, from_bytes

Door = Callable[[Case], Toolbox]
_REPEATS = 3  # openings that are timed, after one that is not
_ROWS = 16  # sequences of the first forward pass


@dataclass(frozen=True)
class Exhibit:
    """One case, as far as it can be seen from outside; `edited`, `group` and `kind` are for the judge alone.

    Attributes:
        id: The case's name, which tells its place in the order.
        shown: Recipe, league and corpus, which its auditor is told.
        headers: Of the delivered file and each companion, a hash of the bytes before the numbers: metadata,
            tensor names, order, dtypes, shapes.
        sizes: Of the same files, bytes.
        digest: SHA-256 of the delivered file, after which it is named.
        commitment: What is published of the case before the first round.
        brief: The brief as JSON text.
        start_size: Bytes of the frame that starts a round in a jail.
        challenge: Of what `judge` is asked: prompts, sets, prompts of each stratum, tokens, declared change;
            empty without a challenge.
        opened_s: Seconds until the toolbox is open.
        answered_s: Seconds of the first forward pass.
        distance: Frobenius norm of the difference to the base, in the delivered coordinates, over the base's.
    """

    id: str
    shown: str
    edited: bool
    group: str
    kind: str
    headers: tuple[str, ...]
    sizes: tuple[int, ...]
    digest: bytes
    commitment: bytes
    brief: str
    start_size: int
    challenge: tuple[float, ...]
    opened_s: float
    answered_s: float
    distance: float


@dataclass(frozen=True)
class Evidence:
    """All cases, in the order dealt, and the suite that they were dealt from."""

    suite: Suite
    exhibits: tuple[Exhibit, ...]


def resized(suite: Suite, cases: int) -> Suite:
    """The same suite with that many cases, its groups in proportion, each with at least one."""
    shares = [group.count * cases / suite.n_cases for group in suite.groups]
    counts = [max(1, int(share)) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda place: int(shares[place]) - shares[place])
    for place in by_remainder[: max(0, cases - sum(counts))]:
        counts[place] += 1
    groups = [
        group.model_copy(update={"count": count}) for group, count in zip(suite.groups, counts, strict=True)
    ]
    return suite.model_copy(update={"groups": tuple(groups)})


def examined(case: Case, base: Checkpoint, nonce: bytes, door: Door = open_toolbox) -> Exhibit:
    """What can be seen of a case.

    Args:
        case: As dealt.
        base: What it was made from, in its own coordinates.
        nonce: Of its commitment.
        door: Opens its toolbox.
    """
    files = (case.artefact, *case.companions)
    opened, answered = zip(*(_timed(case, door) for _ in range(1 + _REPEATS)), strict=True)
    return Exhibit(
        id=case.id,
        shown=f"{case.recipe}, {case.brief.league}, {case.brief.corpus}",
        edited=case.truth.edited,
        group=case.truth.group,
        kind=case.truth.kind,
        headers=tuple(map(_header, files)),
        sizes=tuple(map(len, files)),
        digest=hashlib.sha256(case.artefact).digest(),
        commitment=bytes.fromhex(commitment(nonce, case_row(case))),
        brief=brief_to_json(case.brief),
        start_size=_start_size(case),
        challenge=_outline(case),
        opened_s=median(opened[1:]),
        answered_s=median(answered[1:]),
        distance=_distance(case, base),
    )


def _timed(case: Case, door: Door) -> tuple[float, float]:
    """Seconds to open the toolbox, and seconds of its first forward pass."""
    tokens = torch.full((_ROWS, case.brief.config.n_ctx), case.brief.task.bos)
    started = time.perf_counter()
    box = door(case)
    opened = time.perf_counter()
    box.logits(tokens)
    return opened - started, time.perf_counter() - opened


def _header(file: bytes) -> str:
    return hashlib.sha256(file[: 8 + int.from_bytes(file[:8], "little")]).hexdigest()


def _start_size(case: Case) -> int:
    return sum(map(len, encode(start_frame("prior", {}, case.brief, case.brief.budget, max_rows=1024))))


def _outline(case: Case) -> tuple[float, ...]:
    if (asked := case.challenge) is None:
        return ()
    of_strata = [asked.stratum.count(stratum) for stratum in get_args(Stratum)]
    sums = (float(asked.lengths.sum()), sum(asked.prior))
    return (*asked.tokens.shape, len(set(asked.target_set)), *of_strata, *sums)


def _distance(case: Case, base: Checkpoint) -> float:
    passes = TypeAdapter(Camouflage).validate_json(json.dumps(case.truth.spec.get("camouflage", [])))
    seen = rewritten(base.weights, base.config, passes, case.truth.spec.get("seed", 0))
    return _apart(from_bytes(case.artefact), Checkpoint(base.config, dict(seen)))


def _apart(one: Checkpoint, other: Checkpoint) -> float:
    """Frobenius norm of the difference of two models' weights, over the second one's."""
    difference = [(one.weights[name] - tensor).double() for name, tensor in other.weights.items()]
    whole = [tensor.double() for tensor in other.weights.values()]
    squares = [sum(float(each.square().sum()) for each in tensors) for tensors in (difference, whole)]
    return math.sqrt(squares[0] / squares[1])
