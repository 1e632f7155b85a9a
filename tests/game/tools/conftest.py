"""Random models of several shapes, behind toolboxes, and things to ask them."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from game.api import Samples
from game.toolbox.live import ModelToolbox
from game.tools.kit.questions import Contrast, Questions
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

D_VOCAB, LENGTH = 13, 6
SHAPES = {
    # name            layers d  heads e  m
    "windows": TransformerConfig(3, 8, 2, 4, 16, D_VOCAB, 8, (2, None, None), (True, True, False)),
    "rms-gelu": TransformerConfig(2, 12, 3, 5, 10, D_VOCAB, 8, (None, None), (False, True), "gelu", "RMS"),
    "no-norm": TransformerConfig(2, 9, 2, 3, 7, D_VOCAB, 8, (None, 3), (True, True), "relu", None),
    "attention-only": TransformerConfig(2, 10, 2, 4, 1, D_VOCAB, 8, (None, None), (False, False)),
    "one-layer": TransformerConfig(1, 11, 1, 6, 20, D_VOCAB, 8, (None,), (True,), "gelu", "LN", 1e-3),
}


@dataclass(frozen=True)
class Subject:
    """A random model, and a maker of toolboxes over it."""

    model: Transformer

    @property
    def config(self) -> TransformerConfig:
        return self.model.cfg

    def box(self, max_rows: int = 1024) -> ModelToolbox:
        return ModelToolbox(self.model, league="whitebox", corpus=samples_of, total=1e6, max_rows=max_rows)


def random_model(config: TransformerConfig, name: str) -> Transformer:
    generator = named_generator("shape", name)
    model = Transformer(config, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def samples_of(n: int, seed: int) -> Samples:
    generator = named_generator("samples", seed)
    lengths = torch.randint(2, LENGTH + 1, (n,), generator=generator)
    drawn = torch.randint(1, D_VOCAB, (n, LENGTH), generator=generator)
    return Samples(torch.where(torch.arange(LENGTH) < lengths[:, None], drawn, 0), lengths)


@pytest.fixture(params=SHAPES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return Subject(random_model(SHAPES[request.param], request.param))


@pytest.fixture
def shaped() -> Callable[[str], Subject]:
    return lambda name: Subject(random_model(SHAPES[name], name))


@pytest.fixture
def asked() -> Questions:
    return Questions(
        samples_of(4, 1).tokens,
        torch.tensor([5, 5, 4, 2]),
        torch.tensor([1, 2, 3, 4]),
        torch.tensor([5, 6, 7, 8]),
    )


@pytest.fixture
def asked_plainly(asked: Questions) -> Questions:
    """Against the vocabulary's mean."""
    return Questions(asked.tokens, asked.at, asked.answer)


@pytest.fixture
def pairs(asked: Questions) -> Contrast:
    """Only position 1 differs."""
    corrupt = asked.tokens.clone()
    corrupt[:, 1] = (corrupt[:, 1] + 3) % D_VOCAB
    assert asked.distractor is not None
    return Contrast(asked.tokens, corrupt, asked.answer, asked.distractor, asked.at)


def close(found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=atol, rtol=0)
