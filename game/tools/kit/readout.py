"""How the last residual stream becomes logits, so that a part of the stream can be told what it says.

With u the unembedding of what is asked, such as the answer's column minus the distractor's, and g, b and s
the final norm's gain, bias and scale at a position, the logit difference there is

    resid . r + b . u + b_U part,   r = ((g o u) P) / s,

where P takes the mean away under LayerNorm and is the identity otherwise. It is linear in the stream once s
is known, so every part of the stream has an exact share `part . r`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import Toolbox, TransformerConfig
from game.toolbox.prices import weight_price
from game.tools.kit.norms import centred, normalized

SCALE = "ln_final.hook_scale"


@dataclass(frozen=True)
class Readout:
    """The final norm and the unembedding, float64.

    Attributes:
        W_U: `[d_model, d_vocab]`.
        b_U: `[d_vocab]`.
        gain: `[d_model]`.
        bias: `[d_model]`.
        config: The model's shapes, and the kind of its norm.
    """

    W_U: Tensor
    b_U: Tensor
    gain: Tensor
    bias: Tensor
    config: TransformerConfig

    def directions(self, weights: Tensor, scale: Tensor) -> Tensor:
        """R for each row and position, `[row, pos, d_model]`.

        Args:
            weights: What each logit counts for, `[row, d_vocab]`.
            scale: The final norm's scale, `[row, pos, 1]`.
        """
        read = centred(self.gain * (weights.double() @ self.W_U.T), self.config)  # [row, d_model]
        return read[:, None] / scale.double()

    def constant(self, weights: Tensor) -> Tensor:
        """What the biases say, whatever the stream holds, `[row]`."""
        return weights.double() @ (self.b_U + self.bias @ self.W_U)

    def logits(self, stream: Tensor) -> Tensor:
        """Logits of any residual stream, `[..., d_vocab]`."""
        return normalized(stream.double(), self.config) * self.gain @ self.W_U + (
            self.bias @ self.W_U + self.b_U
        )


def read_readout(box: Toolbox) -> Readout:
    """The final norm and the unembedding; the price is `readout_price`."""
    config = box.config
    shapes = config.weight_shapes()
    gain = box.weight("ln_final.w") if "ln_final.w" in shapes else torch.ones(config.d_model)
    bias = box.weight("ln_final.b") if "ln_final.b" in shapes else torch.zeros(config.d_model)
    W_U, b_U = box.weight("unembed.W_U"), box.weight("unembed.b_U")
    return Readout(W_U.double(), b_U.double(), gain.double(), bias.double(), config)


def readout_price(config: TransformerConfig) -> float:
    """Credits of `read_readout`."""
    names = [name for name in config.weight_shapes() if name.startswith(("ln_final.", "unembed."))]
    return sum(weight_price(config, name) for name in names)


def scale_names(config: TransformerConfig) -> tuple[str, ...]:
    """The hook of the final norm's scale, where there is a norm."""
    return () if config.normalization_type is None else (SCALE,)


def scale_of(found: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """The final norm's scale, `[row, pos, 1]`, among activations; ones where there is no norm."""
    return found[SCALE].double() if SCALE in found else torch.ones(*tokens.shape, 1).double()
