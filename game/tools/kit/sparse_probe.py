"""Sparse probes: which few coordinates of an activation tell a label, by a penalty on absolute weights."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from game.tools.kit.chance import different

_PENALTIES = 50  # along the path, from where no coordinate counts
_SMALLEST = 0.02  # of the largest penalty


def order_of_entry(x: Tensor, labels: Tensor) -> Tensor:
    """Coordinates in the order in which a falling L1 penalty lets them into the regression of the labels.

    Those that enter at the same penalty are ordered by their weight there; those that never do are left out.

    Args:
        x: `[row, d]`; standardised here, and a coordinate that never changes is zero.
        labels: Boolean, `[row]`.

    Source: Tibshirani 1996, the lasso, by scikit-learn's coordinate descent.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lasso_path

    told, inputs = labels.double() - labels.double().mean(), _standardised(x, x)
    largest = float((inputs.T @ told).abs().max()) / len(told)
    if not largest > 0:
        return torch.arange(1)
    penalties = largest * _SMALLEST ** torch.linspace(0, 1, _PENALTIES).double()
    with warnings.catch_warnings():  # for the order of entry a weight's last digits do not count
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, path, _ = lasso_path(inputs.numpy(), told.numpy(), alphas=penalties.numpy())
    weights = torch.from_numpy(path).abs()  # [coordinate, penalty]
    entry = (weights > 0).double().argmax(1)
    by_weight = weights.gather(1, entry[:, None])[:, 0].argsort(descending=True, stable=True)
    order = by_weight[entry[by_weight].argsort(stable=True)]
    return order[(weights > 0).any(1)[order]]


def of_few(
    x: Tensor, labels: Tensor, fold: Tensor, orders: Sequence[Tensor], sizes: Sequence[int], strength: float
) -> Tensor:
    """Each row's probability by ridge regressions on the first coordinates of an order, `[row, size]`.

    Args:
        x: `[row, d]`.
        labels: Boolean, `[row]`.
        fold: Number of each row's fold, `[row]`; judged on the fold that was left out.
        orders: Of the coordinates, one for each fold in ascending order.
        sizes: How many coordinates are used.
        strength: Of the ridge's penalty on standardised weights.
    """
    from sklearn.linear_model import Ridge

    found = torch.zeros(len(x), len(sizes)).double()
    for number, order in zip(different(fold).tolist(), orders, strict=True):
        out = fold == number
        train, test = _standardised(x[~out], x[~out]), _standardised(x[out], x[~out])
        for column, size in enumerate(sizes):
            few = order[:size]
            model = Ridge(alpha=strength).fit(train[:, few].numpy(), labels[~out].double().numpy())
            found[out, column] = torch.from_numpy(model.predict(test[:, few].numpy()))
    return found


def _standardised(x: Tensor, like: Tensor) -> Tensor:
    """By the mean and spread of other rows; zero where these never change."""
    mean, spread = like.double().mean(0), like.double().std(0, correction=0)
    changes = spread > 1e-6 * mean.abs() + 1e-12
    return torch.where(changes, (x.double() - mean) / spread.clamp(min=1e-12), 0.0)
