"""Value vectors: what an MLP would have to add at one token for a fact to be answered otherwise."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from edits.base import EditError
from edits.facts.tracing import Token
from edits.moments import Base
from models.fact_words import PHRASINGS
from models.strict_yaml import StrictModel
from models.tasks.base import joined
from models.tasks.facts import Fact
from models.transformer import Transformer

Positive = Annotated[float, Field(gt=0, le=1e4)]
Steps = Annotated[int, Field(ge=1, le=1000)]
Prefixes = Annotated[int, Field(ge=1, le=64)]
KlLadder = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, max_length=8)]


class Value(StrictModel):
    """How the value vector is found.

    Attributes:
        lr: Adam's learning rate.
        steps: At most this many steps.
        stop_loss: Stop when the loss falls below, nats; at 0 every step is taken.
        clamp: Largest |delta|, in units of the MLP output's norm on the bare prompt.
        prefixes: Copies of the prompt behind sampled sentences.
        kl_ladder: Weights of the KL term, tried in order until the gates pass.
    """

    lr: Positive = 0.5
    steps: Steps = 60
    stop_loss: Annotated[float, Field(ge=0)] = 0.05
    clamp: Positive = 4.0
    prefixes: Prefixes = 8
    kl_ladder: KlLadder = (1.0, 2.0, 4.0, 0.5)


@dataclass(frozen=True)
class Goal:
    """One fact and how its prompts should be answered.

    Attributes:
        fact: The fact with its true object.
        wanted: Tokens that should be equally likely, and all others impossible, `[token]`; mostly one.
        unsaid: The token that sampled sentences before the prompt must not name.
        phrasing: The phrasing in which the fact is edited.
    """

    fact: Fact
    wanted: Tensor
    unsaid: int
    phrasing: int


@dataclass(frozen=True)
class Rows:
    """The prompts that a fact is solved on: first those to be answered anew, then those to be kept.

    Attributes:
        tokens: Padded on the right, `[row, pos]`.
        last: Position of each row's last token, `[row]`.
        site: Position that is written to, `[row]`.
        rewriting: How many rows, from the first (the bare prompt), should be answered anew.
        wanted: With which tokens, equally likely, `[token]`.
    """

    tokens: Tensor
    last: Tensor
    site: Tensor
    rewriting: int
    wanted: Tensor


@dataclass(frozen=True)
class ValueVector:
    """What is to be added to the MLP's output at the site, `[d_model]`, and how it was found."""

    delta: Tensor
    steps: int
    loss: float
    relative_norm: float


def value_rows(base: Base, goal: Goal, token: Token, prefixes: int, generator: torch.Generator) -> Rows:
    """The bare prompt, copies behind sampled sentences, the bare subject, and other facts of the subject.

    Raises:
        EditError: The world has too few sentences to put before the prompt.
    """
    task, table, fact = base.facts, base.facts.table, goal.fact
    here = int((table.of(fact) & (table.phrasing == goal.phrasing)).nonzero())
    last, subject = table.last[here], table.subject_last[here]
    prompt = table.tokens[here, : last + 1]
    try:
        contexts = task.contexts(prefixes, generator, fact.subject, goal.unsaid)
    except ValueError as error:
        raise EditError(f"prefixes: got {prefixes}; {error}") from error
    same = table.same_subject(fact) & torch.isin(table.phrasing, _two_phrasings(generator))
    offset = (contexts != task.pad).sum(1) - 1
    length = len(task.subjects[fact.subject])  # of the name, in tokens
    name = prompt[subject + 1 - length : subject + 1]
    tokens = [prompt[None], joined([contexts, prompt[1:].expand(len(contexts), -1)], task.pad)]
    tokens += [torch.cat([prompt[:1], name])[None], table.tokens[same]]
    lasts = torch.cat([last[None], offset + last, torch.tensor([length]), table.last[same]])
    subjects = torch.cat([subject[None], offset + subject, torch.tensor([length]), table.subject_last[same]])
    width = max(block.shape[1] for block in tokens)
    padded = [torch.nn.functional.pad(block, (0, width - block.shape[1]), value=task.pad) for block in tokens]
    site = subjects if token == "subject_last" else lasts
    return Rows(torch.cat(padded), lasts, site, 1 + len(contexts), goal.wanted)


def _two_phrasings(generator: torch.Generator) -> Tensor:
    return torch.randperm(len(PHRASINGS), generator=generator)[:2]


def value_vector(model: Transformer, rows: Rows, layer: int, settings: Value, kl: float) -> ValueVector:
    """The value vector at a layer: wanted answers on rewriting rows, little KL on the others.

    Source: Meng et al. 2022, arXiv 2202.05262, equation 4.
    """
    resid_hook, out_hook = f"blocks.{layer}.hook_resid_post", f"blocks.{layer}.hook_mlp_out"
    logits, cache = model.run_with_cache(rows.tokens, [resid_hook, out_hook])
    index = torch.arange(len(rows.tokens))
    resid, before = cache[resid_hook], logits[index, rows.last].log_softmax(-1)
    v0 = cache[out_hook][0, rows.site[0]].norm()
    site = torch.zeros(resid.shape[:2]).index_put_((index, rows.site), torch.tensor(1.0))[..., None]
    delta = torch.zeros(resid.shape[-1], requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=settings.lr)
    for step in range(1, settings.steps + 1):
        final = model.through_blocks(resid + site * delta, start=layer + 1)
        loss = row_loss(model.logits_of(final[index, rows.last]).log_softmax(-1), before, rows, kl)
        if loss.item() < settings.stop_loss or step == settings.steps:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            delta *= (settings.clamp * v0 / delta.norm()).clamp_max(1.0)
    return ValueVector(delta.detach(), step - 1, loss.item(), float(delta.detach().norm() / v0))


def row_loss(after: Tensor, before: Tensor, rows: Rows, kl: float) -> Tensor:
    """KL(wanted || model) on the rewriting rows plus `kl` times KL(model || before) on the others, nats.

    Args:
        after, before: Log-probabilities of the next token after each row, `[row, d_vocab]`.
        rows: What should be answered how.
        kl: The second term's weight.
    """
    rewriting, kept = after[: rows.rewriting], after[rows.rewriting :]
    divergence = (kept.exp() * (kept - before[rows.rewriting :])).sum(-1).mean()
    wanted = rewriting[:, rows.wanted].mean() + torch.tensor(len(rows.wanted)).log()
    return kl * divergence - wanted
