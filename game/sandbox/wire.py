"""Length-prefixed frames between the referee and a jail: a JSON object, and tensors as safetensors.

A frame is two big-endian 32-bit lengths, that many bytes of JSON, that many bytes of safetensors. Nothing in
it is ever run: no pickle, no class names, no callables. Whatever is not exactly that is a `WireError`.
"""

import json
import os
import select
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from game.rules.faults import depth

MOST_HEADER = 2**20  # bytes of JSON
MOST_PAYLOAD = 64 * 2**20  # bytes of tensors that a jail may send
MOST_ANSWER = 2**31  # bytes of tensors that the referee may send
MOST_DEPTH = 32  # levels of JSON
DTYPES = ("BOOL", "I64", "BF16", "F16", "F32", "F64")
_LENGTHS = struct.Struct(">II")


class WireError(ValueError):
    """Bytes that are no frame, or one that breaks a limit."""


class WireClosedError(WireError):
    """The other side is gone."""


class WireTimeoutError(WireError):
    """The other side did not read or write in time."""


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        header: JSON-ready data.
        tensors: By name, on the CPU.
    """

    header: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)


def encode(frame: Frame, most_payload: int = MOST_PAYLOAD) -> tuple[bytes, bytes]:
    """Lengths with JSON, and safetensors, of a frame.

    Raises:
        WireError: It breaks a limit, holds NaN in its JSON, or a dtype that frames do not carry.
    """
    try:
        header = json.dumps(frame.header, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"frame: header is not JSON: {error}") from error
    payload = save(_alone(frame.tensors)) if frame.tensors else b""
    _check_lengths(len(header), len(payload), most_payload)
    return _LENGTHS.pack(len(header), len(payload)) + header, payload


def decode(header: bytes, payload: bytes, trusted: bool = False) -> Frame:
    """The frame in those bytes.

    Args:
        header: UTF-8 JSON.
        payload: Safetensors, or nothing.
        trusted: Whether the referee sent it, whose activations may be anything; a jail's tensors may hold
            finite numbers and minus infinity, which hides an attention score, but never NaN.

    Raises:
        WireError: They hold none.
    """
    return Frame(_object(header), _tensors(payload, trusted) if payload else {})


class Channel:
    """Frames over one stream descriptor, with plain reads and writes only, which a jail may still do.

    Args:
        descriptor: Of a connected stream; made non-blocking, and owned from now on.
        deadline: When to give up, on `time.monotonic`'s clock; None waits for ever.
        trusted: Whether what comes in was sent by the referee.
    """

    def __init__(self, descriptor: int, deadline: float | None = None, trusted: bool = False) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor, self.deadline, self._trusted = descriptor, deadline, trusted
        self._most_in = MOST_ANSWER if trusted else MOST_PAYLOAD
        self._most_out = MOST_PAYLOAD if trusted else MOST_ANSWER

    def send(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
        """Send one frame.

        Raises:
            WireError: It breaks a limit (nothing was sent), or the other side is gone or too slow.
        """
        for part in encode(Frame(dict(header), dict(tensors or {})), self._most_out):
            self._write(part)

    def receive(self) -> Frame:
        """The next frame.

        Raises:
            WireError: What came is none, or the other side is gone or too slow.
        """
        header_length, payload_length = _LENGTHS.unpack(self._read(_LENGTHS.size))
        _check_lengths(header_length, payload_length, self._most_in)
        header = self._read(header_length)
        return decode(header, self._read(payload_length), self._trusted)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._check_time()
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)
            except OSError as error:
                raise WireClosedError(f"frame: the other side is gone: {error.strerror}") from error

    def _read(self, length: int) -> bytes:
        """Exactly that many bytes; memory grows with what came, not with what was announced."""
        pieces, missing = [], length
        while missing:
            self._check_time()
            try:
                piece = os.read(self._descriptor, min(missing, 2**20))
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            except OSError as error:
                raise WireClosedError(f"frame: the other side is gone: {error.strerror}") from error
            if not piece:
                raise WireClosedError(f"frame: ended {missing} bytes short of {length}")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._descriptor, event)
        if self.deadline is None:
            poll.poll()
            return
        poll.poll(max(0.0, self.deadline - time.monotonic()) * 1000)
        self._check_time()

    def _check_time(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise WireTimeoutError("frame: not in time")


def _check_lengths(header: int, payload: int, most_payload: int) -> None:
    if not 2 <= header <= MOST_HEADER:
        raise WireError(f"frame: header of {header} bytes; allowed: 2 to {MOST_HEADER}")
    if payload > most_payload:
        raise WireError(f"frame: payload of {payload} bytes; allowed: at most {most_payload}")


def _alone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors of which no two share memory, as safetensors wants them."""
    held = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    storages = [tensor.untyped_storage().data_ptr() for tensor in held.values()]
    if len(set(storages)) == len(storages):
        return held
    return {name: tensor.clone() for name, tensor in held.items()}


def _object(header: bytes) -> dict[str, Any]:
    """The JSON object in a header, each key once, every number finite."""
    try:
        data = json.loads(
            header.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"frame: header is not JSON: {str(error)[:200]}") from error
    if not isinstance(data, dict):
        raise WireError(f"frame: header is a {type(data).__name__}, wanted an object")
    if depth(data) > MOST_DEPTH:
        raise WireError(f"frame: header is more than {MOST_DEPTH} levels deep")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise WireError("frame: header has a key twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise WireError(f"frame: header holds {name}; allowed: finite numbers")


def _finite(text: str) -> float:
    number = float(text)
    if abs(number) == float("inf"):
        _refuse_constant(text[:20])
    return number


def _tensors(payload: bytes, trusted: bool) -> dict[str, Tensor]:
    """The tensors in safetensors bytes, which the library checks for overlaps, gaps and lengths."""
    _check_dtypes(payload)
    try:
        tensors = load(payload)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WireError(f"frame: payload is not safetensors: {str(error)[:200]}") from error
    for name, tensor in tensors.items():
        if not trusted and tensor.is_floating_point() and not _decent(tensor):
            raise WireError(f"frame: {name[:100]!r} holds NaN or infinity")
    return tensors


def _check_dtypes(payload: bytes) -> None:
    length = int.from_bytes(payload[:8], "little")
    if length > min(MOST_HEADER, len(payload) - 8):
        raise WireError(f"frame: payload's own header of {length} bytes; allowed: at most {MOST_HEADER}")
    for name, entry in _object(payload[8 : 8 + length]).items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if dtype not in DTYPES:
            raise WireError(
                f"frame: {name[:100]!r} has dtype {str(dtype)[:20]}; allowed: {', '.join(DTYPES)}"
            )


def _decent(tensor: Tensor) -> bool:
    """Whether every number is finite or minus infinity."""
    return bool((tensor < torch.inf).all())
