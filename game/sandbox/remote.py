"""The toolbox as a jailed auditor holds it: the same calls, answered by the referee over a wire.

Arguments are checked here first, by the very functions that the referee's toolbox uses, so that a fault has
the same type and words as in process. The referee checks again and charges.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from game.api import AccessError, Budget, BudgetExceededError, Intervention, RequestError, Samples
from game.sandbox.calls import cotangent_tensors, intervention_data, intervention_tensors
from game.sandbox.wire import Channel, Frame, WireClosedError, WireError
from game.toolbox import requests
from game.toolbox.interventions import compile_interventions
from models.transformer import TransformerConfig

_ERRORS = {error.__name__: error for error in (AccessError, BudgetExceededError, RequestError)}
_CPU = torch.device("cpu")


class Line:
    """The wire and what it last said of the budget, shared by every toolbox of a round."""

    def __init__(self, channel: Channel, total: float, max_rows: int) -> None:
        self._channel, self._total, self._max_rows = channel, total, max_rows
        self._spent, self._calls, self._open = 0.0, 0, True

    @property
    def budget(self) -> Budget:
        """As of the last answer; nobody else spends."""
        return Budget(self._total, self._spent, self._max_rows)

    def close(self) -> None:
        """Refuse every further call; the referee has closed its toolbox too."""
        self._open = False

    def check_open(self) -> None:
        """Nothing, until the report is made.

        Raises:
            AccessError: The toolbox is closed, as the referee's would say.
        """
        if not self._open:
            raise AccessError("the toolbox is closed")

    def ask(self, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Frame:
        """The referee's answer to one call.

        Raises:
            AccessError: As the referee said; and likewise `BudgetExceededError` and `RequestError`.
        """
        try:
            self._channel.send({"type": "call", "id": self._calls, **header}, tensors)
        except WireClosedError:
            raise
        except WireError as error:
            raise RequestError(str(error)) from None
        self._calls += 1
        answer = self._channel.receive()
        self._spent = float(answer.header["spent"])
        if answer.header["type"] == "refuse":
            raise _ERRORS.get(answer.header["error"], RuntimeError)(answer.header["message"])
        return answer


class RemoteToolbox:
    """`game.api.Toolbox` over a wire.

    Args:
        line: To the referee.
        config: Shapes of the model.
        box: Which toolbox of the referee's answers; 0 is that of the model under audit.
    """

    def __init__(self, line: Line, config: TransformerConfig, box: int = 0) -> None:
        self._line, self._config, self._box = line, config, box

    @property
    def config(self) -> TransformerConfig:
        """Shapes of the model; free."""
        return self._config

    @property
    def budget(self) -> Budget:
        """Credits granted and charged so far; free."""
        return self._line.budget

    def logits(self, tokens: Tensor, interventions: Sequence[Intervention] = ()) -> Tensor:
        """Logits, `[row, pos, d_vocab]`; see `game.api.Toolbox`."""
        self._check_run(tokens, interventions)
        return self._run("logits", tokens, interventions)["logits"]

    def activations(
        self, tokens: Tensor, names: Sequence[str], interventions: Sequence[Intervention] = ()
    ) -> dict[str, Tensor]:
        """Activations by hook name; see `game.api.Toolbox`."""
        self._check_run(tokens, interventions)
        names = requests.checked_names("hook", names, (*self.config.hook_names(), "logits"))
        requests.check_answer(names, self._shapes(tokens))
        results = self._run("activations", tokens, interventions, names)
        return {name: results[name] for name in names}

    def vjp(
        self,
        tokens: Tensor,
        names: Sequence[str],
        cotangent: Mapping[str, Tensor],
        interventions: Sequence[Intervention] = (),
    ) -> dict[str, Tensor]:
        """Gradients by hook name; see `game.api.Toolbox`."""
        self._check_run(tokens, interventions)
        shapes = self._shapes(tokens)
        names = requests.checked_names("hook", names, self.config.hook_names())
        starts = requests.checked_cotangents(cotangent, shapes)
        requests.check_rows(len(tokens) * starts.count, self.budget.max_rows, "sequences times cotangents")
        requests.check_answer(names, shapes, starts.count)
        results = self._run("vjp", tokens, interventions, names, cotangent_tensors(cotangent))
        return {name: results[name] for name in names}

    def weight(self, name: str) -> Tensor:
        """One weight tensor; see `game.api.Toolbox`."""
        self._line.check_open()
        requests.check_name("weight", name, self.config.weight_shapes())
        return self._ask("weight", name=name).tensors[name]

    def sample(self, n: int, seed: int = 0) -> Samples:
        """Sequences of the public corpus; see `game.api.Toolbox`."""
        self._line.check_open()
        requests.check_draw(n, seed)
        drawn = self._ask("sample", n=n, seed=seed).tensors
        return Samples(drawn["tokens"], drawn["lengths"])

    def sibling(self, index: int) -> "RemoteToolbox":
        """A clean model of another world; see `game.api.Toolbox`."""
        self._line.check_open()
        requests.check_whole("index", index, 0, 10**6)
        return self._opened(self._ask("sibling", index=index))

    def reference(self) -> "RemoteToolbox":
        """The model before the edit; see `game.api.Toolbox`."""
        self._line.check_open()
        return self._opened(self._ask("reference"))

    def _opened(self, answer: Frame) -> "RemoteToolbox":
        config = TransformerConfig.from_dict(answer.header["config"])
        return RemoteToolbox(self._line, config, answer.header["box"])

    def _check_run(self, tokens: Tensor, interventions: Sequence[Intervention]) -> None:
        self._line.check_open()
        requests.check_tokens(tokens, self.config, self.budget.max_rows)
        if interventions or not isinstance(interventions, tuple):
            compile_interventions(interventions, self.config.hook_shapes(*tokens.shape), _CPU)

    def _shapes(self, tokens: Tensor) -> dict[str, tuple[int, ...]]:
        """Shapes of all activations of a run, logits included."""
        logits = {"logits": (*tokens.shape, self.config.d_vocab)}
        return self.config.hook_shapes(*tokens.shape) | logits

    def _run(
        self,
        primitive: str,
        tokens: Tensor,
        interventions: Sequence[Intervention],
        names: Sequence[str] = (),
        others: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        tensors = {"tokens": tokens, **intervention_tensors(interventions), **(others or {})}
        data = intervention_data(interventions)
        return self._ask(primitive, tensors, names=list(names), interventions=data).tensors

    def _ask(self, primitive: str, tensors: Mapping[str, Tensor] | None = None, **rest: Any) -> Frame:
        return self._line.ask({"box": self._box, "primitive": primitive, **rest}, tensors or {})
