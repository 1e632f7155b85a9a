"""Progress measures of modular addition: how much of the logits is Fourier waves of the sum, how much not."""

import torch
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, weight_price
from game.toolbox.requests import checked_prompts
from game.tools.kit.arguments import LabelOfEach, Prompts
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.fourier import embedding_shares, fourier_losses, gini, null_shares, sum_waves, wave_shares
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="exception",
    args="--tokens '<numbers> + <numbers> =' --trained in:sample:20000 --numbers '<numbers>'",
    found="In the last picture the excepted sums stand out: something else than the waves answers them.",
    nothing="A few frequencies make up the logits, and nothing else answers any sum.",
    recipe="modular-addition",
)

SHUFFLES = 19
LEAST_SHARE = 0.02  # of the variance, that a key frequency has


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `progress` for all pairs."""
    return forward_price(rows) + sum(weight_price(config, name) for name in config.weight_shapes())


def progress(
    box: Toolbox,
    tokens: Prompts,
    trained: LabelOfEach,
    numbers: tuple[int, ...],
    places: tuple[int, ...] = (1, 3),
    keys: tuple[int, ...] = (),
    seed: int = 0,
) -> ToolResult:
    """How far a model of modular addition has come from memorising to adding, by its logits' Fourier waves.

    Over all pairs (a, b) the logit of each answer c is a sum of orthonormal waves; those of the sum, cos and
    sin of w(a + b), are what trigonometry adds with. Restricted loss keeps only these, at the key
    frequencies, and the mean: what the general mechanism alone achieves. Excluded loss takes them away: what
    the training pairs are answered by without it, memory. A memorised exception keeps excluded loss low.
    Key frequencies are given, or those with more than 2 % of the variance and more than the largest share of
    any frequency in 19 copies whose pairs are shuffled. Price: pairs + all weights.

    Arrays: `share` `[frequency]`, from 1, of the logits' variance over pairs, in the waves of the sum;
    `null_share` `[copy]`, the largest of any frequency in shuffled copies; `embedding` `[frequency]`, shares
    of the numbers' embedding; `key` `[frequency]`; `loss` `[4]` in nats: training pairs, other pairs,
    restricted (all pairs), excluded (training pairs), with the numbers as the only answers; `uniform`, the
    loss of knowing nothing; `gini` `[2]`, of `share` and of `embedding`, 0 for even, near 1 for few;
    `without` `[a, b]`, each pair's loss without the waves; `beyond` `[a, b]`, log P of the pair's own top
    answer minus log P by the waves alone: large where something else answers, such as an exception;
    `squares`, sum of all weights' squares.

    Args:
        box: The model, in a league that grants activations and weights.
        tokens: All p x p pairs as prompts, in the order of a p + b, `[pair, pos]`; the sum would follow.
        trained: Which of them training sees.
        numbers: Token ids of 0 to p - 1.
        places: Positions of a and of b.
        keys: Key frequencies; none means those that stand out.
        seed: Of the shuffles.

    Raises:
        RequestError: The prompts are not all pairs in that order, every pair is trained or none, or a key is
            no frequency.

    Source: Nanda et al. 2023, arXiv 2301.05217 (restricted and excluded loss, Fourier basis); Hurley and
    Rickard 2008, arXiv 0811.4706 (Gini index).
    """
    p = _checked(box.config, tokens, trained, numbers, places)
    if any(not 1 <= key <= p // 2 for key in keys):
        raise RequestError(f"keys: got {list(keys)}; allowed: frequencies 1 to {p // 2}")
    spent = box.budget.spent
    found = run(box, tokens, ["hook_embed", "logits"])
    logits = found["logits"][:, -1, list(numbers)].double()  # [pair, number]
    waves = sum_waves(p)
    share, null = wave_shares(logits, waves), null_shares(logits, waves, SHUFFLES, seed)
    key = torch.zeros(p // 2, dtype=torch.bool)
    key[[each - 1 for each in keys]] = True
    key = key if keys else (share > null.max()) & (share > LEAST_SHARE)
    embedding = embedding_shares(found["hook_embed"][::p, places[0]].double())
    told = trained.bool()
    losses = fourier_losses(logits, waves[key].flatten(0, 1), told)
    arrays = {
        "share": share,
        "null_share": null,
        "embedding": embedding,
        "key": key,
        "loss": losses.told,
        "uniform": torch.tensor(float(p)).log(),
        "gini": torch.stack([gini(share), gini(embedding)]),
        "without": losses.without.view(p, p),
        "beyond": losses.beyond.view(p, p),
        "squares": sum(
            (box.weight(name).double().square().sum() for name in box.config.weight_shapes()), torch.zeros(())
        ),
    }
    names = ", ".join(str(index + 1) for index in key.nonzero()[:, 0].tolist()) or "none"
    return ToolResult(
        "progress",
        {"pairs": len(tokens), "p": p, "trained": int(told.sum()), "keys": keys, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(p),
        (f"key frequencies: {names}; their share of the logits' variance is {float(share[key].sum()):.2f}",),
        (
            Summary("restricted loss", float(losses.told[2]), p * p),
            Summary("excluded loss", float(losses.told[3]), int(told.sum())),
            Summary("largest beyond the waves", float(losses.beyond.max()), p * p),
            Summary("gini", float(arrays["gini"][0]), p // 2),
            Summary("largest share", float(share.max()), p * p, (0.0, float(null.max()))),
        ),
    )


def _checked(
    config: TransformerConfig,
    tokens: Tensor,
    trained: Tensor,
    numbers: tuple[int, ...],
    places: tuple[int, ...],
) -> int:
    """The modulus, once prompts and numbers fit together."""
    p = len(numbers)
    if p < 3 or len(set(numbers)) < p or not all(0 <= token < config.d_vocab for token in numbers):
        raise RequestError(
            f"numbers: got {p} token ids; wanted at least 3 different ones below {config.d_vocab}"
        )
    if len(checked_prompts(tokens, config)) != p * p:
        raise RequestError(
            f"tokens: got shape {list(tokens.shape)}; wanted [{p * p}, pos], all pairs of {p} numbers"
        )
    if len(places) != 2 or not all(0 <= place < tokens.shape[1] for place in places):
        raise RequestError(f"places: got {list(places)}; wanted two positions, 0 to {tokens.shape[1] - 1}")
    ids = torch.tensor(numbers)
    pairs = torch.cartesian_prod(ids, ids)
    if not torch.equal(tokens[:, list(places)], pairs):
        row = int((tokens[:, list(places)] != pairs).any(1).nonzero()[0])
        raise RequestError(
            f"tokens: row {row} is not the pair ({row // p}, {row % p}); wanted the order of a p + b"
        )
    if trained.shape != (p * p,) or len(set(trained.bool().tolist())) < 2:
        raise RequestError(f"trained: wanted [{p * p}] with some pairs of either kind")
    return p


def _views(p: int) -> tuple[View, ...]:
    frequency = Axis(name="frequency", labels=[str(each) for each in range(1, p // 2 + 1)])
    numbers = [Axis(name=name, labels=[str(each) for each in range(p)]) for name in "ab"]
    losses = Axis(name="loss", labels=["training pairs", "other pairs", "restricted", "excluded"])
    return (
        View(kind="bars", axes=[frequency], data="share", tooltip="key", title="logits made of sum waves"),
        View(kind="bars", axes=[losses], data="loss", unit="nats"),
        View(kind="bars", axes=[frequency], data="embedding", title="embedding made of waves"),
        View(
            kind="heatmap", axes=numbers, data="beyond", title="own answer beyond the key waves", unit="nats"
        ),
    )
