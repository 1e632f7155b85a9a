"""A suspected circuit: parts of a model, and the interventions that take them out or leave nothing else."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from game.api import Intervention, RequestError, TransformerConfig

_NAME = re.compile(r"blocks\.(?P<layer>\d+)\.(?:attn\.(?P<head>\d+)|mlp(?:\[(?P<neuron>\d+)\])?)")
_PLACES = ("attn.hook_z", "mlp.hook_post")  # heads and neurons, on axis 2
Change = Mapping[str, Tensor]  # by hook name what stands in an activation's place, broadcast to it


@dataclass(frozen=True)
class Part:
    """Some heads or neurons of a layer, or one direction that passes a hook.

    Attributes:
        hook: `blocks.0.attn.hook_z` for heads, `blocks.0.mlp.hook_post` for neurons; with a direction, any
            hook whose last axis it fits.
        index: Which heads or neurons; none is all of them.
        positions: At which positions; None is all.
        direction: Instead of heads or neurons, what is projected out.
    """

    hook: str
    index: tuple[int, ...] = ()
    positions: tuple[int, ...] | None = None
    direction: Tensor | None = None

    @property
    def place(self) -> str:
        """The hook's name within its block."""
        return self.hook.split(".", 2)[-1]


def named_circuit(
    config: TransformerConfig,
    parts: Sequence[str],
    hook: str | None,
    directions: Tensor | None,
    positions: tuple[int, ...] | None,
) -> tuple[Part, ...]:
    """Heads, neurons and directions by name, as parts.

    Args:
        config: The model's shapes.
        parts: `blocks.2.attn.1` for a head, `blocks.0.mlp` for a whole MLP, `blocks.0.mlp[3]` for a neuron.
        hook: Where the directions pass.
        directions: `[d]`, or several of them.
        positions: At which positions; None is all.

    Raises:
        RequestError: A name stands for nothing, or of hook and directions there is only one.
    """
    if (hook is None) != (directions is None):
        raise RequestError("hook: wanted together with directions, or neither")
    found = []
    for name in parts:
        match = _NAME.fullmatch(name)
        number = None if match is None else (match["head"] or match["neuron"])
        place = "" if match is None else "attn.hook_z" if match["head"] else "mlp.hook_post"
        layer = -1 if match is None else int(match["layer"])
        if f"blocks.{layer}.{place}" not in config.hook_names():
            raise RequestError(
                f'parts: "{name}"; wanted such as blocks.0.attn.1, blocks.0.mlp, blocks.0.mlp[3]'
            )
        index = () if number is None else (int(number),)
        found.append(Part(f"blocks.{layer}.{place}", index, positions))
    if hook is not None and directions is not None:
        vectors = directions.reshape(-1, directions.shape[-1])
        found += [Part(hook, positions=positions, direction=vector) for vector in vectors]
    return tuple(found)


def check_parts(config: TransformerConfig, circuit: Sequence[Part], length: int) -> None:
    """Nothing, if a model of that shape has these parts.

    Raises:
        RequestError: It has not.
    """
    shapes = config.hook_shapes(1, length)
    for number, part in enumerate(circuit):
        shape = shapes.get(part.hook)
        if shape is None:
            raise RequestError(f'circuit[{number}]: unknown hook "{part.hook}"')
        if part.positions is not None and not set(part.positions) <= set(range(length)):
            raise RequestError(f"circuit[{number}]: positions {part.positions}; allowed: 0 to {length - 1}")
        if part.direction is not None:
            if part.index or part.direction.shape != shape[-1:] or not bool(part.direction.norm() > 0):
                raise RequestError(
                    f"circuit[{number}]: a direction is one vector [{shape[-1]}], not zero, without index"
                )
        elif part.place not in _PLACES or not set(part.index) <= set(range(shape[2])):
            raise RequestError(
                f"circuit[{number}]: {part.hook} {part.index}; allowed: 0 to {config.n_heads - 1} of "
                f"attn.hook_z, 0 to {config.d_mlp - 1} of mlp.hook_post, or a direction"
            )


def taken_out(part: Part, stands_in: Change, config: TransformerConfig) -> Intervention:
    """What runs the model without a part.

    Args:
        part: Which.
        stands_in: What takes the place of each hook's activation.
        config: The model's shapes.
    """
    usual = stands_in[part.hook]
    if part.direction is not None:
        unit = part.direction.float() / part.direction.float().norm()
        offset = float((usual @ unit).mean())
        return Intervention(part.hook, unit, "project_out", positions=part.positions, offset=offset)
    mask = None
    if part.index:
        mask = _marked(part, config)
        mask = mask[:, None] if part.place == "attn.hook_z" else mask
    return Intervention(part.hook, usual, "set", mask=mask, positions=part.positions)


def all_else_out(circuit: Sequence[Part], stands_in: Change, config: TransformerConfig) -> list[Intervention]:
    """What runs the model with no heads and neurons but the circuit's."""
    found = []
    for hook in units(config):
        kept = torch.zeros(_count(hook, config), dtype=torch.bool)
        for part in circuit:
            if part.hook == hook:
                kept |= _marked(part, config)
        mask = ~kept[:, None] if hook.endswith("hook_z") else ~kept
        found.append(Intervention(hook, stands_in[hook], "set", mask=mask))
    return found


def units(config: TransformerConfig) -> tuple[str, ...]:
    """The hooks of all heads and neurons."""
    heads = [f"blocks.{layer}.attn.hook_z" for layer in range(config.n_layers)]
    return (*heads, *(f"blocks.{layer}.mlp.hook_post" for layer, has in enumerate(config.mlp) if has))


def placebo(part: Part, activations: Change, config: TransformerConfig, generator: torch.Generator) -> Part:
    """A part of the same size elsewhere at the same hook.

    As many other heads or neurons, where there are as many; for a direction, a random mixture of how the
    activations there differ from their mean.

    Args:
        part: Which.
        activations: Some activations of each hook, `[token, ...]`.
        config: The model's shapes.
        generator: Draws it.
    """
    if part.direction is not None:
        vectors = activations[part.hook].flatten(0, -2)
        mixture = torch.randn(len(vectors), generator=generator) @ (vectors - vectors.mean(0))
        return replace(part, direction=mixture)
    count = _count(part.hook, config)
    others = [index for index in range(count) if index not in part.index]
    pool = others if len(others) >= len(part.index) else list(range(count))
    drawn = torch.randperm(len(pool), generator=generator)[: len(part.index)]
    return replace(part, index=tuple(pool[index] for index in drawn.tolist()))


def _count(hook: str, config: TransformerConfig) -> int:
    return config.n_heads if hook.endswith("hook_z") else config.d_mlp


def _marked(part: Part, config: TransformerConfig) -> Tensor:
    """Which heads or neurons of the hook are the part's."""
    marked = torch.zeros(_count(part.hook, config), dtype=torch.bool)
    marked[list(part.index) or slice(None)] = True
    return marked
