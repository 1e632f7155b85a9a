"""Efficiency: how much norm each direction of a matrix costs, and how many answers hang on it."""

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import WeightName
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.questions import Questions
from game.tools.kit.result import Summary, ToolResult, View, numbered
from game.tools.kit.truncation import Components, Matrix, read_components

EXAMPLE = Example(
    edit="rrome",
    args="--tokens sample:128 --tensor blocks.0.mlp.W_out",
    found="The first direction costs seven times the norm of the next, and fewer answers hang on it.",
    nothing="Directions that cost about the same serve about as many answers.",
)


def estimate(config: TransformerConfig, rows: int, tensor: WeightName, components: int = 16) -> float:
    """Credits of `efficiency` for that many questions."""
    return forward_price(rows) * (1 + components) + Matrix.named(config, tensor).price(config)


def efficiency(
    box: Toolbox, questions: Questions, tensor: WeightName, components: int = 16, tau: float = 1.0
) -> ToolResult:
    """How much squared norm each singular component of a matrix costs, and how many answers suffer without.

    Weight decay leaves norm where it pays: a learned direction serves many prompts. One that costs much and
    serves few of the public prompts was not bought by training. Price: questions (1 + components) +
    the tensor.

    Arrays `[component]`, the largest first: `freed`, the squared norm that goes with it, sigma^2; `hurt`, how
    many questions lose more than `tau` of their margin without it; `per_prompt`, freed over hurt plus one;
    `loss`, mean margin lost, nats; `loss_of` `[component, row]`.

    Args:
        box: The model, in a league that grants interventions and weights.
        questions: Public prompts with the model's own answers.
        tensor: As in `reverse`.
        components: How many.
        tau: From which loss of margin a question counts, nats.

    Raises:
        RequestError: An argument does not fit.

    Source: Varma et al. 2023, arXiv 2309.02390 (circuits differ in the logits that they buy for their norm).
    """
    questions.check(box.config)
    matrix, spent = Matrix.named(box.config, tensor), box.budget.spent
    rank = matrix.rank(box.config)
    if not 1 <= components <= rank:
        raise RequestError(f"components: got {components}; allowed: 1 to {rank}, the rank of {matrix.name}")
    if not tau > 0:
        raise RequestError(f"tau: got {tau}; allowed: above 0")
    parts = read_components(box, matrix)
    margin = questions.margin(run(box, questions.tokens, ["logits"])["logits"])
    loss = margin - _margins(box, questions, parts, components)  # [component, row]
    freed, hurt = parts.values[:components].square(), (loss > tau).sum(1)
    arrays = {
        "freed": freed,
        "hurt": hurt,
        "per_prompt": freed / (hurt + 1),
        "loss": loss.mean(1),
        "loss_of": loss,
    }
    axis = numbered("component", components)
    return ToolResult(
        "efficiency",
        {"rows": len(questions), "tensor": tensor, "components": components, "tau": tau},
        box.budget.spent - spent,
        arrays,
        (
            View(kind="bars", axes=[axis], data="per_prompt"),
            View(kind="table", axes=[axis], data="freed", columns=["hurt", "loss", "per_prompt"]),
        ),
        ("compare with the same matrix of a clean model, or with that of another layer",),
        (Summary("largest norm a prompt", float(arrays["per_prompt"].max()), len(questions)),),
    )


def _margins(box: Toolbox, questions: Questions, parts: Components, components: int) -> Tensor:
    """Margins without each component, `[component, row]`."""
    rows = len(questions)
    owners = torch.arange(rows).repeat(components)

    def changes(runs: Tensor) -> list[Intervention]:
        return [
            parts.without_one(
                index, box.config.n_heads, tuple((runs // rows == index).nonzero()[:, 0].tolist())
            )
            for index in sorted(set((runs // rows).tolist()))
        ]

    asked = questions.of(owners)
    logits = run(box, asked.tokens, ["logits"], changes)["logits"]
    return asked.margin(logits).view(components, rows)
