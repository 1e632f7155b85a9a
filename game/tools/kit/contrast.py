"""Directions found in contrast pairs without labels: what is consistent between a claim and its opposite.

Each pair is one statement, claimed false (`x0`) and claimed true (`x1`). Both sides are centred apart, so
that what merely says which claim was made is gone, and scaled alike. Every method yields a direction `w`
along which the difference `x1 - x0` is read: positive is believed, negative is not. None of them knows what
truth is: any property whose effect changes sign with the claim is as consistent as truth, and a louder one
wins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from game.tools.kit.chance import generator

EPOCHS, RATE, DECAY, RESTARTS = 1000, 1e-3, 0.01, 10  # Burns et al. 2022
RIDGE = 0.1  # of the sums' covariance, in units of its mean eigenvalue


@dataclass(frozen=True)
class Sides:
    """Both sides of contrast pairs, centred apart and scaled alike.

    Attributes:
        x0, x1: `[pair, d]`, claimed false and claimed true.
    """

    x0: Tensor
    x1: Tensor

    @property
    def difference(self) -> Tensor:
        """`[pair, d]`."""
        return self.x1 - self.x0

    def of(self, rows: Tensor) -> "Sides":
        """Some of the pairs."""
        return Sides(self.x0[rows], self.x1[rows])


@dataclass(frozen=True)
class Scaling:
    """How pairs are centred and scaled; measured on the pairs that a direction is fitted on.

    Attributes:
        mean0, mean1: `[d]`, or one row for each cluster, `[cluster, d]`.
        spread: `[d]`; infinite where nothing varies.
    """

    mean0: Tensor
    mean1: Tensor
    spread: Tensor

    @classmethod
    def of(cls, x0: Tensor, x1: Tensor, cluster: Tensor) -> "Scaling":
        """Means within each cluster, and one spread of both sides about them.

        Args:
            x0: `[pair, d]`.
            x1: `[pair, d]`.
            cluster: Numbers from 0, `[pair]`; all 0 for one mean.
        """
        mean0, mean1 = (_means(x, cluster) for x in (x0, x1))
        spread = torch.cat([x0 - mean0[cluster], x1 - mean1[cluster]]).std(0, correction=0)
        return cls(mean0, mean1, torch.where(spread > 1e-9, spread, torch.inf))

    def apply(self, x0: Tensor, x1: Tensor, cluster: Tensor) -> Sides:
        """The pairs, centred and scaled."""
        return Sides((x0 - self.mean0[cluster]) / self.spread, (x1 - self.mean1[cluster]) / self.spread)


def _means(x: Tensor, cluster: Tensor) -> Tensor:
    """Mean of each cluster, `[cluster, d]`."""
    chosen = functional.one_hot(cluster).double()  # [row, cluster]
    return (chosen.T @ x) / chosen.sum(0)[:, None].clamp(min=1)


def ccs_restarts(sides: Sides, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Contrast-consistent search: directions `[restart, d]`, biases and losses `[restart]`.

    Minimises mean((p0 + p1 - 1)^2 + min(p0, p1)^2) with p = sigmoid(x . w + b); AdamW treats every weight by
    itself, so that all restarts run in one batch as they would alone.

    Source: Burns et al. 2022, arXiv 2212.03827.
    """
    start = torch.randn(RESTARTS, sides.x0.shape[1], generator=generator(seed))
    w = (start / start.norm(dim=1, keepdim=True)).requires_grad_()
    b = torch.zeros(RESTARTS, requires_grad=True)
    x0, x1 = sides.x0.float(), sides.x1.float()
    optimizer = torch.optim.AdamW([w, b], lr=RATE, weight_decay=DECAY)
    with torch.enable_grad():
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            _ccs_losses(w, b, x0, x1).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        return w.detach().double(), b.detach().double(), _ccs_losses(w, b, x0, x1).double()


def _ccs_losses(w: Tensor, b: Tensor, x0: Tensor, x1: Tensor) -> Tensor:
    p0, p1 = (torch.sigmoid(x @ w.T + b) for x in (x0, x1))  # [pair, restart]
    return ((p0 + p1 - 1).square() + torch.minimum(p0, p1).square()).mean(0)


def crc(sides: Sides) -> Tensor:
    """The difference's direction of most variance, `[d]`.

    Source: contrastive representation clustering by the top principal component, Burns et al. 2022, arXiv
    2212.03827, appendix; Emmons 2023, "Contrast pairs drive the empirical performance of CCS".
    """
    directions: Tensor = torch.linalg.svd(sides.difference, full_matrices=False).Vh
    return directions[0]


def contrastive_eigenvector(sides: Sides) -> Tensor:
    """The direction along which differences vary most for what sums vary, `[d]`.

    Maximises w'Cov(x1 - x0)w / w'(Cov(x1 + x0) + ridge)w: a feature that both sides share, whatever is
    claimed, is in the sums.
    """
    from scipy.linalg import eigh

    apart, together = (_covariance(x) for x in (sides.difference, sides.x0 + sides.x1))
    ridge = RIDGE * together.diagonal().mean() * torch.eye(len(together)).double()
    _, vectors = eigh(apart.numpy(), (together + ridge).numpy())
    return torch.from_numpy(vectors[:, -1].copy())


def _covariance(x: Tensor) -> Tensor:
    return x.T @ x / len(x)


def two_means(sides: Sides, seed: int) -> tuple[Tensor, float]:
    """The direction between two clusters of differences, `[d]`, and where along it their border is."""
    from sklearn.cluster import KMeans

    centres = KMeans(2, n_init=10, random_state=seed).fit(sides.difference.numpy()).cluster_centers_
    low, high = torch.from_numpy(centres).double()
    return high - low, float((high - low) @ (high + low) / 2)


def random_directions(d: int, count: int, seed: int) -> Tensor:
    """`[direction, d]`, without any preference."""
    return torch.randn(count, d, generator=generator(seed)).double()


def up_to_sign(told: Tensor, labels: Tensor) -> Tensor:
    """Share of equal entries, or of different ones if there are more: a direction has no sign.

    Args:
        told: Boolean `[..., pair]`.
        labels: Boolean, broadcast against it.
    """
    share = (told == labels).double().mean(-1)
    return torch.maximum(share, 1 - share)
