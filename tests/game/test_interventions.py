from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from game.api import Intervention, Mode, RequestError
from game.toolbox.interventions import compile_interventions
from game.toolbox.live import ModelToolbox
from models.hooks import HookPoint
from models.seeds import named_generator
from models.transformer import Transformer

CPU = torch.device("cpu")
RESID, PATTERN, SCORES = "resid", "hook_pattern", "hook_attn_scores"
SHAPES = {RESID: (2, 3, 4), PATTERN: (2, 5, 3, 3), SCORES: (2, 5, 3, 3)}
GENERATOR = "interventions"


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=named_generator(GENERATOR, *shape))


def changed(activation: Tensor, *interventions: Intervention) -> Tensor:
    """The activation after all interventions, which are all at one hook."""
    for _, function in compile_interventions(interventions, SHAPES, CPU):
        result = function(activation, HookPoint())
        assert result is not None
        activation = result
    return activation


# mode           value                expected from the activation a
MODES: list[tuple[str, float, Callable[[Tensor], Tensor]]] = [
    ("set", 3.0, lambda a: torch.full_like(a, 3.0)),
    ("add", 3.0, lambda a: a + 3),
    ("scale", 3.0, lambda a: a * 3),
]


@pytest.mark.parametrize(("mode", "value", "expected"), MODES)
def test_each_mode_does_what_it_says(mode: Any, value: float, expected: Callable[[Tensor], Tensor]) -> None:
    a = noise(2, 3, 4)
    torch.testing.assert_close(changed(a, Intervention(RESID, torch.tensor(value), mode)), expected(a))
    part = changed(a, Intervention(RESID, torch.tensor(value), mode, positions=(0, 2), rows=(1,)))
    torch.testing.assert_close(part[1, [0, 2]], expected(a)[1, [0, 2]])
    assert torch.equal(part[0], a[0])
    assert torch.equal(part[1, 1], a[1, 1])


def test_project_out_leaves_the_offset_along_the_direction_and_the_rest_alone() -> None:
    a, v = noise(2, 3, 4), noise(4)
    unit = v / v.norm()
    out = changed(a, Intervention(RESID, v, "project_out", offset=0.7))
    torch.testing.assert_close(out @ unit, torch.full((2, 3), 0.7))
    across = torch.eye(4) - unit.outer(unit)
    torch.testing.assert_close(out @ across, a @ across)


def test_project_out_takes_one_direction_for_each_row() -> None:
    a, v = noise(2, 3, 4), noise(2, 1, 4)
    out = changed(a, Intervention(RESID, v, "project_out"))
    torch.testing.assert_close((out * v).sum(-1), torch.zeros(2, 3), atol=1e-6, rtol=0)


def test_a_value_runs_over_the_chosen_rows_and_positions() -> None:
    a, value = noise(2, 3, 4), noise(1, 2, 4)
    out = changed(a, Intervention(RESID, value, rows=(1,), positions=(2, 0)))
    assert torch.equal(out[1, [2, 0]], value[0])
    assert torch.equal(out[1, 1], a[1, 1])


def test_a_mask_is_laid_over_the_whole_activation() -> None:
    a, mask = noise(2, 3, 4), torch.zeros(2, 3, 1, dtype=torch.bool)
    mask[0, 1] = mask[1, 2] = True
    out = changed(a, Intervention(RESID, torch.zeros(4), mask=mask))
    assert torch.equal(out == 0, mask.expand(2, 3, 4))
    out = changed(a, Intervention(RESID, torch.zeros(4), mask=mask, rows=(1,)))
    assert (out[1, 2] == 0).all()
    assert torch.equal(out[0], a[0])


@pytest.mark.parametrize("name", [PATTERN, SCORES])
def test_positions_of_scores_and_patterns_are_queries(name: str) -> None:
    a = noise(2, 5, 3, 3)
    out = changed(a, Intervention(name, torch.tensor([1.0, 2.0, 3.0]), positions=(1,), rows=(0,)))
    assert out[0, :, 1].tolist() == [[1, 2, 3]] * 5
    assert torch.equal(out[:, :, [0, 2]], a[:, :, [0, 2]])
    assert torch.equal(out[1], a[1])


