import pytest
import torch
from pydantic import ValidationError

from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.key_value import KeyValue, KeyValueSettings
from models.transformer import Transformer

SETTINGS = KeyValueSettings(keys=8, values=8, pairs=5, fewest_pairs=2, queries=3, heldout=0.25)


def bindings(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The pairs that a document tells, and its answered queries."""
    told, *queries = text.removeprefix("<bos> ").split(" ? ")
    words = told.split()
    return dict(zip(words[::2], words[1::2], strict=True)), [tuple(query.split()) for query in queries]  # type: ignore[misc]


def test_every_query_of_a_document_is_answered_with_the_value_that_it_tells() -> None:
    world = SETTINGS.build(0)
    documents = world.documents(300, named_generator("documents"))
    lengths = set()
    for row, answers in zip(documents.tokens, documents.answers, strict=True):
        pairs, queries = bindings(world.text(row))
        assert len(queries) == min(3, len(pairs)) == len(dict(queries))
        assert all(pairs[key] == value for key, value in queries)
        assert world.text(row[answers]).split() == [value for _, value in queries]
        lengths.add(len(pairs))
    assert lengths == {2, 3, 4, 5}


def test_held_out_combinations_never_occur_in_training_and_always_in_their_probe() -> None:
    world = SETTINGS.build(1)
    heldout = {
        (world.vocabulary[world.key_tokens[key]], world.vocabulary[world.value_tokens[value]])
        for key, values in enumerate(world.heldout_values.tolist())
        for value in values
    }
    assert len(heldout) == 16
    told = [bindings(world.text(row))[0] for row in world.documents(400, named_generator("d")).tokens]
    seen = {pair for pairs in told for pair in pairs.items()}
    assert len(seen) == 48
    assert not seen & heldout
    probe = world.heldout
    asked = probe.tokens[torch.arange(len(probe.last)), probe.last]
    pairs = {
        (world.vocabulary[k], world.vocabulary[v])
        for k, v in zip(asked.tolist(), probe.answer.tolist(), strict=True)
    }
    assert pairs == heldout


def test_worlds_differ_in_what_is_held_out() -> None:
    one, same, other = (SETTINGS.build(seed).heldout_values for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["table", "long", "heldout"])
def test_value_at_points_to_the_answer_and_its_key_is_one_before(name: str) -> None:
    world = SETTINGS.build(2)
    probe, rows = getattr(world, name), torch.arange(600)
    assert torch.equal(probe.tokens[rows, probe.value_at], probe.answer)
    assert torch.equal(probe.tokens[rows, probe.value_at - 1], probe.tokens[rows, probe.last])
    assert torch.equal(probe.last, 2 * probe.pairs + 2)
    assert probe.pairs.unique().tolist() == ([5] if name == "long" else [2, 3, 4, 5])


def test_findings_are_attention_along_the_paths_of_recall() -> None:
    world, recipe = SETTINGS.build(3), named_recipe("key-value")
    model = Transformer(recipe.architecture.config(world), named_generator("model"))
    probe = world.table
    _, cache = model.run_with_cache(probe.tokens)
    paths = zip(probe.last.tolist(), probe.value_at.tolist(), strict=True)
    by_hand = [cache["blocks.1.attn.hook_pattern"][row, :, last, at] for row, (last, at) in enumerate(paths)]
    found = world.findings(model)["value_attention"]
    assert found.axes == ("layer", "head")
    torch.testing.assert_close(found.values[1], torch.stack(by_hand).mean(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keys": 4, "pairs": 5}, "pairs: got 5, but there are only 4 keys"),
        ({"fewest_pairs": 6}, "fewest_pairs: got 6, but there are at most 5 pairs"),
        ({"queries": 6}, "queries: got 6, but a document has at most 5 pairs"),
        ({"heldout": 0.05}, "heldout: got 0.05, but that is no whole value of 8"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KeyValueSettings.model_validate(SETTINGS.model_dump() | settings)


def test_a_prompt_asks_for_one_key_that_it_tells() -> None:
    world: KeyValue = SETTINGS.build(4)
    for row in world.prompts(100, named_generator("prompts")).tokens:
        pairs, ((asked,),) = bindings(world.text(row))  # type: ignore[misc]
        assert asked in pairs
