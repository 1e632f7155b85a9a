"""The decoder of frames: any bytes are a frame that comes back the same, or a `WireError`."""

import json
import socket
import struct
import time

import torch
from hypothesis import strategies as st
from safetensors.torch import save

from benchmarks.fuzzing.door import Door, mutated
from game.sandbox.wire import DTYPES, Channel, Frame, WireError, decode, encode
from tests.game.identical import identical

TENSORS = {
    "tokens": torch.arange(6).reshape(2, 3),
    "0.value": torch.tensor([0.5, -torch.inf]),
    "0.mask": torch.tensor([True, False]),
    "half": torch.ones(1, 0).half(),
}
HEADER = {"type": "call", "id": 0, "names": ["a", "\U0001f575"], "offset": 1e-300, "rows": [None, True]}
WORDS = [
    *("{", "}", "[", "]", ":", ",", '"', "\\", '"a":', '"a":1,', '"\\ud800"', '"\\u0000"', '"__proto__":'),
    *("NaN", "Infinity", "-Infinity", "1e999", "-0", "1E400", "9" * 400, "9" * 5000, "0.1", "true", "null"),
    *(" ", "\t", "\x00", "\ufeff", "\xff", "\u2028"),
]
DEEP = st.integers(1, 20_000).map(lambda levels: '{"a":' + "[" * levels + "]" * levels + "}")
SOUP = st.lists(st.sampled_from(WORDS), max_size=24).map("".join)
INNER = st.lists(st.sampled_from(WORDS), max_size=8).map("".join).map(lambda text: '{"a":' + text + "}")
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from([*DTYPES, "I32", "U8", "F8_E4M3", "", 7, None]),
        "shape": st.lists(st.sampled_from([0, 1, 2, -1, 2**31, 2**63, 2**64, 0.5, True, None]), max_size=3)
        | st.none(),
        "data_offsets": st.lists(st.sampled_from([0, 4, 8, 12, -1, 2**63, 2**64, 1.5, None]), max_size=3),
        "more": st.just(1),
    },
)
NAMES = st.sampled_from(["x", "y", "", "__metadata__", "a.b", "\x00", "x" * 300])


def channel(data: bytes) -> bool:
    """What is read off a line that then ends."""
    mine, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    line = Channel(mine.detach(), time.monotonic() + 4)
    try:
        return comes_back(line.receive())
    except WireError:
        return False
    finally:
        line.close()


def header(text: str) -> bool:
    """A header alone."""
    try:
        return comes_back(decode(text.encode(errors="surrogatepass"), b""))
    except WireError:
        return False


def payload(data: bytes) -> bool:
    """A payload alone."""
    try:
        return comes_back(decode(b"{}", data))
    except WireError:
        return False


def comes_back(frame: Frame) -> bool:
    """Whether a frame that was taken is itself again after another journey."""
    head, rest = encode(frame)
    again = decode(head[8:], rest)
    assert identical(again.header, frame.header), frame
    assert again.tensors.keys() == frame.tensors.keys(), frame
    assert all(identical(again.tensors[name], tensor) for name, tensor in frame.tensors.items()), frame
    return True


def _payload_of(entries: dict[str, object], length: int | None, data: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GOOD = [
    b"".join(encode(Frame(HEADER, TENSORS))),
    b"".join(encode(Frame({}))),
    b"".join(encode(Frame(HEADER))),
]
DAMAGED = mutated([json.dumps(HEADER).encode()]).map(lambda data: data.decode(errors="replace"))
LENGTHS = st.none() | st.sampled_from([0, 1, 7, 2**20, 2**20 + 1, 2**31, 2**63, 2**64 - 1])
HEADED = st.builds(
    lambda head, rest, data: struct.pack(">II", head, rest) + data,
    st.sampled_from([0, 1, 2, 9, 2**20, 2**20 + 1, 2**32 - 1]),
    st.sampled_from([0, 1, 9, 64 * 2**20, 64 * 2**20 + 1, 2**32 - 1]),
    st.binary(max_size=40),
)
DOORS = (
    Door("raw bytes on a line", st.binary(max_size=200) | HEADED, channel, 0.15),
    Door("damaged frames on a line", mutated(GOOD), channel, 0.15),
    Door("headers", SOUP | INNER | DEEP | DAMAGED, header, 0.15),
    Door("damaged safetensors", mutated([save(TENSORS), save({})]), payload, 0.12),
    Door(
        "made-up safetensors",
        st.builds(_payload_of, st.dictionaries(NAMES, ENTRIES, max_size=3), LENGTHS, st.binary(max_size=16)),
        payload,
        0.13,
    ),
)
