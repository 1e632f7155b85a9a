"""What attention heads see on random documents, and the change of a matrix that disturbs them least."""

import torch
from torch import Tensor

from edits.base import EditError
from edits.moments import Base
from edits.predicates import rows_of
from models.seeds import named_generator
from models.tasks.base import Documents, Probe, answer_log_probs

DOCUMENTS = 600  # in a sample
PROMPTS = 200  # the most cut from a sample
RIDGE = 1e-2  # of second moments, in units of their mean diagonal


def sampled(base: Base, purpose: str) -> Documents:
    """The base's random documents of that purpose; each purpose has its own."""
    return base.task.documents(DOCUMENTS, named_generator("head activity", purpose))


def attention_inputs(base: Base, layer: int, tokens: Tensor) -> Tensor:
    """What a layer's `W_Q`, `W_K` and `W_V` read, `[document, pos, d_model]`, float64."""
    hook = f"blocks.{layer}.hook_resid_pre"
    resid = base.model.run_with_cache(tokens, hook)[1][hook]
    with torch.no_grad():
        inputs: Tensor = base.model.get_submodule(f"blocks.{layer}.ln1")(resid)
    return inputs.double()


def least_energy(reads: Tensor, targets: Tensor, moment: Tensor, ridge: float = RIDGE) -> Tensor:
    """The change D of a matrix with `reads @ D = targets` and least energy elsewhere, `[d, m]`.

    Args:
        reads: Activations that are to be read anew, `[n, d]`, float64.
        targets: What the change should make of them, `[n, m]`.
        moment: Second moment C of all activations, `[d, d]`.
        ridge: Added to its diagonal, in units of the mean diagonal.

    Source: MEMIT's normal equations without slack; Meng et al. 2023, arXiv 2210.07229, section 4.2.
    """
    eye = torch.eye(len(moment), dtype=moment.dtype)
    solved = torch.linalg.solve(moment + ridge * moment.diagonal().mean() * eye, reads.T)
    change: Tensor = solved @ torch.linalg.pinv(reads @ solved) @ targets
    return change


def mean_where(activation: Tensor, mask: Tensor, path: str) -> Tensor:
    """Mean of an activation `[document, pos, d]` over the positions of a mask, `[d]`.

    Raises:
        EditError: There are none; `path` names the key of the specification that asks for them.
    """
    if not mask.any():
        raise EditError(f"{path}: no sampled document of this task has it")
    return activation[mask].mean(0)


def answered_after(base: Base, tokens: Tensor, containing: int | None = None) -> Probe:
    """Sampled documents cut behind one of the tokens, where the base rightly says what follows.

    Args:
        base: The model.
        tokens: Ids of the possible last tokens.
        containing: A token that comes before it and is not the answer.
    """
    documents = sampled(base, "prompts")
    ends = torch.isin(documents.tokens, tokens) & documents.answers.roll(-1, 1)
    ends[:, -1] = False
    if containing is not None:
        ends &= (documents.tokens == containing).cumsum(1) > 0
        ends &= documents.tokens.roll(-1, 1) != containing
    document, last = ends.nonzero()[:PROMPTS].T
    whole = documents.tokens[document]
    kept = torch.arange(whole.shape[1]) <= last[:, None]
    answer = whole.gather(1, last[:, None] + 1)[:, 0]
    probe = Probe(torch.where(kept, whole, base.task.pad), last, answer)
    return rows_of(probe, answer_log_probs(base.model, probe).argmax(-1) == answer) if len(last) else probe


def last_tokens(base: Base) -> Tensor:
    """Each prompt's last token in the base's table, `[prompt]`."""
    table = base.table
    return table.tokens.gather(1, table.last[:, None])[:, 0]


def require_token(base: Base, path: str, token: int) -> None:
    """Refuse a token that the vocabulary does not have.

    Raises:
        EditError: With what is allowed.
    """
    if token >= len(base.task.vocabulary):
        raise EditError(f"{path}: got {token}; the vocabulary has tokens 0-{len(base.task.vocabulary) - 1}")


def words(base: Base, tokens: Tensor | tuple[int, ...]) -> str:
    """Tokens for people."""
    return ", ".join(base.task.vocabulary[token] for token in map(int, tokens))
