"""Frames: what goes in comes out, and nothing else is taken for one."""

import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from game.sandbox.wire import (
    MOST_DEPTH,
    MOST_HEADER,
    MOST_PAYLOAD,
    Channel,
    Frame,
    WireClosedError,
    WireError,
    WireTimeoutError,
    decode,
    encode,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
HEADERS = st.dictionaries(st.text(), JSON, max_size=5)
DTYPES = (torch.bool, torch.int64, torch.bfloat16, torch.float16, torch.float32, torch.float64)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return (8 * torch.randn(shape, generator=generator)).to(draw(st.sampled_from(DTYPES)))


def parts(frame: Frame) -> tuple[bytes, bytes]:
    head, payload = encode(frame)
    return head[8:], payload


def header(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@pytest.fixture
def pair() -> Iterator[tuple[Channel, int]]:
    """The referee's channel, with a deadline, and the bare other end."""
    mine, theirs = socket.socketpair()
    channel = Channel(mine.detach(), deadline=time.monotonic() + 20)
    yield channel, theirs.fileno()
    channel.close()
    theirs.close()


@given(HEADERS, st.dictionaries(st.text(min_size=1), tensors(), max_size=4))
def test_a_frame_comes_back_as_it_was(data: dict[str, Any], carried: dict[str, Tensor]) -> None:
    carried.pop("__metadata__", None)
    back = decode(*parts(Frame(data, carried)))
    assert back.header == data
    assert back.tensors.keys() == carried.keys()
    for name, tensor in carried.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert torch.equal(back.tensors[name], tensor)


@given(HEADERS, st.lists(tensors(), max_size=3))
@settings(max_examples=30)
def test_frames_follow_each_other_on_a_channel(data: dict[str, Any], carried: list[Tensor]) -> None:
    mine, theirs = socket.socketpair()
    sender, receiver = Channel(mine.detach()), Channel(theirs.detach(), time.monotonic() + 20)
    for tensor in carried:
        sender.send(data, {"x": tensor})
        frame = receiver.receive()
        assert frame.header == data
        assert torch.equal(frame.tensors["x"], tensor)
    sender.close()
    with pytest.raises(WireClosedError, match="ended 8 bytes short of 8"):
        receiver.receive()
    receiver.close()


def test_views_of_one_tensor_are_carried_as_tensors_of_their_own() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    back = decode(*parts(Frame({}, {"whole": whole, "part": whole[1], "turned": whole.T})))
    assert torch.equal(back.tensors["part"], whole[1])
    assert torch.equal(back.tensors["turned"], whole.T)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # header                          complaint
        ("[]", "header is a list, wanted an object"),
        ("{", "header is not JSON"),
        (b"\xff\xfe{}", "header is not JSON"),
        ('{"a":1,"a":2}', "a key twice"),
        ('{"a":{"b":1,"b":1}}', "a key twice"),
        ('{"a":NaN}', "holds NaN"),
        ('{"a":-Infinity}', "holds -Infinity"),
        ('{"a":1e999}', "holds 1e999"),
        ('{"a":' + "9" * 5000 + "}", "header is not JSON"),
        ('{"a":' + "[" * MOST_DEPTH + "]" * MOST_DEPTH + "}", "more than 32 levels deep"),
        ('{"a":' + "[" * 200_000 + "]" * 200_000 + "}", "header is not JSON"),
    ],
)
def test_a_header_that_is_no_plain_object_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode(header(text), b"")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        # payload                                                     complaint
        (save({"x": torch.tensor([float("nan")])}), "'x' holds NaN or infinity"),
        (save({"x": torch.tensor([float("inf")])}), "'x' holds NaN or infinity"),
        (save({"x": torch.zeros(2, dtype=torch.int32)}), "dtype I32; allowed: BOOL, I64, BF16, F16"),
        (save({"x": torch.zeros(2)})[:-1], "not safetensors"),
        (save({"x": torch.zeros(2)}) + b"more", "not safetensors"),
        (b"\xff" * 8 + b"{}", "payload's own header"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00[]", "header is a list"),
        (b"x", "payload's own header"),
    ],
)  # fmt: skip
def test_a_payload_that_is_no_safetensors_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode(b"{}", payload)


