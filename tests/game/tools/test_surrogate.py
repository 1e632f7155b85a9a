from collections.abc import Callable

import pytest
import torch

from game.api import RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools.surrogate import RULES, estimate, surrogate
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]


@pytest.fixture
def samples() -> Samples:
    generator = named_generator("surrogate")
    tokens = torch.randint(1, 11, (120, 5), generator=generator)
    return Samples(tokens, torch.randint(2, 6, (120,), generator=generator))


def changed(config: TransformerConfig, samples: Samples, *zero: str) -> ModelToolbox:
    """A random model in which some weights are nought."""
    model = Transformer(config, named_generator("surrogate"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in zero:
                parameter.zero_()
    return ModelToolbox(model, league="whitebox", corpus=lambda *_: samples, total=1e5)


def test_the_mean_is_exact_for_a_component_that_says_the_same_everywhere(
    tiny_config: TransformerConfig, samples: Samples
) -> None:
    found = surrogate(changed(tiny_config, samples, "blocks.1.mlp.W_out"), samples, 1)
    assert float(found.arrays["kl"].max()) < 1e-5


def test_a_table_of_tokens_is_exact_for_what_depends_on_the_token_alone(
    tiny_config: TransformerConfig, samples: Samples
) -> None:
    box = changed(tiny_config, samples, "blocks.0.attn.W_O", "pos_embed.W_pos")
    found = surrogate(box, samples, 0)
    arrays = dict(zip(RULES, found.arrays["recovered"].tolist(), strict=True))
    assert arrays["token"] == pytest.approx(1, abs=1e-5)
    assert arrays["mean"] == 0
    assert found.arrays["answer_kept"][1] == 1
    assert arrays["previous token"] < 0.5
    assert (found.arrays["low"] <= found.arrays["recovered"] + 1e-9).all()


def test_the_model_itself_is_recovered_by_no_rule_beyond_one(box: ModelToolbox, samples: Samples) -> None:
    for part, layer in (("mlp", 1), ("attn", 2)):
        found = surrogate(box, samples, layer, part)
        assert (found.arrays["recovered"] <= 1).all()
        assert (found.arrays["kl"] >= 0).all()
        assert torch.equal(found.arrays["best"], found.arrays["kl"].amin(0))


def test_the_cost_is_the_estimate_and_a_repeat_says_the_same(make_box: MakeBox, samples: Samples) -> None:
    one, two = (surrogate(make_box(max_rows=rows), samples, 0) for rows in (1024, 17))
    assert one.cost == two.cost == estimate(make_box().config, 120) == 360
    torch.testing.assert_close(one.arrays["kl"], two.arrays["kl"], atol=1e-5, rtol=0)


def test_what_is_not_there_is_refused_for_nothing(box: ModelToolbox, samples: Samples) -> None:
    with pytest.raises(RequestError, match=r"layer: got 2; layers with this part: \[0, 1\]"):
        surrogate(box, samples, 2)
    with pytest.raises(RequestError, match='part: got "head"; allowed: mlp, attn'):
        surrogate(box, samples, 0, "head")
    with pytest.raises(RequestError, match="samples: got 3; allowed: 8 and more"):
        surrogate(box, Samples(samples.tokens[:3], samples.lengths[:3]), 0)
    assert box.budget.spent == 0
