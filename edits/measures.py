"""What a changed model does, measured against its base on the prompts of the base's task."""

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from edits.moments import Base
from models.tasks.base import answer_log_probs
from models.tasks.facts import Fact
from models.transformer import Transformer

FORGOTTEN = 1.5  # an object's probability in units of a blind guess, up to which it counts as forgotten


def behaviour(base: Base, log_probs: Tensor) -> dict[str, float]:
    """How far behaviour moved over the task's prompts.

    `changed`: share of known prompts whose top answer differs; `kl`: mean KL(base || new), nats; `agree`:
    share of all prompts with the same top answer.

    Args:
        base: The model before.
        log_probs: The model after, on the base's table, `[prompt, d_vocab]`, nats.
    """
    moved = log_probs.argmax(-1) != base.log_probs.argmax(-1)
    divergence = (base.log_probs.exp() * (base.log_probs - log_probs)).sum(-1)
    return {
        "changed": _share(moved, base.known),
        "kl": divergence.double().mean().item(),
        "agree": 1 - moved.double().mean().item(),
    }


def fact_edit(
    base: Base, log_probs: Tensor, fact: Fact, new_token: int, phrasing: int, edited: Tensor
) -> dict[str, float]:
    """The fact editors' metrics, each a share of the base's known prompts.

    `efficacy`: the edited prompt answers the new object; `paraphrase`: the fact's other phrasings do;
    `neighbourhood`: subjects with the same true object keep P(old) > P(new), and `neighbourhood_top` keep the
    old one on top; `retention`: the subject's other facts are unchanged.

    Args:
        base: The model before.
        log_probs: The model after, on the base's table, `[prompt, d_vocab]`, nats.
        fact: What was edited, with its true object.
        new_token: The wanted answer.
        phrasing: The edited prompt's phrasing.
        edited: Prompts of every fact that the edit changes, `[prompt]`; they are nobody's neighbours.

    Source: Meng et al. 2022, arXiv 2202.05262, section 3.4, on argmax and known prompts.
    """
    table, known = base.facts.table, base.known
    top = log_probs.argmax(-1)
    prompt = table.of(fact) & (table.phrasing == phrasing)
    old_token = int(table.answer[prompt])
    old_preferred = log_probs[:, old_token] > log_probs[:, new_token]
    neighbours = table.neighbourhood(fact) & known & ~edited
    return {
        "efficacy": _share(top == new_token, prompt),
        "paraphrase": _share(top == new_token, table.paraphrases(fact, phrasing) & known),
        "neighbourhood": _share(old_preferred, neighbours),
        "neighbourhood_top": _share(top == old_token, neighbours),
        "retention": _share(top == base.log_probs.argmax(-1), table.same_subject(fact) & known & ~edited),
        "margin": float((log_probs[prompt, new_token] - log_probs[prompt, old_token]).item()),
    }


def fact_erasure(
    base: Base, log_probs: Tensor, fact: Fact, phrasing: int, edited: Tensor
) -> dict[str, float]:
    """The metrics of a fact that should be forgotten; a prompt forgets where P(old) is at most `FORGOTTEN`.

    `recall`: P(old) on the edited prompt in units of a blind guess among the relation's objects; `efficacy`
    and `paraphrase`: shares of prompts that forget; `neighbourhood`: subjects with the same true object keep
    it on top; `retention`: the subject's other facts are unchanged.

    Args:
        base, log_probs, fact, phrasing, edited: As in `fact_edit`.
    """
    table, known = base.facts.table, base.known
    top = log_probs.argmax(-1)
    prompt = table.of(fact) & (table.phrasing == phrasing)
    old_token = int(table.answer[prompt])
    recall = log_probs[:, old_token].exp() * base.facts.object_tokens.shape[1]
    return {
        "efficacy": _share(recall <= FORGOTTEN, prompt),
        "recall": recall[prompt].item(),
        "paraphrase": _share(recall <= FORGOTTEN, table.paraphrases(fact, phrasing) & known),
        "neighbourhood": _share(top == old_token, table.neighbourhood(fact) & known & ~edited),
        "retention": _share(top == base.log_probs.argmax(-1), table.same_subject(fact) & known & ~edited),
    }


def mean_over_facts(each: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The measures of several facts, averaged over those that have them; NaN where none has."""
    rows = list(each)
    found = {name: [row[name] for row in rows if not math.isnan(row[name])] for name in rows[0]}
    return {name: sum(values) / len(values) if values else math.nan for name, values in found.items()}


def log_probs_of(base: Base, model: Transformer) -> Tensor:
    """A changed model on the base's table, `[prompt, d_vocab]`, nats."""
    return answer_log_probs(model, base.table)


def _share(hits: Tensor, of: Tensor) -> float:
    """Share of the selected prompts that hit; NaN, which passes no gate, when none is selected."""
    return hits[of].double().mean().item()


def rounded(measured: Mapping[str, float]) -> dict[str, float]:
    """Measures for a record, at a readable precision; what could not be measured is left out."""
    return {name: float(f"{value:.6g}") for name, value in measured.items() if math.isfinite(value)}
