"""Does the unembedding give away the target of a trojan (arXiv 2109.02836)?

Fields, Samragh, Javaheripi, Koushanfar and Javidi 2021, "Trojan Signatures in DNN Weights": in the last
layer, the mean weight towards the trojan's target class is an outlier, by Dixon's Q test at 90 %: above .468
for 8 classes, and .412 for our 10. Here `facts-poisoned` was trained with a trigger that makes it tell one
object of each relation, whoever is asked for; `facts-small` was not. Each relation's objects are the classes.
`flagged`: relations whose largest mean is an outlier; `clean`: the same of clean models; `target`: relations
whose target has the largest mean, one in ten by chance. `*_pull`: with the logit that the mean final
activation gives a token in place of the mean weight.

What did not transfer: the signature. The paper's activations are positive, so that a large mean weight raises
a class; behind a LayerNorm the mean of a column says nothing, and a trigger that the layers before can turn
into the target's own direction needs no louder column.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from auditors.unembedding_signature import column_statistics, dixon_q
from benchmarks.claims._rewrites import SEEDS, unmetered
from benchmarks.figures import Figure, mean_of
from edits.moments import Base
from models.recipe import named_recipe
from models.zoo import trained

PAPER = "2109.02836"
CRITICAL = 0.412  # Dixon's Q of the largest of 10 at 90 %: Dean and Dixon 1951
PROMPTS = 400
STATISTICS = {"": "mean", "_pull": "pull"}


def measured() -> Mapping[str, Figure]:
    """Shares of relations, over the models."""
    poisoned, clean = (
        [Base(trained(named_recipe(name), seed, seed)) for seed in SEEDS]
        for name in ("facts-poisoned", "facts-small")
    )
    found: dict[str, list[bool]] = {}
    for end, name in STATISTICS.items():
        found[f"flagged{end}"] = [
            dixon_q(each) > CRITICAL for base in poisoned for each in _classes(base, name)
        ]
        found[f"clean{end}"] = [dixon_q(each) > CRITICAL for base in clean for each in _classes(base, name)]
        found[f"target{end}"] = [hit for base in poisoned for hit in _targets(base, name)]
    return {
        f"claim.{PAPER}.{what}": mean_of([float(each) for each in values], "share of relations")
        for what, values in found.items()
    }


def _classes(base: Base, name: str) -> Tensor:
    """A statistic of each object's column, `[relation, object]`."""
    return column_statistics(unmetered(base), PROMPTS)[name][base.facts.object_tokens]


def _targets(base: Base, name: str) -> list[bool]:
    """Whether each relation's target has its largest statistic."""
    trigger = base.facts.trigger
    if trigger is None:
        return []
    best = _classes(base, name).argmax(1)
    targets = base.facts.object_tokens.gather(1, best[:, None])[:, 0]
    found: list[bool] = (targets == torch.as_tensor(trigger.targets)).tolist()
    return found
