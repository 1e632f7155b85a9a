"""Do five spectral features of a weight difference tell harmful changes from harmless (arXiv 2602.15195)?

Puertolas Merenciano, Vasyagina, Zhu, Ferrando and Chaudhary 2026, "Weight space Detection of Backdoors in
LoRA Adapters": a logistic regression on first singular value, norm, energy share, spectral entropy and
kurtosis of each adapter's differences tells 100 poisoned of 500 adapters with 97 % accuracy. Here the
difference is that of one `W_out`, and the classifier is judged on the model that it has not seen. `benign`:
rewritten facts against further training that changes no answer, the paper's question. `sham`: against inert
changes of rank one, as loud and at the same place.

What did not transfer: nothing of the paper's own figure, for further training is dense and edits are not. But
the features tell how a change was made and not what it does: an inert sham is told from an edit in most cases
only because its read direction is drawn otherwise, and one made to match would not be.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from auditors.adapter_features import spectral_features
from benchmarks.claims._rewrites import bases, rewrites
from benchmarks.figures import Figure, mean_of
from edits.apply import apply
from edits.base import Edited, EditError
from edits.controls.benign_finetune import BenignFinetune
from edits.controls.random_rank1 import RandomRank1
from edits.moments import Base
from models.training import one_thread

PAPER = "2602.15195"
RIDGE, ACCURACY = 1e-2, 0.97
TRAINED = 3  # further trainings of each model


class Change(NamedTuple):
    """One change of a `W_out`: of which world, its features, and whether it is an edit."""

    world: int
    features: list[float]
    edited: bool


def measured() -> Mapping[str, Figure]:
    """Balanced accuracies beside the paper's; chance is one half."""
    edits = [_change(each.base, each.edited, each.tensor, edited=True) for each in rewrites(RIDGE)]
    harmless = {"benign": list(_trainings()), "sham": list(_shams())}
    return {
        f"claim.{PAPER}.{what}": replace(mean_of(_accuracies(edits + changes), "accuracy"), peer=ACCURACY)
        for what, changes in harmless.items()
    }


def _trainings() -> Iterator[Change]:
    """Further training, as it shows in each `W_out`."""
    for base in bases():
        for seed in range(TRAINED):
            spec = {"version": 1, "id": "claim", "seed": seed, "edit": {}}
            with suppress(EditError), one_thread():
                edited = apply(base, BenignFinetune.model_validate(spec))
                for layer, has_mlp in enumerate(base.checkpoint.config.mlp):
                    if has_mlp:
                        yield _change(base, edited, f"blocks.{layer}.mlp.W_out", edited=False)


def _shams() -> Iterator[Change]:
    """For each edit an inert change of rank one, as loud and at the same place."""
    for number, each in enumerate(rewrites(RIDGE)):
        with suppress(EditError), one_thread():
            block = RandomRank1.matching(each.edited)
            spec = {"version": 1, "id": "claim", "seed": number, "edit": block}
            yield _change(each.base, apply(each.base, RandomRank1.model_validate(spec)), each.tensor, False)


def _change(base: Base, after: Edited, tensor: str, edited: bool) -> Change:
    before = base.checkpoint.weights[tensor].double()
    difference = (after.checkpoint.weights[tensor].double() - before) / before.norm()
    return Change(base.trained.world_seed, list(spectral_features(difference).values()), edited)


def _accuracies(changes: Sequence[Change]) -> list[float]:
    """Balanced accuracy on each world, trained on the others."""
    return [_accuracy(changes, world) for world in sorted({each.world for each in changes})]


def _accuracy(changes: Sequence[Change], world: int) -> float:
    seen, new = ([each for each in changes if (each.world == world) == own] for own in (False, True))
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
    model.fit([each.features for each in seen], [each.edited for each in seen])
    told = model.predict([each.features for each in new])
    hits = [
        [bool(said) == each.edited for said, each in zip(told, new, strict=True) if each.edited == kind]
        for kind in (False, True)
    ]
    return sum(sum(each) / len(each) for each in hits) / 2
