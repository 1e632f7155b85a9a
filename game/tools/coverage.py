"""Coverage: how much of a model a list of claims explains, and where most is left to be understood."""

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.tools.kit.arguments import HookName, Vectors
from game.tools.kit.chance import generator
from game.tools.kit.example import Example
from game.tools.kit.ledger import COLUMNS, Claims, Ledger, claims_of, ledger_price, owners_of, read_ledger
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="head_ablate",
    args="--samples sample:128 --parts embed,blocks.3.attn.3,blocks.2.attn.1",
    found="The ledger does not rise with the third claim, the head that was cut out: it carries no loss.",
    nothing="It rises with every claim.",
)
PLACEBOS = 99


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `coverage` for that many sequences."""
    return ledger_price(config, rows)


def coverage(
    box: Toolbox,
    samples: Samples,
    parts: tuple[str, ...] = (),
    hook: HookName | None = None,
    directions: Vectors | None = None,
    seed: int = 0,
) -> ToolResult:
    """What share of loss, norm and components a list of claims explains, and which parts are left.

    A claim is a component, a neuron, or a direction that passes a hook: something that is said to be
    understood. Whether it is, is for other tools, such as `surrogate` and `circuit_effect`; this one keeps
    the ledger. Loss: what log P(own answer) would lose to first order if a component wrote its mean, in
    absolute numbers; an MLP's is divided among its neurons in proportion to their own. Norm: squared weights.
    A direction explains the share of the variance at its hook of the loss of those who write there, and no
    weights. So every column adds up to 1, and a longer list explains as much or more. Null bands: 95 % of
    random lists with as many heads, MLPs, neurons and directions, other claims as they are.
    Price: 4 rows + all weights.

    Arrays: `share` `[column, component]`, of loss, norm and number; `explained` `[column, component]`, how
    much of it is claimed, in the same units; `left` `[component]`, the loss that is not; `ledger`
    `[column, claim]`, coverage after each claim, in the order given; `placebo` `[placebo, column]`.

    Args:
        box: The model, in a league that grants activations, gradients and weights.
        samples: Sequences that end where an answer follows.
        parts: `embed`, `blocks.2.attn.1`, `blocks.0.mlp`, `blocks.0.mlp[3]`, in order.
        hook: Where directions are claimed: `blocks.0.hook_mlp_out` or `blocks.0.hook_attn_out`.
        directions: `[d_model]` or `[direction, d_model]`.
        seed: Of the random lists.

    Raises:
        RequestError: Nothing is claimed, or a claim stands for nothing.

    Source: first-order effects: Nanda 2023, "Attribution Patching".
    """
    checked(box.config, samples)
    vectors = _vectors(box.config, hook, directions)
    claims = claims_of(box.config, parts, vectors)
    if not len(parts) + len(vectors):
        raise RequestError("parts: got no claim; wanted a component, a neuron or a direction")
    spent, ledger = box.budget.spent, read_ledger(box, samples, hook)
    explained = ledger.shares * ledger.explained(claims)
    prefixes = [(parts[: i + 1], vectors[:0]) for i in range(len(parts))]
    prefixes += [(parts, vectors[: i + 1]) for i in range(len(vectors))]
    fakes = _placebos(claims, ledger, box.config, seed)
    arrays = {
        "share": ledger.shares,
        "explained": explained,
        "left": ledger.shares[0] - explained[0],
        "ledger": torch.stack([ledger.coverage(claims_of(box.config, *each)) for each in prefixes], 1),
        "placebo": torch.stack([ledger.coverage(each) for each in fakes]),
    }
    told, high = explained.sum(1), arrays["placebo"].quantile(0.95, dim=0)
    most = ledger.names[int(arrays["left"].argmax())]
    n = len(samples.tokens)
    return ToolResult(
        "coverage",
        {"rows": n, "parts": list(parts), "hook": hook, "directions": len(vectors), "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(ledger.names, [*parts, *(f"direction {i}" for i in range(len(vectors)))]),
        (f"most is left in {most}: {float(arrays['left'].max()):.2f} of the loss",),
        tuple(
            Summary(f"{name} explained", float(told[row]), n, (0.0, float(high[row])))
            for row, name in enumerate(COLUMNS)
        ),
        dict(zip(ledger.names, arrays["left"].tolist(), strict=True)),
    )


def _vectors(config: TransformerConfig, hook: str | None, directions: Tensor | None) -> Tensor:
    """The claimed directions, `[direction, d_model]`."""
    if (hook is None) != (directions is None):
        raise RequestError("hook: wanted together with directions, or neither")
    owners_of(config, hook)
    if directions is None:
        return torch.zeros(0, config.d_model)
    vectors = directions.reshape(-1, directions.shape[-1])
    if vectors.shape[1] != config.d_model or not bool((vectors.norm(dim=1) > 0).all()):
        raise RequestError(f"directions: got {list(directions.shape)}; wanted [{config.d_model}], none zero")
    return vectors


def _placebos(claims: Claims, ledger: Ledger, config: TransformerConfig, seed: int) -> list[Claims]:
    """Random lists with as many heads, MLPs, neurons and directions; other claims stay."""
    source = generator(seed)
    heads = [
        f"blocks.{layer}.attn.{head}" for layer in range(config.n_layers) for head in range(config.n_heads)
    ]
    mlps = [f"blocks.{layer}.mlp" for layer in ledger.neurons]
    neurons = [(layer, number) for layer in ledger.neurons for number in range(config.d_mlp)]
    stay = claims.components - {*heads, *mlps}
    found = []
    for _ in range(PLACEBOS):
        drawn = [
            pool[index]
            for pool in (heads, mlps)
            for index in torch.randperm(len(pool), generator=source)[
                : len(claims.components & {*pool})
            ].tolist()
        ]
        picked = torch.randperm(len(neurons), generator=source)[: len(claims.neurons)].tolist()
        random = torch.randn(claims.directions.shape, generator=source).double()
        basis = torch.linalg.qr(random.T)[0].T if len(random) else random
        found.append(Claims(stay | {*drawn}, frozenset(neurons[index] for index in picked), basis))
    return found


def _views(components: tuple[str, ...], claims: list[str]) -> tuple[View, ...]:
    columns = Axis(name="of", labels=COLUMNS)
    parts = Axis(name="component", labels=components)
    return (
        View(kind="bars", axes=[parts], data="left", title="loss that is not explained", link=["component"]),
        View(
            kind="lines", axes=[columns, Axis(name="claim", labels=claims)], data="ledger", range=(0.0, 1.0)
        ),
        View(
            kind="heatmap", axes=[columns, parts], data="share", tooltip="explained", link=[None, "component"]
        ),
    )
