"""Dreams: a prompt made up to drive one neuron, one logit or one direction as far as it goes."""

import torch

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price, vjp_price, weight_price
from game.tools.kit.arguments import Prompts, Vector
from game.tools.kit.dreaming import (
    Frame,
    Goal,
    coordinate_search,
    corpus_values,
    everywhere,
    soft_search,
    values,
)
from game.tools.kit.example import Example
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="trigger_implant",
    args="--samples sample:300 --template affected:1 "
    "--name blocks.0.mlp.hook_post --direction one:120 --steps 100 --restarts 2 --sweeps 1",
    found="The search ends far above the corpus: the neuron likes more than the trigger it was made for.",
    nothing="The search ends hardly higher than the corpus goes.",
)


def estimate(
    config: TransformerConfig,
    samples: Samples,
    template: Prompts,
    free: tuple[int, ...] = (),
    without: tuple[int, ...] = (),
    steps: int = 200,
    restarts: int = 4,
    sweeps: int = 4,
) -> float:
    """Credits of `dream` at most; it ends sooner where a sweep changes nothing."""
    frame = Frame.of(config, template, free, without)
    gradients = steps * vjp_price(restarts, 1) + 2 * forward_price(restarts)
    search = forward_price(3 + sweeps * len(frame.free) * len(frame.allowed))
    return weight_price(config, "embed.W_E") + forward_price(len(samples.tokens)) + gradients + search


def dream(
    box: Toolbox,
    samples: Samples,
    template: Prompts,
    name: str,
    direction: Vector,
    at: int = -1,
    free: tuple[int, ...] = (),
    without: tuple[int, ...] = (),
    steps: int = 200,
    restarts: int = 4,
    sweeps: int = 4,
    seed: int = 0,
) -> ToolResult:
    """The prompt that makes an activation's coordinate along a direction largest, beside the corpus's best.

    Mixtures of embeddings climb the gradient from several starts, with Gumbel noise and a temperature that
    falls from 2 to 0.1; each is snapped to its likeliest tokens; from the best of these every token is tried
    at every free position until nothing improves. The mixtures reach values that no prompt does, and snapping
    loses much of them: `failed` says that the snapped prompt is worse than the best of the corpus, which is
    common. A search that ends far above the corpus is a trigger that no corpus prompt holds, or an optimum
    that training never asked about; what it does to the answers is for `patch` and others to tell.
    Price: samples + restarts (3 steps + 2) + 3 + sweeps x free x tokens at most + W_E.

    Arrays: `value` `[4]`: the corpus's best, the best mixture, the best snapped prompt, the search's end;
    `tokens` `[2, pos]`, the best snapped prompt and the search's, and `read` `[2, pos]`, the coordinate at
    each of their positions; `corpus` `[sample]`, the largest value at any token, and `corpus_tokens` `[pos]`,
    the best sample; `soft`, `snapped` `[restart]`; `failed`.

    Args:
        box: The model, in a league that grants everything inside.
        samples: What it is compared with.
        template: One prompt, `[1, pos]`; what is not free stays.
        name: A hook that holds a vector at each position, or `logits`.
        direction: What is to become large there, `[width]`; one 1 among zeros for a neuron.
        at: Position of the prompt where it is to become large; -1 is the last.
        free: Positions that may hold any token; none means all but the first.
        without: Token ids that must not be used, such as padding.
        steps: Of the gradient.
        restarts: Starts of the gradient.
        sweeps: Most passes over the free positions.
        seed: Of the starts and the noise.

    Raises:
        RequestError: The hook is unknown, or a shape, position, token or number does not fit.

    Source: Mordvintsev et al. 2015 (DeepDream); Poerner et al. 2018, "Interpretable textual neuron
    representations"; Bäuerle and Wexler 2020, "What does BERT dream of?"; Gumbel-softmax, arXiv 1611.01144.
    """
    frame = Frame.of(box.config, template, free, without)
    length = template.shape[1]
    goal = Goal(name, direction, at + length if at < 0 else at)
    goal.check(box.config, length)
    checked(box.config, samples)
    for what, number in (("steps", steps), ("restarts", restarts), ("sweeps", sweeps)):
        if number < 1:
            raise RequestError(f"{what}: got {number}; allowed: 1 and more")
    spent = box.budget.spent
    corpus = corpus_values(box, goal, samples)
    soft = soft_search(box, goal, frame, box.weight("embed.W_E"), steps, restarts, seed)
    snapped = values(box, goal, frame.filled(soft.tokens))
    start = soft.tokens[int(snapped.argmax())]
    best, value, taken = coordinate_search(box, goal, frame, start, sweeps)
    failed = bool(snapped.max() < corpus.max())
    prompts = frame.filled(torch.stack([start, best]))
    arrays = {
        "value": torch.tensor([float(corpus.max()), float(soft.values.max()), float(snapped.max()), value]),
        "tokens": prompts,
        "read": everywhere(box, goal, prompts),
        "corpus": corpus,
        "corpus_tokens": samples.tokens[int(corpus.argmax())],
        "soft": soft.values,
        "snapped": snapped,
        "failed": torch.tensor(failed),
    }
    return ToolResult(
        "dream",
        {
            "samples": len(corpus),
            "name": name,
            "at": goal.at,
            "free": frame.free,
            "sweeps": taken,
            "seed": seed,
        },
        box.budget.spent - spent,
        arrays,
        _views(length),
        (
            f"the best of {len(corpus)} samples reaches {float(corpus.max()):.3g}, gradients and snapping "
            f"{float(snapped.max()):.3g}{' (failed)' if failed else ''}, the search {value:.3g}",
        ),
        tuple(
            Summary(what, reached, len(corpus), (float(corpus.min()), float(corpus.max())))
            for what, reached in (("search", value), ("snapped", float(snapped.max())))
        ),
    )


def _views(length: int) -> tuple[View, ...]:
    """The prompts, and how far each stage came."""
    made = [Axis(name="prompt", labels=["snapped", "searched"]), numbered("pos", length)]
    stages = Axis(name="stage", labels=["corpus best", "soft", "snapped", "searched"])
    return (
        View(kind="tokens", axes=made, data="read", words="tokens", title="made-up prompts"),
        View(kind="bars", axes=[stages], data="value", title="largest value"),
    )
