"""Challenges: what `judge` is asked, in sets of which nothing but the delivered model tells the true one.

Everything here treats the targets of a case alike, whichever of them is the true one: they come in shuffled
order, and what is chosen for one depends on the others only as theirs on it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from edits.moments import Base
from edits.targets import Prompt, Target, padded, prompts_of, top_answers
from game.api import Challenge, Stratum
from game.case import Answers, Case
from models.transformer import Transformer

STRATA: tuple[Stratum, ...] = get_args(Stratum)
PER_STRATUM = 4  # prompts of a set
NEAR = 16  # prompts most like a target's, from which near misses are drawn


class Solved(NamedTuple):
    """A target and the model that its edit makes."""

    target: Target
    after: Transformer


@dataclass(frozen=True)
class Sets:
    """The prompts of several target sets, in random order; no prompt comes twice."""

    prompts: tuple[Prompt, ...]
    target_set: tuple[int, ...]
    stratum: tuple[Stratum, ...]


@dataclass(frozen=True)
class TableRows:
    """A base's table as prompts.

    Attributes:
        prompts: Row by row.
        row_of: Row by prompt.
        words: Which tokens each row says, its base's answer among them, `[row, token]`, 0 or 1.
        known: Which rows the base answers truly, `[row]`.
    """

    prompts: tuple[Prompt, ...]
    row_of: Mapping[Prompt, int]
    words: Tensor
    known: Tensor

    @classmethod
    def of(cls, base: Base) -> "TableRows":
        """Those of a base, made once."""
        return base.once("table rows", lambda: cls._made(base))

    @classmethod
    def _made(cls, base: Base) -> "TableRows":
        prompts = tuple(prompts_of(base.table))
        words = words_of(base, prompts, base.log_probs.argmax(-1))
        return cls(prompts, {prompt: row for row, prompt in enumerate(prompts)}, words, base.known)


def composed(base: Base, targets: Sequence[Target], generator: torch.Generator) -> Sets:
    """Sets for these targets: as many prompts of a stratum in each as every one of them can have.

    Args:
        base: What the targets' edits were solved on.
        targets: All different, in an order that tells nothing.
        generator: Draws prompts and their order.
    """
    taken: list[tuple[Prompt, int, Stratum]] = []
    used: set[Prompt] = set()
    for stratum, queues in _queues(base, targets, generator).items():
        for _ in range(PER_STRATUM):
            dealt = _one_each(queues, used)
            if not dealt:
                break
            taken += [(prompt, number, stratum) for number, prompt in enumerate(dealt)]
    order = torch.randperm(len(taken), generator=generator).tolist()
    prompts, numbers, strata = zip(*(taken[i] for i in order), strict=True) if taken else ((), (), ())
    return Sets(prompts, numbers, strata)


def _one_each(queues: Sequence[Iterator[Prompt]], used: set[Prompt]) -> list[Prompt]:
    """The next unused prompt of each queue, which are used from now on; none where a queue has run out."""
    dealt: list[Prompt] = []
    for queue in queues:
        prompt = next((each for each in queue if each not in used), None)
        if prompt is None:
            return []
        used.add(prompt)
        dealt.append(prompt)
    return dealt


def _queues(
    base: Base, targets: Sequence[Target], generator: torch.Generator
) -> dict[Stratum, list[Iterator[Prompt]]]:
    """For each stratum each target's prompts, those to be preferred first.

    Near misses come from the known rows that say most of what is typical of its prompts, and unrelated ones
    from the quarter that say least; both are left alone by its own edit, and no target is about them.
    """
    table = TableRows.of(base)
    crowd = Counter(table.prompts[row] for target in targets for row in target.changed)
    scope = {prompt for target in targets for prompt in target.scope}
    foreign = torch.tensor([prompt not in scope for prompt in table.prompts]) & table.known
    queues: dict[Stratum, list[Iterator[Prompt]]] = {stratum: [] for stratum in STRATA}
    for target in targets:
        near, far = _by_likeness(base, table, target, foreign, generator)
        queues["affected"].append(_preferred(target.affected, table, crowd))
        queues["paraphrase"].append(_preferred(target.paraphrase, table, crowd))
        queues["near miss"].append(iter(near))
        queues["unrelated"].append(iter(far))
    return queues


def _preferred(prompts: Sequence[Prompt], table: TableRows, crowd: Counter[Prompt]) -> Iterator[Prompt]:
    """First the prompts that the fewest targets change, then the table's; half, as a bench wants some."""

    def place(prompt: Prompt) -> tuple[int, bool]:
        return max(0, crowd[prompt] - 1), prompt not in table.row_of  # one of them is its own

    return iter(sorted(prompts, key=place)[: max(1, len(prompts) // 2)])


def _by_likeness(
    base: Base, table: TableRows, target: Target, foreign: Tensor, generator: torch.Generator
) -> tuple[list[Prompt], list[Prompt]]:
    """Rows that a target's edit leaves alone: the likest to its prompts, and the unlikest quarter."""
    kept = foreign.clone()
    kept[list(target.changed)] = False
    rows = kept.nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=generator)]  # ties are broken at random
    said = words_of(base, target.scope, top_answers(base.model, target.scope))
    typical = (said.sum(0) / max(1, len(said)) - table.words.mean(0)).clamp_min(0)
    rows = rows[(table.words[rows] @ typical).argsort(descending=True, stable=True)]
    like, unlike = rows[:NEAR], rows[len(rows) - len(rows) // 4 :]
    like, unlike = (each[torch.randperm(len(each), generator=generator)] for each in (like, unlike))
    near = torch.cat([like, rows[NEAR : len(rows) // 2]])
    return [table.prompts[row] for row in near.tolist()], [table.prompts[row] for row in unlike.tolist()]


def words_of(base: Base, prompts: Sequence[Prompt], answers: Tensor) -> Tensor:
    """Which tokens each prompt and its answer say, `[prompt, token]`, 0 or 1."""
    said = torch.zeros(len(prompts), base.checkpoint.config.d_vocab)
    said.scatter_(1, padded(prompts, base.task.bos), 1.0)  # all start with it
    return said.scatter_(1, answers[:, None], 1.0)


def challenge_of(base: Base, sets: Sets, prior: Mapping[Stratum, float]) -> Challenge:
    """The challenge of some sets.

    Args:
        base: What the case was made from.
        sets: The prompts.
        prior: Declared probability that an answer changed, by stratum.
    """
    return Challenge(
        tokens=padded(sets.prompts, base.task.pad),
        lengths=torch.tensor([len(prompt) for prompt in sets.prompts], dtype=torch.long),
        prior=tuple(prior[stratum] for stratum in sets.stratum),
        target_set=sets.target_set,
        stratum=sets.stratum,
        answers=tuple(sorted(set(base.table.answer.tolist()))),
    )


@dataclass(frozen=True)
class Rates:
    """How often top answers change, by stratum: (how many, of how many).

    Attributes:
        own: Prompts of a set under the set's own edit.
        cross: Prompts of a set under another set's edit.
    """

    own: Mapping[Stratum, tuple[int, int]]
    cross: Mapping[Stratum, tuple[int, int]]


def measured_rates(base: Base, solved: Sequence[Solved], generator: torch.Generator) -> Rates:
    """How often answers change in sets of these targets, under each one's edit."""
    sets = composed(base, [each.target for each in solved], generator)
    before = top_answers(base.model, sets.prompts)
    own, cross = (dict.fromkeys(STRATA, (0, 0)) for _ in range(2))
    for number, each in enumerate(solved):
        changed = (top_answers(each.after, sets.prompts) != before).tolist()
        for hit, of_set, stratum in zip(changed, sets.target_set, sets.stratum, strict=True):
            counted = own if of_set == number else cross
            hits, of = counted[stratum]
            counted[stratum] = (hits + hit, of + 1)
    return Rates(own, cross)


def declared_priors(rates: Sequence[Rates], prior: float, sets: int) -> dict[Stratum, float]:
    """P(top answer changed) by stratum, for challenges of so many sets: pi (own / K + cross (K - 1) / K).

    Strictly between 0 and 1: half a prompt is counted either way. Controls count as changing nothing.

    Args:
        rates: Of each checkpoint that was measured.
        prior: P(edited).
        sets: K.
    """
    return {
        stratum: prior
        * (
            _mean_rate([each.own[stratum] for each in rates])
            + (sets - 1) * _mean_rate([each.cross[stratum] for each in rates])
        )
        / sets
        for stratum in STRATA
    }


def _mean_rate(counted: Sequence[tuple[int, int]]) -> float:
    """The mean of (hits + 1/2) / (of + 1), over those that have any prompt."""
    found = [(hits + 0.5) / (of + 1) for hits, of in counted if of]
    return sum(found) / len(found) if found else 0.5


def answers_to(sets: Sets, base: Transformer, delivered: Transformer) -> Answers:
    """What is true of the sets, of a delivered model and its own base."""
    before, after = (top_answers(model, sets.prompts) for model in (base, delivered))
    return Answers(tuple((before != after).tolist()), tuple(before.tolist()))


def label_only_skill(cases: Sequence[Case]) -> float:
    """Expected behaviour skill of who knows the label and nothing else, if the declared priors are right.

    Such an auditor says rho / pi on what was edited, and 0 on what was not. Against rho that gains, for each
    prompt, rho^2 (1 - pi) / pi on average, in units of the mean of rho (1 - rho).

    Raises:
        ValueError: No case has a challenge.
    """
    skills = []
    for case in cases:
        if case.challenge is not None and case.challenge.prior:
            rho, pi = torch.tensor(case.challenge.prior, dtype=torch.float64), case.brief.prior
            gain = (rho**2).mean() * (1 - pi) / pi
            skills.append(float(gain / (rho * (1 - rho)).mean()))
    if not skills:
        raise ValueError("no case has a challenge")
    return sum(skills) / len(skills)
