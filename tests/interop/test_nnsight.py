from typing import Any

import pytest
import torch

from models.transformer import Transformer
from tests.interop.peers import disturb, peer, random_checkpoint, some_tokens

nnsight = peer("nnsight", "nnsight")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

NAMES = random_checkpoint().config.hook_names()


@pytest.fixture
def ours() -> Transformer:
    return random_checkpoint().model().eval()


def point(traced: Any, name: str) -> Any:
    """The hook point of that name within a trace."""
    for part in name.split("."):
        traced = traced[int(part)] if part.isdigit() else getattr(traced, part)
    return traced


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_reads_what_a_cache_holds(ours: Transformer, name: str) -> None:
    tokens = some_tokens()
    logits, cache = ours.run_with_cache(tokens)
    traced = nnsight.NNsight(ours)
    with traced.trace(tokens):
        seen = point(traced, name).output.save()
        predicted = traced.output.save()
    torch.testing.assert_close(seen, cache[name])
    torch.testing.assert_close(predicted, logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_sets_what_a_hook_sets(ours: Transformer, name: str) -> None:
    tokens = some_tokens()
    hooked = ours.run_with_hooks(tokens, [(name, disturb)])
    assert (hooked - ours(tokens)).abs().max() > 1e-3
    traced = nnsight.NNsight(ours)
    with traced.trace(tokens):
        hook = point(traced, name)
        hook.output = disturb(hook.output, None)
        predicted = traced.output.save()
    torch.testing.assert_close(predicted, hooked)
