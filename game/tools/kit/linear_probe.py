"""Linear probes: logistic and ridge regressions of yes-or-no labels on standardised activations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from game.tools.kit.chance import different


@dataclass(frozen=True)
class LinearProbe:
    """P(label) = sigmoid(x . direction + intercept).

    Attributes:
        direction: `[d]`, float64.
        intercept: A number.
    """

    direction: Tensor
    intercept: float

    def logit(self, x: Tensor) -> Tensor:
        """Log odds of the label, `[...]` for `x` of `[..., d]`."""
        return x.double() @ self.direction + self.intercept


def fitted(x: Tensor, labels: Tensor, strength: float) -> LinearProbe:
    """The probe of `[row, d]` activations and boolean labels, with an L2 penalty on standardised weights.

    Args:
        x: Activations; a coordinate that is the same in every row gets no weight.
        labels: `[row]`, of both kinds.
        strength: The penalty is |w|^2 / 2, and each row's log loss counts `1 / strength`.

    Source: scikit-learn's `LogisticRegression`.
    """
    from sklearn.linear_model import LogisticRegression

    x = x.double()
    mean, scale = _standard(x)
    model = LogisticRegression(C=1 / strength, max_iter=2000)
    model.fit(((x - mean) / scale).numpy(), labels.numpy())
    direction = torch.from_numpy(model.coef_[0]) / scale
    return LinearProbe(direction, float(model.intercept_[0]) - float(mean @ direction))


def out_of_fold(x: Tensor, labels: Tensor, fold: Tensor, strength: float) -> Tensor:
    """Each row's probability of each label by the ridge regression of the other folds, `[row, label]`.

    All labels are fitted at once, which is what makes many shuffled copies of one cheap.

    Args:
        x: `[row, d]`; standardised with the other folds' means and spreads.
        labels: Boolean `[row, label]`, each its own task.
        fold: Number of each row's fold, `[row]`.
        strength: Of the penalty on standardised weights, in units of one row's squared error.

    Source: scikit-learn's `Ridge`.
    """
    from sklearn.linear_model import Ridge

    x, told = x.double(), labels.double()
    found = torch.zeros_like(told)
    for number in different(fold):
        out = fold == number
        mean, scale = _standard(x[~out])
        model = Ridge(alpha=strength).fit(((x[~out] - mean) / scale).numpy(), told[~out].numpy())
        predicted = torch.from_numpy(model.predict(((x[out] - mean) / scale).numpy()))
        found[out] = predicted.view(-1, told.shape[1])
    return found


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each coordinate's mean and spread, the latter infinite where the coordinate never changes."""
    mean, spread = x.mean(0), x.std(0, correction=0)
    return mean, torch.where(spread > 1e-6 * mean.abs() + 1e-12, spread, torch.inf)


def auc(scores: Tensor, labels: Tensor) -> Tensor:
    """P(a true row scores above a false one) for each column, `[label]`; ties count as halves.

    Args:
        scores: `[row, label]`.
        labels: Boolean `[row, label]`, of both kinds in every column.
    """
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=0))
    n_true, n_false = labels.sum(0), (~labels).sum(0)
    return ((ranks * labels).sum(0) - n_true * (n_true + 1) / 2) / (n_true * n_false)


def calibration_error(p: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Mean gap of predicted and observed probability over equal bins of it, weighted by their rows.

    Source: Guo et al. 2017, arXiv 1706.04599.
    """
    chosen = (p.clamp(0, 1) * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.double).index_add_(0, chosen, p.clamp(0, 1) - labels.double())
    return float(gaps.abs().sum() / len(p))
