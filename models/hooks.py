"""Hook points: named identity modules through which every activation of a model passes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from models.naming import unknown

HookFunction = Callable[[Tensor, "HookPoint"], Tensor | None]
NamesFilter = str | Sequence[str] | Callable[[str], bool] | None


class HookPoint(nn.Module):
    """The identity, under a name; idle unless a function is attached, here or as torch's forward hook."""

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.functions: list[HookFunction] = []

    def forward(self, x: Tensor) -> Tensor:
        for function in self.functions:
            changed = function(x, self)
            x = x if changed is None else changed
        return x

    @property
    def idle(self) -> bool:
        """True when nothing listens here, so that an optional value need not be computed."""
        replaced = "forward" in self.__dict__  # as nnsight does
        return not (self.functions or self._forward_hooks or self._forward_pre_hooks or replaced)


def named_hook_points(model: nn.Module) -> dict[str, HookPoint]:
    """The model's hook points by module path, each told its own name."""
    points = {name: module for name, module in model.named_modules() if isinstance(module, HookPoint)}
    for name, point in points.items():
        point.name = name
    return points


def matching_names(names_filter: NamesFilter, known: Mapping[str, object]) -> list[str]:
    """The known hook names that a filter selects; None selects all.

    Raises:
        KeyError: A name of the filter is no hook point, or a predicate selects nothing.
    """
    if names_filter is None:
        return list(known)
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
    pairs = [
        (points[name], function)
        for names_filter, function in hooks
        for name in matching_names(names_filter, points)
    ]
    before = {point: len(point.functions) for point, _ in pairs}
    try:
        for point, function in pairs:
            point.functions.append(function)
        yield
    finally:
        for point, count in before.items():
            del point.functions[count:]
