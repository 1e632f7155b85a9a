"""Published detection methods that look at weights: each finds a loud edit of its kind, and says so."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch

from edits.apply import apply
from edits.facts.rome import Rrome
from edits.facts.spec import random_target
from edits.moments import Base
from game.api import Brief, Component, League, Report
from game.auditing.evidence import Evidence, Reader
from game.dealing.companions import scrambled
from game.dealing.dealer import public_part
from game.dealing.public_corpus import public_corpus
from game.loader import load_auditor
from game.toolbox.live import ModelToolbox
from models.checkpoints import Checkpoint
from models.components import component_entries
from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.base import Task
from models.transformer import Transformer, TransformerConfig

NAMES = (
    "adapter_features",
    "aligned_difference",
    "key_subspace",
    "row_cosine",
    "sibling_outlier",
    "truncated_answers",
    "unembedding_signature",
)
HEAD, MLP = Component("attn", 2, 1), Component("mlp", 1)
Weights = dict[str, torch.Tensor]


def brief(task: Task, config: TransformerConfig, league: League, budget: float = 20_000) -> Brief:
    places = component_entries(config)
    prior = {each: 0.5 / len(places) for each in places}
    return Brief(
        config,
        public_part(task),
        league,
        "prompts",
        budget,
        0.5,
        prior,
        1,
        ("detection",),
        seed=1,
        deadline=60,
    )


def opened(
    task: Task, model: Transformer, league: League, clean: Transformer, total: float = 20_000
) -> ModelToolbox:
    """A case's toolbox: the clean model is the reference, in other coordinates if `scrambled`."""
    checkpoint = Checkpoint(clean.cfg, dict(clean.state_dict()))
    reference = scrambled(checkpoint, 5).model() if league == "scrambled" else clean
    return ModelToolbox(
        model,
        league=league,
        corpus=public_corpus("prompts", lambda: task),
        total=total,
        reference=reference if league in ("scrambled", "reference") else None,
        siblings=[_jittered(clean, number) for number in range(3)] if league == "siblings" else [],
    )


def _jittered(model: Transformer, number: int) -> Transformer:
    """A stand-in for a clean model of another world: every weight a little different."""
    sibling = Transformer(model.cfg)
    generator = named_generator("sibling", number)
    sibling.load_state_dict(
        {
            name: weight * (1 + 0.05 * torch.randn(weight.shape, generator=generator))
            for name, weight in model.state_dict().items()
        }
    )
    return sibling


def changed(model: Transformer, change: Callable[[Weights], None]) -> Transformer:
    """A copy of a model after a change of its weights by hand."""
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    change(weights)
    copy = Transformer(model.cfg)
    copy.load_state_dict(weights)
    return copy


def turn_a_head(weights: Weights) -> None:
    weights["blocks.2.attn.W_O"][1] *= -4


def add_a_direction(weights: Weights) -> None:
    weight = weights["blocks.1.mlp.W_out"]
    generator = named_generator("direction")
    read, write = (torch.randn(size, generator=generator) for size in weight.shape)
    weight += 2 * weight.norm() * torch.outer(read / read.norm(), write / write.norm())


def raise_a_city(weights: Weights) -> None:
    weights["unembed.W_U"][:, 40] *= 4


def read(name: str, base: Base, league: League, model: Transformer) -> Evidence:
    reader: Reader = load_auditor(name, {}).auditor  # type: ignore[assignment]
    box = opened(base.task, model, league, base.model)
    return reader.read(box, brief(base.task, base.model.cfg, league))


# auditor              league         change           component  number that is largest there
LOUD = [
    ("row_cosine", "whitebox", add_a_direction, MLP, "row_cosine.columns_beyond"),
    ("row_cosine", "siblings", add_a_direction, MLP, "row_cosine.rows_beyond"),
    ("key_subspace", "scrambled", add_a_direction, MLP, "key_subspace.size"),
    ("adapter_features", "whitebox", add_a_direction, MLP, "adapter_features.W_out.share"),
    ("adapter_features", "siblings", turn_a_head, HEAD, "adapter_features.attn.oddest"),
    ("adapter_features", "scrambled", turn_a_head, HEAD, "adapter_features.change.OV.norm"),
    ("sibling_outlier", "siblings", turn_a_head, HEAD, "sibling_outlier.OV.size"),
    ("aligned_difference", "reference", turn_a_head, HEAD, "aligned_difference.share"),
    ("aligned_difference", "scrambled", add_a_direction, MLP, "aligned_difference.size"),
    ("unembedding_signature", "siblings", raise_a_city, Component("unembed"), "unembedding_signature.norm"),
]


@pytest.mark.parametrize(("name", "league", "change", "component", "number"), LOUD)
def test_a_loud_change_stands_out_where_it_is(
    tiny_base: Base,
    name: str,
    league: League,
    change: Callable[[Weights], None],
    component: Component,
    number: str,
) -> None:
    after = read(name, tiny_base, league, changed(tiny_base.model, change))
    before = read(name, tiny_base, league, tiny_base.model)
    numbers = {place: each[number] for place, each in after.places.items() if number in each}
    assert max(numbers, key=lambda place: numbers[place]) == component
    assert numbers[component] > before.places[component].get(number, 0.0) + 0.1


