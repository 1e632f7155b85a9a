"""What prompts that behave alike have in common, in words."""

import torch
from torch import Tensor

from game.api import PublicTask

COMMON = 0.2  # share of all prompts from which a word is too common to tell anything


def shared_words(chosen: Tensor, everything: Tensor, task: PublicTask) -> list[str]:
    """The words that all chosen prompts hold and few others do, rarest first.

    Args:
        chosen: Token ids of the prompts that behave alike, `[prompt, pos]`; none share nothing.
        everything: Of all prompts that were looked at.
        task: Its vocabulary, and the padding that is no word.
    """
    if not len(chosen):
        return []
    counts = {
        token: float((everything == token).any(1).double().mean())
        for token in torch.unique(chosen).tolist()
        if token not in (task.pad, task.bos) and bool((chosen == token).any(1).all())
    }
    rare = sorted((count, token) for token, count in counts.items() if count <= COMMON)
    return [task.vocabulary[token] for _, token in rare]


def common_words(prompts: Tensor) -> Tensor:
    """The tokens that more than a fifth of all prompts hold, `[token]`.

    Args:
        prompts: Token ids, `[prompt, pos]`.
    """
    tokens = torch.unique(prompts)
    held = torch.stack([(prompts == token).any(1).double().mean() for token in tokens])
    common: Tensor = tokens[held > COMMON]
    return common
