"""A part is given back exactly, whatever coordinates the reference comes in; and a patch does the same."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from game.api import Challenge, Component, Samples
from game.auditing.mending import given_back
from game.auditing.restoring import Pair
from game.auditing.suspects import Suspects
from game.dealing.companions import scrambled
from game.scoring.repair import patched
from game.toolbox.live import ModelToolbox
from game.tools.kit.weights import weights_of
from models.checkpoints import checkpoint_of
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig
from tests.game.hand_made import brief

CONFIG = TransformerConfig(2, 16, 2, 8, 24, 20, 8, (2, None), (True, True))
TOKENS = torch.randint(20, (6, 8), generator=named_generator("restoring"))
Edit = Callable[[Transformer], None]


def none(_n: int, _seed: int) -> Samples:
    return Samples(TOKENS, torch.full((6,), 8))


def times(name: str, factor: float, head: int | None = None) -> Edit:
    """Another size of a weight, or of one head's."""

    def edit(model: Transformer) -> None:
        weight = model.get_parameter(name)
        (weight if head is None else weight[head]).mul_(factor)

    return edit


def more(name: str) -> Edit:
    """A rank-one change of a matrix, or of a vector."""

    def edit(model: Transformer) -> None:
        weight = model.get_parameter(name)
        generator = named_generator("edit", name)
        rows = 0.2 * torch.randn(*weight.shape[:-1], 1, generator=generator)
        weight.add_(rows * torch.randn(weight.shape[-1], generator=generator))

    return edit


def column(name: str) -> Edit:
    """Another last column of a matrix."""

    def edit(model: Transformer) -> None:
        model.get_parameter(name)[:, -1].add_(torch.randn(CONFIG.d_model, generator=named_generator(name)))

    return edit


def gains(name: str) -> Edit:
    def edit(model: Transformer) -> None:
        model.get_parameter(name).mul_(
            1 + torch.randn(CONFIG.d_model, generator=named_generator("gain")).abs()
        )

    return edit


EDITS = [
    # the component that is written to    how
    (Component("mlp", 0), more("blocks.0.mlp.W_out")),
    (Component("mlp", 1), more("blocks.1.mlp.W_in")),
    (Component("attn", 1, 0), times("blocks.1.attn.W_V", -1.0, 0)),
    (Component("attn", 0, 1), times("blocks.0.attn.W_Q", 3.0, 1)),
    (Component("attn.bias", 0), more("blocks.0.attn.b_O")),
    (Component("pos_embed"), more("pos_embed.W_pos")),
    (Component("unembed"), column("unembed.W_U")),
    (Component("ln1", 1), gains("blocks.1.ln1.w")),
    (Component("ln2", 0), gains("blocks.0.ln2.w")),
]


def lively(purpose: str) -> Transformer:
    """A model none of whose parts is faint, but for what values are without words: it lies in b_O as well."""
    model, generator = Transformer(CONFIG, named_generator(purpose)), named_generator(purpose, "more")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("b_V", "ln1.b")):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture(params=EDITS, ids=lambda each: str(each[0]))
def case(request: pytest.FixtureRequest) -> tuple[Component, ModelToolbox, Transformer]:
    """What was written to, the box of the edited model with a scrambled reference, and the original."""
    component, edit = request.param
    model, original = lively("restored"), lively("restored")
    with torch.no_grad():
        edit(model)
    reference = scrambled(checkpoint_of(original), 5).model()
    box = ModelToolbox(model, league="scrambled", corpus=none, total=1e6, reference=reference)
    return component, box, original


def log_probs(logits: torch.Tensor) -> torch.Tensor:
    return logits.double().log_softmax(-1)


@torch.no_grad()
def test_the_written_component_alone_brings_everything_back(
    case: tuple[Component, ModelToolbox, Transformer],
) -> None:
    component, box, original = case
    pair, wanted = Pair.read(box), log_probs(original(TOKENS))
    assert (log_probs(pair.logits(box, TOKENS)) - wanted).abs().max() > 0.05
    back = log_probs(pair.restored(box, TOKENS, component))
    assert (back - wanted).abs().max() < 2e-3


@torch.no_grad()
def test_only_what_was_written_to_differs(case: tuple[Component, ModelToolbox, Transformer]) -> None:
    component, box, _ = case
    pair = Pair.read(box)
    differs, gain = pair.differences(), pair.gains()
    readers = pair.readers(component) if component in gain else (component,)
    assert min(differs[each] for each in readers) > 1e-2
    assert max(value for each, value in differs.items() if each not in readers) < 1e-3
    if component in gain:
        assert gain[component] > 0.5
    assert all(value < 0.5 for norm, value in gain.items() if norm != component and norm.part == "ln2")


@torch.no_grad()
def test_a_patch_gives_the_component_back(case: tuple[Component, ModelToolbox, Transformer]) -> None:
    component, box, original = case
    patch = given_back(weights_of(box), Pair.read(box), component)
    if component.part in ("ln1", "ln2", "unembed"):
        assert patch is None
        return
    assert patch
    mended = patched(checkpoint_of(box._model), patch)
    assert (log_probs(mended(TOKENS)) - log_probs(original(TOKENS))).abs().max() < 2e-3


def prompts() -> Samples:
    """All pairs of two first and three second words, behind the same first token."""
    rows = [[0, a, b] for a in (1, 2, 3, 4) for b in (5, 6, 7)]
    return Samples(torch.tensor(rows), torch.full((12,), 3))


CHALLENGE = Challenge(
    tokens=torch.tensor([[0, 2, 6], [0, 2, 7], [0, 3, 5], [0, 4, 5]]),
    lengths=torch.full((4,), 3),
    prior=(0.25, 0.05, 0.25, 0.05),
    target_set=(0, 0, 1, 1),
    stratum=("affected", "near miss", "affected", "near miss"),
    answers=(8, 9, 10, 11),
)


def test_the_set_that_says_what_hanging_prompts_say_is_the_one() -> None:
    samples = prompts()
    changed = torch.zeros(12, 3, dtype=torch.bool)
    changed[4, 2] = True  # 2, then 6
    answers = torch.full((12, 3), 9)
    found = Suspects.of(0.9, brief(), samples, changed, answers).judged(CHALLENGE)
    assert found.changed[0] > 0.8 * 0.9
    assert found.changed[2] < 0.15
    assert found.before == {0: {9: pytest.approx(0.9)}, 1: {9: pytest.approx(0.9)}}


def test_words_say_no_more_than_the_suspect_is_believed() -> None:
    samples, changed = prompts(), torch.zeros(12, 3, dtype=torch.bool)
    changed[4, 2] = True
    sure = Suspects.of(0.9, brief(), samples, changed, torch.full((12, 3), 9))
    doubted, nowhere = (replace(sure, place=place).judged(CHALLENGE).changed for place in (0.5, 0.0))
    assert nowhere == pytest.approx(Suspects(0.9, brief().prior).judged(CHALLENGE).changed)
    assert nowhere[0] < doubted[0] < sure.judged(CHALLENGE).changed[0]
    assert doubted[0] + doubted[2] == pytest.approx(nowhere[0] + nowhere[2])


def test_without_a_suspect_the_declared_priors_are_scaled() -> None:
    found = Suspects(0.25, brief().prior).judged(CHALLENGE)
    assert found.changed == pytest.approx([rho / 2 for rho in CHALLENGE.prior])
    assert found.before == {}
