"""The metered toolbox over a live model: arguments checked, then league, then budget, then the work.

In one process it guards against accidents only: a plug-in that walks the interpreter finds the model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from torch import Tensor

from game.api import AccessError, Budget, Intervention, League, Samples
from game.toolbox import passes, requests
from game.toolbox.interventions import compile_interventions
from game.toolbox.meter import Ledger, Meter, Results, call_key
from game.toolbox.prices import forward_price, vjp_price, weight_price
from models.transformer import Transformer, TransformerConfig

CorpusSampler = Callable[[int, int], Samples]

_INSIDE: tuple[League, ...] = ("whitebox", "siblings", "scrambled", "reference")
GRANTED_BY: dict[str, tuple[League, ...]] = {
    "logits": get_args(League),
    "sample": get_args(League),
    "interventions": _INSIDE,
    "activations": _INSIDE,
    "vjp": _INSIDE,
    "weight": _INSIDE,
    "sibling": ("siblings",),
    "reference": ("scrambled", "reference"),
}


class ModelToolbox:
    """`game.api.Toolbox` over a live model.

    Whatever it returns is a copy on the CPU: writing into it changes neither the model nor a later answer.

    Args:
        model: The model under audit.
        league: What is granted.
        corpus: Draws the public corpus: number of sequences and seed to samples.
        total: Credits; infinite when unmetered.
        reference: The model before the edit, for the leagues that grant it.
        siblings: Clean models of other worlds, for the league that grants them.
        max_rows: Largest number of sequences in one call; for `vjp`, of sequences times cotangents.
        room: Bytes of results to remember, so that a repeat need not be computed again.
        ledger: Keeps the charges beyond this process; None for a round that ends with it.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        league: League,
        corpus: CorpusSampler,
        total: float,
        reference: Transformer | None = None,
        siblings: Sequence[Transformer] = (),
        max_rows: int = 1024,
        room: int = 256 * 2**20,
        ledger: Ledger | None = None,
    ) -> None:
        self._model, self._league, self._corpus = model, league, corpus
        self._reference, self._siblings = reference, tuple(siblings)
        self._meter, self._role = Meter(total, max_rows, room, ledger), "subject"

    @property
    def config(self) -> TransformerConfig:
        """Shapes of the model; free, and still readable after closing."""
        return self._model.cfg

    @property
    def budget(self) -> Budget:
        """Credits granted and charged so far; free, and still readable after closing."""
        return self._meter.budget

    def close(self) -> None:
        """Refuse every further call, to this toolbox and to those that it opened."""
        self._meter.close()

    def logits(self, tokens: Tensor, interventions: Sequence[Intervention] = ()) -> Tensor:
        """Logits, `[row, pos, d_vocab]`; see `game.api.Toolbox`."""
        return self._forward("logits", tokens, ("logits",), interventions)["logits"]

    def activations(
        self, tokens: Tensor, names: Sequence[str], interventions: Sequence[Intervention] = ()
    ) -> Results:
        """Activations by hook name; see `game.api.Toolbox`."""
        return self._forward("activations", tokens, names, interventions)

    def vjp(
        self,
        tokens: Tensor,
        names: Sequence[str],
        cotangent: Mapping[str, Tensor],
        interventions: Sequence[Intervention] = (),
    ) -> Results:
        """Gradients by hook name; see `game.api.Toolbox`."""
        hooks = self._checked_run(tokens, interventions)
        shapes = self._shapes(tokens)
        names = requests.checked_names("hook", names, self.config.hook_names())
        starts = requests.checked_cotangents(cotangent, shapes)
        requests.check_rows(len(tokens) * starts.count, self.budget.max_rows, "sequences times cotangents")
        requests.check_answer(names, shapes, starts.count)
        self._check_granted("vjp", interventions)

        def compute() -> Results:
            found = passes.gradients(self._model, tokens, names, starts.arrays, hooks)
            return found if starts.stacked else {name: gradient[0] for name, gradient in found.items()}

        arrays, price = [*starts.arrays.items()], vjp_price(len(tokens), starts.count)
        return self._buy(price, compute, "vjp", tokens, sorted(names), arrays, starts.stacked, interventions)

    def weight(self, name: str) -> Tensor:
        """One weight tensor; see `game.api.Toolbox`."""
        self._meter.check_open()
        requests.check_name("weight", name, self.config.weight_shapes())
        self._check_granted("weight")
        price = weight_price(self.config, name)
        return self._buy(price, lambda: {name: self._model.get_parameter(name)}, "weight", name)[name]

    def sample(self, n: int, seed: int = 0) -> Samples:
        """Sequences of the public corpus; see `game.api.Toolbox`."""
        self._meter.check_open()
        requests.check_draw(n, seed)
        samples = self._corpus(n, seed)
        return Samples(samples.tokens.clone(), samples.lengths.clone())

    def sibling(self, index: int) -> "ModelToolbox":
        """A clean model of another world; see `game.api.Toolbox`."""
        self._meter.check_open()
        requests.check_whole("index", index, 0, 10**6)
        self._check_granted("sibling")
        if index >= len(self._siblings):
            raise AccessError(f"no sibling {index}: this case has {len(self._siblings)}")
        return self._opened(self._siblings[index], f"sibling {index}")

    def reference(self) -> "ModelToolbox":
        """The model before the edit; see `game.api.Toolbox`."""
        self._meter.check_open()
        self._check_granted("reference")
        if self._reference is None:
            raise AccessError("no reference: this case has none")
        return self._opened(self._reference, "reference")

    def _opened(self, model: Transformer, role: str) -> "ModelToolbox":
        """A toolbox over another model, on the same meter, that opens nothing further."""
        budget = self.budget
        opened = ModelToolbox(
            model, league="whitebox", corpus=self._corpus, total=budget.total, max_rows=budget.max_rows
        )
        opened._meter, opened._role = self._meter, role
        return opened

    def _forward(
        self, call: str, tokens: Tensor, names: Sequence[str], interventions: Sequence[Intervention]
    ) -> Results:
        hooks = self._checked_run(tokens, interventions)
        names = requests.checked_names("hook", names, (*self.config.hook_names(), "logits"))
        requests.check_answer(names, self._shapes(tokens))
        self._check_granted(call, interventions)

        def compute() -> Results:
            return passes.forward(self._model, tokens, names, hooks)

        results = self._buy(
            forward_price(len(tokens)), compute, "forward", tokens, sorted(names), interventions
        )
        return {name: results[name] for name in names}

    def _checked_run(self, tokens: Tensor, interventions: Sequence[Intervention]) -> passes.Hooks:
        """The interventions as hook functions, once the arguments of a run have passed their checks."""
        self._meter.check_open()
        requests.check_tokens(tokens, self.config, self.budget.max_rows)
        shapes = self.config.hook_shapes(*tokens.shape)
        return compile_interventions(interventions, shapes, self._model.unembed.W_U.device)

    def _shapes(self, tokens: Tensor) -> dict[str, tuple[int, ...]]:
        """Shapes of all activations of a run, logits included."""
        logits = {"logits": (*tokens.shape, self.config.d_vocab)}
        return self.config.hook_shapes(*tokens.shape) | logits

    def _check_granted(self, call: str, interventions: Sequence[Intervention] = ()) -> None:
        if call in ("sibling", "reference") and self._role != "subject":
            advice = "ask the toolbox of the model under audit"
            raise AccessError(f"{call}: the toolbox of a {self._role.split()[0]} opens no other; {advice}")
        for what in (call, "interventions") if interventions else (call,):
            if self._league not in GRANTED_BY[what]:
                granting = ", ".join(GRANTED_BY[what])
                raise AccessError(f"{what}: not granted by the {self._league} league; granted by: {granting}")

    def _buy(self, price: float, compute: Callable[[], Results], *request: object) -> Results:
        return self._meter.buy(call_key(self._role, *request), price, compute)
