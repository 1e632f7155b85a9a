import torch

from models.seeds import named_generator
from models.tasks.base import answer_log_probs
from models.tasks.facts import Facts, FactsSettings
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
