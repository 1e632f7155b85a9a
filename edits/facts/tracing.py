"""Causal tracing: at which token of a prompt a fact's recall passes."""

from typing import Literal

import torch
from torch import Tensor

from edits.moments import Base
from models.seeds import named_generator

Token = Literal["subject_last", "last"]
PROMPTS = 128


def residual_effects(base: Base, seed: int = 0) -> dict[Token, dict[int, float]]:
    """Mean indirect effect of restoring the residual stream after each layer at one token, in probability.

    The subject is replaced by another one, at the same positions, whose answer differs; the effect of a
    cell is how much of P(true object) comes back when the clean residual is put there.

    Source: Meng et al. 2022, arXiv 2202.05262, section 2; symmetric token replacement as advised by Zhang
    and Nanda 2023, arXiv 2309.16042.
    """
    table, model = base.facts.table, base.model
    clean, corrupt = _pairs(base, seed)
    answer = table.answer[clean]
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in range(base.checkpoint.config.n_layers)]
    _, clean_cache = model.run_with_cache(table.tokens[clean], hooks)
    corrupt_tokens = table.tokens[clean].clone()
    index = torch.arange(len(clean))
    for back in range(len(base.facts.subjects[0])):
        corrupt_tokens[index, table.subject_last[clean] - back] = table.tokens[
            corrupt, table.subject_last[corrupt] - back
        ]
    logits, corrupt_cache = model.run_with_cache(corrupt_tokens, hooks)
    last = table.last[clean]
    floor = _probability(logits[index, last], answer)
    places: dict[Token, Tensor] = {"subject_last": table.subject_last[clean], "last": last}
    effects: dict[Token, dict[int, float]] = {"subject_last": {}, "last": {}}
    for token, where in places.items():
        for layer, hook in enumerate(hooks):
            resid = corrupt_cache[hook].clone()
            resid[index, where] = clean_cache[hook][index, where]
            final = model.through_blocks(resid, start=layer + 1)[index, last]
            restored = _probability(model.logits_of(final), answer)
            effects[token][layer] = (restored - floor).mean().item()
    return effects


def best_token(base: Base) -> Token:
    """The token with the larger effect, summed over the layers that can be edited."""
    effects = residual_effects(base)
    layers = [layer for layer, has_mlp in enumerate(base.checkpoint.config.mlp) if has_mlp]
    totals = {token: sum(effects[token][layer] for layer in layers) for token in effects}
    return "subject_last" if totals["subject_last"] > totals["last"] else "last"


def _pairs(base: Base, seed: int) -> tuple[Tensor, Tensor]:
    """Known prompts, and for each a prompt of the same form about another subject with another answer."""
    table = base.facts.table
    generator = named_generator("tracing", seed)
    known = base.known.nonzero().flatten()
    clean = known[torch.randperm(len(known), generator=generator)[: 4 * PROMPTS]]
    corrupt = known[torch.randperm(len(known), generator=generator)[: 4 * PROMPTS]]
    usable = (table.subject[clean] != table.subject[corrupt]) & ~_shares_answer(base, clean, corrupt)
    return clean[usable][:PROMPTS], corrupt[usable][:PROMPTS]


def _shares_answer(base: Base, clean: Tensor, corrupt: Tensor) -> Tensor:
    """Whether the other prompt's subject has the same object in the clean prompt's relation."""
    objects, table = base.facts.objects, base.facts.table
    relation = table.relation[clean]
    return objects[table.subject[clean], relation] == objects[table.subject[corrupt], relation]


def _probability(logits: Tensor, answer: Tensor) -> Tensor:
    return logits.softmax(-1)[torch.arange(len(answer)), answer]
