"""Jacobian lens: what the residual stream will have come to mean by the last layer, to first order."""

import torch
from einops import einsum
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price
from game.tools.class_lens import site_axis
from game.tools.kit.arguments import Prompts
from game.tools.kit.batches import batches, run
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.readout import read_readout, readout_price
from game.tools.kit.result import Summary, ToolResult, View, numbered
from game.tools.lens import check_lens, readings, site_names

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:1 --samples sample:16",
    found="The new answer begins to show at the last token before the last layer.",
    nothing="The learned answer shows there only behind it.",
)


def estimate(config: TransformerConfig, rows: int, samples: Samples) -> float:
    """Credits of `jacobian_lens` for that many sequences, with the Jacobian measured on the samples."""
    return forward_price(rows) + vjp_price(len(samples.tokens), config.d_model) + readout_price(config)


def jacobian_lens(
    box: Toolbox, tokens: Prompts, samples: Samples, targets: Prompts | None = None, top: int = 5
) -> ToolResult:
    """Where an answer appears if every layer is read in its own coordinates: LN_f(h J) W_U + b_U.

    J is the mean over the samples of the derivative of the last stream where the answer is read with respect
    to the stream at a site, the same vector added at all positions. It carries what an early layer wrote
    through attention and MLPs as they are on average; the logit lens has the identity instead.
    Price: rows + samples (1 + 2 d_model) + the unembedding.

    Arrays: those of `lens`, where `kl` is KL(final || site); `jacobian` `[site, d_model, d_model]`, from a
    row vector at the site to one at the end; `tokens` `[row, pos]`.

    Args:
        box: The model, in a league that grants activations, gradients and weights.
        tokens: What to read, `[row, pos]`.
        samples: Where J is measured; two dozen are enough.
        targets: The token to follow at each position, `[row, pos]`; by default the model's final top token.
        top: How many top tokens to list.

    Raises:
        RequestError: An argument does not fit, or one call cannot hold d_model gradients of a sample.

    Source: the mean Jacobian instead of the identity after Hernandez et al. 2023, arXiv 2308.09124, and
    Belrose et al. 2023, arXiv 2303.08112, whose lens is fitted instead.
    """
    config, spent = box.config, box.budget.spent
    check_lens(config, tokens, targets, top)
    checked(config, samples)
    if config.d_model > box.budget.max_rows:
        raise RequestError(
            f"samples: one takes d_model = {config.d_model} gradients; a call holds {box.budget.max_rows}"
        )
    names, readout = site_names(config), read_readout(box)
    jacobian = mean_jacobian(box, samples)
    found = run(box, tokens, names)
    streams = torch.stack([found[name] for name in names]).double()
    carried = einsum(streams, jacobian, "site row pos a, site a b -> site row pos b")
    log_probs = readout.logits(carried).log_softmax(-1)
    arrays = readings(log_probs, log_probs[-1].argmax(-1) if targets is None else targets, top)
    arrays |= {"jacobian": jacobian, "tokens": tokens}
    axes = [site_axis(config), numbered("prompt", len(tokens)), numbered("pos", tokens.shape[1])]
    ranks = [*axes, numbered("rank", top)]
    return ToolResult(
        "jacobian_lens",
        {"rows": len(tokens), "samples": len(samples.tokens), "top": top},
        box.budget.spent - spent,
        arrays,
        (
            View(
                kind="heatmap",
                axes=axes,
                data="target_log_prob",
                tooltip="target_rank",
                unit="nats",
                link=["layer", "prompt", "pos"],
            ),
            View(
                kind="heatmap",
                axes=ranks,
                data="top_log_probs",
                words="top_tokens",
                unit="nats",
                link=["layer", "prompt", "pos"],
            ),
        ),
        (f"J is the mean over {len(samples.tokens)} samples",),
        (Summary("mean depth", float(arrays["depth"].double().mean()), len(tokens)),),
    )


def mean_jacobian(box: Toolbox, samples: Samples) -> Tensor:
    """J for each site of a lens, `[site, d_model, d_model]`, float64."""
    config, names = box.config, site_names(box.config)
    total = torch.zeros(len(names), config.d_model, config.d_model, dtype=torch.float64)
    for rows in batches(box, len(samples.tokens), config.d_model):
        at = samples.lengths[rows] - 1
        start = torch.zeros(config.d_model, len(rows), samples.tokens.shape[1], config.d_model)
        start[:, torch.arange(len(rows)), at] = torch.eye(config.d_model)[:, None]
        found = box.vjp(samples.tokens[rows], names, {names[-1]: start})
        total += torch.stack([found[name].double().sum((1, 2)).T for name in names])
    return total / len(samples.tokens)
