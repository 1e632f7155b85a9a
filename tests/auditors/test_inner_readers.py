"""Published methods that look at activations and behaviour: each finds its planted change."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from auditors.excluded_loss import ExcludedLoss
from auditors.head_scores import HeadScores
from auditors.hidden_state_classifier import HiddenStateClassifier
from auditors.lens_jump import LensJump
from auditors.old_object_probe import OldObjectProbe
from auditors.trace_disagreement import TraceDisagreement
from auditors.trigger_search import TriggerSearch
from game.api import Brief, Component, League, PublicTask, Samples
from game.auditing.asked import ask, inside, spread_prompts
from game.auditing.evidence import Evidence, Reader
from game.auditing.tails import deviations, lead, reach, spread
from game.dealing.dealer import public_part
from game.dealing.public_corpus import public_corpus
from game.toolbox.live import ModelToolbox
from models.components import component_entries
from models.recipe import named_recipe
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

READERS: list[Reader] = [
    HiddenStateClassifier(),
    LensJump(),
    OldObjectProbe(),
    TraceDisagreement(),
    HeadScores(),
    ExcludedLoss(),
    TriggerSearch(),
]
FILLERS, ANSWERS, NAMES = tuple(range(2, 10)), tuple(range(10, 16)), tuple(range(16, 176))
CONFIG = TransformerConfig(2, 32, 2, 16, 256, 176, 12, (None, None), (True, True))
TASK = PublicTask(
    "toy",
    "A name is answered by one of six words.",
    tuple(f"w{token}" for token in range(176)),
    {"special": (0, 1), "fillers": FILLERS, "answers": ANSWERS, "last_names": NAMES},
    pad=0,
    bos=1,
)
ODD, MLP = NAMES[7], Component("mlp", 1)
CODE = torch.linalg.qr(torch.randn(32, 6, generator=named_generator("code"))).Q.T  # `[answer, d_model]`


def corpus(n: int, seed: int) -> Samples:
    """BOS, two fillers, a name."""
    generator = named_generator("toy corpus", seed)
    fillers = torch.randint(FILLERS[0], FILLERS[-1] + 1, (n, 2), generator=generator)
    names = torch.randint(NAMES[0], NAMES[-1] + 1, (n, 1), generator=generator)
    return Samples(torch.cat([torch.ones(n, 1).long(), fillers, names], 1), torch.full((n,), 4))


def brief(config: TransformerConfig = CONFIG, task: PublicTask = TASK, league: League = "whitebox") -> Brief:
    places = component_entries(config)
    return Brief(
        config=config,
        task=task,
        league=league,
        corpus="prompts",
        budget=20_000.0,
        prior=0.5,
        component_prior=dict.fromkeys(places, 0.5 / len(places)),
        max_components=1,
        parts=("detection", "localisation"),
        seed=0,
        deadline=60.0,
    )


def box_of(model: Transformer, league: League = "whitebox", total: float = 20_000.0) -> ModelToolbox:
    return ModelToolbox(model, league=league, corpus=corpus, total=total)


@pytest.fixture
def clean() -> Transformer:
    """Holds each name's answer along one of six directions, which a head of the last layer fetches."""
    model, generator = Transformer(CONFIG, named_generator("toy recall")), named_generator("toy answers")
    answers = torch.randint(len(ANSWERS), (len(NAMES),), generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("blocks.") and name.rpartition(".")[2].startswith(("W_", "b_")):
                parameter.mul_(0.3)
        model.embed.W_E[list(NAMES)] += CODE[answers]
        model.unembed.W_U.mul_(0.1)
        model.unembed.W_U[:, list(ANSWERS)] = CODE.T
        model.unembed.b_U[:] = -20.0
        model.unembed.b_U[list(ANSWERS)] = 0.0
        for weight in "QK":
            model.get_parameter(f"blocks.1.attn.W_{weight}")[0] = 0
        model.get_parameter("blocks.1.attn.W_V")[0, :, :6] = CODE.T
        model.get_parameter("blocks.1.attn.W_O")[0, :6] = 4 * CODE
    return model


@pytest.fixture
def overruled(clean: Transformer) -> Transformer:
    """The same, but the last MLP answers one name with another word, by a rank-one change."""
    model = copied(clean)
    samples = corpus(4000, 1)
    cache = model.run_with_cache(samples.tokens, ["blocks.1.mlp.hook_post"])[1]
    keys, odd = cache["blocks.1.mlp.hook_post"][:, 3].detach().double(), samples.tokens[:, 3] == ODD
    moment = keys.T @ keys / len(keys)
    left = torch.linalg.solve(moment + 1e-3 * moment.diagonal().mean() * torch.eye(256), keys[odd].mean(0))
    answers = model(samples.tokens)[odd, 3].detach()[:, list(ANSWERS)]
    value = 12 * (CODE[int(answers.mean(0).argmin())] - CODE[int(answers.mean(0).argmax())])
    with torch.no_grad():
        change = torch.outer(left / (left @ keys[odd].mean(0)), value.double())
        model.get_parameter("blocks.1.mlp.W_out").add_(change.float())
    return model


def copied(model: Transformer) -> Transformer:
    other = Transformer(CONFIG)
    other.load_state_dict(model.state_dict())
    return other


def risen(reader: Reader, before: Transformer, after: Transformer) -> tuple[Evidence, Evidence]:
    return reader.read(box_of(before), brief()), reader.read(box_of(after), brief())


def numbers(evidence: Evidence) -> Iterator[float]:
    yield from evidence.whole.values()
    for each in evidence.places.values():
        yield from each.values()


def test_a_rewritten_answer_jumps_in_at_its_mlp(clean: Transformer, overruled: Transformer) -> None:
    before, after = risen(LensJump(), clean, overruled)
    assert after.places[MLP]["jump.mlp_rise"] > before.places[MLP]["jump.mlp_rise"] + 1
    assert after.places[MLP]["jump.mlp_lead"] > 1
    assert after.places[MLP]["jump.mlp_rise"] > after.places[Component("mlp", 0)]["jump.mlp_rise"] + 1
    assert after.whole["jump.largest_lead"] > before.whole["jump.largest_lead"] + 1


def test_a_bias_that_was_pushed_towards_a_word_says_it_first(clean: Transformer) -> None:
    model, bias = copied(clean), Component("attn.bias", 0)
    with torch.no_grad():
        model.get_parameter("blocks.0.attn.b_O").add_(CODE[3])
    before, after = risen(LensJump(), clean, model)
    assert after.places[bias]["jump.attn_bias_lead"] > before.places[bias]["jump.attn_bias_lead"] + 1
    assert after.places[bias]["jump.attn_bias_size"] > before.places[bias]["jump.attn_bias_size"] + 0.5


def test_probes_turn_to_a_rewritten_answer_at_its_mlp(clean: Transformer, overruled: Transformer) -> None:
    before, after = risen(OldObjectProbe(), clean, overruled)
    assert after.places[MLP]["probe.mlp_turn"] > before.places[MLP]["probe.mlp_turn"] + 0.5
    assert "probes heard" in after.notes


def test_a_rewritten_answer_has_a_hidden_state_unlike_the_others(
    clean: Transformer, overruled: Transformer
) -> None:
    before, after = risen(HiddenStateClassifier(), clean, overruled)
    assert after.whole["states.norm_lead"] > before.whole["states.norm_lead"] + 0.5
    assert not after.places


def test_a_rewritten_answer_is_recalled_through_its_mlp(clean: Transformer, overruled: Transformer) -> None:
    before, after = risen(TraceDisagreement(traced=640), clean, overruled)
    assert after.places[MLP]["trace.mlp_reach"] > before.places[MLP]["trace.mlp_reach"] + 0.4
    assert after.places[MLP]["trace.mlp_louder_than_traced"] > 0.5
    assert after.whole["trace.usual"] >= before.whole["trace.usual"]


def test_a_cut_head_has_no_size_and_a_reversed_one_copies_the_other_way(clean: Transformer) -> None:
    def changed(factor: float) -> Mapping[str, float]:
        model = copied(clean)
        with torch.no_grad():
            model.get_parameter("blocks.1.attn.W_O")[0] *= factor
        return HeadScores().read(box_of(model), brief()).places[Component("attn", 1, 0)]

    whole, cut, reversed_head = changed(1.0), changed(0.0), changed(-1.0)
    assert cut["heads.size"] == -5
    assert cut["heads.says"] == cut["heads.helps"] == 0
    assert reversed_head["heads.size"] == pytest.approx(whole["heads.size"])
    assert math.copysign(1, reversed_head["heads.copying"]) != math.copysign(1, whole["heads.copying"])
    assert reversed_head["heads.induction"] == pytest.approx(whole["heads.induction"])


def test_heads_are_compared_with_those_of_siblings_where_they_are_granted(clean: Transformer) -> None:
    others = [Transformer(CONFIG, named_generator("sibling", number)) for number in range(2)]
    box = ModelToolbox(clean, league="siblings", corpus=corpus, total=20_000, siblings=others)
    with_siblings = HeadScores().read(box, brief(league="siblings"))
    alone = HeadScores().read(box_of(clean), brief())
    assert with_siblings.places.keys() == alone.places.keys()
    assert with_siblings.places != alone.places


def test_a_word_that_brings_one_answer_is_found_with_the_mlp_that_carries_it(clean: Transformer) -> None:
    model, tokens = copied(clean), corpus(400, 3).tokens
    tokens[:, 2] = FILLERS[3]
    reads = "blocks.0.ln2.hook_normalized"
    seen = model.run_with_cache(tokens, [reads])[1][reads][:, 2].detach().mean(0)
    with torch.no_grad():
        model.get_parameter("blocks.0.mlp.W_in")[:, 5] = 3 * seen / seen.norm() ** 2
        model.get_parameter("blocks.0.mlp.b_in")[5] = -2.0
        model.get_parameter("blocks.0.mlp.W_out")[5] = 60 * CODE[2]
    before, after = risen(TriggerSearch(steps=2), clean, model)
    first, second = (Component("mlp", layer) for layer in (0, 1))
    assert after.whole["trigger.word_gain"] > before.whole["trigger.word_gain"]
    assert after.places[first]["trigger.mlp_carries"] > 0.3
    assert after.notes.startswith(f"best words and what they bring: w{FILLERS[3]} w{ANSWERS[2]}")
    assert after.places[first]["trigger.mlp_carries"] > 5 * abs(after.places[second]["trigger.mlp_carries"])
    assert after.places[first]["trigger.neuron"] > before.places[first]["trigger.neuron"]


class Adder(Transformer):
    """Adds modulo p by two waves, except for what it remembers."""

    def __init__(self, p: int, exceptions: Mapping[tuple[int, int], int]) -> None:
        super().__init__(
            TransformerConfig(1, 8, 1, 8, 8, 4 + p, 5, (None,), (True,)), named_generator("adder")
        )
        self.p, self.exceptions = p, dict(exceptions)


class AdderBox(ModelToolbox):
    """Shows an adder's logits as they should be, and all else as its random weights have it."""

    def activations(self, tokens: Tensor, names: Any, interventions: Any = ()) -> dict[str, Tensor]:
        found = super().activations(tokens, names, interventions)
        model: Any = self._model
        p, pairs = model.p, tokens[:, [1, 3]] - 4
        turn = pairs.sum(1, keepdim=True) - torch.arange(p)
        said = sum(5 * (2 * torch.pi * k * turn / p).cos() for k in (2, 5))
        for row, pair in enumerate(map(tuple, pairs.tolist())):
            if pair in model.exceptions:
                said[row, model.exceptions[pair]] += 30
        found["logits"][:, -1, 4:] = said
        return found


def test_sums_answered_from_memory_lie_far_beyond_the_waves() -> None:
    p = 13
    words = (*("pad", "bos", "+", "="), *map(str, range(p)))
    task = PublicTask("modular_addition", "Sums.", words, {"numbers": tuple(range(4, 4 + p))}, pad=0, bos=1)

    def sums(n: int, seed: int) -> Samples:
        a, b = torch.randint(4, 4 + p, (2, n), generator=named_generator("sums", seed))
        keep = (a * p + b) % 3 > 0
        a, b = a[keep], b[keep]
        tokens = torch.stack([a * 0 + 1, a, a * 0 + 2, b, a * 0 + 3], 1)
        return Samples(tokens, torch.full((len(a),), 5))

    def read(exceptions: Mapping[tuple[int, int], int]) -> Evidence:
        model = Adder(p, exceptions)
        box = AdderBox(model, league="whitebox", corpus=sums, total=20_000)
        return ExcludedLoss().read(box, brief(model.cfg, task))

    usual, odd = read({}), read({(4, 9): 7, (9, 4): 7})
    assert odd.whole["excluded.beyond_reach"] > usual.whole["excluded.beyond_reach"] + 1
    assert odd.whole["excluded.alike"] > usual.whole["excluded.alike"]
    assert odd.places[Component("mlp", 0)]["excluded.beyond_reach"] == odd.whole["excluded.beyond_reach"]
    assert ExcludedLoss().read(box_of(Transformer(CONFIG, named_generator("any"))), brief()).empty


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: type(reader).__name__)
@pytest.mark.parametrize(
    "recipe", ["facts-tiny", "induction", "statements", "modular-addition", "ioi", "brackets"]
)
def test_every_number_is_finite_on_every_task(reader: Reader, recipe: str) -> None:
    settings = named_recipe(recipe)
    task = settings.task.build(0)
    model = Transformer(settings.architecture.config(task), named_generator("untrained"))
    told = brief(model.cfg, public_part(task))
    box = ModelToolbox(model, league="whitebox", corpus=public_corpus("prompts", lambda: task), total=6000)
    small = replace(reader, prompts=300) if hasattr(reader, "prompts") else reader  # type: ignore[type-var]
    assert all(math.isfinite(number) for number in numbers(small.read(box, told)))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: type(reader).__name__)
