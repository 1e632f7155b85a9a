import pytest
import torch
from pydantic import ValidationError

from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.topics import SURE, TopicsSettings
from models.training import train

SETTINGS = TopicsSettings(topics=3, words=8, shortest=10, longest=14, purity=0.8)


def test_a_document_is_words_and_the_name_of_a_topic() -> None:
    world = SETTINGS.build(0)
    documents = world.documents(50, named_generator("documents"))
    for row, answers in zip(documents.tokens, documents.answers, strict=True):
        *words, lead, topic = world.text(row).split()
        assert 11 <= len(words) <= 15
        assert lead == "topic_is"
        assert topic in ("cooking", "sailing", "music")
        assert world.text(row[answers]) == topic


def test_classes_name_the_topic_of_each_word() -> None:
    world = SETTINGS.build(0)
    assert [world.vocabulary[token] for token in world.classes["sailing"][:3]] == [
        "mast",
        "anchor",
        "harbour",
    ]
    assert list(world.classes) == ["special", "labels", "common", "cooking", "sailing", "music"]


def test_words_are_drawn_with_the_shares_of_the_settings() -> None:
    world = SETTINGS.build(1)
    probs = world.word_probs
    torch.testing.assert_close(probs.sum(1), torch.ones(3, dtype=torch.double), rtol=0, atol=1e-6)
    shares = {name: probs[:, list(tokens)].sum(1) for name, tokens in world.classes.items()}
    assert shares["common"].tolist() == pytest.approx([0.3] * 3, abs=1e-6)
    assert shares["cooking"][0].item() == pytest.approx(0.7 * 0.8, abs=1e-6)
    tokens = world.documents(3000, named_generator("documents")).tokens
    drawn = torch.bincount(tokens.flatten(), minlength=len(world.vocabulary))[world.word_tokens].double()
    expected = probs.mean(0)[world.word_tokens]
    assert (drawn / drawn.sum() - expected).abs().max() < 0.01


def test_beliefs_are_bayes_rule_and_the_table_leaves_no_doubt() -> None:
    world = SETTINGS.build(2)
    table = world.table
    words = table.tokens[5, 1 : table.last[5]]
    likelihood = world.word_probs[:, words].prod(1)
    belief = world.beliefs(table.tokens[5:6])[0, table.last[5] - 1]
    torch.testing.assert_close(belief, likelihood / likelihood.sum())
    believed = world.beliefs(table.tokens)[torch.arange(len(table.topic)), table.length, table.topic]
    assert believed.min() > SURE
    assert torch.equal(world.label_tokens[table.topic], table.answer)


def test_shuffled_documents_have_the_same_words_and_answer() -> None:
    world = SETTINGS.build(3)
    table, shuffled = world.table, world.shuffled
    assert torch.equal(table.tokens.sort(1).values, shuffled.tokens.sort(1).values)
    assert torch.equal(table.answer, shuffled.answer)
    assert not torch.equal(table.tokens, shuffled.tokens)


def test_worlds_differ_in_how_often_words_occur() -> None:
    one, same, other = (SETTINGS.build(seed).word_probs for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_lengths_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="shortest: got 20, but the longest document has 14 words"):
        TopicsSettings(shortest=20, longest=14)


def test_a_trained_model_comes_near_the_best_and_embeds_words_by_topic() -> None:
    recipe = named_recipe("topics")
    assert recipe.training is not None
    training = recipe.training.model_copy(update={"max_steps": 100, "cooldown": 100})
    recipe = recipe.model_copy(update={"task": SETTINGS, "training": training})
    model, world = train(recipe, 0, 0).checkpoint.model(), SETTINGS.build(0)
    metrics = world.evaluate(model)
    assert metrics["accuracy"] > 0.95
    assert 0.5 < metrics["efficiency"] <= 1
    similarity = world.findings(model)["embedding_similarity"].values
    assert similarity.diagonal().min() > similarity.fill_diagonal_(-1).max() + 0.1
