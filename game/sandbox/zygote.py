"""The fork server: imports torch once, then forks a child for each round. It never sees a case.

Started as a fresh interpreter, so that nothing of the referee's memory is in it. Orders are lines of JSON on
a socket; with `run` comes the descriptor of the child's own channel.
"""

import gc
import importlib
import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from game.sandbox.kernel import PR_SET_CHILD_SUBREAPER, process_control
from game.sandbox.tiers import ENVIRONMENT


def main(descriptor: int) -> None:
    """Serve until the referee hangs up, and leave no process behind."""
    control = socket.socket(fileno=descriptor)
    process_control(PR_SET_CHILD_SUBREAPER, 1)  # a child's own children come to us when it ends
    _warm()
    for stranger in os.environ.keys() - ENVIRONMENT.keys():  # bubblewrap adds one, and torch
        del os.environ[stranger]
    _say(control, {"ready": True})
    while (received := _order(control)) is not None:
        order, channel = received
        if order["do"] == "run":
            _say(control, {"pid": _forked(control, channel, order["order"])})
        elif order["do"] == "end":
            _say(control, _ended(order["pid"]))
    _reap_all()


def _warm() -> None:
    """Import what a round needs, without starting a thread."""
    import torch

    importlib.import_module("game.sandbox.inmate")
    with suppress(OSError):  # optimisers import it at first use, when a jail has no place for its folder
        importlib.import_module("torch._dynamo")
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def _order(control: socket.socket) -> tuple[dict[str, Any], int] | None:
    """The next order and the descriptor that came with it, or -1; None when the referee is gone."""
    text, descriptors = b"", []
    while not text.endswith(b"\n"):
        piece, came, _, _ = socket.recv_fds(control, 2**16, 1)
        if not piece:
            return None
        text += piece
        descriptors += came
    return json.loads(text), descriptors[0] if descriptors else -1


def _say(control: socket.socket, answer: dict[str, Any]) -> None:
    control.sendall(json.dumps(answer).encode() + b"\n")


def _forked(control: socket.socket, channel: int, order: dict[str, Any]) -> int:
    """The process id of a child that plays one round on that channel."""
    pid = os.fork()
    if pid == 0:
        _play(control, channel, order)
    os.close(channel)
    return pid


def _play(control: socket.socket, channel: int, order: dict[str, Any]) -> None:
    """In the child: play, and never return to the fork server's code."""
    try:
        control.detach()
        from game.sandbox.inmate import Order, live

        live(channel, Order.parse(order))
    finally:
        os._exit(0)


def _ended(pid: int) -> dict[str, Any]:
    """Kill a child with all that it started; how it ended, and its CPU seconds."""
    try:
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return {"code": 0, "cpu_s": 0.0}
    _reap_all()
    return {"code": os.waitstatus_to_exitcode(status), "cpu_s": usage.ru_utime + usage.ru_stime}


def _reap_all() -> None:
    """Kill and collect every process below this one, the orphans that came to it included."""
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Process ids of this process's children, from the field of /proc/*/stat that names the parent."""
    own, found = str(os.getpid()), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
            except OSError:
                continue
            if fields.split()[1] == own:
                found.append(int(folder.name))
    return found
