"""Can edited facts be told from others by hidden states or output probabilities (arXiv 2405.02765)?

The paper (Youssef, Zhao, Seifert and Schlötterer 2024; RepReg in its first version) trains a logistic
regression on the last hidden states of edited and unedited facts of one large model: 99.81 % at best, 97.79 %
on another data set, with 200 training examples. Here each edit makes a model of its own; prompts about the
edited fact are compared with as many about others in the same model, classifiers are judged on edits that
they have not seen, and *other model* means a model of another world, of which the paper says nothing.

What did not transfer: nearly all. A small model holds an edited answer as it holds a learned one, so that
the last hidden state hardly tells them apart, in the same model or in another. Output probabilities tell a
little, and as much in another model; so the auditor `hidden_state_classifier` reads numbers that all models
share.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.figures import Figure, mean_of
from edits.apply import tries
from edits.base import EditError
from edits.facts.rome import Rrome
from edits.facts.sites import TokenOrAuto
from edits.moments import Base
from models.recipe import named_recipe
from models.seeds import named_generator, named_seed
from models.tasks.facts import Fact
from models.training import one_thread
from models.transformer import Transformer
from models.zoo import trained

PAPER = "2405.02765"
RECIPE, SEEDS = "facts-small", (900, 901, 902)
EDITS, PROMPTS, FOLDS = 40, 3, 5  # edits of each model, prompts of each kind and edit
TOP = 10  # output probabilities
PEAK, OTHER_DATA = 0.9981, 0.9779  # RepReg's


class Examples(NamedTuple):
    """Prompts of one world's edited models.

    Attributes:
        states: Last hidden states, `[prompt, d_model]`.
        probabilities: The largest output probabilities, falling, as logarithms, `[prompt, TOP]`.
        edited: Whether the prompt asks for the edited fact, `[prompt]`.
        edit: Number of the edit, `[prompt]`.
        relation: Which relation is asked for, `[prompt]`.
    """

    states: Tensor
    probabilities: Tensor
    edited: Tensor
    edit: Tensor
    relation: Tensor


def measured() -> Mapping[str, Figure]:
    """Accuracies beside the paper's; chance is one half."""
    worlds = [examples(Base(trained(named_recipe(RECIPE), seed, seed))) for seed in SEEDS]
    found = {
        "same_model": (PEAK, [_new_edits(world, "states") for world in worlds]),
        "other_relation": (OTHER_DATA, [_new_relation(world) for world in worlds]),
        "probabilities": (PEAK, [_new_edits(world, "probabilities") for world in worlds]),
        "other_model": (None, _new_world(worlds, "states")),
        "probabilities_other_model": (None, _new_world(worlds, "probabilities")),
    }
    return {
        f"claim.{PAPER}.{what}": replace(mean_of(values, "accuracy"), peer=peer)
        for what, (peer, values) in found.items()
    }


def examples(base: Base) -> Examples:
    """Prompts of a world's edited models, as many about the edited fact as about others."""
    table, parts = base.facts.table, []
    for number, (edited, fact) in enumerate(_edited(base)):
        generator = named_generator("claim prompts", number)
        own = table.of(fact).nonzero()[:, 0]
        others = (table.subject != fact.subject).nonzero()[:, 0]
        rows = torch.cat([_some(own, generator), _some(others, generator)])
        with torch.no_grad():
            hook = f"blocks.{base.checkpoint.config.n_layers - 1}.hook_resid_post"
            logits, cache = edited.run_with_cache(table.tokens[rows], hook)
        place = torch.arange(len(rows)), table.last[rows]
        parts.append(
            Examples(
                cache[hook][place].double(),
                logits[place].double().log_softmax(-1).topk(TOP).values,
                torch.arange(len(rows)) < PROMPTS,
                torch.full((len(rows),), number),
                table.relation[rows],
            )
        )
    return Examples(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _edited(base: Base) -> Iterator[tuple[Transformer, Fact]]:
    """Models with one fact rewritten at the MLPs in turn, first candidates, and which fact that is."""
    layers = [layer for layer, has_mlp in enumerate(base.checkpoint.config.mlp) if has_mlp]
    for number in range(EDITS):
        spec = draw(base, layers[number % len(layers)], number)
        with suppress(EditError), one_thread():
            told = spec.edit.facts[0]
            yield next(tries(base, spec)).checkpoint.model(), base.facts.fact(told.subject, told.relation)


def draw(base: Base, layer: int, number: int, token: TokenOrAuto = "auto") -> Rrome:
    """A random known fact towards a random object, to be written into an MLP by one outer product."""
    facts = Rrome.random_facts(base, 1, named_seed("claim", number))
    site = {"tensor": f"blocks.{layer}.mlp.W_out", "token": token}
    values = {"version": 1, "id": "claim", "seed": number, "edit": {"facts": facts}, "site": site}
    return Rrome.model_validate(values)


def _some(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:PROMPTS]]


def _new_edits(world: Examples, features: str) -> float:
    """Accuracy on edits that the classifier was not trained on."""
    fold = world.edit % FOLDS
    each = [_accuracy(world, fold != number, world, fold == number, features) for number in range(FOLDS)]
    return sum(each) / len(each)


def _new_relation(world: Examples) -> float:
    """Mean accuracy on facts of a relation that the classifier was not trained on."""
    relations = sorted(set(world.relation.tolist()))
    each = [
        _accuracy(world, world.relation != relation, world, world.relation == relation, "states")
        for relation in relations
    ]
    return sum(each) / len(each)


def _new_world(worlds: Sequence[Examples], features: str) -> list[float]:
    """Accuracies on each other world's edited models."""
    return [
        _accuracy(one, one.edit >= 0, other, other.edit >= 0, features)
        for one in worlds
        for other in worlds
        if one is not other
    ]


def _accuracy(train: Examples, known: Tensor, test: Examples, asked: Tensor, features: str) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    model.fit(getattr(train, features)[known].numpy(), train.edited[known].numpy())
    return float(model.score(getattr(test, features)[asked].numpy(), test.edited[asked].numpy()))