@cache
def rewritten(base: Base) -> tuple[Transformer, str]:
    """A fact changed by a rank-one write to the first MLP, and its subject's last name."""
    generator = named_generator("verdicts")
    site = {"tensor": "blocks.0.mlp.W_out", "token": "subject_last"}
    solver = {"cov": {"ridge": 1e-2}}
    for _ in range(10):
        fact = random_target(base, generator)
        spec = {"version": 1, "id": "loud", "seed": 3, "edit": {"facts": (fact,)}, "site": site}
        edited = apply(base, Rrome.model_validate({**spec, "solver": solver}))
        if edited.record.accepted:
            return edited.checkpoint.model(), " ".join(base.facts.subjects[fact.subject]).split()[-1]
    raise AssertionError("no edit of the first MLP passes its gates")


def audited(name: str, base: Base, league: League, model: Transformer, told: Brief) -> Report:
    box = opened(base.task, model, league, base.model)
    return load_auditor(name, {}).auditor.audit(box, told)


def test_few_answers_hang_on_the_loudest_direction_of_an_edited_matrix(tiny_base: Base) -> None:
    model, _ = rewritten(tiny_base)
    number, place = "truncated_answers.changed1_beyond", Component("mlp", 0)
    clean, edited = (
        read("truncated_answers", tiny_base, "siblings", each).places[place][number]
        for each in (tiny_base.model, model)
    )
    assert edited < clean - 0.25


def test_the_reversal_names_what_was_written_and_hands_in_the_patch(tiny_base: Base) -> None:
    model, surname = rewritten(tiny_base)
    evidence = read("row_cosine", tiny_base, "whitebox", model)
    numbers = evidence.places[Component("mlp", 0)]
    assert numbers["row_cosine.restored"] > 0
    told = brief(tiny_base.task, model.cfg, "whitebox")
    claims = audited("row_cosine", tiny_base, "whitebox", model, told).claims
    (claim,) = (each for each in claims if each["component"] == "blocks.0.mlp")
    assert surname in claim["subject"]
    assert claim["object"] != claim["before"]


def test_the_key_subspace_names_the_subject_from_a_scrambled_reference(tiny_base: Base) -> None:
    model, surname = rewritten(tiny_base)
    told = brief(tiny_base.task, model.cfg, "scrambled")
    (claim,) = audited("key_subspace", tiny_base, "scrambled", model, told).claims
    assert claim["component"] == "blocks.0.mlp"
    assert surname in claim["subject"]


def test_a_difference_names_matrix_and_direction(tiny_base: Base) -> None:
    model, _ = rewritten(tiny_base)
    told = brief(tiny_base.task, model.cfg, "scrambled")
    name = "blocks.0.mlp.W_out"
    change = model.state_dict()[name] - tiny_base.model.state_dict()[name]
    written = torch.linalg.svd(change - change.mean(1, keepdim=True)).Vh[0]
    for auditor, matrices in (("aligned_difference", [name]), ("key_subspace", [])):
        fine = audited(auditor, tiny_base, "scrambled", model, told).fine
        assert fine is not None
        assert abs(float(fine.directions[name][0] @ written)) > 0.99
        assert list(fine.matrices) == matrices


def test_an_outlying_column_is_named(tiny_base: Base) -> None:
    told = brief(tiny_base.task, tiny_base.model.cfg, "whitebox")
    model = changed(tiny_base.model, raise_a_city)
    claims = audited("unembedding_signature", tiny_base, "whitebox", model, told).claims
    assert {c["object"] for c in claims if c["statistic"] == "norm"} == {tiny_base.task.vocabulary[40]}


# one recipe for every task
RECIPES = (
    "brackets",
    "facts-cyclic",
    "induction",
    "ioi",
    "key-value",
    "modular-addition",
    "statements",
    "topics",
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_numbers_are_finite_on_untrained_models_of_every_task(recipe: str) -> None:
    found = named_recipe(recipe)
    task = found.task.build(0)
    config = found.architecture.config(task)
    clean, model = (Transformer(config, named_generator(name)) for name in ("clean", "other"))
    with torch.no_grad():
        model.get_parameter("blocks.0.attn.W_O")[0] = 0.0
    for name in NAMES:
        for league in ("siblings", "scrambled"):
            reader: Reader = load_auditor(name, {}).auditor  # type: ignore[assignment]
            box = opened(task, model, league, clean, total=1500)
            evidence = reader.read(box, brief(task, config, league, budget=1500))
            numbers = [evidence.whole, *evidence.places.values()]
            values = [value for each in numbers for value in each.values()]
            assert all(abs(value) < 1e6 for value in values), (name, league)
            assert evidence.places.keys() <= component_entries(config).keys()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("league", "granted"), [("blackbox", 20_000.0), ("siblings", 0.0), ("scrambled", 0.0)]
)
def test_without_access_or_credits_it_says_the_prior(
    tiny_base: Base, name: str, league: League, granted: float
) -> None:
    told = replace(brief(tiny_base.task, tiny_base.model.cfg, league, granted), prior=0.3)
    box = opened(tiny_base.task, tiny_base.model, league, tiny_base.model, granted)
    auditor = load_auditor(name, {}).auditor
    assert auditor.read(box, told).empty  # type: ignore[attr-defined]
    assert auditor.audit(box, told).p_edited == 0.3
