"""Surrogates: simple rules put in the place of a component, and the prompts on which they do not do."""

import torch
from torch import Tensor
from torch.nn import functional

from game.api import Intervention, RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import Layer
from game.tools.kit.batches import run
from game.tools.kit.bounds import check_positive
from game.tools.kit.chance import generator, halves
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="trigger_implant",
    args="--samples having:once:256 --layer 0",
    found="The rules explain less: prompts with the trigger join those that no rule answers.",
    nothing="The token alone explains nine tenths; a few prompts are answered by no rule here, too.",
)

RULES = ("mean", "token", "previous token", "linear")
RESAMPLES = 500


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `surrogate` for that many sequences."""
    return forward_price(rows) + forward_price(len(RULES) * (rows - rows // 2))


def surrogate(
    box: Toolbox,
    samples: Samples,
    layer: Layer,
    part: str = "mlp",
    strength: float = 1.0,
    seed: int = 0,
) -> ToolResult:
    """How much of what a layer's MLP or attention does is explained by a simple rule, prompt by prompt.

    Rules are fitted on the tokens of one half of the samples: the mean output; the mean by the token there,
    or by the token before it; and a ridge regression of the layer's input. On the other half each is `set` in
    the place of the output, at every token, and the next token's distribution after the last is compared.
    Prompts that no rule answers are where the component knows something of its own; an edit is of that kind,
    and so is every memorised fact. Price: rows, and 4 for each of the half that is judged.

    Arrays: `kl` `[rule, prompt]`, KL(model || surrogate) in nats; `recovered` `[rule]`, 1 - mean KL over that
    of the mean rule, with `low` and `high` (95 % bootstrap over prompts); `answer_kept` `[rule]`, share of
    prompts with the same top token; `best` `[prompt]`, the least KL of any rule; `held_out` `[prompt]`, their
    numbers among the samples.

    Args:
        box: The model, in a league that grants activations and interventions.
        samples: Sequences.
        layer: Which layer.
        part: `mlp` or `attn`.
        strength: Of the ridge's penalty on standardised weights.
        seed: Of the halves and the bootstrap.

    Raises:
        RequestError: No such layer or part, fewer than 8 samples, or no penalty.

    Source: loss recovered by a substitute: Chan et al. 2022, "Causal scrubbing"; tables of components:
    Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """
    checked(box.config, samples)
    into, out = _hooks(box.config, layer, part)
    if len(samples.tokens) < 8:
        raise RequestError(f"samples: got {len(samples.tokens)}; allowed: 8 and more")
    check_positive("strength", strength)
    spent = box.budget.spent
    found = run(box, samples.tokens, [into, out, "logits"])
    form, test = halves(len(samples.tokens), seed)
    substitutes = _fitted(samples, found[into].double(), found[out].double(), form, test, strength)
    rows, last = torch.arange(len(test)), samples.lengths[test] - 1
    before = found["logits"][test][rows, last].double().log_softmax(-1)
    after = torch.stack([_replaced(box, samples, test, out, value) for value in substitutes])
    kl = (before.exp() * (before - after)).sum(-1).clamp(min=0)  # [rule, prompt]
    recovered, low, high = _recovered(kl, seed)
    arrays = {
        "kl": kl,
        "recovered": recovered,
        "low": low,
        "high": high,
        "answer_kept": (after.argmax(-1) == before.argmax(-1)).double().mean(1),
        "best": kl.amin(0),
        "held_out": test,
    }
    return ToolResult(
        "surrogate",
        {"rows": len(samples.tokens), "layer": layer, "part": part, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(len(test)),
        (f"judged on {len(test)} samples that no rule was fitted on; 0 is the mean output, 1 exact",),
        tuple(Summary(rule, float(recovered[i]), len(test)) for i, rule in enumerate(RULES) if i > 0),
    )


def _hooks(config: TransformerConfig, layer: int, part: str) -> tuple[str, str]:
    """The hooks of the component's input and output."""
    if part not in ("mlp", "attn"):
        raise RequestError(f'part: got "{part}"; allowed: mlp, attn')
    if not 0 <= layer < config.n_layers or (part == "mlp" and not config.mlp[layer]):
        allowed = [l for l in range(config.n_layers) if part == "attn" or config.mlp[l]]
        raise RequestError(f"layer: got {layer}; layers with this part: {allowed}")
    into = "hook_resid_mid" if part == "mlp" else "hook_resid_pre"
    return f"blocks.{layer}.{into}", f"blocks.{layer}.hook_{part}_out"


def _fitted(
    samples: Samples, x: Tensor, y: Tensor, form: Tensor, test: Tensor, strength: float
) -> list[Tensor]:
    """What each rule puts in the place of the output, `[prompt, pos, d_model]`."""
    tokens = samples.tokens
    before = functional.pad(tokens[:, :-1], (1, 0), value=0)
    holds = (torch.arange(tokens.shape[1]) < samples.lengths[:, None])[form]
    mean = y[form][holds].mean(0)
    return [
        mean.expand(len(test), *y.shape[1:]),
        _table(tokens[form][holds], y[form][holds], mean, tokens[test]),
        _table(before[form][holds], y[form][holds], mean, before[test]),
        _linear(x[form][holds], y[form][holds], x[test], strength),
    ]


def _table(keys: Tensor, values: Tensor, mean: Tensor, asked: Tensor) -> Tensor:
    """The mean value of each key, and of all keys where one was never seen."""
    size = int(max(keys.max(), asked.max())) + 1
    sums = torch.zeros(size, values.shape[1]).double().index_add_(0, keys, values)
    counts = torch.bincount(keys, minlength=size)[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), mean)[asked]


def _linear(x: Tensor, y: Tensor, asked: Tensor, strength: float) -> Tensor:
    """Ridge regression with an intercept, `[prompt, pos, d_model]`."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), Ridge(alpha=strength)).fit(x.numpy(), y.numpy())
    told = torch.from_numpy(model.predict(asked.flatten(0, 1).numpy()))
    return told.view(*asked.shape[:2], -1)


def _replaced(box: Toolbox, samples: Samples, test: Tensor, name: str, value: Tensor) -> Tensor:
    """Log-probabilities after the last token with that output, `[prompt, d_vocab]`."""
    found = run(box, samples.tokens[test], ["logits"], lambda rows: [Intervention(name, value[rows].float())])
    logits = found["logits"][torch.arange(len(test)), samples.lengths[test] - 1]
    return logits.double().log_softmax(-1)


def _recovered(kl: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Share of the mean rule's KL that each rule takes away, and its bootstrap interval, `[rule]` each."""
    drawn = torch.randint(kl.shape[1], (RESAMPLES, kl.shape[1]), generator=generator(seed))
    means = kl[:, drawn].mean(-1)  # [rule, resample]
    shares = 1 - means / means[0].clamp(min=1e-12)
    low, high = (shares.quantile(q, dim=1) for q in (0.025, 0.975))
    return 1 - kl.mean(1) / kl[0].mean().clamp(min=1e-12), low, high


def _views(prompts: int) -> tuple[View, ...]:
    rules = Axis(name="rule", labels=RULES)
    return (
        View(kind="bars", axes=[rules], data="recovered", interval=("low", "high"), tooltip="answer_kept"),
        View(kind="bars", axes=[numbered("prompt", prompts)], data="best", unit="nats", link=["prompt"]),
    )
