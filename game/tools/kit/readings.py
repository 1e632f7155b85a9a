"""Activations of a corpus read through the toolbox, aligned at the end of each sequence."""

from collections.abc import Sequence

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.requests import checked_prompts
from game.tools.kit.batches import batches


def checked(config: TransformerConfig, samples: Samples, where: str = "samples") -> int:
    """The shortest sequence's length, once the model can take the samples.

    Raises:
        RequestError: Wrong types or shapes, none, no such token, or a length that its row does not have.
    """
    tokens, lengths = checked_prompts(samples.tokens, config, where), samples.lengths
    if lengths.shape != tokens.shape[:1] or lengths.dtype != torch.int64:
        raise RequestError(
            f"{where}: got {lengths.dtype} lengths {list(lengths.shape)}; wanted int64 [{len(tokens)}]"
        )
    if lengths.min() < 1 or lengths.max() > tokens.shape[1]:
        wrong = int(lengths.min() if lengths.min() < 1 else lengths.max())
        raise RequestError(f"{where}: got a length of {wrong}; allowed: 1 to {tokens.shape[1]}")
    return int(lengths.min())


def checked_hook(config: TransformerConfig, name: str, width: int | None = None) -> None:
    """Nothing, if that hook exists and is a vector at each position, of that width where one is wanted.

    Raises:
        RequestError: It is not.
    """
    shapes = config.hook_shapes(1, 1)
    vectors = [hook for hook, shape in shapes.items() if len(shape) == 3 and shape[2] > 1]
    if name not in vectors:
        raise RequestError(f'hook: got "{name}"; allowed: {", ".join(vectors)}')
    if width is not None and shapes[name][2] != width:
        raise RequestError(f"direction: got length {width}; {name} holds {shapes[name][2]}")


def check_vector(where: str, vector: Tensor, width: int) -> None:
    """Nothing, if that is one vector of that many finite numbers.

    Raises:
        RequestError: It is not.
    """
    if vector.shape != (width,):
        raise RequestError(f"{where}: got shape {list(vector.shape)}; wanted [{width}], finite")
    if not bool(vector.isfinite().all()):
        raise RequestError(f"{where}: got NaN or infinity; wanted [{width}], finite")


def stream_names(config: TransformerConfig) -> tuple[str, ...]:
    """The residual stream's hooks, from the embedding to the last layer."""
    return ("blocks.0.hook_resid_pre", *(f"blocks.{l}.hook_resid_post" for l in range(config.n_layers)))


def stream_labels(config: TransformerConfig) -> list[str]:
    """What a reader calls the hooks of `stream_names`."""
    return ["embed", *(f"layer {l}" for l in range(config.n_layers))]


def tail_labels(positions: int) -> list[str]:
    """Positions by their distance from each sequence's last token, which is 0."""
    return [str(distance) for distance in range(1 - positions, 1)]


def read_tail(box: Toolbox, samples: Samples, names: Sequence[str], positions: int) -> dict[str, Tensor]:
    """Activations at each sequence's last `positions` tokens, `[sample, position, ...]`, the last one last.

    Price: a forward pass of every sequence, whatever is read.
    """
    parts = []
    for chosen in batches(box, len(samples.tokens)):
        found = box.activations(samples.tokens[chosen], list(names))
        at = samples.lengths[chosen, None] + torch.arange(-positions, 0)  # [sample, position]
        parts.append({name: value[torch.arange(len(chosen))[:, None], at] for name, value in found.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def read_last(box: Toolbox, samples: Samples, name: str) -> Tensor:
    """One activation at each sequence's last token, `[sample, ...]`, float64."""
    return read_tail(box, samples, [name], 1)[name][:, 0].double()
