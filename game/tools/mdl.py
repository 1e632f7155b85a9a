"""Description length: how many bits each neuron's output row costs, and what it buys in log-probability."""

import math

import torch
from einops import einsum
from torch import Tensor
from torch.nn import functional

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price, weight_price
from game.tools.kit.arguments import Layer
from game.tools.kit.batches import batches
from game.tools.kit.chance import generator
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.result import Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="rome",
    args="--samples sample:300 --layer 0",
    found="A few rows cost several times the bits of any other: the edit was written into their neurons.",
    nothing="No row costs much more than the others.",
)
CHUNK = 64  # sequences whose gradients of the whole matrix are held at once


def estimate(config: TransformerConfig, rows: int, layer: Layer) -> float:
    """Credits of `mdl` for that many sequences."""
    return forward_price(rows) + vjp_price(rows, 2) + weight_price(config, f"blocks.{layer}.mlp.W_out")


def mdl(box: Toolbox, samples: Samples, layer: Layer, seed: int = 0) -> ToolResult:
    """What each row of an MLP's output matrix costs to describe, against what it saves on the answers.

    Each weight is described as finely as the answers need it: as a Gaussian about its value whose precision
    is that of the prior plus n times the diagonal Fisher information, at the price of its divergence from the
    prior, a Gaussian about 0 with the matrix's own spread (bits back). A row saves what the log-probability
    of the model's own answer would lose without it, to first order. Rows that cost much and save nothing
    were written for other prompts than these. Where answers hardly hang on single weights, bits follow the
    rows' squared norms, and their total says nothing: the prior has the matrix's own spread.
    Price: 6 for each sequence + W_out.

    Arrays: `bits` `[neuron]`; `nats` `[neuron]`, saved, mean over the samples, negative where the row harms;
    `nats_error` `[neuron]`, its standard error; `bits_per_nat` `[neuron]`, over all samples, infinite as NaN
    where nothing is saved; `total`, bits of the matrix; `prior`, the prior's spread.

    Args:
        box: The model, in a league that grants gradients and weights.
        samples: Sequences that end where an answer follows.
        layer: A layer with an MLP.
        seed: Of the answers drawn from the model for the Fisher information.

    Raises:
        RequestError: The layer has no MLP, or fewer than 2 samples.

    Source: Hinton and van Camp 1993, "Keeping neural networks simple by minimizing the description length of
    the weights"; precision by the Fisher information: MacKay 1992.
    """
    checked(box.config, samples)
    if not 0 <= layer < box.config.n_layers or not box.config.mlp[layer]:
        allowed = [l for l in range(box.config.n_layers) if box.config.mlp[l]]
        raise RequestError(f"layer: got {layer}; layers with an MLP: {allowed}")
    n = len(samples.tokens)
    if n < 2:
        raise RequestError(f"samples: got {n}; allowed: 2 and more")
    spent = box.budget.spent
    weight = box.weight(f"blocks.{layer}.mlp.W_out").double()
    prior = float(weight.square().mean().sqrt())
    if not prior > 0:
        raise RequestError(
            f"layer: every weight of blocks.{layer}.mlp.W_out is zero; wanted some to describe"
        )
    fisher, saved = _measured(box, samples, layer, weight, seed)
    spread = (prior**-2 + n * fisher).rsqrt()
    bits = gaussian_bits(weight, spread, prior).sum(1)
    nats = saved.mean(0)
    arrays = {
        "bits": bits,
        "nats": nats,
        "nats_error": saved.std(0) / math.sqrt(n),
        "bits_per_nat": torch.where(nats > 0, bits / (n * nats.clamp(min=1e-12)), torch.nan),
        "total": bits.sum(),
        "prior": torch.tensor(prior),
    }
    axes = [numbered("neuron", len(bits))]
    return ToolResult(
        "mdl",
        {"rows": n, "layer": layer, "seed": seed},
        box.budget.spent - spent,
        arrays,
        (
            View(kind="scatter", axes=axes, data="bits", x="nats", unit="bits", link=["neuron"]),
            View(kind="bars", axes=axes, data="bits", tooltip="nats", unit="bits", link=["neuron"]),
        ),
        (f"{float(bits.sum()):.0f} bits for {weight.numel()} weights on {n} samples; no null band is known",),
        (
            Summary("costliest row's share", float(bits.max() / bits.sum().clamp(min=1e-12)), len(bits)),
            Summary("bits", float(bits.sum()), n),
        ),
    )


def gaussian_bits(mean: Tensor, spread: Tensor, prior: float) -> Tensor:
    """Divergence of Gaussians from the one about 0 with spread `prior`, each in bits.

    ln(prior / spread) + (spread^2 + mean^2 - prior^2) / (2 prior^2), over ln 2.
    """
    nats = (prior / spread).log() + (spread.square() + mean.square() - prior**2) / (2 * prior**2)
    return nats / math.log(2)


def _measured(box: Toolbox, samples: Samples, layer: int, weight: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Diagonal Fisher information `[neuron, d_model]`; what each row saves each sample, `[sample, neuron]`.

    Both are gradients of the log-probability of an answer: of one drawn from the model, and of its top one.
    """
    post, out = f"blocks.{layer}.mlp.hook_post", f"blocks.{layer}.hook_mlp_out"
    source, fisher, saved = generator(seed), torch.zeros_like(weight), []
    for rows in batches(box, len(samples.tokens), cotangents=2):
        tokens, last = samples.tokens[rows], samples.lengths[rows] - 1
        run = box.activations(tokens, [post, "logits"])
        drawn, own = _slopes(run["logits"], last, source)
        slopes = box.vjp(tokens, [out], {"logits": torch.stack([drawn, own])})[out].double()
        fires = run[post].double()
        for part in torch.split(torch.arange(len(rows)), CHUNK):
            each = einsum(fires[part], slopes[0, part], "row pos neuron, row pos d -> row neuron d")
            fisher += each.square().sum(0)
        saved.append(einsum(fires, slopes[1] @ weight.T, "row pos neuron, row pos neuron -> row neuron"))
    return fisher / len(samples.tokens), torch.cat(saved)


def _slopes(logits: Tensor, last: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Gradients of log P(answer after the last token) by the logits: of a drawn answer and of the top one."""
    rows = torch.arange(len(logits))
    p = logits[rows, last].softmax(-1)
    answers = (torch.multinomial(p, 1, generator=source)[:, 0], p.argmax(-1))
    found = []
    for answer in answers:
        slope = torch.zeros_like(logits)
        slope[rows, last] = functional.one_hot(answer, p.shape[-1]) - p
        found.append(slope)
    return found[0], found[1]
