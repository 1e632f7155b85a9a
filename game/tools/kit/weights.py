"""Reading all weights of a model at once, and which components of two models differ."""

from collections.abc import Mapping

import torch
from torch import Tensor

from game.api import Component, Toolbox, TransformerConfig, component_entries
from game.toolbox.prices import weight_price

Weights = Mapping[str, Tensor]


def price_of_weights(config: TransformerConfig) -> float:
    """Credits of `weights_of`."""
    return sum(weight_price(config, name) for name in config.weight_shapes())


def weights_of(box: Toolbox) -> dict[str, Tensor]:
    """Every weight of the model, by name."""
    return {name: box.weight(name) for name in box.config.weight_shapes()}


def changed_components(first: Weights, second: Weights, config: TransformerConfig) -> frozenset[Component]:
    """The components of which any entry differs in any bit."""
    bits = [
        {name: weight.view(torch.int32) for name, weight in weights.items()} for weights in (first, second)
    ]
    return frozenset(
        component
        for component, entries in component_entries(config).items()
        if not all(each.of(bits[0]).equal(each.of(bits[1])) for each in entries)
    )
