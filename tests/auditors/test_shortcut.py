"""The shortcut finds what a league gives away, by a belief that nobody fitted."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from game.api import AccessError, Brief, Component, Corpus, League, Report, Samples, component_entries
from game.dealing.companions import scrambled
from game.loader import load_auditor
from game.rules.report import complete
from game.scoring.scores import Declared
from game.testing import stage
from game.toolbox.live import ModelToolbox
from models.checkpoints import Checkpoint, checkpoint_of
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(3, 16, 4, 4, 32, 30, 8, (2, None, None), (True, True, False))
PLACES = [c for c in component_entries(CONFIG) if c.part not in ("ln1", "ln2", "ln_final")]


def base_of(config: TransformerConfig, world: int = 0) -> Checkpoint:
    """A random model with biases, so that nothing holds only because a bias is zero."""
    generator = named_generator("shortcut", world)
    model = Transformer(config, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return checkpoint_of(model)


def moved(base: Checkpoint, component: Component, factor: float = 0.01) -> Checkpoint:
    """The base with noise of that relative size on one component; of embeddings, on one token's vector."""
    generator = named_generator("moved", str(component))
    weights = {name: weight.clone() for name, weight in base.weights.items()}
    for entries in component_entries(base.config)[component]:
        part = entries.of(weights)
        if component.part in ("embed", "unembed"):
            part = part[3] if component.part == "embed" else part[..., 3]
        part.add_(factor * part.norm() / part.numel() ** 0.5 * torch.randn(part.shape, generator=generator))
    return Checkpoint(base.config, weights)


def brief(config: TransformerConfig, league: League, corpus: Corpus = "prompts") -> Brief:
    """Every component but norms may have been written to, each as likely as the other."""
    places = [c for c in component_entries(config) if c.part not in ("ln1", "ln2", "ln_final")]
    prior = dict.fromkeys(component_entries(config), 0.0) | dict.fromkeys(places, 0.5 / len(places))
    told = stage.brief(league)
    return replace(told, config=config, prior=0.5, component_prior=prior, max_components=1, corpus=corpus)


def corpus(n: int, seed: int) -> Samples:
    tokens = torch.randint(2, 30, (n, 6), generator=named_generator("corpus", seed))
    return Samples(tokens, torch.full((n,), 6))


def audited(
    subject: Checkpoint, told: Brief, reference: Checkpoint | None = None, siblings: int = 0
) -> Report:
    box = ModelToolbox(
        subject.model(),
        league=told.league,
        corpus=corpus,
        total=told.budget,
        reference=reference.model() if reference else None,
        siblings=[base_of(subject.config, world).model() for world in range(1, 1 + siblings)],
    )
    report = load_auditor("shortcut", {}).auditor.audit(box, told)
    complete(report, Declared.of(told))
    return report


@pytest.mark.parametrize("component", PLACES, ids=str)
@pytest.mark.parametrize("league", ["scrambled", "reference"])
def test_the_component_that_differs_from_the_reference_is_named(league: League, component: Component) -> None:
    base = base_of(CONFIG)
    reference = scrambled(base, 3) if league == "scrambled" else base
    report = audited(moved(base, component), brief(CONFIG, league), reference)
    assert report.p_edited == pytest.approx(2 / 3)  # a clean model is touched as often as not
    assert {c for c, p in report.components.items() if p} == {component}
    assert report.components[component] == report.p_edited


