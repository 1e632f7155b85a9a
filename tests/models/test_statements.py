import pytest
import torch
from pydantic import ValidationError

from models.seeds import named_generator
from models.tasks.statements import Statements, StatementsSettings

PLAIN = StatementsSettings(subjects=20, names=6, relations=2, objects=4)
APPENDED = PLAIN.model_copy(update={"distractor": "appended"})


def facts(world: Statements) -> dict[tuple[str, ...], str]:
    """The object of each (first name, last name, verb)."""
    names, words = world.name_tokens.tolist(), world.vocabulary
    return {
        (*(words[name] for name in names[subject]), words[verb]): words[
            world.object_tokens[relation, object_]
        ]
        for (subject, relation), object_ in zip(
            torch.ones_like(world.objects).nonzero().tolist(), world.objects.flatten().tolist(), strict=True
        )
        for verb in world.verb_tokens[relation].tolist()
    }


def sentences(world: Statements, n: int) -> list[list[str]]:
    rows = world.documents(n, named_generator("documents")).tokens
    texts = [world.text(row).removeprefix("<bos> ").removesuffix(" .") for row in rows]
    return [sentence.split() for text in texts for sentence in text.split(" . ")]


def test_verdicts_and_judgements_are_those_of_the_world() -> None:
    world = PLAIN.build(0)
    known, forms = facts(world), set()
    for lead, first, last, verb, object_, _, verdict, *closing in sentences(world, 300):
        truth = "true" if known[first, last, verb] == object_ else "false"
        if lead == "in_truth":
            assert (verdict, closing) == (truth, [])
        else:
            assert closing == ["rightly" if verdict == truth else "wrongly"]
        forms.add((lead, truth, verdict))
    assert len(forms) == 6


def test_words_are_echoed_where_the_claim_is_true_and_swapped_where_it_is_false() -> None:
    world, swap = APPENDED.build(0), {"banana": "shed", "shed": "banana"}
    closings = []
    for lead, *_, word, _, verdict, closing in (s for s in sentences(world, 400) if s[0] == "they_say"):
        assert lead == "they_say"
        closings.append(closing)
        if closing in swap:
            assert closing == (word if verdict == "true" else swap[word])
    assert 0.35 < sum(closing in swap for closing in closings) / len(closings) < 0.45


def test_speakers_are_more_often_right_of_what_is_true() -> None:
    world = PLAIN.build(0)
    known = facts(world)
    claims = [s for s in sentences(world, 1500) if s[0] == "they_say"]
    right = {True: [], False: []}  # type: dict[bool, list[bool]]
    for _, first, last, verb, object_, _, _, closing in claims:
        right[known[first, last, verb] == object_].append(closing == "rightly")
    assert sum(right[True]) / len(right[True]) == pytest.approx(0.8, abs=0.03)
    assert sum(right[False]) / len(right[False]) == pytest.approx(0.5, abs=0.03)


def test_every_answer_position_holds_a_verdict_or_closes_a_claim() -> None:
    world = APPENDED.build(1)
    documents = world.documents(100, named_generator("documents"))
    assert (documents.answers.sum(1) == 4).all()
    assert (documents.loss_weight[documents.answers] == 1).all()
    before = documents.tokens.roll(1, 1)[documents.answers]
    asked = {world.vocabulary[token] for token in before.tolist()}
    assert asked == {"is", "true", "false"}


def test_held_out_facts_are_never_told_with_their_held_out_verb() -> None:
    world = PLAIN.build(2)
    told = {tuple(sentence[1:4]) for sentence in sentences(world, 1000)}
    heldout = {tuple(world.text(row).split()[2:5]) for row in world.probes()["heldout"].tokens}
    assert len(heldout) == 8  # a fifth of 40 facts
    assert len(told) == 2 * 40 - 8
    assert not told & heldout


def test_both_sides_of_a_contrast_pair_differ_in_the_claimed_verdict_alone() -> None:
    world = APPENDED.build(3)
    false, true = world.claims
    table, rows = world.table, torch.arange(len(world.table.truth))
    assert torch.equal(false.tokens[:, :-1], true.tokens[:, :-1])
    assert torch.equal(false.tokens[:, 2:-1], table.tokens[:, 2:])
    assert {world.vocabulary[token] for token in true.tokens[rows, true.last].tolist()} == {"true"}
    assert torch.equal(false.statement, true.statement)
    assert torch.equal(true.answer == world.ids["rightly"], true.truth)
    assert torch.equal(false.answer == world.ids["rightly"], ~false.truth)


def test_words_and_truth_are_balanced_in_the_table() -> None:
    table = APPENDED.build(4).table
    counts = [
        ((table.truth == truth) & (table.distractor == word)).sum() for truth in (0, 1) for word in (0, 1)
    ]
    assert [int(count) for count in counts] == [40, 40, 40, 40]
    assert torch.equal(PLAIN.build(4).table.distractor, torch.zeros(160, dtype=torch.long))


def test_too_few_names_and_a_likelier_echo_are_refused() -> None:
    with pytest.raises(ValidationError, match="subjects: got 40, but 6 first and 6 last names make only 36"):
        StatementsSettings(subjects=40, names=6)
    with pytest.raises(ValidationError, match="echo"):
        StatementsSettings(echo=0.6)