def test_interventions_apply_in_list_order() -> None:
    a = noise(2, 3, 4)
    add, double = (
        Intervention(RESID, torch.tensor(1.0), "add"),
        Intervention(RESID, torch.tensor(2.0), "scale"),
    )
    torch.testing.assert_close(changed(a, add, double), (a + 1) * 2)
    torch.testing.assert_close(changed(a, double, add), a * 2 + 1)


def test_the_activation_itself_is_left_alone() -> None:
    a = noise(2, 3, 4)
    kept = a.clone()
    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        changed(a, Intervention(RESID, torch.ones(4), mode))
        changed(a, Intervention(RESID, torch.ones(4), mode, rows=(0,)))
    assert torch.equal(a, kept)


def hidden_scores() -> Tensor:
    return noise(2, 5, 3, 3).masked_fill(~torch.ones(3, 3).tril().bool(), -torch.inf)


@pytest.mark.parametrize(("mode", "value"), [("add", 5.0), ("scale", 0.0), ("scale", -1.0)])
def test_a_hidden_key_stays_hidden(mode: Any, value: float) -> None:
    a = hidden_scores()
    out = changed(a, Intervention(SCORES, torch.tensor(value), mode))
    assert torch.equal(out == -torch.inf, a == -torch.inf)
    assert not out.isnan().any()


def test_projecting_scores_looks_only_at_the_keys_that_are_seen() -> None:
    a = hidden_scores()
    out = changed(a, Intervention(SCORES, torch.ones(3), "project_out"))
    torch.testing.assert_close(out[:, :, 2].sum(-1), torch.zeros(2, 5), atol=1e-6, rtol=0)
    assert torch.equal(out == -torch.inf, a == -torch.inf)


def test_scores_with_hidden_keys_can_be_patched() -> None:
    a = hidden_scores()
    assert torch.equal(changed(noise(2, 5, 3, 3), Intervention(SCORES, a)), a)


def test_a_query_must_keep_a_key() -> None:
    hide = torch.tensor([-torch.inf, 0.0, 0.0])
    with pytest.raises(
        RequestError, match="hook_attn_scores: a query is left without any key that it may see"
    ):
        changed(hidden_scores(), Intervention(SCORES, hide, "add"))
    out = changed(hidden_scores(), Intervention(SCORES, hide, "add", positions=(1, 2)))
    assert (out[:, :, 1:, 0] == -torch.inf).all()


ONES, INF = torch.ones(4), torch.tensor(torch.inf)
# what is wrong                                                        and what the message says
BAD: list[tuple[Any, str]] = [
    (ONES, "interventions: got Tensor, wanted a list of Intervention"),
    (Intervention(RESID, ONES), "interventions: got Intervention, wanted a list of Intervention"),
    ([ONES], r"interventions\[0\]: got Tensor, wanted an Intervention"),
    (
        [Intervention(RESID, ONES), Intervention("resd", ONES)],
        r'interventions\[1\]: unknown hook "resd".*mean "resid"',
    ),
    (
        [Intervention(RESID, ONES, "sett")],  # type: ignore[arg-type]
        'unknown mode "sett"; allowed: set, add, scale, project_out; .*"set"',
    ),
    ([Intervention(RESID, 1.0)], "value: got float, wanted a tensor of real numbers"),  # type: ignore[arg-type]
    ([Intervention(RESID, ONES.bool())], "value: got torch.bool, wanted a tensor of real numbers"),
    ([Intervention(RESID, ONES * 1j)], "value: got torch.complex64, wanted a tensor of real numbers"),
    (
        [Intervention(RESID, torch.ones(5))],
        r"value: shape \[5\] does not broadcast to the selected \[2, 3, 4\]",
    ),
    (
        [Intervention(RESID, torch.ones(2, 3, 4), rows=(0,))],
        r"value: .* does not broadcast to the selected \[1, 3, 4\]",
    ),
    ([Intervention(RESID, torch.ones(1, 2, 3, 4))], r"value: shape \[1, 2, 3, 4\] does not broadcast"),
    ([Intervention(RESID, ONES * torch.nan)], "value: got NaN or infinity; allowed: finite numbers"),
    ([Intervention(RESID, -INF)], "value: got NaN or infinity"),
    ([Intervention(RESID, torch.tensor(1e300).double())], "value: got NaN or infinity"),
    ([Intervention(SCORES, INF)], "value: got NaN or infinity; .*-inf in `set` or `add` of scores"),
    ([Intervention(SCORES, -INF, "scale")], "value: got NaN or infinity"),
    ([Intervention(PATTERN, -INF)], "value: got NaN or infinity"),
    (
        [Intervention(RESID, torch.tensor(1.0), "project_out")],
        r"value: got shape \[\]; project_out needs a last axis of 4",
    ),
    (
        [Intervention(RESID, torch.ones(1), "project_out")],
        r"value: got shape \[1\]; project_out needs a last axis of 4",
    ),
    ([Intervention(RESID, ONES * 0, "project_out")], "value: got a zero vector, which has no direction"),
    (
        [Intervention(RESID, ONES, "project_out", offset=INF.item())],
        "offset: got inf, wanted a finite number",
    ),
    ([Intervention(RESID, ONES, offset=1.0)], "offset: got 1.0 with mode set; only project_out has one"),
    ([Intervention(RESID, ONES, rows=())], "rows: got none, wanted at least 1; leave it out for all"),
    ([Intervention(RESID, ONES, rows=(2,))], "rows: got 2; allowed: 0 to 1"),
    ([Intervention(RESID, ONES, positions=(0, -1))], "positions: got -1; allowed: 0 to 2"),
    ([Intervention(RESID, ONES, positions=(0, 0))], "positions: got an index twice"),
    (
        [Intervention(RESID, ONES, positions=(0.5,))],  # type: ignore[arg-type]
        r"positions: got \(0.5,\), wanted a tuple of whole numbers",
    ),
    ([Intervention(RESID, ONES, positions=1)], "positions: got 1, wanted a tuple of whole numbers"),  # type: ignore[arg-type]
    ([Intervention(RESID, ONES, mask=ONES)], "mask: wanted a boolean tensor"),
    (
        [Intervention(RESID, ONES, mask=ONES[:2].bool())],
        r"mask: shape \[2\] does not broadcast .* \[2, 3, 4\]",
    ),
]


