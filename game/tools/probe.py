"""Probes: where in the model a yes-or-no property of the prompt can be read off by a linear classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import GroupOfEach, LabelOfEach
from game.tools.kit.bounds import check_least, check_positive
from game.tools.kit.chance import checked_labels, different, shuffled
from game.tools.kit.example import Example
from game.tools.kit.linear_probe import auc, calibration_error, out_of_fold
from game.tools.kit.readings import checked, read_tail, stream_labels, stream_names, tail_labels
from game.tools.kit.result import Axis, Link, Summary, ToolResult, View

EXAMPLE = Example(
    edit="rrome",
    args="--samples sample:200 --labels has:speaks --shuffles 9 --positions 4",
    found="The relation can be read as before: a probe tells what is there, not what was edited.",
    nothing="The relation is read at the last token from layer 1 on.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `probe` for that many sequences."""
    return forward_price(rows)


def probe(
    box: Toolbox,
    samples: Samples,
    labels: LabelOfEach,
    groups: GroupOfEach | None = None,
    positions: int = 8,
    folds: int = 5,
    shuffles: int = 19,
    strength: float = 10.0,
    seed: int = 0,
) -> ToolResult:
    """How well a label is read off the residual stream, by layer and by distance from the last token.

    A ridge regression per cell, judged on folds that it was not fitted on. The same is done with shuffled
    labels, each shuffle in all cells alike: a real cell that beats the best cell of every shuffle does so by
    chance with probability at most 1 / (1 + shuffles), however many cells there are. Accuracy beyond what
    shuffled labels reach is selectivity. What the embedding's row shows is in the tokens themselves, and a
    probe says where something can be read, not that the model reads it: see `probe_use`. Price: rows.

    Arrays `[site, position]`, all on held-out folds: `auc` (0.5 is chance), `accuracy`, `selectivity` =
    accuracy - mean accuracy on shuffled labels, `brier` (mean squared error of the probability),
    `calibration_error` (mean gap of predicted and observed probability), `stands_out` (boolean); `null_auc`
    `[shuffle]`, each shuffle's best cell.

    Args:
        box: The model, in a league that grants activations.
        samples: Sequences.
        labels: The property, 0 or 1, `[sample]`.
        groups: Rows with the same number, `[sample]`, such as one subject's, stay in one fold; where the
            label depends on the group alone, groups are shuffled and not rows.
        positions: Last tokens to look at; fewer where a sequence is shorter.
        folds: Parts of the cross-validation.
        shuffles: Shuffled copies of the labels.
        strength: Of the ridge's penalty on standardised weights.
        seed: Of folds and shuffles.

    Raises:
        RequestError: Shapes differ, one class is smaller than `folds`, or fewer groups than folds.

    Source: Alain and Bengio 2016, arXiv 1610.01644; selectivity: Hewitt and Liang 2019, arXiv 1909.03368;
    layer by position maps: McGrath et al. 2021, arXiv 2111.09259.
    """
    _check_numbers(positions, folds, shuffles, strength)
    positions = min(positions, checked(box.config, samples))
    told = checked_labels(labels, len(samples.tokens), folds)
    fold = _fold_numbers(told, groups, folds, seed)
    spent, names = box.budget.spent, stream_names(box.config)
    streams = read_tail(box, samples, names, positions)
    cells = [streams[name][:, position] for name in names for position in range(positions)]
    every = torch.stack(
        [told, *_controls(told, groups, shuffles, seed)], 1
    )  # [row, label], the real one first
    scores = [out_of_fold(x, every, fold, strength) for x in cells]
    shape = (len(names), positions)
    aucs = torch.stack([auc(each, every) for each in scores]).view(*shape, -1)
    hits = torch.stack([((each > 0.5) == every).double().mean(0) for each in scores]).view(*shape, -1)
    null_auc = aucs[..., 1:].amax((0, 1))
    arrays = {
        "auc": aucs[..., 0],
        "accuracy": hits[..., 0],
        "selectivity": hits[..., 0] - hits[..., 1:].mean(-1),
        "brier": torch.stack([(each[:, 0] - told.double()).square().mean() for each in scores]).view(shape),
        "calibration_error": torch.tensor([calibration_error(each[:, 0], told) for each in scores]).view(
            shape
        ),
        "stands_out": aucs[..., 0] > null_auc.max(),
        "null_auc": null_auc,
    }
    best, chance = float(arrays["auc"].max()), float(null_auc.max())
    return ToolResult(
        "probe",
        {"rows": len(told), "true": int(told.sum()), "folds": folds, "shuffles": shuffles, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(box.config, positions),
        (
            f"{len(told)} rows, {int(told.sum())} true; with shuffled labels the best cell's AUC is "
            f"{float(null_auc.mean()):.2f} on average and {chance:.2f} at most",
        ),
        (
            Summary("best auc", best, len(told), (0.0, chance)),
            Summary("cells that stand out", float(arrays["stands_out"].sum()), len(told), (0.0, 0.0)),
        ),
    )


def _check_numbers(positions: int, folds: int, shuffles: int, strength: float) -> None:
    for name, number, lowest in (("positions", positions, 1), ("folds", folds, 2), ("shuffles", shuffles, 1)):
        check_least(name, number, lowest)
    check_positive("strength", strength)


def _fold_numbers(labels: Tensor, groups: Tensor | None, folds: int, seed: int) -> Tensor:
    """Number of each row's fold; folds hold about equal shares of both classes."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    n = len(labels)
    if groups is None:
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    else:
        if groups.shape != (n,) or len(different(groups)) < folds:
            raise RequestError(
                f"groups: got shape {list(groups.shape)} with {len(different(groups))} different numbers; "
                f"wanted [{n}] with at least {folds}, one for each fold"
            )
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = splitter.split(labels, labels, groups)
    number = torch.zeros(n, dtype=torch.int64)
    for index, (_, out) in enumerate(parts):
        number[torch.from_numpy(out)] = index
    if any(len(different(labels[number != index])) < 2 for index in range(folds)):
        raise RequestError("groups: without one fold only one class is left; wanted both in several groups")
    return number


def _controls(labels: Tensor, groups: Tensor | None, shuffles: int, seed: int) -> Sequence[Tensor]:
    """Labels that tell nothing: rows shuffled, or whole groups where each has one label."""
    if groups is not None:
        group = torch.searchsorted(different(groups), groups)
        first = torch.zeros(int(group.max()) + 1, dtype=torch.bool)
        first[group] = labels
        if torch.equal(first[group], labels):
            return [each[group] for each in shuffled(first, shuffles, seed)]
    return list(shuffled(labels, shuffles, seed))


def _views(config: TransformerConfig, positions: int) -> tuple[View, ...]:
    axes = [
        Axis(name="site", labels=stream_labels(config)),
        Axis(name="position from the end", labels=tail_labels(positions)),
    ]
    link: list[Link] = ["layer", "pos"]
    return (
        View(kind="heatmap", axes=axes, data="auc", tooltip="stands_out", range=(0.0, 1.0), link=link),
        View(kind="heatmap", axes=axes, data="selectivity", tooltip="accuracy", diverging=True, link=link),
    )
