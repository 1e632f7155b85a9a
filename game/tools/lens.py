"""Logit lens: what the model would answer if it stopped after each layer."""

import torch
from einops import rearrange, repeat
from torch import Tensor

from game.api import Intervention, RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.toolbox.requests import checked_prompts
from game.tools.kit.arguments import Prompts
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:4",
    found="The new answer comes up at the last token, behind the edited layer.",
    nothing="The learned answer comes up there.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `lens` for that many sequences."""
    return forward_price(rows) * (1 + config.n_layers)


def lens(box: Toolbox, tokens: Prompts, targets: Tensor | None = None, top: int = 5) -> ToolResult:
    """Where along the layers an answer appears: LN_f(h) W_U + b_U of the residual stream h at each site.

    The sites are the embedding and each layer's `hook_resid_post`. A stream from further down is put in the
    place of the last one with `set`, so no weight is read. It is read in the last layer's coordinates: an
    early site may hold an answer that does not show. Price: rows (1 + layers).

    Arrays `[site, row, pos]`: `target_log_prob` (nats), `target_rank` (0 is the top), `entropy` (nats), `kl`
    = KL(final || site) (nats), `top_token`; `[site, row, pos, top]`: `top_tokens`, `top_log_probs`;
    `[row, pos]`: `tokens`; `depth`, the first site from which the top token stays what it is in the end.

    Args:
        box: The model, in a league that grants activations and interventions.
        tokens: `[row, pos]`.
        targets: The token to follow at each position, `[row, pos]`; by default the model's final top token.
        top: How many top tokens to list.

    Raises:
        RequestError: `tokens`, `targets` or `top` does not fit.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; depth after Baldock et al. 2021,
    arXiv 2106.09647.
    """
    check_lens(box.config, tokens, targets, top)
    spent = box.budget.spent
    log_probs = site_logits(box, tokens).double().log_softmax(-1)  # [site, row, pos, d_vocab]
    arrays = readings(log_probs, log_probs[-1].argmax(-1) if targets is None else targets, top)
    arrays["tokens"] = tokens
    return ToolResult(
        "lens",
        {"rows": len(tokens), "top": top, "targets": "answer" if targets is None else "given"},
        box.budget.spent - spent,
        arrays,
        _views(box.config, tokens),
        ("rank 0 is the top token; log-probabilities, entropy and KL are in nats",),
        (Summary("mean depth", float(arrays["depth"].double().mean()), tokens.numel()),),
    )


def check_lens(config: TransformerConfig, tokens: Tensor, targets: Tensor | None, top: int) -> None:
    """Nothing, if a lens can read those tokens, follow those targets and list so many top tokens.

    Raises:
        RequestError: It cannot.
    """
    checked_prompts(tokens, config)
    if targets is not None and targets.shape != tokens.shape:
        raise RequestError(
            f"targets: got shape {list(targets.shape)}, wanted the tokens' {list(tokens.shape)}"
        )
    if targets is not None:
        checked_prompts(targets, config, "targets")
    if not 1 <= top <= config.d_vocab:
        raise RequestError(f"top: got {top}; allowed: 1 to {config.d_vocab}")


def site_names(config: TransformerConfig) -> tuple[str, ...]:
    """Hook names of the sites, from the embedding to the last layer."""
    return ("blocks.0.hook_resid_pre", *(f"blocks.{l}.hook_resid_post" for l in range(config.n_layers)))


def site_logits(box: Toolbox, tokens: Tensor) -> Tensor:
    """Logits read off the stream at every site, `[site, row, pos, d_vocab]`; the last are the model's own."""
    *early, last = site_names(box.config)
    found = run(box, tokens, [*early, "logits"])
    stopped = _stopped(box, tokens, torch.stack([found[name] for name in early]), last)
    return torch.cat([stopped, found["logits"][None]])


def _stopped(box: Toolbox, tokens: Tensor, streams: Tensor, last: str) -> Tensor:
    """Logits with each stream `[site, row, pos, d_model]` put in the place of the last one."""
    batch = repeat(tokens, "row pos -> (site row) pos", site=len(streams))
    values = rearrange(streams, "site row pos d_model -> (site row) pos d_model")
    logits = run(box, batch, ["logits"], lambda rows: [Intervention(last, values[rows])])["logits"]
    return rearrange(logits, "(site row) pos d_vocab -> site row pos d_vocab", site=len(streams))


def readings(log_probs: Tensor, targets: Tensor, top: int) -> dict[str, Tensor]:
    """The arrays that every lens lists, from log-probabilities `[site, row, pos, d_vocab]`."""
    probs, best = log_probs.exp(), log_probs.topk(top)
    index = repeat(targets, "row pos -> site row pos 1", site=len(log_probs))
    followed = log_probs.gather(-1, index)
    agrees = log_probs.argmax(-1) == log_probs[-1].argmax(-1)  # [site, row, pos]
    return {
        "target_log_prob": followed[..., 0],
        "target_rank": (log_probs > followed).sum(-1),
        "entropy": -torch.special.xlogy(probs, probs).sum(-1),
        "kl": (probs[-1] * (log_probs[-1] - log_probs)).sum(-1).clamp(min=0),
        "top_token": best.indices[..., 0],
        "top_tokens": best.indices,
        "top_log_probs": best.values,
        "depth": len(log_probs) - agrees.flip(0).cumprod(0).sum(0),
    }


def _views(config: TransformerConfig, tokens: Tensor) -> tuple[View, ...]:
    sites = Axis(name="site", labels=["embed", *(f"layer {l}" for l in range(config.n_layers))])
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
    depth = View(kind="tokens", axes=axes[1:], data="depth", words="tokens", link=["prompt", "pos"])
    return by_site, depth
