import pytest
import torch

from models.recipe import named_recipe
from models.seeds import named_generator
from models.tasks.induction import Induction, InductionSettings, _source
from models.transformer import Transformer, TransformerConfig

SETTINGS = InductionSettings(words=16, length=20, min_block=3, max_block=6, max_gap=2)


@pytest.mark.parametrize(
    ("tokens", "source"),
    [
        # tokens                    where each last followed its predecessor, if always
        ([1, 5, 6, 7, 5, 6, 7], [0, 0, 0, 0, 0, 2, 3]),
        ([1, 5, 6, 5, 6, 5, 6], [0, 0, 0, 0, 2, 3, 4]),
        ([1, 5, 6, 5, 7, 5, 6], [0, 0, 0, 0, 0, 0, 0]),  # two different words followed 5 before
        ([1, 5, 6, 5, 7, 8, 9], [0, 0, 0, 0, 0, 0, 0]),
        ([1, 5, 5, 5, 6, 5, 6], [0, 0, 0, 2, 0, 0, 0]),
    ],
)
def test_a_word_is_determined_where_it_always_followed_its_predecessor(
    tokens: list[int], source: list[int]
) -> None:
    assert _source(torch.tensor([tokens])).tolist() == [source]


def test_documents_count_what_earlier_words_determine_and_nothing_else() -> None:
    world = SETTINGS.build(0)
    documents = world.documents(50, named_generator("documents"))
    for row, answers in zip(documents.tokens.tolist(), documents.answers.tolist(), strict=True):
        for at in range(1, len(row)):
            followers = {row[i + 1] for i in range(at - 1) if row[i] == row[at - 1]}
            assert answers[at] == (followers == {row[at]})
    assert torch.equal(documents.loss_weight, documents.answers.float())


def test_no_position_and_no_distance_gives_answers_away() -> None:
    world = named_recipe("induction").task.build(0)
    documents = world.documents(2000, named_generator("documents"))
    source = _source(documents.tokens)
    distance = (torch.arange(source.shape[1]) - source)[documents.answers]
    commonest = distance.bincount().max() / len(distance)
    assert commonest < 0.15
    assert documents.answers[:, 12:].float().mean(0).max() < 0.8
    assert documents.answers.any(1).all()


def test_public_prompts_end_before_the_first_determined_word() -> None:
    world = SETTINGS.build(0)
    prompts = world.prompts(100, named_generator("prompts"))
    assert not (_source(prompts.tokens) > 0)[prompts.tokens != world.pad].any()
    last = prompts.tokens.gather(1, prompts.lengths[:, None] - 1)
    assert ((prompts.tokens == last).sum(1) > 1).all(), "the last word was said before"


def test_the_answer_stands_at_its_source_after_the_last_word() -> None:
    table, rows = SETTINGS.build(0).table, torch.arange(500)
    assert torch.equal(table.tokens[rows, table.source], table.answer)
    assert torch.equal(table.tokens[rows, table.source - 1], table.tokens[rows, table.last])
    assert (table.source <= table.last).all()


def test_prompts_are_broken_even_where_no_word_is_absent() -> None:
    world = InductionSettings(words=11, min_block=3, max_block=5, max_gap=2).build(0)
    last = world.broken.tokens[torch.arange(500), world.broken.last]
    assert ((world.broken.tokens == last[:, None]).sum(1) == 1).all()


def test_broken_prompts_differ_only_in_what_the_answer_depends_on() -> None:
    world, rows = SETTINGS.build(0), torch.arange(500)
    table, broken = world.table, world.broken
    last = broken.tokens[rows, broken.last]
    assert ((broken.tokens == last[:, None]).sum(1) == 1).all(), "nothing says what followed the last word"
    changed = table.tokens != broken.tokens
    assert torch.equal(changed, (table.tokens == last[:, None]) & (torch.arange(20) < table.last[:, None]))
    assert torch.equal(table.answer, broken.answer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # settings                          what is wrong
        ({"min_block": 9, "max_block": 8}, "min_block: got 9, but max_block is 8"),
        ({"words": 10, "max_block": 10}, "max_block: got 10, but a gap needs one of the 10 words"),
        ({"length": 22, "max_block": 10}, "length: got 22, but a block that comes again takes 23"),
        ({"min_block": 2}, "greater than or equal to 3"),
    ],
)
def test_settings_without_room_for_repeats_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InductionSettings(**settings)  # type: ignore[arg-type]


def attending_back(world: Induction, backs: tuple[int, int]) -> Transformer:
    """A model of one layer whose two heads attend so many positions back, whatever the words."""
    n_ctx = world.n_ctx
    config = TransformerConfig(
        n_layers=1,
        d_model=n_ctx,
        n_heads=2,
        d_head=n_ctx,
        d_mlp=1,
        d_vocab=len(world.vocabulary),
        n_ctx=n_ctx,
        window=(None,),
        mlp=(False,),
        normalization_type=None,
    )
    model = Transformer(config)
    (block,) = model.blocks
    with torch.no_grad():
        model.pos_embed.W_pos.copy_(torch.eye(n_ctx))
        for head, back in enumerate(backs):
            block.attn.W_Q[head] = 1000 * torch.eye(n_ctx).roll(-back, 1)  # type: ignore[union-attr, operator]
            block.attn.W_K[head] = torch.eye(n_ctx)  # type: ignore[union-attr, operator]
    return model


def test_scores_are_one_for_the_heads_they_name_and_zero_for_others() -> None:
    world = SETTINGS.build(0)
    found = world.findings(attending_back(world, backs=(1, SETTINGS.max_block - 1)))
    even = (1 / 3 + 1 / 4 + 1 / 5) / 11  # head 1 attends evenly where nothing stands so far back
    torch.testing.assert_close(found["previous_token_score"].values, torch.tensor([[1.0, even]]))
    torch.testing.assert_close(found["induction_score"].values, torch.tensor([[0.0, 1.0]]))


def test_even_attention_scores_one_over_the_words_so_far() -> None:
    world = SETTINGS.build(0)
    config = named_recipe("induction").architecture.config(world)
    scores = world.findings(Transformer(config))["induction_score"].values  # all weights are zero
    expected = sum(1 / (query + 1) for query in range(7, 12)) / 5
    torch.testing.assert_close(scores, torch.full((2, 4), expected))
