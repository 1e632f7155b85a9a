"""The referee's side of a round in a jail: answer its calls from the real toolbox until it reports."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from game.api import AccessError, BudgetExceededError, RequestError, Toolbox
from game.sandbox.calls import Call, read_call, read_cotangents, read_interventions
from game.sandbox.wire import Channel, Frame, WireError

Answer = tuple[dict[str, Any], dict[str, Tensor]]


class Desk:
    """Answers calls, in order, each before the next is read.

    Args:
        toolbox: The metered one over the model under audit.
        most_calls: After that many, the jail broke the rules.
    """

    def __init__(self, toolbox: Toolbox, most_calls: int) -> None:
        self._boxes: list[Toolbox] = [toolbox]
        self._opened: dict[tuple[int, str, int], int] = {}
        self._calls, self._most_calls = 0, most_calls

    def last_word(self, channel: Channel) -> Frame:
        """The first frame that is no call, every call before it answered.

        Raises:
            WireError: What came is no frame or no call, its id is out of order, or the line broke.
        """
        while (frame := channel.receive()).header.get("type") == "call":
            call, tensors = read_call(frame)
            self._check(call)
            header, results = self._answered(call, tensors)
            channel.send({"id": call.id, "spent": self._boxes[0].budget.spent, **header}, results)
        return frame

    def _check(self, call: Call) -> None:
        if call.id != self._calls:
            raise WireError(f"call: id {call.id}, wanted {self._calls}")
        self._calls += 1
        if self._calls > self._most_calls:
            raise WireError(f"call: more than {self._most_calls} in one round")
        if not 0 <= call.box < len(self._boxes):
            raise WireError(f"call: box {call.box}; {len(self._boxes)} are open")

    def _answered(self, call: Call, tensors: dict[str, Tensor]) -> Answer:
        """Results, or why there are none: what the toolbox raises is the auditor's to handle."""
        try:
            return self._done(call, tensors)
        except (AccessError, BudgetExceededError, RequestError) as refusal:
            return {"type": "refuse", "error": type(refusal).__name__, "message": str(refusal)}, {}
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            message = f"the referee could not answer: {type(error).__name__}"  # its words may tell too much
            return {"type": "refuse", "error": "RuntimeError", "message": message}, {}

    def _done(self, call: Call, tensors: dict[str, Tensor]) -> Answer:
        box = self._boxes[call.box]
        if call.primitive in ("sibling", "reference"):
            return self._open(call, box)
        run: Callable[[], dict[str, Tensor]] = {
            "logits": lambda: {"logits": box.logits(tensors["tokens"], read_interventions(call, tensors))},
            "activations": lambda: box.activations(
                tensors["tokens"], call.names, read_interventions(call, tensors)
            ),
            "vjp": lambda: box.vjp(
                tensors["tokens"],
                call.names,
                read_cotangents(tensors),
                read_interventions(call, tensors),
            ),
            "weight": lambda: {call.name: box.weight(call.name)},
            "sample": lambda: vars(box.sample(call.n, call.seed)),
        }[call.primitive]
        return {"type": "result"}, dict(run())

    def _open(self, call: Call, box: Toolbox) -> Answer:
        """Another model's toolbox, by its number; asked for twice, it is the same."""
        opened = box.reference() if call.primitive == "reference" else box.sibling(call.index)
        key = (call.box, call.primitive, call.index)
        if key not in self._opened:
            self._opened[key] = len(self._boxes)
            self._boxes.append(opened)
        return {"type": "result", "box": self._opened[key], "config": opened.config.to_dict()}, {}
