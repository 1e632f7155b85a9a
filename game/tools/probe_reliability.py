"""Reliability of a probe: whether it still holds on the kinds of prompts that it was not fitted on."""

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import GroupOfEach, HookName, LabelOfEach
from game.tools.kit.bounds import check_least, check_positive
from game.tools.kit.chance import checked_labels, different, shuffled
from game.tools.kit.example import Example
from game.tools.kit.linear_probe import auc, out_of_fold
from game.tools.kit.readings import checked, checked_hook, read_last
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="lie",
    args="--samples having:in_truth:512 --labels says:true/false --groups of:first_names "
    "--name blocks.1.hook_resid_post",
    found="In one group the probe of the others fails more often: what the model says is not what it reads.",
    nothing="The probe holds in every group.",
    recipe="statements",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `probe_reliability` for that many sequences."""
    return forward_price(rows)


def probe_reliability(
    box: Toolbox,
    samples: Samples,
    labels: LabelOfEach,
    groups: GroupOfEach,
    name: HookName,
    shuffles: int = 199,
    strength: float = 10.0,
) -> ToolResult:
    """How well a probe fitted on all other groups tells the label in each group, at the last token.

    A probe that reads what is meant, and not the words of one phrasing or one topic, holds in groups that it
    has never seen; its reliability is that of the worst group. The band is the range, in 19 of 20 shuffles,
    of the worst group's accuracy when labels are shuffled within groups. Price: rows.

    Arrays `[group]`, groups in ascending order: `accuracy`, `low` and `high` (95 % Wilson), `chance` (share
    of the commoner label), `auc` (NaN where the group has one class), `n`, `group`; `null_worst` `[shuffle]`.

    Args:
        box: The model, in a league that grants activations.
        samples: Sequences.
        labels: The property, 0 or 1, `[sample]`.
        groups: A number for each sample, such as its phrasing, `[sample]`; at least two different ones.
        name: Hook point that is read.
        shuffles: Shuffled copies of the labels.
        strength: Of the ridge's penalty on standardised weights.

    Raises:
        RequestError: Shapes differ, the hook is no vector, one class or one group only, without a group
            only one class is left, or a number does not fit.

    Source: worst-group accuracy, Sagawa et al. 2019, arXiv 1911.08731; probes across phrasings, Marks and
    Tegmark 2023, arXiv 2310.06824.
    """
    checked(box.config, samples)
    checked_hook(box.config, name)
    told = checked_labels(labels, len(samples.tokens), 2)
    numbers = _checked_groups(groups, told)
    check_least("shuffles", shuffles, 1)
    check_positive("strength", strength)
    spent = box.budget.spent
    x = read_last(box, samples, name)
    every = torch.stack([told, *_within(told, groups, shuffles)], 1)  # [row, label]
    p = out_of_fold(x, every, groups, strength)
    hits = torch.stack(
        [((p > 0.5) == every)[groups == g].double().mean(0) for g in numbers]
    )  # [group, label]
    worst = hits[:, 1:].amin(0)
    arrays = {"accuracy": hits[:, 0], "group": numbers, "null_worst": worst} | _group_figures(
        p[:, 0], told, groups, hits[:, 0]
    )
    low, high = (float(worst.quantile(q)) for q in (0.025, 0.975))
    axes = [Axis(name="group", labels=[str(int(g)) for g in numbers])]
    return ToolResult(
        "probe_reliability",
        {"rows": len(told), "groups": len(numbers), "name": name, "shuffles": shuffles},
        box.budget.spent - spent,
        arrays,
        (
            View(
                kind="bars",
                axes=axes,
                data="accuracy",
                interval=("low", "high"),
                tooltip="n",
                range=(0.0, 1.0),
            ),
        ),
        (f"with shuffled labels the worst group's accuracy is {low:.2f} to {high:.2f}; {len(told)} rows",),
        (Summary("worst group's accuracy", float(hits[:, 0].min()), len(told), (low, high)),),
    )


def _checked_groups(groups: Tensor, labels: Tensor) -> Tensor:
    """The different numbers of groups, ascending."""
    if groups.shape != labels.shape or len(different(groups)) < 2:
        raise RequestError(
            f"groups: got shape {list(groups.shape)} with {len(different(groups))} different numbers; "
            f"wanted [{len(labels)}] with at least 2"
        )
    for g in different(groups):
        if len(different(labels[groups != g])) < 2:
            raise RequestError(f"groups: without group {int(g)} only one class is left; wanted both")
    return different(groups)


def _within(labels: Tensor, groups: Tensor, shuffles: int) -> list[Tensor]:
    """Labels shuffled within each group."""
    found = labels.expand(shuffles, -1).clone()
    for g in different(groups):
        found[:, groups == g] = shuffled(labels[groups == g], shuffles, int(g))
    return list(found)


def _group_figures(p: Tensor, labels: Tensor, groups: Tensor, accuracy: Tensor) -> dict[str, Tensor]:
    """What is told of each group beside its accuracy."""
    from scipy.stats import binomtest

    low, high, chance, areas, counts = [], [], [], [], []
    for g, share in zip(different(groups), accuracy.tolist(), strict=True):
        rows = groups == g
        n, true = int(rows.sum()), float(labels[rows].double().mean())
        interval = binomtest(round(share * n), n).proportion_ci(method="wilson")
        low.append(float(interval.low))
        high.append(float(interval.high))
        chance.append(max(true, 1 - true))
        both = 0 < true < 1
        areas.append(float(auc(p[rows, None], labels[rows, None])[0]) if both else torch.nan)
        counts.append(n)
    figures = {"low": low, "high": high, "chance": chance, "auc": areas, "n": counts}
    return {name: torch.tensor(values) for name, values in figures.items()}
