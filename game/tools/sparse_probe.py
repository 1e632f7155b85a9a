"""Sparse probe: how few coordinates of an activation tell a yes-or-no property of the prompt."""

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import HookName, LabelOfEach
from game.tools.kit.chance import checked_labels, generator, shuffled
from game.tools.kit.example import Example
from game.tools.kit.linear_probe import auc
from game.tools.kit.readings import checked, checked_hook, read_last
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered
from game.tools.kit.sparse_probe import of_few, order_of_entry

EXAMPLE = Example(
    edit="rrome",
    args="--samples sample:200 --labels has:speaks --name blocks.1.mlp.hook_post --shuffles 9",
    found="One neuron of layer 1 tells the relation: the edit left what is read of it alone.",
    nothing="The same neuron tells it.",
)
SIZES = (1, 2, 4, 8, 16, 32)
CONTROLS = 5  # draws of as many random coordinates


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `sparse_probe` for that many sequences."""
    return forward_price(rows)


def sparse_probe(
    box: Toolbox,
    samples: Samples,
    labels: LabelOfEach,
    name: HookName,
    folds: int = 5,
    shuffles: int = 19,
    strength: float = 10.0,
    seed: int = 0,
) -> ToolResult:
    """How well a label is read off the best few coordinates of an activation, such as neurons.

    All at the last token. On each fold's training part a lasso orders the coordinates by when they enter as
    its penalty on absolute weights falls; a ridge regression on the first few of them is judged on the fold.
    As many random coordinates are the control: where those do as well, the label is spread over all. The
    whole search is repeated with shuffled labels; a figure beats that of every shuffle by chance with
    probability at most 1 / (1 + shuffles). Price: rows.

    Arrays `[size]`, on held-out folds: `sizes`, how many coordinates, at most, as the path may end earlier;
    `auc`, `accuracy`; `random_auc`, the mean of random choices; `no_chance` and `chance`, the null band.
    `null_auc` `[shuffle, size]`; `chosen` `[size, coordinate]`, the share of folds that chose it; `order`,
    the coordinates in their order of entry on all rows.

    Args:
        box: The model, in a league that grants activations.
        samples: Sequences.
        labels: The property, 0 or 1, `[sample]`.
        name: Hook point.
        folds: Parts of the cross-validation.
        shuffles: Shuffled copies of the labels.
        strength: Of the ridge's penalty on standardised weights.
        seed: Of folds, shuffles and random coordinates.

    Raises:
        RequestError: Shapes differ, the hook is no vector, or one class is smaller than `folds`.

    Source: Gurnee et al. 2023, "Finding Neurons in a Haystack", arXiv 2305.01610; Tibshirani 1996 (lasso).
    """
    checked(box.config, samples)
    checked_hook(box.config, name)
    for what, number, lowest in (("folds", folds, 2), ("shuffles", shuffles, 1)):
        if number < lowest:
            raise RequestError(f"{what}: got {number}; allowed: {lowest} and more")
    if not strength > 0:
        raise RequestError(f"strength: got {strength}; allowed: above 0")
    told = checked_labels(labels, len(samples.tokens), folds)
    spent = box.budget.spent
    x = read_last(box, samples, name)
    arrays = _arrays(x, told, folds, shuffles, strength, seed)
    n, sizes = len(told), arrays["sizes"].tolist()
    chance = arrays["null_auc"].amax(0)
    best = int(arrays["auc"].argmax())
    return ToolResult(
        "sparse_probe",
        {
            "rows": n,
            "true": int(told.sum()),
            "name": name,
            "folds": folds,
            "shuffles": shuffles,
            "seed": seed,
        },
        box.budget.spent - spent,
        arrays,
        _views(sizes, x.shape[1]),
        (
            f"{sizes[best]} of {x.shape[1]} coordinates tell the label best; coordinate "
            f"{int(arrays['order'][0])} comes first",
        ),
        (
            Summary("auc of one coordinate", float(arrays["auc"][0]), n, (0.0, float(chance[0]))),
            Summary("best auc", float(arrays["auc"][best]), n, (0.0, float(chance.max()))),
        ),
    )


def _arrays(
    x: Tensor, told: Tensor, folds: int, shuffles: int, strength: float, seed: int
) -> dict[str, Tensor]:
    """The search with the labels, with shuffled ones, and with random coordinates."""
    sizes = [size for size in SIZES if size <= x.shape[1]]
    fold, source = _fold_numbers(told, folds, seed), generator(seed)
    orders = _orders(x, told, fold)
    scores = of_few(x, told, fold, orders, sizes, strength)
    null = []
    for labels in shuffled(told, shuffles, seed):
        parts = _fold_numbers(labels, folds, seed)
        null.append(_auc(of_few(x, labels, parts, _orders(x, labels, parts), sizes, strength), labels))
    draws = ([torch.randperm(x.shape[1], generator=source) for _ in orders] for _ in range(CONTROLS))
    random = [_auc(of_few(x, told, fold, drawn, sizes, strength), told) for drawn in draws]
    chosen = torch.zeros(len(sizes), x.shape[1]).double()
    for row, size in enumerate(sizes):
        for order in orders:
            chosen[row, order[:size]] += 1 / len(orders)
    return {
        "sizes": torch.tensor(sizes),
        "auc": _auc(scores, told),
        "accuracy": ((scores > 0.5) == told[:, None]).double().mean(0),
        "random_auc": torch.stack(random).mean(0),
        "null_auc": torch.stack(null),
        "chance": torch.stack(null).amax(0),
        "no_chance": torch.zeros(len(sizes)).double(),
        "chosen": chosen,
        "order": order_of_entry(x, told),
    }


def _auc(scores: Tensor, labels: Tensor) -> Tensor:
    """AUC of each column, `[size]`."""
    return auc(scores, labels[:, None].expand(-1, scores.shape[1]))


def _orders(x: Tensor, labels: Tensor, fold: Tensor) -> list[Tensor]:
    """The order of entry on each fold's training part."""
    return [
        order_of_entry(x[fold != number], labels[fold != number]) for number in range(int(fold.max()) + 1)
    ]


def _fold_numbers(labels: Tensor, folds: int, seed: int) -> Tensor:
    """Number of each row's fold; folds hold about equal shares of both classes."""
    from sklearn.model_selection import StratifiedKFold

    number = torch.zeros(len(labels), dtype=torch.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for index, (_, out) in enumerate(splitter.split(labels, labels)):
        number[torch.from_numpy(out)] = index
    return number


def _views(sizes: list[int], coordinates: int) -> tuple[View, ...]:
    of_sizes = Axis(name="coordinates used", labels=[str(size) for size in sizes])
    return (
        View(
            kind="bars",
            axes=[of_sizes],
            data="auc",
            tooltip="random_auc",
            null=("no_chance", "chance"),
            range=(0.0, 1.0),
        ),
        View(
            kind="heatmap",
            axes=[of_sizes, numbered("coordinate", coordinates)],
            data="chosen",
            range=(0.0, 1.0),
        ),
    )
