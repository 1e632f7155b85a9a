"""What every task and every shipped recipe keeps, whoever wrote it."""

import ast
import itertools
import json
from pathlib import Path

import pytest
import torch

from game.catalogue import tasks
from models.recipe import FOLDER, Recipe, load_recipe, named_recipe
from models.seeds import named_generator
from models.strict_yaml import parse_document
from models.tasks.base import BOS, PAD, Task, task_kinds
from models.transformer import Transformer

RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def world(name: str, seed: int = 0) -> Task:
    return named_recipe(name).task.build(seed)


def untrained(recipe: Recipe, task: Task) -> Transformer:
    return Transformer(recipe.architecture.config(task), named_generator("untrained"))


def test_every_task_has_a_recipe_and_a_line_for_the_list() -> None:
    assert {named_recipe(name).task.kind for name in RECIPES} == set(task_kinds())
    assert all(entry.summary and not entry.mark for entry in tasks())


@pytest.mark.parametrize("kind", task_kinds())
def test_every_task_cites_its_source(kind: str) -> None:
    source = (Path(__file__).parents[2] / "models" / "tasks" / f"{kind}.py").read_text()
    told = ast.get_docstring(ast.parse(source)) or ""
    assert told.startswith(f"`{kind}`: ")
    assert "arXiv" in told


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_s_data_is_the_recipe(name: str) -> None:
    recipe = named_recipe(name)
    text = json.dumps(recipe.model_dump(mode="json"))  # as it is written beside a checkpoint
    assert load_recipe(parse_document(text, name)).model_dump() == recipe.model_dump()


@pytest.mark.parametrize("name", RECIPES)
def test_a_vocabulary_is_readable_and_its_classes_are_disjoint(name: str) -> None:
    task = world(name)
    assert len(set(task.vocabulary)) == len(task.vocabulary)
    assert all(word and word == word.strip() and " " not in word for word in task.vocabulary)
    assert (task.vocabulary[task.pad], task.vocabulary[task.bos]) == (PAD, BOS)
    grouped = list(itertools.chain.from_iterable(task.classes.values()))
    assert sorted(grouped) == list(range(len(task.vocabulary)))
    assert task.description.endswith(".")
    assert len(task.notes) > 80


@pytest.mark.parametrize("name", RECIPES)
def test_documents_are_a_function_of_world_and_generator(name: str) -> None:
    task = world(name)
    one, same, other = (task.documents(20, named_generator("contract", seed)) for seed in (0, 0, 1))
    assert torch.equal(one.tokens, same.tokens)
    assert not torch.equal(one.tokens, other.tokens)
    before = torch.get_rng_state()
    task.documents(4, named_generator("contract", 2))
    task.prompts(4, named_generator("contract", 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", RECIPES)
def test_documents_fit_the_context_and_say_where_answers_are(name: str) -> None:
    task = world(name)
    documents = task.documents(64, named_generator("contract", 3))
    tokens, padding = documents.tokens, documents.tokens == task.pad
    assert tokens.dtype == torch.int64
    assert tokens.shape[1] <= task.n_ctx
    assert (tokens[:, 0] == task.bos).all()
    assert ((tokens >= 0) & (tokens < len(task.vocabulary))).all()
    assert (padding.int().diff(dim=1) >= 0).all(), "padding is on the right"
    assert (documents.loss_weight[padding] == 0).all()
    assert (documents.loss_weight[:, 0] == 0).all()
    assert documents.answers.any(1).all(), "every document has an answer"
    assert (documents.loss_weight[documents.answers] > 0).all()


@pytest.mark.parametrize("name", RECIPES)
def test_prompts_end_just_before_their_padding(name: str) -> None:
    task = world(name)
    prompts = task.prompts(50, named_generator("contract", 4))
    assert prompts.tokens.shape[0] == 50
    assert prompts.tokens.shape[1] < task.n_ctx
    positions = torch.arange(prompts.tokens.shape[1])
    assert torch.equal(prompts.tokens != task.pad, positions < prompts.lengths[:, None])
    assert (prompts.tokens[:, 0] == task.bos).all()


@pytest.mark.parametrize("name", RECIPES)
def test_probes_say_where_their_prompts_end_and_what_follows(name: str) -> None:
    task = world(name)
    assert 100 <= len(task.table.tokens) <= 20_000
    assert torch.equal(task.table.tokens, world(name).table.tokens)
    for probe in {"table": task.table, **task.probes()}.values():
        n, width = probe.tokens.shape
        assert width <= task.n_ctx
        assert probe.last.shape == probe.answer.shape == (n,)
        assert torch.equal((probe.tokens != task.pad).sum(1) - 1, probe.last)
        assert ((probe.answer >= 0) & (probe.answer < len(task.vocabulary))).all()
        assert (probe.answer != task.pad).all()


@pytest.mark.parametrize("name", RECIPES)
def test_measures_of_any_model_are_shares(name: str) -> None:
    recipe, task = named_recipe(name), world(name)
    model = untrained(recipe, task)
    metrics = task.evaluate(model)
    assert set(recipe.criterion) <= set(metrics) <= set(type(recipe.task).metrics)
    assert all(0 <= value <= 1 for value in metrics.values())
    assert recipe.missed(metrics), "an untrained model must not pass"
    for finding in task.findings(model).values():
        assert len(finding.axes) == finding.values.dim()
        assert finding.values.isfinite().all()
        assert finding.meaning