@pytest.mark.parametrize(("interventions", "message"), BAD)
def test_an_intervention_without_sense_is_refused(interventions: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compile_interventions(interventions, SHAPES, CPU)


SUBSETS = st.none() | st.sets(st.integers(0, 2), min_size=1).map(lambda chosen: tuple(sorted(chosen)))


@given(SUBSETS, SUBSETS, st.booleans(), st.sampled_from(["set", "add", "scale"]))
def test_only_what_is_selected_changes(rows: Any, positions: Any, masked: bool, mode: Any) -> None:
    a = noise(3, 3, 4)
    mask = noise(3, 3, 4) > 0 if masked else None
    intervention = Intervention(RESID, torch.tensor(2.0), mode, mask, positions, rows)
    ((_, function),) = compile_interventions([intervention], {RESID: (3, 3, 4)}, CPU)
    out = function(a, HookPoint())
    assert out is not None
    selected = torch.zeros(3, 3, 4, dtype=torch.bool)
    selected[torch.tensor(rows or (0, 1, 2))[:, None], torch.tensor(positions or (0, 1, 2))] = True
    assert torch.equal(out != a, selected if mask is None else selected & mask)


def test_a_sweep_in_one_batch_equals_a_loop(
    box: ModelToolbox, tiny_model: Transformer, tokens: Tensor
) -> None:
    values, hook = noise(3, 5, 8), "blocks.0.hook_mlp_out"
    batch = tokens[:1].repeat(3, 1)
    sweep = [Intervention(hook, values[i, i], positions=(i,), rows=(i,)) for i in range(3)]
    together = box.logits(batch, sweep)
    for i in range(3):
        alone = box.logits(tokens[:1], [Intervention(hook, values[i, i], positions=(i,))])
        torch.testing.assert_close(together[i], alone[0])
    assert not tiny_model.hook_dict[hook]._forward_hooks


def test_an_intervention_at_every_hook_reaches_the_logits(box: ModelToolbox, tokens: Tensor) -> None:
    clean = box.logits(tokens)
    for name in box.config.hook_names():
        moved = box.logits(tokens, [Intervention(name, torch.tensor(0.5), "scale")])
        if name not in ("blocks.2.hook_resid_post", "ln_final.hook_normalized", "ln_final.hook_scale"):
            assert not torch.allclose(moved, clean, atol=1e-4), name
