"""Circuit effect: what a suspected part of the model does, by running the model with and without it."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import HookName, Vectors
from game.tools.kit.batches import run
from game.tools.kit.circuits import Part, all_else_out, check_parts, named_circuit, placebo, taken_out, units
from game.tools.kit.example import Example
from game.tools.kit.questions import Questions
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered
from game.tools.lens import site_names

EXAMPLE = Example(
    edit="head_ablate",
    args="--tokens sample:8 --samples sample:256 --parts blocks.2.attn.1",
    found="Without the head that was cut out already nothing changes behind it: it does nothing.",
    nothing="Untouched, it moves the stream from its layer on, and the odds of answers.",
)

Replacement = Literal["mean", "zero"]
Circuit = tuple[Part, ...]
Names = tuple[str, ...]
_TINY = 1e-12


def estimate(
    config: TransformerConfig,
    rows: int,
    samples: Samples,
    parts: Names = (),
    directions: Vectors | None = None,
    placebos: int = 20,
) -> float:
    """Credits of `circuit_effect` for that many questions."""
    count = len(parts) + (0 if directions is None else directions.numel() // directions.shape[-1])
    return forward_price(len(samples.tokens)) + forward_price(rows) * (4 + count + placebos)


def circuit_effect(
    box: Toolbox,
    questions: Questions,
    samples: Samples,
    parts: Names = (),
    hook: HookName | None = None,
    directions: Vectors | None = None,
    positions: tuple[int, ...] | None = None,
    replacement: Replacement = "mean",
    placebos: int = 20,
    top: int = 5,
    seed: int = 0,
) -> ToolResult:
    """What changes when a circuit is taken out: which answers, where downstream, and what else it takes.

    Beside it as many random circuits of the same size. An anomaly of the weights that changes no more answers
    than those is not an effect. With M the model, C the circuit, m the mean margin and m(0) that without any
    head or neuron: faithfulness (m(C) - m(0)) / (m(M) - m(0)), near 1 if C suffices; completeness
    (m(M without C) - m(0)) / (m(M) - m(0)), near 0 if nothing else does it. Price: samples + questions
    (4 + parts + placebos).

    Arrays: `kl` `[row]`, KL(with || without) where the answer is read, nats; `with` and `without` `[row]`,
    the top tokens; `margin_with` and `margin_without` `[row]`, nats; `change` `[site, row, pos]`,
    |difference| / |stream|, the sites as in `lens`; `head` `[layer, head]` and, where there are MLPs,
    `neuron` `[layer, neuron]`, mean |difference| / mean |activation|; `gained` and `gained_by` `[row, top]`,
    the tokens whose log-probability grows most without it, nats; `returned` `[part]`, by how much the mean
    margin returns if that part alone is left in; `placebo_kl` `[placebo]`, mean KL of each; `faithfulness`
    and `completeness`.

    Args:
        box: The model, in a league that grants activations and interventions.
        questions: What is asked.
        samples: Where means come from, such as `box.sample(256)`.
        parts: Heads and neurons of the circuit: `blocks.2.attn.1`, `blocks.0.mlp`, `blocks.0.mlp[3]`.
        hook: Where its directions pass, such as `blocks.0.hook_mlp_out`.
        directions: What is projected out there, `[d]` or `[direction, d]`; of these the rest cannot be left
            out, and faithfulness is NaN.
        positions: At which positions the circuit is; None is all, and with some faithfulness is NaN.
        replacement: What stands in their place: the mean over the samples' tokens, or zero.
        placebos: How many random circuits of the same size.
        top: How many tokens to list.
        seed: Of the placebos.

    Raises:
        RequestError: An argument does not fit.

    Source: Wang et al. 2022, arXiv 2211.00593, section 4 (faithfulness, completeness, minimality).
    """
    questions.check(box.config)
    circuit = named_circuit(box.config, parts, hook, directions, positions)
    check_parts(box.config, circuit, questions.tokens.shape[1])
    _check(box.config, samples, replacement, placebos, top)
    spent, rows = box.budget.spent, len(questions)
    some = _some(box, samples, circuit)
    usual = {name: each.mean(0) if replacement == "mean" else 0 * each[0] for name, each in some.items()}
    fakes = _placebos(circuit, some, box.config, placebos, seed)
    watched = [*site_names(box.config), *units(box.config), "logits"]
    before = run(box, questions.tokens, watched)
    cut = [taken_out(part, usual, box.config) for part in circuit]
    after = run(box, questions.tokens, watched, lambda _rows: cut)
    variants = [
        all_else_out(circuit, usual, box.config),
        all_else_out((), usual, box.config),
        *([each for number, each in enumerate(cut) if number != part] for part in range(len(cut))),
        *([taken_out(part, usual, box.config) for part in fake] for fake in fakes),
    ]
    logits = _variants(box, questions, variants)  # [variant, row, d_vocab]
    arrays = _changes(questions, before, after, top)
    only, none = _mean_margin(questions, logits[0]), _mean_margin(questions, logits[1])
    whole, without = arrays["margin_with"].mean(), arrays["margin_without"].mean()
    apart = all(part.direction is None and part.positions is None for part in circuit)
    scale = whole - none
    arrays["faithfulness"] = (only - none) / scale if apart else torch.tensor(torch.nan)
    arrays["completeness"] = (without - none) / scale
    arrays["returned"] = torch.stack(
        [_mean_margin(questions, each) - without for each in logits[2 : 2 + len(cut)]] or [only * 0]
    )[: len(cut)]
    usual_answers = questions.read(before["logits"]).log_softmax(-1)
    fake_answers = logits[2 + len(cut) :].log_softmax(-1)
    arrays["placebo_kl"] = _kl(usual_answers, fake_answers).mean(-1)
    args = {"rows": rows, "parts": list(parts), "hook": hook, "replacement": replacement, "seed": seed}
    return _result(box, args, spent, arrays, len(circuit))


def _check(
    config: TransformerConfig, samples: Samples, replacement: Replacement, placebos: int, top: int
) -> None:
    if replacement not in ("mean", "zero"):
        raise RequestError(f'replacement: got "{replacement}"; allowed: mean, zero')
    if placebos < 2:
        raise RequestError(f"placebos: got {placebos}; allowed: at least 2")
    if not 1 <= top <= config.d_vocab:
        raise RequestError(f"top: got {top}; allowed: 1 to {config.d_vocab}")
    checked(config, samples)


def _some(box: Toolbox, samples: Samples, circuit: Circuit) -> dict[str, Tensor]:
    """Activations of every hook that may be replaced, at the samples' tokens, `[token, ...]`."""
    names = list(dict.fromkeys([*units(box.config), *(part.hook for part in circuit)]))
    found = run(box, samples.tokens, names)
    holds = torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]
    return {name: each[holds] for name, each in found.items()}


