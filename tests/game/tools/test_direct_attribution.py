import pytest
import torch

from game.api import RequestError
from game.tools.direct_attribution import direct_attribution, estimate
from game.tools.kit.nodes import writers
from game.tools.kit.questions import Questions
from tests.game.tools.conftest import Subject, close


@pytest.mark.parametrize("fixture", ["asked", "asked_plainly"])
def test_the_shares_and_the_bias_add_up_to_the_margin(
    subject: Subject, fixture: str, request: pytest.FixtureRequest
) -> None:
    questions: Questions = request.getfixturevalue(fixture)
    box = subject.box()
    found = direct_attribution(box, questions)
    arrays = found.arrays
    close(arrays["share"].sum(0) + arrays["bias"], arrays["margin"])
    logits = box.logits(questions.tokens).double()[torch.arange(4), questions.at]
    against = (
        logits.mean(1)
        if questions.distractor is None
        else logits.gather(1, questions.distractor[:, None])[:, 0]
    )
    close(arrays["margin"], logits.gather(1, questions.answer[:, None])[:, 0] - against)
    assert found.cost == pytest.approx(estimate(subject.config, 4))
    assert list(found.suspects) == [node.name for node in writers(subject.config)]


def test_cut_into_small_calls_it_says_the_same(subject: Subject, asked: Questions) -> None:
    whole, cut = (direct_attribution(subject.box(rows), asked) for rows in (1024, 3))
    close(whole.arrays["share"], cut.arrays["share"])
    assert whole.cost == pytest.approx(cut.cost)


def test_questions_that_do_not_fit_are_refused_before_anything_is_spent(
    subject: Subject, asked: Questions
) -> None:
    box = subject.box()
    for bad, message in (
        (
            Questions(asked.tokens[0], asked.at, asked.answer),
            r"tokens: got torch.int64 \[6\], wanted an int64 tensor \[row, pos\]",
        ),
        (Questions(asked.tokens, asked.at + 3, asked.answer), "at is not one number from 0 to 5"),
        (Questions(asked.tokens, asked.at, asked.answer + 12), "answer is not one number from 0 to 12"),
        (Questions(asked.tokens, asked.at, asked.answer, asked.at[:2]), "distractor is not one number"),
    ):
        with pytest.raises(RequestError, match=message):
            direct_attribution(box, bad)
    assert box.budget.spent == 0
