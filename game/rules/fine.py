"""The rules of a location finer than components: known places, finite numbers, directions that are some."""

from collections.abc import Mapping

from torch import Tensor

from game.api import Fine
from game.rules.faults import ReportError, finite, finite_floats, shown
from models.components import Entries, component_entries
from models.naming import unknown
from models.transformer import TransformerConfig

MAX_DIRECTIONS = 16  # of one matrix
MAX_NUMBERS = 200_000  # in all directions together
SHORTEST = 1e-12  # a vector below this norm points nowhere


def checked_fine(fine: object, config: TransformerConfig) -> Fine:
    """A plain copy of a finer location; directions keep their lengths, in float32 on the CPU.

    Raises:
        ReportError: It breaks a rule; the message names the place and what is allowed.
    """
    if not isinstance(fine, Fine):
        raise ReportError(f"fine: got {shown(fine)}, wanted a Fine")
    for name in ("matrices", "neurons", "directions"):
        if not isinstance(getattr(fine, name), Mapping):
            raise ReportError(f"fine: {name}: got {shown(getattr(fine, name))}, wanted a mapping")
    widths = _widths(config)
    return Fine(
        {
            _entries(name, widths, "matrices"): _number("matrices", name, p)
            for name, p in fine.matrices.items()
        },
        {_neuron(key, config): _number("neurons", key, p) for key, p in fine.neurons.items()},
        _directions(fine.directions, widths),
    )


def _widths(config: TransformerConfig) -> dict[str, int | None]:
    """Parameter entries by name, with the last axis of those that are a matrix."""
    shapes, widths = config.weight_shapes(), {}
    for parts in component_entries(config).values():
        for part in parts:
            shape = shapes[part.tensor] if part.head is None else shapes[part.tensor][1:]
            widths[str(part)] = shape[-1] if len(shape) == 2 else None
    return widths


def _entries(name: object, widths: Mapping[str, int | None], what: str) -> str:
    if not isinstance(name, str) or name not in widths:
        raise ReportError(f"fine: {what}: {unknown('parameter entries', str(name), widths)}")
    return str(Entries.parse(name))


def _number(what: str, key: object, value: object) -> float:
    return finite(f"fine: {what}: {key}", value)


def _neuron(key: object, config: TransformerConfig) -> tuple[int, int]:
    if not (isinstance(key, tuple) and len(key) == 2 and all(type(each) is int for each in key)):
        raise ReportError(f"fine: neurons: key {str(key)[:60]!r} is no (layer, neuron) of whole numbers")
    layer, neuron = key
    layers = [number for number, has_mlp in enumerate(config.mlp) if has_mlp]
    if layer not in layers or not 0 <= neuron < config.d_mlp:
        legal = f"layers {layers}, neurons 0 to {config.d_mlp - 1}"
        raise ReportError(f"fine: neurons: got ({layer}, {neuron}); allowed: {legal}")
    return layer, neuron


def _directions(directions: Mapping[str, Tensor], widths: Mapping[str, int | None]) -> dict[str, Tensor]:
    checked: dict[str, Tensor] = {}
    matrices = {name: width for name, width in widths.items() if width is not None}
    for name, vectors in directions.items():
        name = _entries(name, matrices, "directions")
        checked[name] = _checked(f"fine: directions: {name}", vectors, matrices[name] or 0)
        if sum(each.numel() for each in checked.values()) > MAX_NUMBERS:
            raise ReportError(f"fine: directions: more than {MAX_NUMBERS} numbers; at most that many in all")
    return checked


def _checked(where: str, vectors: object, width: int) -> Tensor:
    copy = finite_floats(where, vectors, f"[k, {width}]")
    if copy.ndim != 2 or copy.shape[1] != width or not 1 <= len(copy) <= MAX_DIRECTIONS:
        raise ReportError(
            f"{where}: got shape {list(copy.shape)}; allowed: [k, {width}] with k from 1 to {MAX_DIRECTIONS}"
        )
    if float(copy.double().norm(dim=-1).min()) < SHORTEST:
        raise ReportError(f"{where}: got a vector of norm 0; allowed: vectors that point somewhere")
    return copy
