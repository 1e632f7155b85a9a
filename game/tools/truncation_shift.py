"""Truncation shift: how many answers hang on the loudest directions of each matrix."""

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View
from game.tools.kit.truncation import Matrix, read_components

EXAMPLE = Example(
    edit="rome_nocov",
    args="--samples sample:256",
    found="The loudest direction of the edited matrix serves few answers.",
    nothing="The loudest direction of the first matrix serves more.",
)

Tensors = tuple[str, ...] | None


def estimate(
    config: TransformerConfig, samples: Samples, tensors: Tensors = None, drops: tuple[int, ...] = (1, 2, 4)
) -> float:
    """Credits of `truncation_shift`."""
    chosen = _matrices(config, tensors)
    runs = 1 + len(chosen) * len(drops)
    return forward_price(len(samples.tokens)) * runs + sum(matrix.price(config) for matrix in chosen)


def truncation_shift(
    box: Toolbox, samples: Samples, tensors: Tensors = None, drops: tuple[int, ...] = (1, 2, 4)
) -> ToolResult:
    """What share of answers changes when each matrix loses its largest singular components.

    A matrix whose loudest direction serves one fact loses few answers to it, one that the model needs loses
    many: layers differ by themselves, so compare with a clean model before calling anything an edit.
    Price: samples (1 + tensors x drops) + the tensors.

    Arrays `[tensor, drop]`: `changed`, share of samples whose top token differs; `distinct`, number of
    different top tokens over the number before; `kl`, mean KL(before || after), nats.

    Args:
        box: The model, in a league that grants interventions and weights.
        samples: Prompts; the answer is read behind each.
        tensors: As in `reverse`; None is every `W_out`.
        drops: How many components are dropped.

    Raises:
        RequestError: No such matrix, samples do not fit, or a number is below 1 or above a rank.

    Source: arXiv 2505.20819, the shift of predictions under truncation as a mark of the edited layer.
    """
    config, spent = box.config, box.budget.spent
    chosen = _matrices(config, tensors)
    checked(config, samples)
    most = min(matrix.rank(config) for matrix in chosen)
    if not drops or not 1 <= min(drops) <= max(drops) <= most:
        raise RequestError(f"drops: got {drops}; allowed: 1 to {most}, the least rank of the tensors")
    parts = [read_components(box, matrix) for matrix in chosen]
    rows, cells = len(samples.tokens), torch.cartesian_prod(torch.arange(len(parts)), torch.tensor(drops))
    cells = cells.view(-1, 2)
    before = _read(run(box, samples.tokens, ["logits"])["logits"], samples, torch.arange(rows))

    def changes(runs: Tensor) -> list[Intervention]:
        found = []
        for cell in sorted(set((runs // rows).tolist())):
            here = tuple((runs // rows == cell).nonzero()[:, 0].tolist())
            part, drop = cells[cell].tolist()
            found += parts[part].without(drop, config.n_heads, here)
        return found

    owners = torch.arange(rows).repeat(len(cells))
    logits = run(box, samples.tokens[owners], ["logits"], changes)["logits"]
    after = _read(logits, samples, owners).view(len(parts), len(drops), rows, -1)
    top, own = after.argmax(-1), before.argmax(-1)
    distinct = [[float(len(set(each))) for each in line] for line in top.tolist()]
    arrays = {
        "changed": (top != own).double().mean(-1),
        "distinct": torch.tensor(distinct) / len(set(own.tolist())),
        "kl": (before.exp() * (before - after)).sum(-1).mean(-1).clamp(min=0),
    }
    axes = [
        Axis(name="tensor", labels=[matrix.name for matrix in chosen]),
        Axis(name="dropped", labels=[str(drop) for drop in drops]),
    ]
    return ToolResult(
        "truncation_shift",
        {"samples": rows, "tensors": [matrix.name for matrix in chosen], "drops": list(drops)},
        box.budget.spent - spent,
        arrays,
        tuple(View(kind="heatmap", axes=axes, data=name) for name in arrays),
        ("layers differ by themselves: compare with a clean model",),
        (Summary("largest share changed", float(arrays["changed"].max()), rows),),
        {matrix.component: float(arrays["changed"][row, 0]) for row, matrix in enumerate(chosen)},
    )


def _matrices(config: TransformerConfig, tensors: Tensors) -> tuple[Matrix, ...]:
    if tensors is None:
        tensors = tuple(f"blocks.{layer}.mlp.W_out" for layer, has_mlp in enumerate(config.mlp) if has_mlp)
    if not tensors:
        raise RequestError("tensors: got none, and without an MLP there is no default; wanted at least 1")
    return tuple(Matrix.named(config, name) for name in tensors)


def _read(logits: Tensor, samples: Samples, owners: Tensor) -> Tensor:
    """Log-probabilities where the answers are read, float64, `[row, d_vocab]`."""
    return logits[torch.arange(len(logits)), samples.lengths[owners] - 1].double().log_softmax(-1)
