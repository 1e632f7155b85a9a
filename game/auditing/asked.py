"""Prompts of the public corpus, spread over all that they ask, with what a model says and holds inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import Brief, PublicTask, Samples, Toolbox, TransformerConfig
from game.tools.kit.batches import run
from game.tools.kit.readings import stream_names

DRAWN = 8  # samples that are drawn for free for each prompt that is asked
LEAST = 100  # prompts below which no tail is looked at
_PLAIN = ("special", "words", "fillers", "common", "openings")  # classes whose words ask for nothing


@dataclass(frozen=True)
class Asked:
    """Prompts and the model's answers to them.

    Attributes:
        samples: The prompts, all different.
        log_probs: Of the token to follow, `[prompt, d_vocab]`, nats.
        group: Number of what each prompt is about, `[prompt]`: same names, same kind of answer.
        found: Activations by hook name, `[prompt, pos, ...]`.
    """

    samples: Samples
    log_probs: Tensor
    group: Tensor
    found: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.log_probs)

    @property
    def answer(self) -> Tensor:
        """The model's top token after each prompt, `[prompt]`."""
        return self.log_probs.argmax(-1)

    @property
    def margin(self) -> Tensor:
        """By how many nats it is likelier than the next, `[prompt]`."""
        best = self.log_probs.topk(2).values
        return best[:, 0] - best[:, 1]

    def at(self, name: str, position: Tensor) -> Tensor:
        """An activation at one position of each prompt, `[prompt, ...]`, float64."""
        return self.found[name][torch.arange(len(self)), position].double()

    @property
    def last(self) -> Tensor:
        """Position of each prompt's last token, `[prompt]`."""
        return self.samples.lengths - 1

    def by_group(self, values: Tensor) -> Tensor:
        """Mean of what was measured on each prompt over the prompts about one thing, `[group]`."""
        return grouped(values, self.group)


def ask(toolbox: Toolbox, brief: Brief, prompts: int, names: Sequence[str] = ()) -> Asked | None:
    """The model's answers to so many prompts at most, a credit each; None where too little can be asked.

    Args:
        toolbox: Grants activations, unless no names are given.
        brief: Knows the words.
        prompts: Most of them; they are spread over everything that the corpus asks.
        names: Hooks to read on the way.
    """
    count = int(min(prompts, toolbox.budget.remaining))
    if brief.corpus != "prompts" or count < LEAST:
        return None
    samples = spread_prompts(toolbox, brief.task, count)
    if len(samples.tokens) < LEAST:
        return None
    found, rows = _answered(toolbox, samples.tokens, names), torch.arange(len(samples.tokens))
    log_probs = found.pop("logits")[rows, samples.lengths - 1].double().log_softmax(-1)
    group = _groups(brief.task, samples.tokens, log_probs.argmax(-1))
    return Asked(samples, log_probs, group, found)


def _answered(toolbox: Toolbox, tokens: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    if names:
        return run(toolbox, tokens, [*names, "logits"])
    rows = min(512, toolbox.budget.max_rows)
    return {"logits": torch.cat([toolbox.logits(part) for part in torch.split(tokens, rows)])}


def inside(config: TransformerConfig) -> tuple[str, ...]:
    """Hooks of the stream and of all that is added to it; whoever asks for them all pays once."""
    parts = [
        f"blocks.{layer}.hook_{part}_out"
        for layer, has_mlp in enumerate(config.mlp)
        for part in ("attn", "mlp")
        if part == "attn" or has_mlp
    ]
    return (*stream_names(config), *parts)


def spread_prompts(toolbox: Toolbox, task: PublicTask, count: int) -> Samples:
    """Different prompts of a large free sample: one of everything asked before a second of anything."""
    drawn = toolbox.sample(DRAWN * count)
    order = _first_rows(torch.cat([drawn.lengths[:, None], drawn.tokens], 1))
    tokens, lengths = drawn.tokens[order], drawn.lengths[order]
    plain = [token for name in _PLAIN for token in task.classes.get(name, ())]
    asks = tokens.masked_fill(torch.isin(tokens, torch.tensor([*plain, task.pad])), -1)
    key = numbered_rows(asks.sort(1).values)
    chosen = _occurrence(key).argsort(stable=True)[:count].sort().values
    longest = int(lengths[chosen].max())
    return Samples(tokens[chosen][:, :longest], lengths[chosen])


def _first_rows(rows: Tensor) -> Tensor:
    """Numbers of the rows that are no repeat of an earlier one, ascending."""
    return (_occurrence(numbered_rows(rows)) == 0).nonzero()[:, 0]


def _occurrence(key: Tensor) -> Tensor:
    """How many times each row's key came before, `[row]`."""
    order = key.argsort(stable=True)
    ordered = key[order]
    begins = torch.cat([torch.tensor([True]), ordered[1:] != ordered[:-1]])
    place = torch.arange(len(key))
    before = place - torch.where(begins, place, 0).cummax(0).values
    return torch.empty_like(before).scatter_(0, order, before)


def _groups(task: PublicTask, tokens: Tensor, answer: Tensor) -> Tensor:
    """Prompts with the same names and the same class of answer; each for itself where there are no names."""
    named = name_tokens(task)
    if not len(named):
        return torch.arange(len(tokens))
    names = tokens.masked_fill(~torch.isin(tokens, named), -1).sort(1).values
    kind = torch.zeros(len(task.vocabulary), dtype=torch.int64)
    for number, members in enumerate(task.classes.values()):
        kind[list(members)] = number
    return numbered_rows(torch.cat([names, kind[answer][:, None]], 1))


def name_tokens(task: PublicTask) -> Tensor:
    """Token ids of all names, of whatever class."""
    found = [token for name, members in task.classes.items() if name.endswith("names") for token in members]
    return torch.tensor(found, dtype=torch.int64)


def grouped(values: Tensor, group: Tensor) -> Tensor:
    """Means over groups, `[group, ...]`, of `[row, ...]`; groups are numbered from 0 without a gap."""
    count = torch.bincount(group).double()
    total = torch.zeros(len(count), *values.shape[1:], dtype=torch.double).index_add_(
        0, group, values.double()
    )
    return total / count.view(-1, *[1] * (values.ndim - 1))


def numbered_rows(rows: Tensor) -> Tensor:
    """A number for each row of whole numbers, from 0 without a gap; equal rows have the same, `[row]`."""
    number: Tensor = torch.unique(rows, dim=0, return_inverse=True)[1]
    return number
