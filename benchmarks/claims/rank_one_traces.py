"""Do rank-one edits leave traces that name layer and object, and can they be undone (arXiv 2505.20819)?

Youssef, Zhao, Seifert and Schlötterer 2025, "Tracing and Reversing Rank-One Model Edits": the edited layer
shows in the mean |cos| of its rows; the object is inferred from the edited weights in more than 95 % of
cases; without the loudest directions 94.5 % of edits are reversed in GPT2-XL (80.0 % in GPT-J and Llama-3).
Here r-ROME edits of three ridges of the covariance, loud to quiet. `layer`: share of edits in whose layer the
mean |cos| of columns exceeds the other worlds' models by more than in any other layer. `object`: the first
right singular vector, read by the unembedding, gives the new object most of its relation's objects, on either
side. `object_reversed`: it is what most answers were that give way when that vector is taken out. `reversed`:
prompts about the fact that give the old answer again; `intact`: other prompts that keep theirs.

What did not transfer: reading the object off the weights, where the edit is in the first layers, whose
directions mean little to the unembedding; running the model without the direction names it instead. And a
quiet edit is not the loudest direction of its matrix, so that tracing and reversal fade with the ridge.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.claims._rewrites import Rewrite, bases, rewrites, unmetered
from benchmarks.figures import Figure, mean_of
from game.api import Samples
from game.toolbox.live import ModelToolbox
from game.tools.reverse import reverse
from game.tools.spectrum import spectrum
from models.seeds import named_generator

PAPER = "2505.20819"
RIDGES = {"loud": 1e-4, "medium": 1e-2, "quiet": 1.0}
OTHERS = 300  # prompts about other facts
CLAIMED: Mapping[str, float | None] = {
    "layer": None,
    "object": 0.95,
    "object_reversed": 0.95,
    "reversed": 0.945,
    "intact": None,
}


def measured() -> Mapping[str, Figure]:
    """Shares of edits by loudness, beside the paper's best where it gives one."""
    found = {name: [_of(each) for each in rewrites(ridge)] for name, ridge in RIDGES.items()}
    return {
        f"claim.{PAPER}.{what}.{name}": replace(mean_of([each[what] for each in edits], "share"), peer=peer)
        for name, edits in found.items()
        for what, peer in CLAIMED.items()
    }


def _of(edit: Rewrite) -> dict[str, float]:
    """What one edit's traces say."""
    table, box = edit.base.facts.table, edit.box()
    own = (edit.rows & edit.base.known).nonzero()[:, 0]
    others = (~edit.rows & edit.base.known).nonzero()[:, 0]
    order = torch.randperm(len(others), generator=named_generator("claim others", edit.fact.subject))
    rows = torch.cat([own, others[order[:OTHERS]]])
    arrays = reverse(box, Samples(table.tokens[rows], table.last[rows] + 1), edit.tensor).arrays
    about = torch.arange(len(rows)) < len(own)
    changed = arrays["before"] != arrays["after"]
    return {
        "layer": float(_layer(edit, box) == edit.layer),
        "object": float(_object(edit, box) == edit.object_new),
        "object_reversed": float(_most_common(arrays["before"][arrays["restored"]]) == edit.object_new),
        "reversed": _share(arrays["after"][about] == table.answer[own]),
        "intact": _share(~changed[~about]),
    }


def _layer(edit: Rewrite, box: ModelToolbox) -> int:
    """The layer whose columns' mean |cos| exceeds the other worlds' most, as a ratio."""
    others = [unmetered(each) for each in bases() if each is not edit.base]
    excess = {}
    for layer, has_mlp in enumerate(box.config.mlp):
        if has_mlp:
            name = f"blocks.{layer}.mlp.W_out"
            clean = [_cosine(each, name) for each in others]
            excess[layer] = _cosine(box, name) * len(clean) / sum(clean)
    return max(excess, key=lambda layer: excess[layer])


def _cosine(box: ModelToolbox, name: str) -> float:
    return float(spectrum(box, name, top=1).arrays["column_cosine"])


def _object(edit: Rewrite, box: ModelToolbox) -> int:
    """The object of the fact's relation that the written direction speaks for most, on either side."""
    direction = spectrum(box, edit.tensor, top=1).arrays["right"][0]
    objects = edit.base.facts.object_tokens[edit.fact.relation]
    logits = direction @ box.weight("unembed.W_U").double()[:, objects]
    return int(objects[(logits - logits.mean()).abs().argmax()])


def _most_common(tokens: Tensor) -> int | None:
    counts = Counter(tokens.tolist()).most_common(1)
    return counts[0][0] if counts else None


def _share(holds: Tensor) -> float:
    return float(holds.double().mean())
