import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from game.api import AccessError, BudgetExceededError, Intervention, RequestError, Toolbox
from game.toolbox.live import GRANTED_BY, ModelToolbox
from game.toolbox.prices import weight_price, weight_rate
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

MakeBox = Callable[..., ModelToolbox]
Call = Callable[[ModelToolbox, torch.Tensor], object]
RESID, POST, SCORES = "blocks.0.hook_resid_post", "blocks.0.mlp.hook_post", "blocks.1.attn.hook_attn_scores"


def test_it_is_a_toolbox(box: ModelToolbox) -> None:
    toolbox: Toolbox = box
    assert toolbox.config.n_layers == 3


def test_logits_and_activations_are_the_models_own(
    box: ModelToolbox, tiny_model: Transformer, tokens: torch.Tensor
) -> None:
    names = [*tiny_model.cfg.hook_names(), "logits"]
    logits, cache = tiny_model.run_with_cache(tokens)
    seen = box.activations(tokens, names)
    assert list(seen) == names
    torch.testing.assert_close(seen.pop("logits"), logits.detach())
    torch.testing.assert_close(seen, {name: cache[name] for name in seen})
    torch.testing.assert_close(box.logits(tokens), logits.detach())


def test_vjp_agrees_with_finite_differences_at_every_hook(
    make_box: MakeBox, tiny_model: Transformer, tokens: torch.Tensor
) -> None:
    box = make_box(total=math.inf)
    generator = named_generator("directions")
    cotangent = torch.randn(3, 5, 11, generator=generator)
    names = box.config.hook_names()
    gradients = box.vjp(tokens, names, {"logits": cotangent})
    tiny_model.double()
    for name in names:
        step = torch.randn(gradients[name].shape, generator=generator, dtype=torch.float64)

        def objective(size: float, name: str = name, step: torch.Tensor = step) -> float:
            with torch.no_grad():
                moved = tiny_model.run_with_hooks(tokens, [(name, lambda value, _: value + size * step)])
            return float((moved * cotangent).sum())

        slope = (objective(1e-5) - objective(-1e-5)) / 2e-5
        assert float((gradients[name] * step).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-3), name


def test_many_cotangents_in_one_call_equal_one_call_each(box: ModelToolbox, tokens: torch.Tensor) -> None:
    many = {
        "logits": torch.randn(4, 3, 5, 11, generator=named_generator("many")),
        POST: torch.randn(4, 3, 5, 16, generator=named_generator("post")),
    }
    names = box.config.hook_names()
    together = box.vjp(tokens, names, many)
    for k in range(4):
        alone = box.vjp(tokens, names, {name: array[k] for name, array in many.items()})
        for name in names:
            torch.testing.assert_close(together[name][k], alone[name])


def test_a_gradient_is_taken_at_the_value_that_leaves_the_hook(
    box: ModelToolbox, tokens: torch.Tensor
) -> None:
    cut = Intervention(RESID, torch.zeros(8))
    gradients = box.vjp(tokens, [RESID, POST], {"logits": torch.ones(3, 5, 11).tril()}, [cut])
    assert gradients[RESID].abs().max() > 0.01  # downstream of the intervention
    assert gradients[POST].abs().max() == 0  # upstream of a value that was replaced
    gradients = box.vjp(tokens, [RESID], {RESID: torch.full((3, 5, 8), 2.0)})
    assert (gradients[RESID] == 2).all()


def test_gradients_leave_no_trace_on_the_model(
    box: ModelToolbox, tiny_model: Transformer, tokens: torch.Tensor
) -> None:
    tiny_model.requires_grad_(False)
    gradients = box.vjp(
        tokens, ["hook_embed"], {"logits": torch.randn(3, 5, 11, generator=named_generator("g"))}
    )
    assert gradients["hook_embed"].abs().max() > 0
    assert all(
        parameter.grad is None and not parameter.requires_grad for parameter in tiny_model.parameters()
    )


# call                                                                        credits
PRICES: list[tuple[Call, float]] = [
    (lambda box, tokens: box.logits(tokens), 3),
    (lambda box, tokens: box.activations(tokens, box.config.hook_names()), 3),
    (lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.ones(3, 5, 11)}), 9),
    (lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.ones(4, 3, 5, 11)}), 27),
    (lambda box, tokens: box.weight("embed.W_E"), 88 / 2790),  # scalars of W_E, and of one forward pass
    (lambda box, tokens: box.sample(50), 0),
]


