"""Weights without some of their singular components, as interventions: nothing is rewritten, nothing charged.

What component i of a matrix adds to its output lies along the right singular vector v_i. Projecting v_i out
of the output, down to what the bias has along it, gives exactly what the matrix without that component would.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import weight_price

_NAME = re.compile(r"(?P<tensor>[^\[\]]+)(?:\[(?P<head>\d+)\])?")
_OUTPUTS = {  # end of a weight's name: its output's hook within the block, and its bias
    "mlp.W_out": ("hook_mlp_out", "mlp.b_out"),
    "mlp.W_in": ("mlp.hook_pre", "mlp.b_in"),
    "attn.W_O": ("hook_attn_out", "attn.b_O"),
}
_HEADS = {  # the same for one head's slice
    "attn.W_O": ("attn.hook_result", None),
    "attn.W_Q": ("attn.hook_q", "attn.b_Q"),
    "attn.W_K": ("attn.hook_k", "attn.b_K"),
    "attn.W_V": ("attn.hook_v", "attn.b_V"),
}


@dataclass(frozen=True)
class Matrix:
    """A weight matrix whose output can be changed at a hook.

    Attributes:
        name: As it was asked for, such as `blocks.0.mlp.W_out` or `blocks.1.attn.W_V[2]`.
        tensor: The weight that holds it.
        head: Its slice, if it is a head's.
        hook: Where its output, bias included, can be changed.
        bias: The bias's name, if it has one.
    """

    name: str
    tensor: str
    head: int | None
    hook: str
    bias: str | None

    @classmethod
    def named(cls, config: TransformerConfig, name: str) -> "Matrix":
        """The matrix of that name; `W_O` without a head is that of all heads together.

        Raises:
            RequestError: There is none, or its output cannot be changed.
        """
        match = _NAME.fullmatch(name)
        tensor, head = (match["tensor"], match["head"]) if match else (name, None)
        if tensor not in config.weight_shapes():
            raise RequestError(f'tensor: unknown weight "{tensor}"; such as blocks.0.mlp.W_out')
        if tensor in ("embed.W_E", "pos_embed.W_pos") and head is None:
            return cls(name, tensor, None, f"hook_{tensor.split('.')[0]}", None)
        block, _, end = tensor.partition(".attn.") if ".attn." in tensor else tensor.partition(".mlp.")
        end = tensor.removeprefix(f"{block}.")
        found = (_OUTPUTS if head is None else _HEADS).get(end)
        if found is None or (head is not None and int(head) >= config.n_heads):
            allowed = "W_in, W_out, W_O, or one head's W_Q[0], W_K[0], W_V[0], W_O[0]"
            raise RequestError(f'tensor: "{name}" is not one of {allowed}, embed.W_E, pos_embed.W_pos')
        hook, bias = found
        number = None if head is None else int(head)
        return cls(name, tensor, number, f"{block}.{hook}", None if bias is None else f"{block}.{bias}")

    @property
    def component(self) -> str:
        """The component that owns it; of a whole `W_O`, the first of several heads."""
        if self.head is not None:
            return f"{self.tensor.rsplit('.', 1)[0]}.{self.head}"
        owner = self.tensor.rsplit(".", 1)[0]
        return f"{owner}.0" if owner.endswith("attn") else owner

    def rank(self, config: TransformerConfig) -> int:
        """How many singular components it has."""
        shape = config.weight_shapes()[self.tensor]
        rows = torch.Size(shape[:-1] if self.head is None else shape[1:-1]).numel()
        return min(rows, shape[-1])

    def price(self, config: TransformerConfig) -> float:
        """Credits of `read_components`."""
        return weight_price(config, self.tensor) + (weight_price(config, self.bias) if self.bias else 0.0)


@dataclass(frozen=True)
class Components:
    """The singular components of a matrix, float64.

    Attributes:
        matrix: Which.
        left: `[rows, component]`.
        values: `[component]`, falling.
        right: `[component, columns]`.
        offsets: What the bias has along each right vector, `[component]`.
    """

    matrix: Matrix
    left: Tensor
    values: Tensor
    right: Tensor
    offsets: Tensor

    def without(self, first: int, n_heads: int, rows: tuple[int, ...] | None = None) -> list[Intervention]:
        """What runs the model without the first so many components.

        Args:
            first: How many.
            n_heads: Heads of a layer.
            rows: Of the batch; None is all.
        """
        return [self.without_one(index, n_heads, rows) for index in range(first)]

    def without_one(self, index: int, n_heads: int, rows: tuple[int, ...] | None = None) -> Intervention:
        """What runs the model without one component; arguments as above."""
        head = self.matrix.head
        mask = None if head is None else (torch.arange(n_heads) == head)[:, None]
        return Intervention(
            self.matrix.hook,
            self.right[index],
            "project_out",
            mask=mask,
            rows=rows,
            offset=float(self.offsets[index]),
        )

    def patch(self, first: int) -> tuple[Tensor, Tensor]:
        """What takes the first so many components out of the weight, as factors `left`, `right`."""
        return -self.left[:, :first] * self.values[:first], self.right[:first]


def read_components(box: Toolbox, matrix: Matrix) -> Components:
    """The singular components of a matrix; the price is `matrix.price`."""
    weight = box.weight(matrix.tensor).double()
    weight = weight if matrix.head is None else weight[matrix.head]
    left, values, right = torch.linalg.svd(weight.flatten(0, -2), full_matrices=False)
    offsets = torch.zeros(len(values)).double()
    if matrix.bias is not None:
        bias = box.weight(matrix.bias).double()
        offsets = right @ (bias if matrix.head is None else bias[matrix.head])
    return Components(matrix, left, values, right, offsets)
