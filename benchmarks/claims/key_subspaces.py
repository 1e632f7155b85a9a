"""Does the difference of the weights tell whose fact was edited (arXiv 2602.10134)?

Sun, Luo, Wang, Chen and He 2026, "Reverse-Engineering Model Editing on Language Models" (KSTER): the left
singular vectors of C dW span the keys of the edited subjects; of 100 subjects edited in one batch .94 to .99
are recovered, and decoys in the subspace hide them. Here one fact of 200 subjects at a time: `subject` is the
share of edits whose own subject has the key that lies in the span best, by the paper's score. `scrambled` is
the same with a reference in other coordinates, which the paper does not try. `decoyed` is under its own
defence at twice the key's strength.

What did not transfer: C is measured on prompts about the model's own subjects, as there is no other text; a
C of all positions is ruled by the few loudest keys, which then lie in every span.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch

from auditors.key_subspace import output_changes, written
from benchmarks.claims._rewrites import Rewrite, rewrites, unmetered
from benchmarks.figures import Figure, mean_of
from game.api import Toolbox
from game.dealing.companions import scrambled
from game.tools.kit.batches import run

PAPER = "2602.10134"
RIDGES = {"loud": 1e-4, "medium": 1e-2, "quiet": 1.0}
RECALL = 0.94  # the least of the paper's, with batches of 100


def measured() -> Mapping[str, Figure]:
    """Shares of edits whose subject is inferred, beside the paper's recall."""
    found: dict[str, tuple[float | None, list[float]]] = {}
    for name, ridge in RIDGES.items():
        edits = rewrites(ridge)
        found[f"subject.{name}"] = RECALL, [_hit(each, each.box().reference()) for each in edits]
        if name == "medium":
            found["scrambled"] = None, [_hit(each, _scrambled(each)) for each in edits]
    found["decoyed"] = None, [_hit(each, each.box().reference()) for each in rewrites(1e-2, decoy=2.0)]
    return {
        f"claim.{PAPER}.{what}": replace(mean_of(values, "share of edits"), peer=peer)
        for what, (peer, values) in found.items()
    }


def _hit(edit: Rewrite, reference: Toolbox) -> float:
    """Whether the key that lies in the span best, of the first phrasing's, is one of the edited subject's."""
    box, table = edit.box(), edit.base.facts.table
    asked = (table.phrasing == 0).nonzero()[:, 0]
    change, weight = output_changes(box, reference)[edit.layer]
    hook = f"blocks.{edit.layer}.mlp.hook_post"
    found = run(box, table.tokens[asked], [hook])[hook]
    keys = found[torch.arange(len(asked)), table.subject_last[asked]].double()
    best = asked[written(change, weight, keys).scores.argmax()]
    return float(int(table.subject[best]) == edit.fact.subject)


def _scrambled(edit: Rewrite) -> Toolbox:
    """The base in coordinates of its own."""
    return unmetered(edit.base, scrambled(edit.base.checkpoint, edit.fact.subject).model())