@pytest.mark.parametrize(("call", "price"), PRICES)
def test_a_call_costs_its_price_once(
    box: ModelToolbox, tokens: torch.Tensor, call: Call, price: float
) -> None:
    call(box, tokens)
    assert box.budget.spent == pytest.approx(price)
    call(box, tokens)
    assert box.budget.spent == pytest.approx(price)


def test_a_repeat_is_free_even_when_its_result_was_forgotten(make_box: MakeBox, tokens: torch.Tensor) -> None:
    box = make_box(total=3, room=0)
    first = box.logits(tokens)
    assert torch.equal(first, box.logits(tokens.clone()))
    assert box.budget.remaining == 0


def test_what_differs_in_one_number_is_not_a_repeat(box: ModelToolbox, tokens: torch.Tensor) -> None:
    other = tokens.clone()
    other[0, 0] = (other[0, 0] + 1) % 11
    calls = [(tokens, []), (other, []), (tokens, [Intervention(RESID, torch.zeros(8))])]
    calls += [(tokens, [Intervention(RESID, torch.zeros(8), "add")])]
    calls += [(tokens, [Intervention(RESID, torch.zeros(8), positions=(1,))])]
    calls += [(tokens, [Intervention(RESID, torch.zeros(8), rows=(1,))])]
    for count, (batch, interventions) in enumerate(calls, start=1):
        box.logits(batch, interventions)
        assert box.budget.spent == 3 * count


def test_weights_are_never_dearer_than_reading_them_through_activations(
    tiny_config: TransformerConfig,
) -> None:
    widest = max(tiny_config.d_model, tiny_config.d_mlp, tiny_config.d_vocab)
    assert weight_rate(tiny_config) <= 1 / (tiny_config.n_ctx * widest)
    assert weight_price(tiny_config, "unembed.W_U") == pytest.approx(88 * weight_rate(tiny_config))


def test_one_forward_pass_shows_more_scalars_than_a_credit_buys_of_any_weight(make_box: MakeBox) -> None:
    box = make_box()
    one_hot = torch.eye(6, 16)[None]
    shown = box.activations(
        torch.zeros(1, 6, dtype=torch.int64), ["blocks.0.hook_mlp_out"], [Intervention(POST, one_hot)]
    )
    rows = shown["blocks.0.hook_mlp_out"][0] - box.weight("blocks.0.mlp.b_out")
    torch.testing.assert_close(rows, box.weight("blocks.0.mlp.W_out")[:6])
    assert 48 * weight_rate(box.config) <= 1


def test_writing_into_a_result_changes_nothing(
    box: ModelToolbox, tiny_model: Transformer, tokens: torch.Tensor
) -> None:
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    reads: list[Callable[[], torch.Tensor]] = [
        lambda: box.logits(tokens),
        lambda: box.weight("embed.W_E"),
        lambda: box.activations(tokens, ["hook_embed"])["hook_embed"],
        lambda: box.sample(4).tokens,
    ]
    for read in reads:
        first = read()
        kept = first.clone()
        first.zero_()
        assert torch.equal(read(), kept)
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.state_dict().items())


def test_writing_into_an_argument_afterwards_changes_nothing(box: ModelToolbox, tokens: torch.Tensor) -> None:
    value = torch.ones(8)
    first = box.logits(tokens, [Intervention(RESID, value)])
    value.zero_()
    assert not torch.equal(first, box.logits(tokens, [Intervention(RESID, value)]))
    assert torch.equal(first, box.logits(tokens, [Intervention(RESID, torch.ones(8))]))


