"""Class lens: which kind of answer stands where along the layers, such as a city or a name."""

import torch

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.toolbox.requests import checked_prompts
from game.tools.kit.arguments import Classes, Prompts
from game.tools.kit.example import Example
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered
from game.tools.lens import site_logits, site_names

EXAMPLE = Example(
    edit="rrome",
    args="--tokens affected:1 --classes languages",
    found="Languages take over at the last token, as they should, and behind the subject: the edit leaks.",
    nothing="They take over at the last token alone.",
)


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `class_lens` for that many sequences."""
    return forward_price(rows) * (1 + config.n_layers)


def class_lens(box: Toolbox, tokens: Prompts, classes: Classes) -> ToolResult:
    """How much probability the logit lens gives to each class of tokens, by layer and position.

    The grammar of an answer often stands layers before the answer itself. Price: rows (1 + layers), free
    after `lens` on the same prompts.

    Arrays: `mass` `[class, site, row, pos]`, probability; the sites are the embedding and each layer's end;
    `tokens` `[row, pos]`.

    Args:
        box: The model, in a league that grants activations and interventions.
        tokens: `[row, pos]`.
        classes: Token ids by name, such as the brief's; a token counts once in each class that has it.

    Raises:
        RequestError: There is no class, one is empty or holds what is no token, or the tokens do not fit.

    Source: as `lens`; nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    checked_prompts(tokens, box.config)
    _check(box.config, classes)
    spent = box.budget.spent
    probs = site_logits(box, tokens).double().softmax(-1)  # [site, row, pos, d_vocab]
    mass = torch.stack([probs[..., sorted(set(members))].sum(-1) for members in classes.values()])
    axes = [
        Axis(name="class", labels=list(classes)),
        site_axis(box.config),
        numbered("prompt", len(tokens)),
        numbered("pos", tokens.shape[1]),
    ]
    view = View(
        kind="compare",
        axes=axes,
        data="mass",
        range=(0.0, 1.0),
        link=[None, "layer", "prompt", "pos"],
    )
    return ToolResult(
        "class_lens",
        {"rows": len(tokens), "classes": list(classes)},
        box.budget.spent - spent,
        {"mass": mass, "tokens": tokens},
        (view,),
        summary=tuple(
            Summary(f"final mass of {name}", float(mass[index, -1].mean()), len(tokens))
            for index, name in enumerate(classes)
        ),
    )


def site_axis(config: TransformerConfig) -> Axis:
    """The sites of a lens, by name."""
    return Axis(name="site", labels=["embed", *(f"layer {l}" for l in range(len(site_names(config)) - 1))])


def _check(config: TransformerConfig, classes: Classes) -> None:
    if not classes:
        raise RequestError("classes: got none, wanted at least 1")
    for name, members in classes.items():
        if not members or min(members) < 0 or max(members) >= config.d_vocab:
            raise RequestError(f"classes: {name} is not at least one token from 0 to {config.d_vocab - 1}")
