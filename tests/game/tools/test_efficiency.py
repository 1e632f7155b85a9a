import pytest
import torch

from game.api import RequestError
from game.tools.efficiency import efficiency, estimate
from game.tools.kit.questions import Questions
from models.transformer import Transformer
from tests.game.tools.conftest import Subject, close


def test_what_a_component_frees_is_its_singular_value_squared(subject: Subject, asked: Questions) -> None:
    box, name = subject.box(9), "blocks.0.attn.W_V[0]"
    found = efficiency(box, asked, name, 3, 0.1)
    weight = box.weight("blocks.0.attn.W_V")[0].double()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    rows = torch.arange(4)
    for index in range(3):
        without = weight - values[index] * torch.outer(left[:, index], right[index])
        close(found.arrays["freed"][index], weight.square().sum() - without.square().sum())
        model = Transformer(subject.config)
        model.load_state_dict(subject.model.state_dict())
        model.get_parameter("blocks.0.attn.W_V").detach()[0] = without
        before, after = (each(asked.tokens).detach() for each in (subject.model, model))
        close(found.arrays["loss_of"][index], asked.margin(before) - asked.margin(after))
    loss = found.arrays["loss_of"]
    assert torch.equal(found.arrays["hurt"], (loss[:, rows] > 0.1).sum(1))
    assert found.cost == pytest.approx(estimate(subject.config, 4, name, 3))


def test_numbers_that_do_not_fit_are_refused(subject: Subject, asked: Questions) -> None:
    box = subject.box()
    with pytest.raises(RequestError, match="components: got 99; allowed: 1 to"):
        efficiency(box, asked, "embed.W_E", 99)
    with pytest.raises(RequestError, match="tau: got 0; allowed: above 0"):
        efficiency(box, asked, "embed.W_E", 2, 0)
    assert box.budget.spent == 0
