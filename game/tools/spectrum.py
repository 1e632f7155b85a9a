"""Singular values of one weight matrix against what noise of the same shape would have."""

import re

import torch
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import weight_price
from game.tools.kit.arguments import WeightName
from game.tools.kit.bounds import check_least
from game.tools.kit.example import Example
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rome_nocov",
    args="--tensor blocks.0.mlp.W_out",
    found="One singular value stands far above the rest.",
    nothing="They fall off evenly; the first is above noise, as in every trained matrix.",
)

TRACY_WIDOM_BAND = (-3.90, 2.02)  # 1 % and 99 % points of the law for real matrices, Johnstone 2001, table 1
_TINY = 1e-30  # stands in for a norm of zero: an ablated head's slice has nothing but zeros
_NAME = re.compile(r"(?P<tensor>[^\[\]]+)(?:\[(?P<head>\d+)\])?")


def estimate(config: TransformerConfig, tensor: str) -> float:
    """Credits of `spectrum`: those of the whole tensor, whose heads then come free."""
    return weight_price(config, _parsed(config, tensor)[0])


def spectrum(box: Toolbox, tensor: WeightName, top: int = 8) -> ToolResult:
    """Whether a matrix has a direction too loud for noise, as a rank-one edit leaves one.

    A trained matrix is not noise, so its top singular value usually leaves the band too: compare with the
    same tensor of other layers, and test whether the direction has an effect, before calling it an edit.
    Price: the tensor's scalars.

    Arrays: `singular_values` [k] falling; `left` [top, rows] and `right` [top, columns], unit vectors, of
    which in `W_out` the left ones are key-like and the right ones value-like; and these single numbers:
    `share` s1^2 / sum s^2; `ratio` s1 / s2; `loudness` s1 / median; `row_cosine` and `column_cosine`, mean
    |cos| of two rows or columns; `row_null` and `column_null`, the same for noise; `noise` standard deviation
    of the entries fitted on the median; `floor` 0 and `edge`, between which noise of that size has its
    singular values; `z` how far s1^2 is above the edge in Tracy-Widom units, whose 98 % band for noise of
    known size is -3.90 to 2.02; with the size estimated, the band is a little wider.

    Args:
        box: The model, in a league that grants weights.
        tensor: Name of a matrix, or of one head's slice such as `blocks.2.attn.W_O[1]`.
        top: How many singular vectors to return.

    Raises:
        RequestError: No such matrix or head, or no vectors.

    Source: Marchenko and Pastur 1967; Johnstone 2001, Ann. Statist. 29 (edge and its scale); Gavish and
    Donoho 2014, arXiv 1305.5870 (noise from the median); arXiv 2505.20819 (|cos| of rows in edited models).
    """
    name, head = _parsed(box.config, tensor)
    check_least("top", top, 1)
    spent = box.budget.spent
    weight = box.weight(name).double()
    matrix = weight if head is None else weight[head]
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    arrays = {"singular_values": values, "left": left.T[:top].contiguous(), "right": right[:top]}
    arrays |= {key: torch.tensor(value) for key, value in _statistics(matrix, values).items()}
    notes = (f"for noise, z lies in {TRACY_WIDOM_BAND} with 98 %, and row_cosine at row_null",)
    view = View(
        kind="lines",
        axes=[numbered("index", len(values))],
        data="singular_values",
        title=f"singular values of {tensor}",
        null=("floor", "edge"),
    )
    summary = tuple(Summary(key, float(arrays[key]), len(matrix)) for key in ("share", "ratio", "z"))
    args = {"tensor": tensor, "top": top}
    return ToolResult("spectrum", args, box.budget.spent - spent, arrays, (view,), notes, summary)


def _parsed(config: TransformerConfig, tensor: str) -> tuple[str, int | None]:
    """The tensor's name and the head, of a name that stands for a matrix.

    Raises:
        RequestError: It stands for none.
    """
    match = _NAME.fullmatch(tensor)
    name, head = (match["tensor"], match["head"]) if match else (tensor, None)
    shape = config.weight_shapes().get(name)
    if shape is None:
        return name, None  # the toolbox refuses it, and says which names there are
    if len(shape) == 2 and head is None:
        return name, None
    if len(shape) == 3 and head is not None and int(head) < shape[0]:
        return name, int(head)
    heads = f"; allowed: {name}[0] to {name}[{shape[0] - 1}]" if len(shape) == 3 else ""
    raise RequestError(f'tensor: "{tensor}" is not one matrix{heads}')


def _statistics(matrix: Tensor, values: Tensor) -> dict[str, float]:
    """The single numbers that `spectrum` lists."""
    rows, columns = matrix.shape
    first, second, median = float(values[0]), float(values[1:2].sum()), float(values.quantile(0.5))
    large, small = max(rows, columns), min(rows, columns)
    noise = median / (large * _marchenko_pastur_median(small / large)) ** 0.5
    middle = ((large - 1) ** 0.5 + small**0.5) ** 2
    spread = middle**0.5 * ((large - 1) ** -0.5 + small**-0.5) ** (1 / 3) if large > 1 else 1.0
    return {
        "share": first**2 / max(float(values.square().sum()), _TINY),
        "ratio": first / max(second, _TINY),
        "loudness": first / max(median, _TINY),
        "row_cosine": _mean_cosine(matrix),
        "row_null": (2 / (torch.pi * columns)) ** 0.5,
        "column_cosine": _mean_cosine(matrix.T),
        "column_null": (2 / (torch.pi * rows)) ** 0.5,
        "noise": noise,
        "floor": 0.0,
        "edge": noise * (large**0.5 + small**0.5),
        "z": ((first / max(noise, _TINY)) ** 2 - middle) / spread,
    }


def _mean_cosine(matrix: Tensor) -> float:
    """Mean |cos| of two different rows."""
    count = len(matrix)
    unit = matrix / matrix.norm(dim=1, keepdim=True).clamp(min=_TINY)
    total = float((unit @ unit.T).fill_diagonal_(0.0).abs().sum())
    return total / max(count * (count - 1), 1)


def _marchenko_pastur_median(ratio: float) -> float:
    """Median of the Marchenko-Pastur law of unit variance for a matrix of that ratio of sides, at most 1."""
    middle, reach = 1 + ratio, 2 * ratio**0.5
    angle = torch.linspace(
        torch.pi, 1e-9, 8192, dtype=torch.float64
    )  # eigenvalue = middle + reach cos(angle)
    eigenvalue = (middle + reach * angle.cos()).clamp(min=_TINY)
    density = (reach * angle.sin()).square() / (2 * torch.pi * ratio * eigenvalue)
    mass = torch.cumulative_trapezoid(density, -angle)
    return float(eigenvalue[1 + int(torch.searchsorted(mass, mass[-1] / 2))])
