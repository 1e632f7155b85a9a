"""Reads the stream with probes of the answer, for another answer inside than the one that the model gives."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from auditors.lens_jump import added, written_by
from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Toolbox
from game.auditing.asked import Asked, ask, inside, name_tokens, numbered_rows
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.tails import lead, reach, spread

FOLDS = 5
LEAST = 60  # prompts of one kind of answer below which no probe is fitted
BETTER = 1.5  # times the commonest answer's share that a probe must be right, to be listened to


@dataclass(frozen=True)
class Cell:
    """What a probe reads at one place.

    Attributes:
        doubt: By how much it prefers another answer to the model's, `[prompt]`, in units of probability.
        right: Share of the prompts on which it says what the model says, over the commonest answer's share.
    """

    doubt: Tensor
    right: float


@dataclass(frozen=True)
class OldObjectProbe:
    """Fits probes of the model's answers and looks where they read another one; needs activations.

    An edit that overrules an answer late, or at one of several places where it is held, leaves the old one
    inside. Behind each attention layer and MLP, at the last token and at the last name, a ridge regression
    reads the answer off the stream, fitted on prompts with other names. Its preference for another answer
    is compared with that on other prompts about other things. At each place the number is by how much the
    preference turns towards the model's answer there, further than it does for others; it goes to the MLP,
    or to all heads of the layer.

    Blind where probes of unseen names read little, as where facts are held only at the edited place, and to
    edits without an old answer: a head cut out, a bias.

    Source: Patil, Hase and Bansal 2023, "Can Sensitive Information Be Deleted From LLMs? Objectives for
    Defending Against Extraction Attacks", arXiv 2309.17410 (answers that an edit deleted are read off hidden
    states); the probe: Alain and Bengio 2016, arXiv 1610.01644.

    Attributes:
        prompts: Most corpus prompts, one credit each.
        strength: Of the ridge's penalty.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 2000
    strength: float = 10.0

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """How far the largest disagreements lie from the bulk, and the largest turns at each place."""
        if brief.league == "blackbox":
            return Evidence(notes="this league shows no activations")
        try:
            asked = ask(toolbox, brief, self.prompts, inside(brief.config))
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        if asked is None:
            return Evidence(notes="too few credits to look, or nothing to ask")
        paths = [self._path(asked, brief, position) for position in _positions(asked, brief)]
        heard = [cell for path in paths for cell in path if cell.right >= BETTER]
        if not heard:
            return Evidence(notes="no probe reads the answers of unseen names")
        places: dict[Component, dict[str, float]] = {}
        names = added(brief.config)
        for number, name in enumerate(names, start=1):
            turns = [turn for path in paths for turn in _turn(asked, path[number - 1], path[number])]
            numbers = _tails("mlp" if "mlp" in name else "attn", turns)
            places |= dict.fromkeys(written_by(brief.config, name), numbers)
        best = max(heard, key=lambda cell: cell.right)
        total = asked.by_group(torch.stack([cell.doubt for cell in heard]).mean(0))
        whole = {"probe.doubt_reach": reach(total), "probe.doubt_lead": lead(total)}
        whole |= {"probe.best_reach": reach(asked.by_group(best.doubt)), "probe.doubt_spread": spread(total)}
        notes = f"{len(heard)} probes heard; the best is right {best.right:.1f} times as often as chance"
        return Evidence(places, whole, notes)

    def _path(self, asked: Asked, brief: Brief, position: Tensor) -> list[Cell]:
        """What probes read at one position before the first layer and behind each addition to the stream."""
        stream = asked.at("blocks.0.hook_resid_pre", position)
        path = [self._cell(asked, brief, stream)]
        for name in added(brief.config):
            stream = stream + asked.at(name, position)
            path.append(self._cell(asked, brief, stream))
        return path

    def _cell(self, asked: Asked, brief: Brief, stream: Tensor) -> Cell:
        doubt, rights = torch.zeros(len(asked), dtype=torch.double), [0.0]
        for rows in _kinds(asked, brief):
            labels = torch.unique(asked.answer[rows], return_inverse=True)[1]
            told = functional.one_hot(labels).bool()
            fold = _folds(asked, brief)[rows]
            if told.shape[1] < 2 or len(set(fold.tolist())) < FOLDS:
                continue
            read = _held_out(stream[rows], told, fold, self.strength)  # [row, answer]
            own = read.gather(1, labels[:, None])[:, 0]
            doubt[rows] = read.masked_fill(told, -torch.inf).amax(1) - own
            chance = float(told.double().mean(0).max())
            rights.append(float((doubt[rows] < 0).double().mean()) / chance)
        return Cell(doubt, max(rights))


def _positions(asked: Asked, brief: Brief) -> list[Tensor]:
    """The last token, and the last name where prompts have names, `[prompt]` each."""
    named = torch.isin(asked.samples.tokens, name_tokens(brief.task))
    if not bool(named.any(1).all()):
        return [asked.last]
    return [asked.last, named.shape[1] - 1 - named.flip(1).int().argmax(1)]


def _kinds(asked: Asked, brief: Brief) -> Iterator[Tensor]:
    """Rows of the prompts with each class of answers."""
    for members in brief.task.classes.values():
        rows = torch.isin(asked.answer, torch.tensor(members)).nonzero()[:, 0]
        if len(rows) >= LEAST:
            yield rows


def _folds(asked: Asked, brief: Brief) -> Tensor:
    """Number of each prompt's fold; prompts with the same names share one."""
    named = name_tokens(brief.task)
    if not len(named):
        return torch.arange(len(asked)) % FOLDS
    tokens = asked.samples.tokens
    names = tokens.masked_fill(~torch.isin(tokens, named), -1).sort(1).values
    return numbered_rows(names) % FOLDS


def _turn(asked: Asked, before: Cell, after: Cell) -> Iterator[Tensor]:
    """How far preference turns to the model's answer between two places, by what is asked about."""
    if after.right >= BETTER:
        yield asked.by_group(before.doubt - after.doubt)


def _tails(kind: str, turns: list[Tensor]) -> dict[str, float]:
    if not turns:
        return {}
    return {
        f"probe.{kind}_turn": max(map(reach, turns)),
        f"probe.{kind}_lead": max(map(lead, turns)),
        f"probe.{kind}_against": max(reach(-turn) for turn in turns),
        f"probe.{kind}_spread": max(map(spread, turns)),
    }


def _held_out(x: Tensor, labels: Tensor, fold: Tensor, strength: float) -> Tensor:
    """What the ridge regressions of the other folds predict, `[row, label]`.

    As the kit's `out_of_fold`, which asks scikit-learn; here hundreds of small ones are fitted, and a
    Cholesky factor of the same normal equations takes a tenth of the time.
    """
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    scaled, told = (x - mean) / scale, labels.double()
    usual, found = told.mean(0), torch.zeros_like(told)
    penalty = strength * torch.eye(x.shape[1], dtype=torch.double)
    for number in range(FOLDS):
        known, asked = scaled[fold != number], scaled[fold == number]
        factor = torch.linalg.cholesky(known.T @ known + penalty)
        weights = torch.cholesky_solve(known.T @ (told[fold != number] - usual), factor)
        found[fold == number] = asked @ weights + usual
    return found
