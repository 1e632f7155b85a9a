"""What the norms do to vectors and to gradients of the residual stream."""

from torch import Tensor

from game.api import TransformerConfig


def centred(vectors: Tensor, config: TransformerConfig) -> Tensor:
    """Vectors of the residual stream without what LayerNorm cannot see, their mean."""
    if config.normalization_type != "LN":
        return vectors
    return vectors - vectors.mean(-1, keepdim=True)


def normalized(stream: Tensor, config: TransformerConfig) -> Tensor:
    """The stream as a norm leaves it, before gain and bias."""
    if config.normalization_type is None:
        return stream
    stream = centred(stream, config)
    return stream / (stream.square().mean(-1, keepdim=True) + config.eps).sqrt()


def before_norm(gradient: Tensor, stream: Tensor, config: TransformerConfig) -> Tensor:
    """Gradient with respect to the stream, given that with respect to `normalized(stream)`.

    Args:
        gradient: `[..., d_model]`.
        stream: What the norm reads, `[..., d_model]`.
        config: Which norm.
    """
    if config.normalization_type is None:
        return gradient
    after, scale = normalized(stream, config), norm_scale(stream, config)
    return centred(gradient - after * (after * gradient).mean(-1, keepdim=True), config) / scale


def norm_scale(stream: Tensor, config: TransformerConfig) -> Tensor:
    """By what a norm divides the stream, `[..., 1]`; ones without a norm."""
    if config.normalization_type is None:
        return stream.new_ones(*stream.shape[:-1], 1)
    return (centred(stream, config).square().mean(-1, keepdim=True) + config.eps).sqrt()
