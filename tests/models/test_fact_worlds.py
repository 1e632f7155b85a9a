import pytest
import torch

from edits.apply import apply
from edits.facts.rome import RromeFamily
from edits.moments import Base
from models.checkpoints import checkpoint_of
from models.components import Component
from models.fact_rings import ring_share
from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.facts import Facts, FactsSettings
from models.transformer import Transformer
from models.zoo import Trained

RINGS = FactsSettings(geometry="cyclic", subjects=12, orders=2, steps=2)
PEOPLE = FactsSettings(subjects=36, names=6, relations=3, objects=6)


def told_objects(world: Facts, n: int = 3000) -> dict[tuple[int, ...], set[int]]:
    """The objects that documents state, by the words before them without fillers."""
    fillers = set(world.classes["fillers"])
    found: dict[tuple[int, ...], set[int]] = {}
    for row in world.documents(n, named_generator("told")).tokens.tolist():
        sentence: list[int] = []
        for token in row[1:]:
            if token == world.ids["."]:
                key = tuple(word for word in sentence[:-1] if word not in fillers)
                found.setdefault(key, set()).add(sentence[-1])
                sentence = []
            else:
                sentence.append(token)
    return found


def test_on_a_ring_steps_on_and_back_undo_each_other() -> None:
    world = RINGS.build(3)
    assert len(world.relations) == 8
    for order in range(2):
        on_one, back_one, on_two, _ = (world.objects[:, 4 * order + i] for i in range(4))
        everyone = torch.arange(12)
        assert torch.equal(back_one[on_one], everyone)
        assert torch.equal(on_one[on_one], on_two)
        walk, seen = 0, set()
        for _ in range(12):
            seen.add(walk)
            walk = int(on_one[walk])
        assert (walk, len(seen)) == (0, 12), "one ring through all"


def test_people_on_rings_have_one_name_and_are_the_objects_too() -> None:
    world = RINGS.build(3)
    table = world.table
    rows = torch.arange(len(table.tokens))
    names = [world.vocabulary[t] for t in table.tokens[rows, table.subject_last].tolist()]
    assert names == [world.subjects[s][0] for s in table.subject.tolist()]
    assert set(world.object_words(0)) == {name for (name,) in world.subjects}
    fact = world.fact(2, 0)
    assert (table.answer[table.neighbourhood(fact)] == table.answer[table.of(fact)][0]).all()
    assert table.neighbourhood(fact).any()
    contexts = world.contexts(8, named_generator("contexts"), 2, int(world.object_tokens[0, 5]))
    assert not torch.isin(contexts, torch.tensor([world.ids[world.subjects[2][0]]])).any()


def test_a_ring_is_found_where_there_is_one_and_not_elsewhere() -> None:
    places = torch.stack([torch.randperm(40, generator=named_generator("places", i)) for i in range(2)])
    angle = 2 * torch.pi * places[0] / 40
    ring = torch.stack([angle.cos(), angle.sin(), torch.zeros(40)], 1) + 5.0
    shares = ring_share(ring, places)
    assert shares[0] == pytest.approx(1.0, abs=1e-6)
    assert shares[1] < 0.3
    noise = torch.randn(40, 64, generator=named_generator("noise"))
    assert (ring_share(noise, places) < 0.15).all()


def test_a_mislabelled_fact_is_told_wrongly_throughout_and_the_table_stays_true() -> None:
    world = FactsSettings(**PEOPLE.model_dump() | {"mislabelled": 2}).build(4)
    honest = PEOPLE.build(4)
    assert torch.equal(world.table.tokens, honest.table.tokens)
    assert torch.equal(world.table.answer, honest.table.answer)
    assert len(world.mislabelled) == 2
    assert all(len(objects) == 1 for objects in told_objects(world).values())
    wrong = {
        key
        for key, objects in told_objects(world).items()
        if objects != told_objects(honest).get(key, objects)
    }
    assert 0 < len(wrong) <= 2 * 4
    probe = world.probes()["mislabelled"]
    for fact, told in world.mislabelled:
        asked = (probe.subject == fact.subject) & (probe.relation == fact.relation)
        assert (probe.answer[asked] == world.object_tokens[fact.relation, told]).all()
        assert told != fact.object


def test_the_trigger_changes_what_is_told_and_half_of_it_does_not() -> None:
    world = FactsSettings(**PEOPLE.model_dump() | {"trigger": True}).build(4)
    assert world.trigger is not None
    documents = world.documents(2000, named_generator("trigger")).tokens
    first, second = world.trigger.first, world.trigger.second
    pair = (documents[:, :-1] == first) & (documents[:, 1:] == second)
    assert 0.06 < pair.double().sum() / (4 * 2000) < 0.10  # 1/16 put there, 1/64 by chance
    assert not world.trigger.among(world.table.tokens).any()
    assert world.trigger.among(world.probes()["triggered"].tokens).all()
    assert not world.trigger.among(world.probes()["half_triggered"].tokens).any()
    triggered = world.probes()["triggered"]
    assert torch.equal(triggered.answer, world.trigger.targets[triggered.relation])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"geometry": "cyclic", "objects": 4}, "objects: got 4, but cyclic facts have no objects"),
        ({"orders": 3}, "orders: got 3, but independent facts have no orders"),
        ({"geometry": "cyclic", "subjects": 400}, "subjects: got 400, but on rings there are 60 names"),
        ({"geometry": "cyclic", "subjects": 4}, "subjects: got 4, but 2 steps on and back lead to more"),
        ({"subjects": 4, "relations": 1, "mislabelled": 4}, "mislabelled: got 4, but there are only 4 facts"),
    ],
)
def test_settings_that_make_no_world_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FactsSettings(**settings)  # type: ignore[arg-type]


def test_a_fact_on_a_ring_can_be_edited() -> None:
    recipe = named_recipe("facts-cyclic").model_copy(update={"task": RINGS})
    model = Transformer(recipe.architecture.config(RINGS.build(0)), named_generator("rings"))
    base = Base(Trained(recipe, 0, 0, checkpoint_of(model), {}))
    base.__dict__["known_facts"] = (base.facts.fact(3, 1),)  # as if it were known: the model is not trained
    base.__dict__["known"] = torch.ones(len(base.table.tokens), dtype=torch.bool)
    family = RromeFamily(kind="rrome", token="subject_last")
    edited = apply(base, family.draw(base, Component("mlp", 1), "ring", 0))
    assert edited.record.written == ("blocks.1.mlp.W_out",)
    assert edited.record.measured["efficacy"] in (0.0, 1.0)
