from collections.abc import Callable

import pytest
import torch

from game.api import RequestError
from game.toolbox.live import ModelToolbox
from game.tools import composition as by_weights
from game.tools import heads as by_behaviour
from game.tools.composition import composition
from game.tools.heads import KINDS, heads
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig
from tests.game.tools.conftest import Subject, close, samples_of


def built_induction() -> Transformer:
    """Two layers by hand: head 0.0 carries the previous token along, head 1.0 looks for it."""
    tokens, places = 9, 20
    d_model = 2 * tokens + places
    config = TransformerConfig(
        2, d_model, 1, max(tokens, places), 1, tokens, places, (None, None), (False, False), "relu", None
    )
    model = Transformer(config)
    weights = dict(model.named_parameters())
    with torch.no_grad():
        weights["embed.W_E"][:, :tokens] = torch.eye(tokens)
        weights["pos_embed.W_pos"][:, 2 * tokens :] = torch.eye(places)
        weights["blocks.0.attn.W_Q"][0, 2 * tokens :, :places] = 200 * torch.eye(places)
        weights["blocks.0.attn.W_K"][0, 2 * tokens :, :places] = torch.eye(places).roll(1, 1)
        weights["blocks.0.attn.W_V"][0, :tokens, :tokens] = torch.eye(tokens)
        weights["blocks.0.attn.W_O"][0, :tokens, tokens : 2 * tokens] = torch.eye(tokens)
        weights["blocks.1.attn.W_Q"][0, :tokens, :tokens] = 200 * torch.eye(tokens)
        weights["blocks.1.attn.W_K"][0, tokens : 2 * tokens, :tokens] = torch.eye(tokens)
        weights["blocks.1.attn.W_V"][0, :tokens, :tokens] = torch.eye(tokens)
        weights["blocks.1.attn.W_O"][0, :tokens, :tokens] = torch.eye(tokens)
        weights["unembed.W_U"][:tokens] = torch.eye(tokens)
    return model


def box_of(model: Transformer) -> ModelToolbox:
    return ModelToolbox(model, league="whitebox", corpus=samples_of, total=1e6)


def test_a_built_induction_head_scores_one() -> None:
    score = heads(box_of(built_induction()), length=8).arrays["score"]
    assert float(score[KINDS.index("previous"), 0, 0]) == pytest.approx(1, abs=1e-3)
    assert float(score[KINDS.index("induction"), 1, 0]) == pytest.approx(1, abs=1e-3)
    assert float(score[KINDS.index("induction"), 0, 0]) < 0.05


def test_a_built_induction_head_composes_by_its_keys_and_copies() -> None:
    arrays = composition(box_of(built_induction())).arrays
    assert arrays["k"][0, 1] > arrays["high"] > arrays["q"][0, 1]
    assert arrays["copying"][1, 0] > 0.9
    assert arrays["q"].isnan().tolist() == [[True, False], [True, True]]


def test_scores_are_means_over_the_pattern(subject: Subject) -> None:
    box = subject.box(5)
    found = heads(box, prompts=12, length=3)
    assert found.cost == by_behaviour.estimate(subject.config, 12) == 12
    score, uniform = found.arrays["score"], found.arrays["uniform"]
    assert ((score >= 0) & (score <= 1)).all()
    window = subject.config.window[0]
    sums = torch.tensor([1 / min(q + 1, window or 9) for q in range(1, 7)])
    close(uniform[KINDS.index("previous"), 0], sums.mean().expand(subject.config.n_heads))


def test_a_length_that_does_not_fit_is_refused(subject: Subject) -> None:
    with pytest.raises(RequestError, match="length: got 12; allowed: 1 to 3"):
        heads(subject.box())
    with pytest.raises(RequestError, match="prompts: got 0; allowed: at least 1"):
        heads(subject.box(), prompts=0, length=2)


def regauged(subject: Subject) -> Transformer:
    """The same function: other bases in every head, gains moved into matrices, ones where no norm sees."""
    model, config = Transformer(subject.config), subject.config
    model.load_state_dict(subject.model.state_dict())
    generator, weights = named_generator("gauge"), dict(model.named_parameters())

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for layer in range(config.n_layers):
            block = f"blocks.{layer}."
            for left, right, bias in (("Q", "K", "b_K"), ("V", "O", None)):
                turn = random(config.n_heads, config.d_head, config.d_head)
                weights[f"{block}attn.W_{left}"].copy_(weights[f"{block}attn.W_{left}"] @ turn)
                inverse = torch.linalg.inv(turn)
                other = weights[f"{block}attn.W_{right}"]
                other.copy_(inverse @ other if bias is None else other @ inverse.mT)
            if config.normalization_type is not None:
                gain = weights[f"{block}ln1.w"]
                for letter in "QKV":
                    weights[f"{block}attn.W_{letter}"].mul_(2 * gain[:, None])
                gain.fill_(0.5)
            if config.normalization_type == "LN":
                weights[f"{block}attn.W_O"].add_(random(config.n_heads, config.d_head, 1))
    return model


def test_composition_is_the_same_in_every_gauge(subject: Subject) -> None:
    before, after = (
        composition(box_of(model), draws=3).arrays for model in (subject.model, regauged(subject))
    )
    for name in ("q", "k", "v", "copying"):
        close(before[name].nan_to_num(-9), after[name].nan_to_num(-9), 1e-4)


def test_composition_is_that_of_the_whole_matrices(shaped: Callable[[str], Subject]) -> None:
    """Without norms: full products, and all eigenvalues of the V x V matrix."""
    subject = shaped("no-norm")
    arrays = composition(subject.box()).arrays
    weights = {name: value.detach().double() for name, value in subject.model.named_parameters()}

    def matrices(layer: int, head: int) -> tuple[torch.Tensor, torch.Tensor]:
        q, k, v, o = (weights[f"blocks.{layer}.attn.W_{letter}"][head] for letter in "QKVO")
        return q @ k.T, v @ o

    for source in range(2):
        for target in range(2):
            (_, ov), (qk, ov2) = matrices(0, source), matrices(1, target)
            for way, other in (("q", qk), ("k", qk.T), ("v", ov2)):
                expected = (ov @ other).norm() / (ov.norm() * other.norm()) - arrays["baseline"]
                close(arrays[way][source, 2 + target], expected)
        said = weights["unembed.W_U"] - weights["unembed.W_U"].mean(1, keepdim=True)
        values = torch.linalg.eigvals(weights["embed.W_E"] @ matrices(0, source)[1] @ said)
        close(arrays["copying"][0, source], values.real.sum() / values.abs().sum(), 1e-4)


def test_the_estimate_of_composition_is_its_cost(subject: Subject) -> None:
    found = composition(subject.box(), draws=2)
    assert found.cost == pytest.approx(by_weights.estimate(subject.config))