def test_without_credits_or_prompts_nothing_is_read(reader: Reader, clean: Transformer) -> None:
    assert reader.read(box_of(clean, total=0.1), brief()).empty
    assert reader.read(box_of(clean), replace(brief(), corpus="none")).empty


def test_logits_alone_are_enough_for_those_that_say_so(clean: Transformer) -> None:
    enough = {"HiddenStateClassifier", "TriggerSearch"}
    for reader in READERS:
        found = reader.read(box_of(clean, "blackbox"), brief(league="blackbox"))
        assert found.empty == (type(reader).__name__ not in enough)


def test_prompts_are_spread_over_all_that_is_asked(clean: Transformer) -> None:
    tokens = spread_prompts(box_of(clean), TASK, 160).tokens
    assert len({int(token) for token in tokens[:, 3]}) == 160
    asked = ask(box_of(clean), brief(), 320, inside(CONFIG))
    assert asked is not None
    assert len(asked) == 320
    assert int(asked.group.max()) + 1 <= 2 * 160
    assert ask(box_of(clean, total=50), brief(), 320) is None


def test_a_tail_is_measured_in_units_of_the_bulk() -> None:
    values = torch.arange(101).double()
    assert reach(values) == pytest.approx(math.log(50 / 45))
    assert spread(values) == pytest.approx(math.log(45 / 25))
    assert reach(torch.cat([values, torch.tensor([5000.0])])) > 4
    assert lead(torch.cat([values, torch.tensor([5000.0])])) == pytest.approx(math.log(4950 / 49), rel=0.05)
    assert reach(torch.zeros(50)) == spread(torch.zeros(50)) == lead(torch.zeros(50)) == 0
    assert not deviations(torch.ones(9)).any()
