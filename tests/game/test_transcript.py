import hashlib
import json
import time
from statistics import median
from typing import Any

import pytest
import torch

from game.api import AccessError
from game.loader import load_auditor
from game.referee import recorded_round
from game.sandbox.isolated import load_isolated
from game.sandbox.tiers import JAILS, Tier
from game.toolbox.transcript import Line, Recorded, Transcript, TranscriptError, read_lines
from models.seeds import named_generator
from tests.game import hand_made
from tests.game.conftest import MakeBox
from tests.game.jails import ASKING, SandboxAt, sandbox_at

__all__ = ["sandbox_at"]

FIRST = "0" * 64
ASKER = f"{ASKING}@Asker"
CASE = hand_made.case(0, hand_made.truth(hand_made.MLP, "rome"))


def asked() -> tuple[Line, ...]:
    transcript = Transcript()
    record = recorded_round(CASE, load_auditor(ASKER, {}), 7, transcript)
    assert record.status == "DONE", record.error
    return read_lines(transcript.written(FIRST).data, FIRST)[0]


def test_the_first_line_says_who_looks_at_what() -> None:
    assert asked()[0] == Line("open", {"case": "case-000", "auditor": "Asker", "seed": 7})


def test_every_call_is_a_line_with_its_price_or_its_refusal() -> None:
    calls = [line.body for line in asked()[1:]]
    weight = pytest.approx(calls[5]["charged"])
    assert [(each["primitive"], each["charged"], each.get("error")) for each in calls] == [
        # primitive    credits refusal
        ("logits", 2.0, None),
        ("logits", 0.0, None),  # a repeat is free
        ("logits", 40.0, None),
        ("activations", 2.0, None),
        ("vjp", 6.0, None),
        ("weight", weight, None),
        ("reference", 0.0, "AccessError"),
        ("sibling", 0.0, "AccessError"),
        ("logits", 0.0, "BudgetExceededError"),
    ]
    assert calls[6]["message"].startswith("reference: not granted by the whitebox league")
    assert calls[-1]["left"] == pytest.approx(hand_made.BUDGET - sum(each["charged"] for each in calls))


def test_a_call_tells_its_tokens_by_hash_and_few_of_them_in_full() -> None:
    few, _, many = (line.body for line in asked()[1:4])
    tokens = torch.tensor([[0, 2, 3], [0, 4, 5]])
    assert few["tokens"]["ids"] == tokens.tolist()
    assert "ids" not in many["tokens"]
    for body, held in ((few, tokens), (many, tokens.repeat(20, 1))):
        assert body["tokens"]["shape"] == list(held.shape)
        assert body["tokens"]["sha256"] == hashlib.sha256(held.numpy().tobytes()).hexdigest()


def test_interventions_are_told_as_data() -> None:
    added, masked = asked()[4].body["interventions"]
    value = torch.full((4,), 0.5).numpy().tobytes()
    assert added["value"] == {"shape": [4], "sha256": hashlib.sha256(value).hexdigest()}
    assert (added["mode"], added["positions"], added["rows"]) == ("add", [1], [0])
    assert (masked["mode"], masked["mask"]) == ("set", hashlib.sha256(bytes([1, 0, 1, 0])).hexdigest())


@pytest.mark.parametrize("tier", JAILS)
def test_a_round_s_transcript_is_the_same_in_process_and_in_a_jail(tier: Tier, sandbox_at: SandboxAt) -> None:
    near, far = Transcript(), Transcript()
    recorded_round(CASE, load_auditor(ASKER, {}), 7, near)
    record = recorded_round(CASE, load_isolated(ASKER, {}, sandbox_at(tier)), 7, far)
    assert (record.tier, record.status) == (tier, "DONE")
    assert near.written(FIRST) == far.written(FIRST)
    assert near.written(FIRST).lines == 10


def test_nothing_is_kept_once_the_toolbox_is_closed(make_box: MakeBox) -> None:
    transcript = Transcript()
    box = Recorded(make_box(), transcript)
    box.close()
    with pytest.raises(AccessError, match="the toolbox is closed"):
        box.weight("unembed.W_U")
    assert transcript.written(FIRST).lines == 0


