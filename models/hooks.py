"""Hook points: named identity modules through which every activation of a model passes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from models.naming import unknown

HookFunction = Callable[[Tensor, "HookPoint"], Tensor | None]
NamesFilter = str | Sequence[str] | Callable[[str], bool] | None


class HookPoint(nn.Module):
    """The identity, under a name; idle unless a hook is attached."""

    name: str = ""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @property
    def idle(self) -> bool:
        """True when nothing listens here, so that an optional value need not be computed."""
        return not self._forward_hooks


def named_hook_points(model: nn.Module) -> dict[str, HookPoint]:
    """The model's hook points by module path, each told its own name."""
    points = {name: module for name, module in model.named_modules() if isinstance(module, HookPoint)}
    for name, point in points.items():
        point.name = name
    return points


def matching_names(names_filter: NamesFilter, known: Iterable[str]) -> list[str]:
    """The known hook names that a filter selects; None selects all.

    Raises:
        KeyError: A name of the filter is no hook point, or a predicate selects nothing.
    """
    known = list(known)
    if names_filter is None:
        return known
    if callable(names_filter):
        chosen = [name for name in known if names_filter(name)]
        if not chosen:
            raise KeyError("the names filter selects no hook point")
        return chosen
    wanted = [names_filter] if isinstance(names_filter, str) else list(names_filter)
    for name in wanted:
        if name not in known:
            raise KeyError(unknown("hook", name, known))
    return wanted


@contextmanager
def attached(
    points: dict[str, HookPoint],
    hooks: Sequence[tuple[str | Callable[[str], bool], HookFunction]],
) -> Iterator[None]:
    """Attach functions to hook points, and detach them all on the way out, exception or not.

    Raises:
        KeyError: A name is no hook point, or a predicate selects nothing; nothing stays attached.
    """
    handles = []
    try:
        for names_filter, function in hooks:
            for name in matching_names(names_filter, points):
                handles.append(points[name].register_forward_hook(_torch_hook(function)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _torch_hook(function: HookFunction) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    """A torch forward hook that calls `function(tensor, hook)`, TransformerLens's signature."""

    def hook(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        assert isinstance(module, HookPoint)
        return function(output, module)

    return hook
