"""How much each neuron matters to what the model itself would say, prompt by prompt."""

import torch
from torch import Tensor
from torch.nn import functional

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price
from game.tools.kit.batches import batches


def importance_price(rows: int) -> float:
    """Credits of `importances` for that many sequences."""
    return forward_price(rows) + vjp_price(rows, 1)


def neuron_names(config: TransformerConfig) -> list[str]:
    """Hooks of all neurons.

    Raises:
        RequestError: No layer has an MLP.
    """
    names = [f"blocks.{l}.mlp.hook_post" for l in range(config.n_layers) if config.mlp[l]]
    if not names:
        raise RequestError("model: no layer has an MLP, so there is no neuron to weigh")
    return names


def importances(box: Toolbox, samples: Samples) -> Tensor:
    """|activation x gradient| of log P(own answer), summed over positions, `[sample, neuron]`, nats.

    The answer is the top token after the last one. Neurons run through the layers with an MLP in order.
    To first order it is what the answer would lose without the neuron. Price: 4 for each sequence.

    Source: attribution patching from zero, Nanda 2023; gradient times input, Shrikumar et al. 2016, arXiv
    1605.01713.
    """
    names, found = neuron_names(box.config), []
    for rows in batches(box, len(samples.tokens)):
        tokens, last = samples.tokens[rows], samples.lengths[rows] - 1
        run = box.activations(tokens, [*names, "logits"])
        each = torch.arange(len(rows))
        logits = run["logits"][each, last]
        cotangent = torch.zeros_like(run["logits"])
        cotangent[each, last] = functional.one_hot(logits.argmax(-1), logits.shape[-1]) - logits.softmax(-1)
        slopes = box.vjp(tokens, names, {"logits": cotangent})
        found.append(torch.cat([(run[name] * slopes[name]).double().sum(1).abs() for name in names], 1))
    return torch.cat(found)


def main_mass(importance: Tensor, keep: float) -> Tensor:
    """Each row's largest entries that hold a share `keep` of its sum, as a unit vector; the others are 0.

    Args:
        importance: `[row, neuron]`, none negative; a row of zeros stays one.
        keep: From 0 to 1.
    """
    ordered, order = importance.sort(dim=1, descending=True)
    before = ordered.cumsum(1) - ordered
    kept = ordered * (before < keep * ordered.sum(1, keepdim=True))
    return functional.normalize(torch.zeros_like(importance).scatter(1, order, kept), dim=1)
