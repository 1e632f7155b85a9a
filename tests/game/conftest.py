"""A tiny random model behind a toolbox."""

from collections.abc import Callable

import pytest
import torch

from game.api import League, Samples
from game.toolbox.live import ModelToolbox
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]


@pytest.fixture(scope="session")
def tiny_config() -> TransformerConfig:
    return TransformerConfig(
        n_layers=3,
        d_model=8,
        n_heads=2,
        d_head=4,
        d_mlp=16,
        d_vocab=11,
        n_ctx=6,
        window=(2, None, None),
        mlp=(True, True, False),
    )


@pytest.fixture
def tiny_model(tiny_config: TransformerConfig) -> Transformer:
    """Random weights, biases too, so that nothing holds only because a bias is zero."""
    generator = named_generator("tiny model")
    model = Transformer(tiny_config, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(11, (3, 5), generator=named_generator("tokens"))


def corpus(n: int, seed: int) -> Samples:
    generator = named_generator("corpus", seed)
    drawn = torch.randint(1, 11, (n, 5), generator=generator)
    lengths = torch.randint(2, 6, (n,), generator=generator)
    return Samples(torch.where(torch.arange(5) < lengths[:, None], drawn, 0), lengths)


@pytest.fixture
def make_box(tiny_model: Transformer) -> MakeBox:
    def make(league: League = "whitebox", total: float = 1000.0, **settings: object) -> ModelToolbox:
        return ModelToolbox(tiny_model, league=league, corpus=corpus, total=total, **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture
def box(make_box: MakeBox) -> ModelToolbox:
    return make_box()
