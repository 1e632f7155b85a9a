"""Causal use of a probe: whether the model's answers depend on the direction that a probe reads."""

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import HookName, Vector
from game.tools.kit.batches import batches
from game.tools.kit.chance import generator, p_values
from game.tools.kit.example import Example
from game.tools.kit.readings import checked, checked_hook, read_tail
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="lie",
    args="--samples having:in_truth:128 --name blocks.2.hook_resid_post --direction spike.json:write[2]",
    found="Without the direction that the edit wrote half of the answers change, twice any placebo.",
    nothing="The loudest direction that an untouched layer writes is not used for any answer.",
    recipe="statements",
)


def estimate(config: TransformerConfig, rows: int, placebos: int = 19) -> float:
    """Credits of `probe_use` for that many sequences."""
    return forward_price(rows) * (2 + placebos)


def probe_use(
    box: Toolbox, samples: Samples, name: HookName, direction: Vector, placebos: int = 19, seed: int = 0
) -> ToolResult:
    """What answers lose when the probe's direction is taken out of an activation at the last token.

    `project_out` sets the coordinate along the direction to its mean, in every sequence. So are `placebos`
    random directions taken out, one at a time; each is a random mixture of the activations' own deviations,
    so that it carries about as much variance as a direction of theirs does. What can be read but is not used
    changes no more than they do. Use other sequences than those that the probe was fitted on.
    Price: rows (2 + placebos).

    Arrays: `kl` `[sample]`, KL(before || after) of the next token in nats; `changed` `[sample]`, whether the
    top token changed; `before`, `after` `[sample]`, top tokens; `placebo_kl`, `placebo_changed` `[placebo]`,
    means over the samples; `effect`, `low` and `high` `[2]`: mean kl and share changed, and the placebos'
    range.

    Args:
        box: The model, in a league that grants activations and interventions.
        samples: Sequences that the probe has not seen.
        name: Hook point that the probe reads.
        direction: The probe, `[width of the hook]`.
        placebos: Random directions; the p-value is at least 1 / (1 + placebos).
        seed: Of the placebos.

    Raises:
        RequestError: Unknown hook, a direction of the wrong length or zero, or fewer than 2 sequences.

    Source: amnesic probing, Elazar et al. 2020, arXiv 2006.00995; random controls as there.
    """
    checked(box.config, samples)
    checked_hook(box.config, name, len(direction))
    if direction.ndim != 1 or not float(direction.norm()) > 0:
        raise RequestError(f"direction: got shape {list(direction.shape)}; wanted a vector that is not zero")
    if placebos < 1 or len(samples.tokens) < 2:
        raise RequestError(
            f"placebos: got {placebos} on {len(samples.tokens)} sequences; wanted at least 1, on at least 2"
        )
    spent = box.budget.spent
    run = read_tail(box, samples, [name, "logits"], 1)
    x, before = run[name][:, 0].double(), run["logits"][:, 0].double().log_softmax(-1)
    if not float((x - x.mean(0)).abs().max()) > 0:
        raise RequestError(f"{name}: the activation is the same in every sequence; wanted some that differ")
    mixed = torch.randn(placebos, len(x), generator=generator(seed)).double() @ (x - x.mean(0))
    found = [_taken_out(box, samples, name, v, x) for v in (direction.double(), *mixed)]
    kl = torch.stack([(before.exp() * (before - after)).sum(-1).clamp(min=0) for after in found])
    changed = torch.stack([after.argmax(-1) != before.argmax(-1) for after in found])
    effects = torch.stack([kl.mean(1), changed.double().mean(1)], 1)  # [direction, 2]
    p = float(p_values(effects[0, 0], effects[1:, 0]))
    arrays = {
        "kl": kl[0],
        "changed": changed[0],
        "before": before.argmax(-1),
        "after": found[0].argmax(-1),
        "placebo_kl": effects[1:, 0],
        "placebo_changed": effects[1:, 1],
        "effect": effects[0],
        "low": effects[1:].amin(0),
        "high": effects[1:].amax(0),
    }
    axes = [Axis(name="measure", labels=["mean KL (nats)", "share of answers changed"])]
    return ToolResult(
        "probe_use",
        {"rows": len(x), "name": name, "placebos": placebos, "seed": seed},
        box.budget.spent - spent,
        arrays,
        (View(kind="bars", axes=axes, data="effect", null=("low", "high")),),
        (f"p {p:.3f}: share of all directions whose mean KL is as large, {placebos} of them placebos",),
        (
            Summary("mean kl", float(effects[0, 0]), len(x), (0.0, float(effects[1:, 0].max()))),
            Summary("share of answers changed", float(effects[0, 1]), len(x)),
        ),
    )


def _taken_out(box: Toolbox, samples: Samples, name: str, direction: Tensor, x: Tensor) -> Tensor:
    """Log-probabilities at the last token with the direction held at its mean, `[sample, d_vocab]`."""
    unit = direction / direction.norm()
    offset = float((x @ unit).mean())
    last, parts = samples.lengths - 1, []
    for chosen in batches(box, len(x)):
        width = samples.tokens.shape[1]
        mask = (torch.arange(width) == last[chosen, None])[..., None]  # [row, pos, 1]
        cut = Intervention(name, unit.float(), "project_out", mask=mask, offset=offset)
        logits = box.logits(samples.tokens[chosen], [cut])
        parts.append(logits[torch.arange(len(chosen)), last[chosen]].double().log_softmax(-1))
    return torch.cat(parts)
