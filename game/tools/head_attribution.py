"""Head attribution: from which token each head takes what it says to an answer."""

import torch
from einops import einsum
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, weight_price
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.questions import Questions
from game.tools.kit.readout import read_readout, readout_price, scale_names, scale_of
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="qk_rewire",
    args="--tokens affected:1 --layers 1",
    found="After the chosen word, heads of layer 1 attend to the other chosen word and say it.",
    nothing="They attend where the word stood before.",
    recipe="induction",
)

Layers = tuple[int, ...] | None


def estimate(config: TransformerConfig, rows: int, layers: Layers = None) -> float:
    """Credits of `head_attribution` for that many questions."""
    price = sum(
        weight_price(config, f"blocks.{layer}.attn.{name}")
        for layer in _layers(config, layers)
        for name in ("W_O", "b_O")
    )
    return forward_price(rows) + readout_price(config) + price


def head_attribution(box: Toolbox, questions: Questions, layers: Layers = None) -> ToolResult:
    """For every head, query and key: how much it attends, how much it moves, and what that says.

    With A the pattern, v a key's value and r the read direction at the query (the final norm's scale held),
    the direct share of a connection is A v W_O . r. A right pattern with a wrong share points at the values
    or at W_O, the reverse at queries or keys. Price: rows + W_O of each layer + the unembedding.

    Arrays `[layer, row, head, query, key]`: `pattern`; `weighted` A |v W_O|; `share`, nats. `[layer, row,
    head]`: `head`, the share of all keys at the answer's position. `[layer, row]`: `bias`, that of b_O.

    Args:
        box: The model, in a league that grants activations and weights.
        questions: What is asked.
        layers: Which; None is all.

    Raises:
        RequestError: An argument does not fit.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Kobayashi et al. 2020,
    arXiv 2004.10102 (the pattern weighted by what is moved).
    """
    questions.check(box.config)
    config, spent, chosen = box.config, box.budget.spent, _layers(box.config, layers)
    hooks = [f"blocks.{l}.attn.hook_{name}" for l in chosen for name in ("pattern", "v")]
    readout, weights = read_readout(box), questions.weights(config.d_vocab)
    found = run(box, questions.tokens, [*hooks, *scale_names(config)])
    read = readout.directions(weights, scale_of(found, questions.tokens))  # [row, query, d_model]
    parts = [_of_layer(box, found, read, layer) for layer in chosen]
    arrays = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
    rows = torch.arange(len(questions))
    arrays["head"] = arrays["share"].sum(-1).movedim(3, 0)[questions.at, :, rows].movedim(0, 1)
    arrays["bias"] = arrays["bias"][:, rows, questions.at]
    length = questions.tokens.shape[1]
    axes = [
        Axis(name="layer", labels=[str(layer) for layer in chosen]),
        numbered("prompt", len(rows)),
        numbered("head", config.n_heads),
        numbered("query", length),
        numbered("key", length),
    ]
    largest = arrays["head"].abs().mean(1)  # [layer, head]
    return ToolResult(
        "head_attribution",
        {"rows": len(rows), "layers": list(chosen)},
        box.budget.spent - spent,
        arrays,
        (
            View(
                kind="heatmap",
                axes=axes[:3],
                data="head",
                unit="nats",
                diverging=True,
                link=["layer", "prompt", "head"],
            ),
            *(
                View(
                    kind="attention",
                    axes=axes,
                    data=name,
                    diverging=name == "share",
                    link=["layer", "prompt", "head", "pos", "pos"],
                )
                for name in ("share", "pattern", "weighted")
            ),
        ),
        ("a right pattern with a wrong share points at W_V or W_O, the reverse at W_Q or W_K",),
        (Summary("largest mean share of a head", float(largest.max()), len(rows)),),
        {
            f"blocks.{layer}.attn.{head}": float(largest[row, head])
            for row, layer in enumerate(chosen)
            for head in range(config.n_heads)
        },
    )


def _layers(config: TransformerConfig, layers: Layers) -> tuple[int, ...]:
    """The layers, checked."""
    if layers is None:
        return tuple(range(config.n_layers))
    if not layers or not set(layers) <= set(range(config.n_layers)) or len(set(layers)) < len(layers):
        raise RequestError(f"layers: got {layers}; allowed: different ones from 0 to {config.n_layers - 1}")
    return layers


def _of_layer(box: Toolbox, found: dict[str, Tensor], read: Tensor, layer: int) -> dict[str, Tensor]:
    """One layer's arrays; `bias` at all positions still."""
    name = f"blocks.{layer}.attn"
    pattern = found[f"{name}.hook_pattern"].double()  # [row, head, query, key]
    moved = einsum(
        found[f"{name}.hook_v"].double(),
        box.weight(f"{name}.W_O").double(),
        "row key head d_head, head d_head d_model -> row head key d_model",
    )
    said = einsum(moved, read, "row head key d_model, row query d_model -> row head query key")
    return {
        "pattern": pattern,
        "weighted": pattern * moved.norm(dim=-1)[:, :, None],
        "share": pattern * said,
        "bias": read @ box.weight(f"{name}.b_O").double(),
    }