def test_a_full_transcript_ends_the_calls(make_box: MakeBox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats and refusals are free: without an end they would fill the referee's memory and disk."""
    monkeypatch.setattr("game.toolbox.transcript.MOST_KEPT", 1000)
    transcript = Transcript()
    box = Recorded(make_box(), transcript)
    box.weight("unembed.W_U")
    transcript.add("call", {"text": "x" * 1000})
    with pytest.raises(AccessError, match="the transcript of this round is full; at most 1000 characters"):
        box.weight("unembed.W_U")
    assert transcript.written(FIRST).lines == 2


def test_what_a_granted_model_is_asked_is_told_with_its_name(make_box: MakeBox, tiny_model: Any) -> None:
    transcript = Transcript()
    box = Recorded(make_box("siblings", siblings=[tiny_model, tiny_model]), transcript)
    box.sibling(1).weight("unembed.b_U")
    box = Recorded(make_box("reference", reference=tiny_model), transcript)
    box.reference().weight("unembed.b_U")
    lines, _ = read_lines(transcript.written(FIRST).data, FIRST)
    told = [(line.body["model"], line.body["primitive"]) for line in lines]
    assert told == [
        ("subject", "sibling"),
        ("sibling 1", "weight"),
        ("subject", "reference"),
        ("reference", "weight"),
    ]


def test_lines_are_canonical_and_each_refers_to_the_one_before() -> None:
    transcript = Transcript()
    for number in range(4):
        transcript.add("call", {"b": number, "a": "ä\n"})
    data, head, count = transcript.written(FIRST)
    previous = FIRST
    for number, line in enumerate(data.splitlines(keepends=True)):
        told = json.loads(line)
        assert (told["prev"], told["i"]) == (previous, number)
        assert json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n" == line
        previous = hashlib.sha256(line).hexdigest()
    assert (head, count) == (previous, 4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        # what is done to the lines                                  what is said
        (lambda lines: lines[:1] + lines[2:], "line 1: i is 2, wanted 1"),
        (lambda lines: [lines[0], lines[2], lines[1]], "line 1: i is 2, wanted 1"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "line 1: i is 0, wanted 1"),
        (lambda lines: [lines[0].replace(b"0", b"1", 1), *lines[1:]], "line 1: prev is"),
        (lambda lines: [*lines, b"{}\n"], "line 3: KeyError: 'body'"),
        (lambda lines: [*lines, b"[1]\n"], "line 3: TypeError"),
        (lambda lines: [*lines, b"\xff\n"], "line 3: UnicodeDecodeError"),
        (lambda lines: [*lines, b"[" * 100_000 + b"\n"], "line 3: RecursionError"),
    ],
)
def test_lines_that_do_not_hang_together_are_refused(spoil: Any, message: str) -> None:
    transcript = Transcript()
    for number in range(3):
        transcript.add("call", {"n": number})
    lines = transcript.written(FIRST).data.splitlines(keepends=True)
    with pytest.raises(TranscriptError, match=message):
        read_lines(b"".join(spoil(lines)), FIRST)


def test_keeping_a_call_of_64_sequences_costs_less_than_a_millisecond(make_box: MakeBox) -> None:
    tokens = torch.randint(11, (64, 6), generator=named_generator("many"))
    plain, kept = make_box(total=1e9), Recorded(make_box(total=1e9), Transcript())

    def milliseconds(box: Any) -> float:
        box.logits(tokens)
        started = time.perf_counter()
        for _ in range(20):
            box.logits(tokens)
        return 50 * (time.perf_counter() - started)

    added = [milliseconds(kept) - milliseconds(plain) for _ in range(9)]
    assert median(added) < 1.0


def test_a_transcript_ends_with_a_newline_that_counts() -> None:
    transcript = Transcript()
    transcript.add("open", {})
    data, head, _ = transcript.written(FIRST)
    lines, last = read_lines(data, FIRST)
    assert (len(lines), last) == (1, head)
    assert read_lines(data[:-1], FIRST)[1] != head  # the newline counts
