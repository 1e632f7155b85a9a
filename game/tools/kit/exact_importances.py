"""How much each neuron matters to what the model itself would say, by taking one out after another."""

import torch
from torch import Tensor

from game.api import Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.batches import run
from game.tools.kit.importances import neuron_names
from game.tools.kit.sweep import Grid, sweep


def exact_importance_price(config: TransformerConfig, rows: int) -> float:
    """Credits of `exact_importances` for that many sequences."""
    return forward_price(rows) * (1 + len(neuron_names(config)) * config.d_mlp)


def exact_importances(box: Toolbox, samples: Samples) -> Tensor:
    """|Change of log P(own answer)| if a neuron fires as it does on average, `[sample, neuron]`, nats.

    What `importances` estimates from a gradient is measured here, a run for each neuron and sequence, and
    against the mean over the samples' tokens in place of zero. Price: rows (1 + neurons).
    """
    names = neuron_names(box.config)
    grid = Grid.of(box.config, samples.tokens.shape[1], "neuron")
    found = run(box, samples.tokens, [*names, "logits"])
    holds = torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]
    values = {name: found[name][holds].mean(0).expand_as(found[name]) for name in names}
    last, rows = samples.lengths - 1, torch.arange(len(samples.lengths))
    before = found["logits"][rows, last].double().log_softmax(-1)
    answers = before.argmax(-1)

    def change(logits: Tensor, runs: Tensor) -> Tensor:
        after = logits[torch.arange(len(runs)), last[runs]].double().log_softmax(-1)
        chosen = answers[runs, None]
        return (after.gather(1, chosen) - before[runs].gather(1, chosen))[:, 0].abs()

    return sweep(box, grid, samples.tokens, values, change).flatten(0, 1).T