def test_minus_infinity_may_come_from_a_jail_for_it_hides_a_score() -> None:
    hidden = torch.tensor([0.0, -float("inf")])
    assert torch.equal(decode(*parts(Frame({}, {"x": hidden}))).tensors["x"], hidden)


def test_the_referee_may_send_whatever_a_model_computed() -> None:
    odd = torch.tensor([float("inf"), float("nan")])
    back = decode(*parts(Frame({}, {"x": odd})), trusted=True)
    assert torch.equal(back.tensors["x"].isnan(), odd.isnan())


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((1, 0), "header of 1 bytes; allowed: 2 to"),
        ((MOST_HEADER + 1, 0), "header of 1048577 bytes"),
        ((2**32 - 1, 2**32 - 1), "header of 4294967295 bytes"),
        ((2, MOST_PAYLOAD + 1), "payload of 67108865 bytes"),
    ],
)
def test_lengths_beyond_the_limits_are_refused_before_anything_is_read(
    lengths: tuple[int, int], message: str, pair: tuple[Channel, int]
) -> None:
    channel, other = pair
    os.write(other, struct.pack(">II", *lengths))
    with pytest.raises(WireError, match=message):
        channel.receive()


def test_what_is_too_large_to_send_is_refused_before_anything_is_sent(pair: tuple[Channel, int]) -> None:
    channel, other = pair
    with pytest.raises(WireError, match="header of 1048587 bytes"):
        channel.send({"text": "x" * (MOST_HEADER)})
    with pytest.raises(WireError, match="not JSON"):
        channel.send({"number": float("nan")})
    with pytest.raises(WireError, match="not JSON"):
        channel.send({"code": print})
    channel.send({"type": "end"})
    assert os.read(other, 100) == struct.pack(">II", 14, 0) + b'{"type":"end"}'


def test_a_silent_other_side_is_given_up_at_the_deadline(pair: tuple[Channel, int]) -> None:
    channel, other = pair
    os.write(other, b"\x00\x00")
    channel.deadline = time.monotonic() + 0.05
    with pytest.raises(WireTimeoutError, match="not in time"):
        channel.receive()


def test_an_other_side_that_does_not_read_is_given_up_at_the_deadline(pair: tuple[Channel, int]) -> None:
    channel, _ = pair
    channel.deadline = time.monotonic() + 0.05
    with pytest.raises(WireTimeoutError, match="not in time"):
        channel.send({}, {"x": torch.zeros(2**20)})


BYTES = st.binary(max_size=200)


@given(BYTES)
@example(b"")
@example(struct.pack(">II", 2, 0) + b"{}")
@settings(max_examples=300)
def test_any_bytes_are_a_frame_or_a_wire_error_and_never_a_wait(data: bytes) -> None:
    mine, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    channel = Channel(mine.detach(), time.monotonic() + 20)
    try:
        assert isinstance(channel.receive().header, dict)
    except WireError:
        pass
    finally:
        channel.close()


@given(st.data(), HEADERS, st.lists(tensors(), min_size=1, max_size=2))
@settings(max_examples=300)
def test_a_damaged_frame_is_a_frame_or_a_wire_error(
    data: st.DataObject, fields: dict[str, Any], carried: list[Tensor]
) -> None:
    head, payload = parts(Frame(fields, {str(i): each for i, each in enumerate(carried)}))
    whole = bytearray(head + payload)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    try:
        frame = decode(bytes(whole[: len(head)]), bytes(whole[len(head) :]))
    except WireError:
        return
    assert isinstance(frame.header, dict)
    assert all(isinstance(tensor, Tensor) for tensor in frame.tensors.values())


@given(st.recursive(BYTES.map(lambda raw: raw.decode(errors="replace")), st.lists, max_leaves=5), BYTES)
def test_any_header_and_payload_is_a_frame_or_a_wire_error(data: Any, payload: bytes) -> None:
    try:
        frame = decode(json.dumps(data).encode(), payload)
    except WireError:
        return
    assert frame.header == data
