"""Tuned lens: the logit lens with a fitted map for each layer, so that early layers can be read too."""

from collections.abc import Sequence

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.class_lens import site_axis
from game.tools.kit.arguments import Prompts
from game.tools.kit.batches import run
from game.tools.kit.chance import halves, shuffled
from game.tools.kit.example import Example
from game.tools.kit.readings import checked, stream_names
from game.tools.kit.readout import Readout, read_readout, readout_price
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered
from game.tools.kit.translators import Translator, fitted_translator
from game.tools.lens import check_lens, readings

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:4 --samples sample:256",
    found="At the last token the last layer says the new answer, and no layer before tells of it.",
    nothing="The last layer says the learned answer there.",
)
SHUFFLES = 19
LEAST = 8  # samples
LENSES = ("plain", "tuned", "tuned, tokens exchanged")


def estimate(config: TransformerConfig, rows: int, samples: Samples) -> float:
    """Credits of `tuned_lens` for that many sequences, with translators fitted on half of the samples."""
    return forward_price(rows + len(samples.tokens)) + readout_price(config)


def tuned_lens(
    box: Toolbox,
    tokens: Prompts,
    samples: Samples,
    targets: Prompts | None = None,
    top: int = 5,
    strength: float = 10.0,
    steps: int = 60,
    seed: int = 0,
) -> ToolResult:
    """Where an answer appears if a fitted map carries each layer to the end: LN_f(h + h A + b) W_U + b_U.

    A and b of each site are fitted on all tokens of one half of the samples, to bring KL(final || site) down;
    on the other half they are judged, beside the plain logit lens, for which both are zero. Fitted on public
    prompts, they carry a layer as it usually is: what falls only at a later layer is what that layer knows of
    its own, such as a memorised fact or an edit. As chance, the final distributions are exchanged among the
    held-out tokens: a lens that tells nothing of the single token would do as well.
    Price: rows + samples + the unembedding.

    Arrays: those of `lens`, of `tokens`; `held_out_kl` `[lens, site]`, nats a held-out token, of the plain
    lens, the tuned one, and the tuned one with tokens exchanged; `fitted_kl` `[2, site]`, of the plain and
    the tuned lens on the other half; `jump` `[site, sample]`, by how much the tuned lens' KL at the last
    token of a held-out sample falls from the site before, 0 at the embedding; `held_out` `[sample]`, their
    numbers; `translators` `[site, d_model, d_model]` and `biases` `[site, d_model]`.

    Args:
        box: The model, in a league that grants activations and weights.
        tokens: What to read, `[row, pos]`.
        samples: On which translators are fitted and judged.
        targets: The token to follow at each position, `[row, pos]`; by default the model's final top token.
        top: How many top tokens to list.
        strength: Of the penalty on A, in units of one token's KL.
        steps: Of the fit, at most.
        seed: Of the halves and of the exchanged tokens.

    Raises:
        RequestError: An argument does not fit, or fewer than 8 samples.

    Source: Belrose et al. 2023, arXiv 2303.08112. There is no null band for the largest jump: how far an
    answer jumps in a clean model depends on what it memorised.
    """
    check_lens(box.config, tokens, targets, top)
    checked(box.config, samples)
    if len(samples.tokens) < LEAST:
        raise RequestError(f"samples: got {len(samples.tokens)}; allowed: {LEAST} and more")
    if not (strength > 0 and steps >= 1):
        raise RequestError(f"strength, steps: got {strength}, {steps}; allowed: above 0, and 1 and more")
    spent, names, readout = box.budget.spent, stream_names(box.config), read_readout(box)
    form, test = halves(len(samples.tokens), seed)
    there = _streams(box, samples.tokens, names)
    holds = torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]
    fitted, held_out = (there[:, half][:, holds[half]] for half in (form, test))  # [site, token, d_model]
    final = _log_probs(readout, fitted[-1])
    translators = [fitted_translator(each, final, readout, strength, steps) for each in fitted]
    asked = torch.stack(
        [_log_probs(readout, *pair) for pair in zip(_streams(box, tokens, names), translators, strict=True)]
    )
    arrays = readings(asked, asked[-1].argmax(-1) if targets is None else targets, top)
    kl = _lens_kl(readout, held_out, translators, seed)  # [2 + shuffles, site, token]
    at_last = kl[1, :, samples.lengths[test].cumsum(0) - 1]  # [site, sample]
    arrays |= {
        "held_out_kl": torch.cat([kl[:2].mean(-1), kl[2:].mean((0, 2))[None]]),
        "fitted_kl": _lens_kl(readout, fitted, translators, seed)[:2].mean(-1),
        "jump": -at_last.diff(dim=0, prepend=at_last[:1]),
        "held_out": test,
        "translators": torch.stack([each.matrix for each in translators]),
        "biases": torch.stack([each.bias for each in translators]),
        "tokens": tokens,
    }
    total = kl[:, :-1].mean(-1).sum(1)  # [2 + shuffles]; the last site is the model itself
    recovered = 1 - total[1:] / total[0].clamp(min=1e-12)
    low, high = float(recovered[1:].min()), float(recovered[1:].max())
    n = len(test)
    return ToolResult(
        "tuned_lens",
        {"rows": len(tokens), "samples": len(samples.tokens), "strength": strength, "top": top, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(box.config, tokens, n),
        (
            f"on {n} held-out samples the tuned lens takes away {float(recovered[0]):.2f} of the plain lens' "
            f"KL, with tokens exchanged at most {high:.2f}",
        ),
        (
            Summary("share recovered", float(recovered[0]), n, (low, high)),
            Summary("largest jump", float(arrays["jump"].max()), n),
            Summary("mean depth", float(arrays["depth"].double().mean()), tokens.numel()),
        ),
    )


def _streams(box: Toolbox, tokens: Tensor, names: Sequence[str]) -> Tensor:
    """The residual stream at every site, `[site, row, pos, d_model]`, float64."""
    found = run(box, tokens, names)
    return torch.stack([found[name] for name in names]).double()


def _log_probs(readout: Readout, stream: Tensor, translator: Translator | None = None) -> Tensor:
    """What is read off a stream, by the plain lens or with a translator, `[..., d_vocab]`."""
    return readout.logits(stream if translator is None else translator.carried(stream)).log_softmax(-1)


def _lens_kl(readout: Readout, streams: Tensor, translators: Sequence[Translator], seed: int) -> Tensor:
    """KL(final || site) of the plain lens, the tuned one, and the tuned one with the finals exchanged.

    Args:
        readout: The final norm and the unembedding.
        streams: `[site, token, d_model]`.
        translators: One a site.
        seed: Of the exchanges.

    Returns:
        `[2 + SHUFFLES, site, token]`, nats.
    """
    final = _log_probs(readout, streams[-1])
    exchanged = shuffled(torch.arange(len(final)), SHUFFLES, seed)
    sites = []
    for stream, translator in zip(streams, translators, strict=True):
        plain, tuned = _log_probs(readout, stream), _log_probs(readout, stream, translator)
        lenses = [_kl(final, plain), _kl(final, tuned), *(_kl(final[order], tuned) for order in exchanged)]
        sites.append(torch.stack(lenses))
    return torch.stack(sites, 1)


def _kl(final: Tensor, read: Tensor) -> Tensor:
    """KL(final || read), `[token]`, nats."""
    return (final.exp() * (final - read)).sum(-1).clamp(min=0)


def _views(config: TransformerConfig, tokens: Tensor, samples: int) -> tuple[View, ...]:
    sites = site_axis(config)
    axes = [sites, numbered("prompt", tokens.shape[0]), numbered("pos", tokens.shape[1])]
    by_site = View(
        kind="heatmap",
        axes=axes,
        slices=["prompt"],
        data="target_log_prob",
        title="log P(target), and what would be said",
        unit="nats",
        words="top_token",
        tooltip="target_rank",
        link=["layer", "prompt", "pos"],
    )
    lenses = Axis(name="lens", labels=LENSES)
    told = View(kind="lines", axes=[lenses, sites], data="held_out_kl", title="KL to the end", unit="nats")
    jumps = View(
        kind="heatmap",
        axes=[sites, numbered("held-out sample", samples)],
        data="jump",
        diverging=True,
        unit="nats",
        link=["layer"],
    )
    return by_site, told, jumps
