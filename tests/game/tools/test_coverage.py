from collections.abc import Callable

import pytest
import torch

from game.api import Intervention, RequestError, component_entries
from game.tools.coverage import coverage, estimate
from tests.game.tools.conftest import Subject, close, samples_of

SAMPLES = samples_of(40, 6)
HOLDS = torch.arange(6) < SAMPLES.lengths[:, None]


def everything(subject: Subject) -> tuple[str, ...]:
    return tuple(map(str, component_entries(subject.config)))


def test_claiming_everything_explains_everything_and_nothing_more(subject: Subject) -> None:
    found = coverage(subject.box(), SAMPLES, everything(subject))
    close(found.arrays["share"].sum(1), torch.ones(3))
    assert [each.value for each in found.summary] == pytest.approx([1, 1, 1])
    close(found.arrays["left"], torch.zeros(len(everything(subject))))
    assert [each.stands_out for each in found.summary] == [False] * 3
    assert found.cost == pytest.approx(estimate(subject.config, 40))


def test_a_longer_list_never_explains_less(subject: Subject) -> None:
    """Components, neurons and directions in random order, whatever was claimed before."""
    config, generator = subject.config, torch.Generator().manual_seed(1)
    names = [
        *everything(subject),
        *(f"blocks.{l}.mlp[{i}]" for l in range(config.n_layers) if config.mlp[l] for i in (0, 5)),
    ]
    order = torch.randperm(len(names), generator=generator).tolist()
    parts = tuple(names[index] for index in order)
    box = subject.box()
    ledger = coverage(box, SAMPLES, parts).arrays["ledger"]
    assert (ledger.diff(dim=1) >= -1e-12).all()
    assert ledger.max() <= 1 + 1e-12
    vectors = torch.randn(config.d_model, config.d_model, generator=generator)
    ledger = coverage(box, SAMPLES, parts[:3], "blocks.0.hook_attn_out", vectors).arrays["ledger"]
    assert (ledger.diff(dim=1) >= -1e-12).all()
    assert ledger.max() <= 1 + 1e-12


def test_the_loss_is_what_a_small_step_to_the_mean_costs(subject: Subject) -> None:
    box, config = subject.box(), subject.config
    at = torch.arange(40), SAMPLES.lengths - 1
    hooks = {f"blocks.0.attn.{head}": "blocks.0.attn.hook_z" for head in range(config.n_heads)}
    hooks |= {f"blocks.{l}.mlp": f"blocks.{l}.mlp.hook_post" for l, has in enumerate(config.mlp) if has}
    answer = box.logits(SAMPLES.tokens)[at].argmax(-1)
    losses, step = [], 2e-3
    for name, hook in hooks.items():
        value = box.activations(SAMPLES.tokens, [hook])[hook]
        towards = value[HOLDS].mean(0) - value
        if hook.endswith("hook_z"):
            towards = towards * (torch.arange(config.n_heads) == int(name[-1]))[:, None]
        ends = [
            box.logits(SAMPLES.tokens, [Intervention(hook, sign * step * towards, "add")])[at]
            for sign in (1, -1)
        ]
        up, down = (each.double().log_softmax(-1)[at[0], answer] for each in ends)
        losses.append(float((up - down).abs().mean()) / (2 * step))
    found = coverage(box, SAMPLES, ("embed",)).arrays["share"][0]
    rows = [everything(subject).index(name) for name in hooks]
    close(found[rows] / found[rows].sum(), torch.tensor(losses) / sum(losses), 2e-2)


def test_neurons_share_their_mlp_and_directions_what_passes_their_hook(
    shaped: Callable[[str], Subject],
) -> None:
    subject = shaped("windows")
    box, config = subject.box(), subject.config
    row = everything(subject).index("blocks.0.mlp")
    share = coverage(box, SAMPLES, ("blocks.0.mlp",)).arrays["share"][:, row]
    neurons = tuple(f"blocks.0.mlp[{index}]" for index in range(config.d_mlp))
    of_neurons = coverage(box, SAMPLES, neurons).arrays["explained"][:, row]
    close(of_neurons[[0, 2]], share[[0, 2]])
    assert 0.9 * share[1] < of_neurons[1] < share[1]  # the output's bias is no neuron's
    hook = "blocks.0.hook_mlp_out"
    value = box.activations(SAMPLES.tokens, [hook])[hook][HOLDS].double()
    vector = torch.arange(8.0)
    along = (value @ vector.double() / vector.norm()).var() / value.var(0).sum()
    one = coverage(box, SAMPLES, hook=hook, directions=vector).arrays["explained"][:, row]
    close(one, torch.tensor([float(along * share[0]), 0, 0]))
    whole = coverage(box, SAMPLES, hook=hook, directions=torch.eye(8)).arrays["explained"][:, row]
    close(whole[0], share[0])


def test_the_parts_that_matter_beat_random_ones_and_are_no_suspects_any_more(
    shaped: Callable[[str], Subject],
) -> None:
    subject = shaped("windows")
    box = subject.box()
    share = coverage(box, SAMPLES, ("embed",)).arrays["share"][0]
    heads = {name: float(share[i]) for i, name in enumerate(everything(subject)) if name[-2:] in (".0", ".1")}
    best, worst = max(heads, key=lambda each: heads[each]), min(heads, key=lambda each: heads[each])
    found = coverage(box, SAMPLES, (best,))
    assert found.summary[0].value > coverage(box, SAMPLES, (worst,)).summary[0].value
    assert found.suspects[best] == 0
    assert found.suspects[worst] == pytest.approx(heads[worst])
    assert found.arrays["placebo"].shape == (99, 3)


def test_claims_that_stand_for_nothing_are_refused_for_nothing(subject: Subject) -> None:
    box = subject.box()
    vector = torch.ones(subject.config.d_model)
    for bad, message in (
        ({}, "parts: got no claim; wanted a component, a neuron or a direction"),
        ({"parts": ("blocks.0.attn.9",)}, 'parts: "blocks.0.attn.9"; wanted a component such as'),
        ({"parts": ("blocks.0.mlp[99]",)}, r'parts: "blocks.0.mlp\[99\]"; wanted a component'),
        ({"hook": "hook_embed", "directions": vector}, 'hook: got "hook_embed"; allowed'),
        ({"hook": "blocks.0.hook_attn_out"}, "hook: wanted together with directions, or neither"),
        ({"hook": "blocks.0.hook_attn_out", "directions": torch.ones(3)}, r"directions: got \[3\]; wanted"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=message):
            coverage(box, SAMPLES, **bad)
    assert box.budget.spent == 0
