"""A jail's side of a round: whole conversations with a live toolbox."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.fuzzing.door import Door, mutated
from benchmarks.fuzzing.line import Memory, bytes_of
from game.api import Samples
from game.sandbox.serving import Desk
from game.sandbox.wire import Frame, WireError, decode
from game.toolbox.live import ModelToolbox
from models.seeds import named_generator
from models.transformer import Transformer
from tests.game.hand_made import CONFIG

MODEL = Transformer(CONFIG, named_generator("fuzzed")).requires_grad_(False)
WEIGHTS = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
TOTAL, ROWS, CALLS = 60.0, 16, 4
RESID, SCORES, POST = "blocks.0.hook_resid_pre", "blocks.1.attn.hook_attn_scores", "blocks.0.mlp.hook_post"


def conversation(said: bytes) -> bool:
    """Calls until one is none, each answered and charged or refused and not; the model stays as it is."""
    toolbox = ModelToolbox(
        MODEL, league="reference", corpus=_corpus, total=TOTAL, reference=MODEL, max_rows=ROWS
    )
    line, taken = Memory(said), True
    try:
        Desk(toolbox, CALLS).last_word(line)
    except WireError:
        taken = False
    spent = 0.0
    for answer in _frames(line.answers.getvalue()):
        assert answer["type"] in ("result", "refuse"), answer
        assert spent <= answer["spent"] <= TOTAL, answer
        assert answer["type"] == "result" or answer["spent"] == spent, answer
        assert answer.get("error") != "RuntimeError", answer
        spent = answer["spent"]
    assert toolbox.budget.spent == spent
    assert all(torch.equal(tensor, WEIGHTS[name]) for name, tensor in MODEL.state_dict().items())
    return taken


def _frames(data: bytes) -> list[dict[str, Any]]:
    """Headers of the referee's answers, whose tensors must be readable too."""
    found = []
    while data:
        head, rest = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
        found.append(decode(data[8 : 8 + head], data[8 + head : 8 + head + rest], trusted=True).header)
        data = data[8 + head + rest :]
    return found


def _corpus(n: int, seed: int) -> Samples:
    tokens = torch.randint(0, 6, (min(n, 50), 3), generator=named_generator("fuzzed corpus", seed))
    return Samples(tokens, torch.full((len(tokens),), 3))


TENSORS: list[Tensor] = [
    torch.zeros(2, 3, dtype=torch.int64),
    torch.arange(4).reshape(1, 4),
    torch.full((3, 2), 5),
    torch.full((2, 3), -1),
    torch.full((2, 3), 2**62),
    torch.zeros(17, 2, dtype=torch.int64),
    torch.zeros(0, 3, dtype=torch.int64),
    torch.zeros(2, 6, dtype=torch.int64),
    torch.ones(4),
    torch.ones(2, 3, 6),
    torch.ones(3, 2, 3, 6),
    torch.ones(2, 3, 4).double(),
    torch.zeros(4),
    torch.tensor(-torch.inf),
    torch.tensor(3e38),
    torch.tensor(1e300).double(),
    torch.tensor([[True, False, True]] * 3),
    torch.ones(()).half(),
    torch.ones(2, 0),
    torch.ones(1, 1, 1, 1, 1, 1),
]
NAMES = st.sampled_from(
    [RESID, SCORES, POST, "logits", "unembed.W_U", "blocks.1.mlp.hook_post", "", "x" * 201]
)
WHOLE = st.sampled_from([0, 1, 2] * 6 + [-1, 7, 2**31, 2**63, 10**30, True, None])
CHANGES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "mode": st.sampled_from(["set", "add", "scale", "project_out", "run", ""]),
        "positions": st.none() | st.lists(WHOLE, max_size=3),
        "rows": st.none() | st.lists(WHOLE, max_size=3),
        "offset": st.sampled_from([0.0, 0.0, 1, 1e300, -5e-324]),
        "masked": st.booleans(),
    }
)
PRIMITIVES = ["logits", "activations", "vjp", "weight", "sample", "sibling", "reference"]
CALL = st.fixed_dictionaries(
    {"type": st.just("call"), "box": st.sampled_from([0] * 20 + [1, 1, -1, None])},
    optional={
        "names": st.lists(NAMES, max_size=3),
        "interventions": st.lists(CHANGES, max_size=2),
        "name": NAMES,
        "n": WHOLE,
        "seed": WHOLE,
        "index": WHOLE,
    },
)


@st.composite
def talks(draw: st.DrawFn) -> bytes:
    """A few calls, mostly in order and with the tensors that they need, and a last word."""
    said = b""
    for number in range(draw(st.integers(1, CALLS + 1))):
        header: dict[str, Any] = draw(CALL) | {"primitive": draw(st.sampled_from([*PRIMITIVES, "close"]))}
        header["id"] = number + draw(st.sampled_from([0] * 15 + [1]))
        wanted = ["tokens"] if header["primitive"] in PRIMITIVES[:3] else []
        for place, change in enumerate(header.get("interventions", [])):
            wanted += [f"{place}.value", *([f"{place}.mask"] if change["masked"] else [])]
        wanted += [f"cotangent.{draw(NAMES)}"] if header["primitive"] == "vjp" else []
        if draw(st.integers(0, 15)) == 0:
            wanted = [*wanted[1:], "more"]
        tensors = {
            name: draw(st.sampled_from(TENSORS[:3] if name == "tokens" else TENSORS)) for name in wanted
        }
        said += bytes_of(Frame(header, tensors))
    return said + bytes_of(Frame({"type": "end"}))


GOOD_CALL = {"type": "call", "id": 0, "box": 0, "primitive": "logits"}
GOOD_TALK = bytes_of(Frame(GOOD_CALL, {"tokens": TENSORS[0]})) + bytes_of(Frame({"type": "end"}))
DOORS = (
    Door("calls to a live toolbox", talks(), conversation, 0.07),
    Door("damaged calls", mutated([GOOD_TALK]), conversation, 0.05),
)
