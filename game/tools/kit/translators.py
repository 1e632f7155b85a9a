"""Translators: affine maps that carry the residual stream of a site into the last layer's coordinates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from game.tools.kit.readout import Readout


@dataclass(frozen=True)
class Translator:
    """The map h -> h + h A + b, float64.

    Attributes:
        matrix: A, `[d_model, d_model]`.
        bias: b, `[d_model]`.
    """

    matrix: Tensor
    bias: Tensor

    def carried(self, stream: Tensor) -> Tensor:
        """The stream in the last layer's coordinates, `[..., d_model]`."""
        return stream + stream @ self.matrix + self.bias


def fitted_translator(
    stream: Tensor, final: Tensor, readout: Readout, strength: float, steps: int
) -> Translator:
    """The translator whose reading of the stream is nearest to the final distribution, by mean KL.

    It starts at the identity, and the best that was seen is kept, so that on these tokens it is never worse
    than the identity, and is the identity where that leaves nothing to gain.

    Args:
        stream: At the site, `[token, d_model]`.
        final: Log-probabilities at the end, `[token, d_vocab]`.
        readout: The final norm and the unembedding.
        strength: Of the penalty on A, |A|^2 / 2; each token's KL counts `1 / strength`.
        steps: Of L-BFGS, at most.

    Source: Belrose et al. 2023, arXiv 2303.08112.
    """
    centre = stream.mean(0)
    spread = (stream - centre).square().mean().sqrt().clamp(min=1e-12)
    inputs = (stream - centre) / spread
    entropy = (final.exp() * final).sum(-1).mean()
    weights = torch.zeros(stream.shape[1] + 1, stream.shape[1], dtype=stream.dtype, requires_grad=True)
    best: tuple[float, Tensor] = (torch.inf, weights.detach().clone())
    search = torch.optim.LBFGS(
        [weights], max_iter=steps, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> float:
        nonlocal best
        search.zero_grad()
        moved = stream + spread * (inputs @ weights[:-1] + weights[-1])
        cross = -(final.exp() * readout.logits(moved).log_softmax(-1)).sum(-1).mean()
        found = entropy + cross + strength * weights[:-1].square().sum() / (2 * len(stream))
        found.backward()  # type: ignore[no-untyped-call]  # torch's own
        if float(found.detach()) < best[0]:
            best = (float(found.detach()), weights.detach().clone())
        return float(found.detach())

    search.step(loss)  # type: ignore[no-untyped-call]  # torch's own
    matrix = best[1][:-1]
    return Translator(matrix, spread * best[1][-1] - centre @ matrix)
