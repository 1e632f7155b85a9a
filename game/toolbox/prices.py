"""The one price table, in credits: one credit is a forward pass of one sequence, however long.

Prices follow from what a call reveals and were set before any auditor was measured. Whatever is not listed
here (config, budget, sample, a repeat of an identical call) is free. A reference or a sibling costs what
the model under audit costs.
"""

from math import prod

from models.naming import unknown
from models.transformer import TransformerConfig

FORWARD = 1.0  # one sequence through the model, whatever is read on the way
BACKWARD = 2.0  # one sequence back through the model, for one cotangent: twice the arithmetic


def forward_price(rows: int) -> float:
    """Credits of `logits` or `activations` for `rows` sequences."""
    return FORWARD * rows


def vjp_price(rows: int, cotangents: int) -> float:
    """Credits of `vjp` for `rows` sequences and `cotangents` gradients of each."""
    return rows * (FORWARD + BACKWARD * cotangents)


def weight_rate(config: TransformerConfig) -> float:
    """Credits for one weight scalar: as many scalars a credit as one forward pass could show.

    Weights can be read through activations: `set` a hook to one-hot rows, and what leaves the next matrix is
    its rows, at all hooks of all layers at once. A dearer weight would only be read that way, so the rate is
    one over the number of scalars that a forward pass of `n_ctx` tokens can return, logits included. That is
    never above `1 / (n_ctx * max(d_model, d_mlp, d_vocab))`.
    """
    return FORWARD / _scalars_shown(config)


def weight_price(config: TransformerConfig, name: str) -> float:
    """Credits of `weight(name)`.

    Raises:
        KeyError: No weight has that name.
    """
    shapes = config.weight_shapes()
    if name not in shapes:
        raise KeyError(unknown("weight", name, shapes))
    return weight_rate(config) * prod(shapes[name])


def _scalars_shown(config: TransformerConfig) -> int:
    """How many scalars one forward pass of `n_ctx` tokens can return."""
    shapes = config.hook_shapes(1, config.n_ctx).values()
    return sum(prod(shape) for shape in shapes) + config.n_ctx * config.d_vocab
