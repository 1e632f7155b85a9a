"""The linear regions of a ReLU layer: within one, the MLP is an affine map of the normalized stream.

With r_i what neuron i reads, w_i what it writes, and c the region's code, 1 for each neuron that is on, the
map is M = sum_i c_i outer(r_i, w_i). The norm's gain belongs to r_i, and under LayerNorm means are taken out
of both, as no part of the model sees them; so lengths and products of maps are the same in all coordinates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import weight_price
from game.tools.kit.norms import centred


@dataclass(frozen=True)
class ReluLayer:
    """What the neurons of a layer read and write, float64.

    Attributes:
        read: `[neuron, d_model]`.
        bias: `[neuron]`, with what the norm's bias comes to.
        write: `[neuron, d_model]`.
    """

    read: Tensor
    bias: Tensor
    write: Tensor

    @property
    def reads(self) -> Tensor:
        """Inner products of what any two neurons read, biases included, `[neuron, neuron]`."""
        return self.read @ self.read.T + torch.outer(self.bias, self.bias)

    @property
    def writes(self) -> Tensor:
        """Inner products of what any two neurons write, `[neuron, neuron]`."""
        return self.write @ self.write.T

    @property
    def kernel(self) -> Tensor:
        """Inner products of any two neurons' shares of the map, so that <M_c, M_e> is c K e."""
        return (self.read @ self.read.T) * self.writes

    def maps(self, codes: Tensor) -> Tensor:
        """The map of each code, from a row vector of the normalized stream, `[..., d_model, d_model]`."""
        return self.read.T @ (codes.double()[..., None] * self.write)

    @property
    def lengths(self) -> Tensor:
        """How long what each neuron reads is, bias included, `[neuron]`."""
        return (self.read.square().sum(1) + self.bias.square()).sqrt().clamp(min=1e-30)

    def scaled(self) -> "ReluLayer":
        """The same with neurons that read with length 1, as what they write makes up for it."""
        length = self.lengths
        return ReluLayer(self.read / length[:, None], self.bias / length, self.write * length[:, None])

    def of(self, neurons: Tensor) -> "ReluLayer":
        """Some of the neurons, or all in another order."""
        return ReluLayer(self.read[neurons], self.bias[neurons], self.write[neurons])


def check_relu(config: TransformerConfig, layer: int) -> None:
    """Nothing, if that layer has an MLP with ReLU.

    Raises:
        RequestError: It has not.
    """
    if config.act_fn != "relu":
        raise RequestError(f"model: its neurons are {config.act_fn}; wanted relu, which alone has regions")
    if not 0 <= layer < config.n_layers or not config.mlp[layer]:
        allowed = [l for l in range(config.n_layers) if config.mlp[l]]
        raise RequestError(f"layer: got {layer}; layers with an MLP: {allowed}")


def read_relu_layer(box: Toolbox, layer: int) -> ReluLayer:
    """The layer's neurons; the price is `relu_layer_price`."""
    weights = {name: box.weight(name).double() for name in _names(box.config, layer)}
    norm, mlp = f"blocks.{layer}.ln2", f"blocks.{layer}.mlp"
    read, bias = weights[f"{mlp}.W_in"], weights[f"{mlp}.b_in"]
    if f"{norm}.b" in weights:
        bias = bias + weights[f"{norm}.b"] @ read
    if f"{norm}.w" in weights:
        read = weights[f"{norm}.w"][:, None] * read
    return ReluLayer(centred(read.T, box.config), bias, centred(weights[f"{mlp}.W_out"], box.config))


def relu_layer_price(config: TransformerConfig, layer: int) -> float:
    """Credits of `read_relu_layer`."""
    return sum(weight_price(config, name) for name in _names(config, layer))


def _names(config: TransformerConfig, layer: int) -> list[str]:
    parts = ("ln2.w", "ln2.b", "mlp.W_in", "mlp.b_in", "mlp.W_out")
    return [name for part in parts if (name := f"blocks.{layer}.{part}") in config.weight_shapes()]


def hamming(codes: Tensor, others: Tensor) -> Tensor:
    """In what share of the neurons two codes differ, `[row, row]`."""
    one, other = codes.double(), others.double()
    return (one @ (1 - other).T + (1 - one) @ other.T) / codes.shape[1]