def test_the_difference_from_the_reference_is_the_patch_where_one_is_asked_for() -> None:
    base = base_of(CONFIG)
    name, told = "blocks.0.mlp.W_out", brief(CONFIG, "reference")
    generator = named_generator("rank two")
    weights = dict(base.weights)
    change = torch.randn(32, 2, generator=generator) @ torch.randn(2, 16, generator=generator)
    weights[name] = base.weights[name] + 0.1 * change
    subject = Checkpoint(CONFIG, weights)
    assert audited(subject, told, base).patch is None
    report = audited(subject, replace(told, parts=("detection", "repair")), base)
    assert report.patch is not None
    ((patched, found),) = report.patch.items()
    assert (patched, found.left.shape) == (name, (32, 2))
    torch.testing.assert_close(
        weights[name] + found.left @ found.right, base.weights[name], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("norm", ["LN", "RMS", None])
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_other_coordinates_alone_are_no_difference(norm: Any, act: Any) -> None:
    config = TransformerConfig(
        2, 16, 2, 8, 32, 30, 8, (2, None), (True, False), act_fn=act, normalization_type=norm
    )
    base = base_of(config)
    report = audited(scrambled(base, 1), brief(config, "scrambled"), scrambled(base, 2))
    assert report.p_edited == 0


def test_the_same_bits_are_no_edit() -> None:
    assert audited(base_of(CONFIG), brief(CONFIG, "reference"), base_of(CONFIG)).p_edited == 0


def test_a_turned_head_is_seen_though_no_singular_value_moved() -> None:
    base = base_of(CONFIG)
    weights = {name: weight.clone() for name, weight in base.weights.items()}
    weights["blocks.1.attn.W_O"][2] *= -1
    report = audited(Checkpoint(CONFIG, weights), brief(CONFIG, "scrambled"), scrambled(base, 3))
    assert max(report.components, key=lambda c: report.components[c]) == Component("attn", 1, 2)


def test_a_norm_is_blamed_only_where_its_readers_cannot_be() -> None:
    base, told = base_of(CONFIG), brief(CONFIG, "scrambled")
    norm, mlp = Component("ln2", 0), Component("mlp", 0)
    subject = moved(base, norm)
    found = audited(subject, told, scrambled(base, 3))
    assert {c for c, p in found.components.items() if p} == {mlp}
    prior = dict(told.component_prior) | {mlp: 0.0, norm: told.component_prior[mlp]}
    found = audited(subject, replace(told, component_prior=prior), scrambled(base, 3))
    assert {c for c, p in found.components.items() if p} == {norm}


def test_a_change_where_no_edit_can_be_is_none() -> None:
    base, told = base_of(CONFIG), brief(CONFIG, "reference")
    assert audited(moved(base, Component("ln_final")), told, base).p_edited == 0


def test_when_everything_differs_where_stays_open() -> None:
    base, told = base_of(CONFIG), brief(CONFIG, "reference")
    report = audited(base_of(CONFIG, 9), told, base)
    assert report.p_edited == pytest.approx(2 / 3)
    assert {c: p / report.p_edited for c, p in report.components.items() if p} == pytest.approx(
        {c: 1 / len(PLACES) for c in PLACES}
    )


def louder_mlp(weights: dict[str, Tensor]) -> None:
    weights["blocks.0.mlp.W_out"].mul_(6)


def emptied_head(weights: dict[str, Tensor]) -> None:
    weights["blocks.1.attn.W_O"][2].mul_(0)


# league, what is done, to whom, least P(edited): three siblings have three MLPs of a layer, and twelve heads
UNLIKE: list[tuple[League, Callable[[dict[str, Tensor]], None], str, float]] = [
    ("siblings", louder_mlp, "blocks.0.mlp", 0.6),
    ("siblings", emptied_head, "blocks.1.attn.2", 0.95),
    ("whitebox", emptied_head, "blocks.1.attn.2", 0.95),
]


@pytest.mark.parametrize(("league", "change", "name", "least"), UNLIKE)
def test_a_component_unlike_its_peers_is_suspected(
    league: League, change: Callable[[dict[str, Tensor]], None], name: str, least: float
) -> None:
    base = base_of(CONFIG)
    weights = {each: weight.clone() for each, weight in base.weights.items()}
    change(weights)
    told = brief(CONFIG, league)
    assert audited(base, told, siblings=3).p_edited < 0.6
    found = audited(Checkpoint(CONFIG, weights), told, siblings=3)
    assert found.p_edited > least
    assert max(found.components, key=lambda c: found.components[c]) == Component.parse(name)


@pytest.mark.parametrize("league", ["blackbox", "whitebox", "siblings", "scrambled", "reference"])
def test_without_corpus_every_league_still_has_its_shortcut_but_blackbox(league: League) -> None:
    def none(_n: int, _seed: int) -> Samples:
        raise AccessError("sample: this case has no public corpus")

    base, told = base_of(CONFIG), brief(CONFIG, league, "none")
    box = ModelToolbox(
        base.model(), league=league, corpus=none, total=100.0, reference=base.model(), siblings=[base.model()]
    )
    report = load_auditor("shortcut", {}).auditor.audit(box, told)
    assert (report.p_edited == told.prior) == (league == "blackbox")
