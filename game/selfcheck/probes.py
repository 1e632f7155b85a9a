"""Leak auditors: each turns what can be seen beside the model's behaviour into numbers, one a case.

A probe with several candidates, such as the bits of a hash, is judged by the one that does best, against what
the best of as many does by chance.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from game.dealing.dealer import plan_cases
from game.dealing.master import Master
from game.selfcheck.chance import Numbers, Separation, separation
from game.selfcheck.evidence import Evidence, Exhibit
from models.seeds import named_seed

SEEDS = range(100)  # public seeds that are tried
SHAM = "random_rank1"


@dataclass(frozen=True)
class Reading:
    """What a probe reads.

    Attributes:
        values: `[candidate, case]`.
        judged: The cases that count.
        strata: Cases are compared within a stratum only.
    """

    values: Numbers
    judged: NDArray[np.bool_]
    strata: NDArray[np.int64]


@dataclass(frozen=True)
class Probe:
    """A leak auditor.

    Attributes:
        name: Short.
        sees: What it looks at.
        read: From the evidence to its numbers.
    """

    name: str
    sees: str
    read: Callable[[Evidence], Reading]


def judged(probe: Probe, evidence: Evidence, level: float) -> tuple[Separation, int, int]:
    """How well a probe tells edited cases from the others, and how many of each it was judged on.

    Args:
        probe: What looks.
        evidence: At what.
        level: Of its test.
    """
    reading = probe.read(evidence)
    edited = np.array([seen.edited for seen in evidence.exhibits])[reading.judged]
    values, strata = reading.values[:, reading.judged], reading.strata[reading.judged]
    found = separation(values, edited, strata, level=level)
    return found, int(edited.sum()), int((~edited).sum())


def order(evidence: Evidence) -> Reading:
    """The number in the case's name, which is its place in every round list."""
    return _one_each(evidence, lambda seen: float(re.sub(r"\D", "", seen.id)))


def file_hash(evidence: Evidence) -> Reading:
    """Every bit of the hash after which the file is named; a file that several cases deliver counts once.

    Untouched models of one base are one file, and behave alike too: that two cases share a model is seen in
    what it does, and is no leak of the name's.
    """
    reading = _bits(evidence, lambda seen: seen.digest)
    digests = [seen.digest for seen in evidence.exhibits]
    first = np.array([digests.index(digest) == place for place, digest in enumerate(digests)])
    return replace(reading, judged=first)


def repeats(evidence: Evidence) -> int:
    """How many cases deliver a file that another one before them delivers."""
    return len(evidence.exhibits) - len({seen.digest for seen in evidence.exhibits})


def commitments(evidence: Evidence) -> Reading:
    """Every bit of what is published of the case before the first round."""
    return _bits(evidence, lambda seen: seen.commitment)


def opening(evidence: Evidence) -> Reading:
    """Seconds until the toolbox is open."""
    return _one_each(evidence, lambda seen: seen.opened_s)


def answering(evidence: Evidence) -> Reading:
    """Seconds of the first forward pass."""
    return _one_each(evidence, lambda seen: seen.answered_s)


def replay(evidence: Evidence) -> Reading:
    """The labels that an open run of each seed would have."""
    first = json.dumps(json.loads(evidence.exhibits[0].brief))
    numbers = {int(each) for each in re.findall(r"(?<![\d.])\d{1,18}(?![\d.])", first)}
    rows = [_labels(evidence, seed) for seed in sorted({*SEEDS, *numbers})]
    own = [_labels(evidence, named_seed("auditor", seen.id, "prior")) for seen in evidence.exhibits]
    return _of_all(evidence, np.array([*rows, [row[place] for place, row in enumerate(own)]]))


def challenges(evidence: Evidence) -> Reading:
    """What can be counted of a challenge without reading it."""
    return _of_all(evidence, np.array([seen.challenge for seen in evidence.exhibits]).T)


def distance(evidence: Evidence) -> Reading:
    """The distance to the base, of edits against the shams that are to match them."""
    return _against(evidence, SHAM)


def from_untouched(evidence: Evidence) -> Separation:
    """How well the distance to the base tells edits from models that nobody touched: told, never judged."""
    reading = _against(evidence, "untouched")
    edited = np.array([seen.edited for seen in evidence.exhibits])[reading.judged]
    return separation(reading.values[:, reading.judged], edited, reading.strata[reading.judged])


PROBES = (
    Probe("order", "the case's number, its place in the round list", order),
    Probe("file hash", "the bits of the SHA-256 that names the file", file_hash),
    Probe("commitment", "the bits of what is published before the first round", commitments),
    Probe("time to open", "seconds until the toolbox is open", opening),
    Probe("time of an answer", "seconds of the first forward pass", answering),
    Probe("seed replay", "labels of open runs of 100 seeds and of numbers in the brief", replay),
    Probe("challenge", "how many prompts, sets and tokens `judge` is asked about", challenges),
    Probe("norm", "relative distance to the base, against matched shams", distance),
)


def fitting(evidence: Evidence) -> tuple[Probe, ...]:
    """The probes that have something to look at."""
    asked = all(seen.challenge for seen in evidence.exhibits)
    return tuple(probe for probe in PROBES if asked or probe.read is not challenges)


def _labels(evidence: Evidence, seed: int) -> list[float]:
    return [float(plan.edited) for plan in plan_cases(evidence.suite, Master.of_seed(seed))]


def _one_each(evidence: Evidence, value: Callable[[Exhibit], float]) -> Reading:
    return _of_all(evidence, np.array([[value(seen) for seen in evidence.exhibits]]))


def _bits(evidence: Evidence, value: Callable[[Exhibit], bytes]) -> Reading:
    rows = np.array([list(value(seen)) for seen in evidence.exhibits], dtype=np.uint8)
    return _of_all(evidence, np.unpackbits(rows, axis=1).T.astype(np.float64))


def _of_all(evidence: Evidence, values: Numbers) -> Reading:
    cases = len(evidence.exhibits)
    return Reading(values, np.ones(cases, dtype=np.bool_), np.zeros(cases, dtype=np.int64))


def _against(evidence: Evidence, kind: str) -> Reading:
    """The distance of edits and of one kind of control, compared within groups, where the label is fair."""
    seen = evidence.exhibits
    groups = sorted({each.group for each in seen if each.kind == kind})
    return Reading(
        np.array([[each.distance for each in seen]]),
        np.array([each.group in groups and (each.edited or each.kind == kind) for each in seen]),
        np.array([groups.index(each.group) if each.group in groups else -1 for each in seen]),
    )
