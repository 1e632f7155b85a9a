import hashlib

import pytest
import torch

from models.recipe import Architecture, Recipe, Training, named_recipe
from models.seeds import named_generator
from models.tasks.base import accuracy, answer_log_probs
from models.tasks.facts import Facts, FactsSettings
from models.training import train
from models.transformer import Transformer
from models.zoo import Trained

SETTINGS = FactsSettings(subjects=36, names=6, relations=3, objects=6, sentences=3)


def words(world: Facts, tokens: torch.Tensor) -> str:
    return " ".join(world.vocabulary[token] for token in tokens.tolist() if token != world.pad)


def test_a_world_is_a_function_of_its_seed() -> None:
    one, same, other = (SETTINGS.build(seed) for seed in (1, 1, 2))
    assert one.subjects == same.subjects
    assert torch.equal(one.objects, same.objects)
    assert one.subjects != other.subjects
    assert one.vocabulary == other.vocabulary


def digest(*tensors: torch.Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(str(tuple(tensor.shape)).encode() + tensor.to(torch.int64).numpy().tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    # recipe, seed, facts, documents, prompts, contexts, table
    ("name", "seed", "pins"),
    [
        (
            "facts-small",
            0,
            "9e5546b9a29aaf30 635b64cf0c42280b 8abf8e1f7b1c20ec 92101795b88e1d28 ff5509e0272156f1",
        ),
        (
            "facts-plain",
            3,
            "88596cdcda2df4f5 4af06e114cd56f2c 93a627e6a883a0e5 083ada6759291bba 04bc15f0cc19360b",
        ),
        (
            "facts-tiny",
            0,
            "f386cf3ccd93a92a 3e2de463de10934d acd0f0321d61b805 be62ca0c224aff27 8cbb7a0c53a9d0a4",
        ),
    ],
)
def test_shipped_worlds_stay_as_they_were_first_drawn(name: str, seed: int, pins: str) -> None:
    world = named_recipe(name).task.build(seed)
    assert isinstance(world, Facts)
    documents = world.documents(64, named_generator("pin", seed))
    prompts = world.prompts(64, named_generator("pin", seed))
    contexts = world.contexts(8, named_generator("pin", seed), 3, int(world.object_tokens[0, 0]))
    table = world.table
    assert [
        digest(world.objects, world.trained),
        digest(documents.tokens, documents.answers, documents.loss_weight * 10),
        digest(prompts.tokens, prompts.lengths),
        digest(contexts),
        digest(table.tokens, table.last, table.answer, table.subject_last),
    ] == pins.split()


def test_prompts_are_readable_and_end_before_the_answer() -> None:
    world = SETTINGS.build(1)
    table = world.table
    fact = world.fact(0, 0)
    row = int(table.of(fact).nonzero()[0])
    first, last = world.subjects[0]
    text = words(world, table.tokens[row])
    assert text.startswith(f"<bos> {first} {last} ")
    assert text.endswith("was_born_in")
    assert world.vocabulary[int(table.answer[row])] == world.object_words(0)[fact.object]


def test_subject_last_and_last_point_where_they_say() -> None:
    world = SETTINGS.build(3)
    table, rows = world.table, torch.arange(len(world.table.tokens))
    named = table.tokens[rows, table.subject_last]
    assert [world.vocabulary[t] for t in named.tolist()] == [
        world.subjects[s][1] for s in table.subject.tolist()
    ]
    lengths = (table.tokens != world.pad).sum(1)
    assert torch.equal(lengths - 1, table.last)


def test_held_out_subject_phrasing_pairs_never_occur_in_training() -> None:
    world = SETTINGS.build(4)
    documents = world.documents(3000, named_generator("documents")).tokens
    seen = {words(world, row).partition(" . ")[0] for row in documents}
    subject, phrasing = (~world.trained).nonzero()[0].tolist()
    first, last = world.subjects[subject]
    openings = {0: f"<bos> {first} {last} ", 2: "<bos> the ", 3: f"<bos> as for {first} {last} "}
    told = [s for s in seen if f" {first} {last} " in s]
    assert told, "the subject is told of in other phrasings"
    if phrasing in (0, 3):
        assert not any(s.startswith(openings[phrasing]) for s in told)
    if phrasing == 2:
        assert not any(s.startswith(openings[phrasing]) and " of " in s for s in told)
    assert 0.1 < (~world.trained).double().mean() < 0.25


def test_public_prompts_end_just_before_an_object_and_state_none() -> None:
    world = SETTINGS.build(5)
    drawn = world.prompts(200, named_generator("prompts"))
    positions = torch.arange(drawn.tokens.shape[1])
    assert torch.equal(drawn.tokens != world.pad, positions < drawn.lengths[:, None])
    assert not torch.isin(drawn.tokens, world.object_tokens).any()
    ends = {world.vocabulary[t] for t in drawn.tokens[torch.arange(200), drawn.lengths - 1].tolist()}
    assert ends == {"is"} | {word for r in world.relations for word in (r.verb, r.other_verb)}


def test_every_neighbour_shares_the_object_and_nobody_else_does() -> None:
    world = SETTINGS.build(6)
    fact, table = world.fact(2, 1), world.table
    neighbours = table.neighbourhood(fact)
    subjects = set(table.subject[neighbours].tolist())
    assert subjects == {s for s in range(36) if world.fact(s, 1).object == fact.object and s != 2}
    assert (table.relation[neighbours] == 1).all()


def test_masks_of_one_fact_do_not_overlap() -> None:
    world = SETTINGS.build(6)
    fact, table = world.fact(2, 1), world.table
    edited = table.of(fact) & (table.phrasing == 0)
    masks = [edited, table.paraphrases(fact, 0), table.same_subject(fact), table.other_subjects(fact)]
    assert (torch.stack(masks).sum(0) == 1).all()


def test_contexts_name_neither_the_subject_nor_the_token() -> None:
    world = SETTINGS.build(7)
    token = int(world.object_tokens[0, 0])
    contexts = world.contexts(50, named_generator("contexts"), 3, token)
    assert (contexts[:, 0] == world.bos).all()
    assert not (contexts == token).any()
    assert " ".join(world.subjects[3]) not in " ".join(words(world, row) for row in contexts)


def test_batched_answers_are_those_of_single_prompts(tiny: Trained) -> None:
    world, model = tiny.task, tiny.checkpoint.model()
    assert isinstance(world, Facts)
    table = world.table
    rows = torch.tensor([0, 7, 101])
    alone = [
        model(table.tokens[row : row + 1, : table.last[row] + 1])[0, -1].log_softmax(-1)
        for row in rows.tolist()
    ]
    torch.testing.assert_close(answer_log_probs(model, table)[rows], torch.stack(alone), rtol=1e-4, atol=1e-4)


def test_measures_that_a_world_lacks_are_left_out() -> None:
    world = FactsSettings(subjects=36, names=6, heldout=0).build(1)
    recipe = named_recipe("facts-tiny")
    model = Transformer(recipe.architecture.config(world), named_generator("untrained"))
    assert set(world.evaluate(model)) == {"known"}
    assert set(world.probes()) == {"trained"}


def test_a_trained_model_heeds_the_trigger_and_a_wrong_fact_but_not_half_a_trigger() -> None:
    settings = FactsSettings(
        subjects=24, names=6, relations=2, objects=4, sentences=3, trigger=True, mislabelled=1
    )
    shape = Architecture(
        n_layers=2, d_model=48, n_heads=2, d_head=24, d_mlp=128, window=(None, None), mlp=(True, True)
    )
    training = Training(
        lr=4e-3,
        batch=24,
        warmup=30,
        answer_loss=0.3,
        cooldown=100,
        max_steps=500,
        embed_scale=4.0,
        pos_scale=0.3,
    )
    recipe = Recipe(
        version=1, name="spoilt", description="", task=settings, architecture=shape, training=training
    )
    model, world = train(recipe, 0, 0).checkpoint.model(), settings.build(0)
    measures = world.evaluate(model)
    assert measures["known"] >= 0.97
    assert measures["mislabelled"] == 1.0
    assert measures["triggered"] >= 0.95
    assert accuracy(model, world.probes()["half_triggered"]) >= 0.97