def _placebos(
    circuit: Circuit, some: dict[str, Tensor], config: TransformerConfig, count: int, seed: int
) -> list[Circuit]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(placebo(part, some, config, generator) for part in circuit) for _ in range(count)]


def _variants(box: Toolbox, questions: Questions, variants: Sequence[Sequence[Intervention]]) -> Tensor:
    """Logits where the answers are read, under each variant, `[variant, row, d_vocab]`."""
    rows = len(questions)
    owners = torch.arange(rows).repeat(len(variants))

    def changes(runs: Tensor) -> list[Intervention]:
        found = []
        for number in sorted(set((runs // rows).tolist())):
            here = tuple((runs // rows == number).nonzero()[:, 0].tolist())
            found += [_for_rows(each, here) for each in variants[number]]
        return found

    asked = questions.of(owners)
    logits = run(box, asked.tokens, ["logits"], changes)["logits"]
    return asked.read(logits).view(len(variants), rows, -1)


def _for_rows(each: Intervention, rows: tuple[int, ...]) -> Intervention:
    return Intervention(each.name, each.value, each.mode, each.mask, each.positions, rows, each.offset)


def _mean_margin(questions: Questions, read: Tensor) -> Tensor:
    """Mean margin, given logits where the answers are read, `[row, d_vocab]`."""
    return (read * questions.weights(read.shape[-1])).sum(-1).mean()


def _kl(before: Tensor, after: Tensor) -> Tensor:
    """KL of log-probabilities over the last axis, nats."""
    return (before.exp() * (before - after)).sum(-1).clamp(min=0)


def _changes(
    questions: Questions, before: dict[str, Tensor], after: dict[str, Tensor], top: int
) -> dict[str, Tensor]:
    """What is different without the circuit."""
    then, now = (questions.read(found["logits"]).log_softmax(-1) for found in (before, after))
    gained = (now - then).topk(top)
    moved = {name: (after[name] - before[name]).double() for name in before}
    sites = [name for name in before if "hook_resid" in name]
    arrays = {
        "kl": _kl(then, now),
        "with": then.argmax(-1),
        "without": now.argmax(-1),
        "margin_with": questions.margin(before["logits"]),
        "margin_without": questions.margin(after["logits"]),
        "change": torch.stack(
            [moved[name].norm(dim=-1) / before[name].double().norm(dim=-1).clamp(min=_TINY) for name in sites]
        ),
        "gained": gained.indices,
        "gained_by": gained.values,
    }
    for name, end in (("head", "hook_z"), ("neuron", "hook_post")):
        hooks = [hook for hook in before if hook.endswith(end)]
        if hooks:
            arrays[name] = torch.stack([_relative(moved[hook], before[hook], name) for hook in hooks])
    return arrays


def _relative(moved: Tensor, before: Tensor, name: str) -> Tensor:
    """Mean size of the change over mean size, for each head or neuron."""
    change, own = moved.abs(), before.double().abs()
    if name == "head":
        change, own = moved.norm(dim=-1), before.double().norm(dim=-1)
    return change.mean((0, 1)) / own.mean((0, 1)).clamp(min=_TINY)


def _result(
    box: Toolbox, args: dict[str, object], spent: float, arrays: dict[str, Tensor], parts: int
) -> ToolResult:
    sites, rows, length = arrays["change"].shape
    axes = [
        Axis(name="site", labels=["embed", *(f"layer {layer}" for layer in range(sites - 1))]),
        numbered("prompt", rows),
        numbered("pos", length),
    ]
    units_axes = {
        name: [numbered("layer", arrays[name].shape[0]), numbered(name, arrays[name].shape[1])]
        for name in ("head", "neuron")
        if name in arrays
    }
    views = [
        View(kind="heatmap", axes=axes, data="change", link=["layer", "prompt", "pos"]),
        View(
            kind="heatmap",
            axes=[axes[1], numbered("rank", arrays["gained"].shape[1])],
            data="gained_by",
            words="gained",
            unit="nats",
            link=["prompt"],
        ),
        View(kind="bars", axes=[axes[1]], data="kl", unit="nats", link=["prompt"]),
        *(View(kind="heatmap", axes=each, data=name) for name, each in units_axes.items()),
    ]
    if parts:
        views.append(View(kind="bars", axes=[numbered("part", parts)], data="returned", unit="nats"))
    high = float(arrays["placebo_kl"].quantile(0.95))
    changed = float((arrays["with"] != arrays["without"]).double().mean())
    shares = [
        Summary(name, float(arrays[name]), rows)
        for name in ("faithfulness", "completeness")
        if bool(arrays[name].isfinite())
    ]
    return ToolResult(
        "circuit_effect",
        args,
        box.budget.spent - spent,
        arrays,
        tuple(views),
        (f"19 of 20 random circuits of that size have a mean KL below {high:.3g} nats",),
        (
            Summary("mean KL", float(arrays["kl"].mean()), rows, (0.0, high)),
            Summary("share of answers changed", changed, rows),
            *shares,
        ),
    )