# what is wrong with the arguments                                        and what the message says
BAD_CALLS: list[tuple[Call, str]] = [
    (
        lambda box, tokens: box.logits(tokens.int()),
        r"tokens: got torch.int32 \[3, 5\], wanted an int64 tensor",
    ),
    (
        lambda box, tokens: box.logits(tokens[0]),
        r"tokens: got torch.int64 \[5\], wanted an int64 tensor \[row, pos\]",
    ),
    (lambda box, tokens: box.logits([[1]]), "tokens: got list, wanted an int64 tensor"),  # type: ignore[arg-type]
    (
        lambda box, tokens: box.logits(tokens[:0]),
        "tokens: got none, wanted at least 1 sequence",
    ),
    (lambda box, tokens: box.logits(tokens.repeat(342, 1)), "tokens: got 1026 sequences; allowed: 1 to 1024"),
    (
        lambda box, tokens: box.logits(tokens.repeat(1, 2)),
        r"tokens: got length 10; allowed: 1 to 6 \(n_ctx\)",
    ),
    (lambda box, tokens: box.logits(tokens[:, :0]), "tokens: got length 0; allowed: 1 to 6"),
    (lambda box, tokens: box.logits(tokens + 11), "tokens: got id 2[01]; allowed: 0 to 10"),
    (lambda box, tokens: box.logits(tokens - 11), "tokens: got id -1[01]; allowed: 0 to 10"),
    (lambda box, tokens: box.activations(tokens, []), "names: got none, wanted at least 1 hook"),
    (
        lambda box, tokens: box.activations(tokens, "logits"),
        "names: got 'logits', wanted a list of hook names",
    ),
    (
        lambda box, tokens: box.activations(tokens, ["hook_embd"]),
        'unknown hook "hook_embd"; .*mean "hook_embed"',
    ),
    (lambda box, tokens: box.weight("embed.W_e"), 'unknown weight "embed.W_e"; .*did you mean "embed.W_E"'),
    (lambda box, tokens: box.vjp(tokens, ["logits"], {}), 'unknown hook "logits"'),
    (lambda box, tokens: box.vjp(tokens, [RESID], {}), "cotangent: wanted a dict of hook name to tensor"),
    (
        lambda box, tokens: box.vjp(tokens, [RESID], {"logit": torch.ones(1)}),
        'unknown hook "logit".*mean "logits"',
    ),
    (
        lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.ones(3, 5, 10)}),
        r"cotangent of logits: got shape \[3, 5, 10\]; allowed: \[3, 5, 11\], or \[K, the same\]",
    ),
    (
        lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.ones(2, 2, 3, 5, 11)}),
        r"cotangent of logits: got shape \[2, 2, 3, 5, 11\]",
    ),
    (
        lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.full((3, 5, 11), torch.nan)}),
        "cotangent of logits: got NaN or infinity; allowed: finite numbers",
    ),
    (
        lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.ones(3, 5, 11, dtype=torch.int64)}),
        "cotangent of logits: wanted a floating-point tensor",
    ),
    (
        lambda box, tokens: box.vjp(
            tokens, [RESID], {"logits": torch.ones(3, 5, 11), RESID: torch.ones(2, 3, 5, 8)}
        ),
        r"cotangent: leading axes \[\[\], \[2\]\] differ; wanted one K for all",
    ),
    (
        lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.ones(342, 3, 5, 11)}),
        "tokens: got 1026 sequences times cotangents; allowed: 1 to 1024",
    ),
    (lambda box, tokens: box.sample(0), "n: got 0; allowed: whole numbers from 1 to 100000"),
    (lambda box, tokens: box.sample(True), "n: got True; allowed: whole numbers"),
    (lambda box, tokens: box.sample(1, seed=-1), "seed: got -1; allowed: whole numbers from 0"),
    (lambda box, tokens: box.sibling(-1), "index: got -1; allowed: whole numbers from 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS)
def test_arguments_without_sense_are_refused_and_not_charged(
    box: ModelToolbox, tokens: torch.Tensor, call: Call, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        call(box, tokens)
    assert box.budget.spent == 0


def test_an_answer_beyond_the_referee_s_memory_is_refused_before_it_is_computed(
    box: ModelToolbox, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tokens.numel() * 11
    monkeypatch.setattr("game.toolbox.requests.MOST_NUMBERS", whole)
    assert box.logits(tokens).numel() == whole
    with pytest.raises(
        RequestError, match=f"names: got an answer of .* numbers; at most {whole} in one call"
    ):
        box.activations(tokens, ["logits", RESID])
    with pytest.raises(RequestError, match="names: got an answer of"):
        box.vjp(tokens, [RESID], {"logits": torch.ones(2, 3, 5, 11)})
    assert box.budget.spent == len(tokens)


GUARDED: dict[str, Call] = {
    "logits": lambda box, tokens: box.logits(tokens),
    "sample": lambda box, tokens: box.sample(2),
    "interventions": lambda box, tokens: box.logits(tokens, [Intervention(RESID, torch.zeros(8))]),
    "activations": lambda box, tokens: box.activations(tokens, ["logits"]),
    "vjp": lambda box, tokens: box.vjp(tokens, [RESID], {"logits": torch.ones(3, 5, 11)}),
    "weight": lambda box, tokens: box.weight("embed.W_E"),
    "sibling": lambda box, tokens: box.sibling(0),
    "reference": lambda box, tokens: box.reference(),
}


@pytest.mark.parametrize("what", GRANTED_BY)
@pytest.mark.parametrize("league", ["blackbox", "whitebox", "siblings", "scrambled", "reference"])
def test_a_league_grants_what_its_table_says(
    make_box: MakeBox, tiny_model: Transformer, tokens: torch.Tensor, what: str, league: Any
) -> None:
    box = make_box(league, reference=tiny_model, siblings=(tiny_model,))
    if league in GRANTED_BY[what]:
        GUARDED[what](box, tokens)
        return
    granting = ", ".join(GRANTED_BY[what])
    with pytest.raises(
        AccessError, match=f"^{what}: not granted by the {league} league; granted by: {granting}$"
    ):
        GUARDED[what](box, tokens)
    assert box.budget.spent == 0


def test_arguments_are_checked_before_the_league(make_box: MakeBox) -> None:
    with pytest.raises(RequestError, match="unknown weight"):
        make_box("blackbox").weight("nonsense")


def test_the_league_is_checked_before_the_budget(make_box: MakeBox, tokens: torch.Tensor) -> None:
    with pytest.raises(AccessError, match="activations: not granted by the blackbox league"):
        make_box("blackbox", total=0).activations(tokens, ["hook_embed"])


def test_a_call_over_budget_runs_and_charges_nothing(
    make_box: MakeBox, tiny_model: Transformer, tokens: torch.Tensor
) -> None:
    box = make_box(total=7.5)
    box.logits(tokens)
    ran: list[bool] = []
    tiny_model.hook_embed.register_forward_hook(lambda *_: ran.append(True))
    with pytest.raises(BudgetExceededError, match=r"this call costs 9 credits; 4\.5 are left of 7\.5"):
        box.vjp(tokens, [RESID], {"logits": torch.ones(3, 5, 11)})
    assert (box.budget.spent, ran) == (3, [])
    box.logits(tokens[:, :4])  # what can still be paid goes through
    assert box.budget.remaining == 1.5


def test_an_unmetered_toolbox_never_runs_out(make_box: MakeBox, tokens: torch.Tensor) -> None:
    box = make_box(total=math.inf)
    box.logits(tokens)
    assert (box.budget.spent, box.budget.remaining) == (3, math.inf)


def test_a_run_that_fails_is_not_charged(box: ModelToolbox, tokens: torch.Tensor) -> None:
    with pytest.raises(RequestError, match="a query is left without any key that it may see"):
        box.logits(tokens, [Intervention(SCORES, torch.tensor(-torch.inf), "add")])
    assert box.budget.spent == 0


def test_the_reference_shares_the_meter_but_no_results(
    make_box: MakeBox, tiny_config: TransformerConfig, tokens: torch.Tensor
) -> None:
    other = Transformer(tiny_config, named_generator("other"))
    box = make_box("reference", total=6, reference=other)
    reference = box.reference()
    torch.testing.assert_close(reference.logits(tokens), other(tokens).detach())
    assert not torch.equal(box.logits(tokens), reference.logits(tokens))
    assert box.budget == reference.budget
    assert box.budget.spent == 6
    with pytest.raises(BudgetExceededError, match="0 are left"):
        reference.logits(tokens[:, :3])
    with pytest.raises(AccessError, match="reference: the toolbox of a reference opens no other"):
        reference.reference()
    box.close()
    with pytest.raises(AccessError, match="the toolbox is closed"):
        reference.logits(tokens)


def test_a_sibling_that_the_case_does_not_have_is_refused(make_box: MakeBox, tiny_model: Transformer) -> None:
    with pytest.raises(AccessError, match="no sibling 0: this case has 0"):
        make_box("siblings").sibling(0)
    with pytest.raises(AccessError, match="no sibling 1: this case has 1"):
        make_box("siblings", siblings=(tiny_model,)).sibling(1)
    with pytest.raises(AccessError, match="no reference: this case has none"):
        make_box("scrambled").reference()


@pytest.mark.parametrize("what", GUARDED)
def test_a_closed_toolbox_refuses_every_call(make_box: MakeBox, tokens: torch.Tensor, what: str) -> None:
    box = make_box("reference")
    box.logits(tokens)
    box.close()
    with pytest.raises(AccessError, match="the toolbox is closed"):
        GUARDED[what](box, tokens)
    assert box.budget.spent == 3


def test_samples_repeat_with_their_seed(box: ModelToolbox) -> None:
    assert torch.equal(box.sample(7, seed=3).tokens, box.sample(7, seed=3).tokens)
    assert not torch.equal(box.sample(7, seed=3).tokens, box.sample(7, seed=4).tokens)
    assert box.sample(7).lengths.shape == (7,)
