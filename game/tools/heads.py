"""What each attention head does on sequences that repeat themselves."""

import torch
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.batches import run
from game.tools.kit.example import Example
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="induction_break",
    args="",
    found="Some prompts' words are no longer found again: the largest induction score falls.",
    nothing="Heads of layer 1 find repeated words again, with a score near 1.",
    recipe="induction",
)

KINDS = ("induction", "previous", "duplicate", "first")


def estimate(config: TransformerConfig, prompts: int = 32) -> float:
    """Credits of `heads` on that many random sequences."""
    return forward_price(prompts)


def heads(box: Toolbox, prompts: int = 32, length: int = 12, seed: int = 0) -> ToolResult:
    """How much each head attends to what followed before, to the previous, the same, and the first token.

    On a first token as every public prompt has it, then `length` random tokens s, then s again; A is the
    pattern, q and k positions: `induction` mean A[q, q - length + 1] and `duplicate` mean A[q, q - length]
    over the second s, `previous` mean A[q, q - 1] and `first` mean A[q, 0] over all but the first token.
    A head cut out keeps its pattern; a rewired one loses its score. Price: prompts.

    Arrays `[kind, layer, head]`, the kinds in the order named above: `score`; `error`, its standard error
    over the prompts; `uniform`, what attention to all visible keys alike would have.

    Args:
        box: The model, in a league that grants activations.
        prompts: Random sequences.
        length: Of s; fewer than half as many as the model takes.
        seed: Of the sequences.

    Raises:
        RequestError: A number does not fit the model.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Olsson et al. 2022,
    arXiv 2209.11895 (prefix matching); Wang et al. 2022, arXiv 2211.00593 (duplicate tokens).
    """
    config, spent = box.config, box.budget.spent
    most = (config.n_ctx - 1) // 2
    if not 1 <= length <= most:
        raise RequestError(f"length: got {length}; allowed: 1 to {most}")
    if prompts < 1:
        raise RequestError(f"prompts: got {prompts}; allowed: at least 1")
    tokens = _repeated(config, int(box.sample(1).tokens[0, 0]), prompts, length, seed)
    hooks = [f"blocks.{layer}.attn.hook_pattern" for layer in range(config.n_layers)]
    found = run(box, tokens, hooks)
    pattern = torch.stack([found[hook] for hook in hooks]).double()  # [layer, prompt, head, query, key]
    scores = _scores(pattern, length)  # [kind, layer, prompt, head]
    uniform = _scores(_uniform(config, pattern.shape[-1])[:, None, None], length)[:, :, 0]
    arrays = {
        "score": scores.mean(2),
        "error": scores.std(2, correction=0) / max(prompts - 1, 1) ** 0.5,
        "uniform": uniform.expand(-1, -1, config.n_heads),
    }
    axes = [
        Axis(name="kind", labels=KINDS),
        numbered("layer", config.n_layers),
        numbered("head", config.n_heads),
    ]
    view = View(
        kind="compare",
        axes=axes,
        data="score",
        tooltip="uniform",
        range=(0.0, 1.0),
        link=[None, "layer", "head"],
    )
    return ToolResult(
        "heads",
        {"prompts": prompts, "length": length, "seed": seed},
        box.budget.spent - spent,
        arrays,
        (view,),
        ("`uniform` is what attention to all visible keys alike would score",),
        tuple(
            Summary(f"largest {kind}", float(arrays["score"][index].max()), prompts)
            for index, kind in enumerate(KINDS)
        ),
    )


def _repeated(config: TransformerConfig, first: int, prompts: int, length: int, seed: int) -> Tensor:
    """First token, s, and s again, `[prompt, 1 + 2 length]`; tokens of s differ where there are enough."""
    generator = torch.Generator().manual_seed(seed)
    others = torch.tensor([token for token in range(config.d_vocab) if token != first] or [first])
    if length <= len(others):
        order = torch.rand(prompts, len(others), generator=generator).argsort(1)[:, :length]
    else:
        order = torch.randint(len(others), (prompts, length), generator=generator)
    return torch.cat([torch.full((prompts, 1), first), others[order], others[order]], 1)


def _scores(pattern: Tensor, length: int) -> Tensor:
    """Every kind's mean over its queries, `[kind, ...]`, of patterns `[..., query, key]`."""
    again, every = torch.arange(1 + length, 1 + 2 * length), torch.arange(1, 1 + 2 * length)
    places = ((again, again - length + 1), (every, every - 1), (again, again - length), (every, every * 0))
    return torch.stack([pattern[..., query, key].mean(-1) for query, key in places])


def _uniform(config: TransformerConfig, length: int) -> Tensor:
    """Attention to all visible keys alike, `[layer, query, key]`."""
    distance = torch.arange(length)[:, None] - torch.arange(length)
    windows = [config.n_ctx if window is None else window for window in config.window]
    visible = torch.stack([(distance >= 0) & (distance < window) for window in windows]).double()
    return visible / visible.sum(-1, keepdim=True)
