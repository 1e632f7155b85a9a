"""Rounds made by hand: a small random model, one head of which was rewritten, and briefs that vary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from game.api import (
    AccessError,
    Brief,
    Challenge,
    League,
    PublicTask,
    Samples,
    TransformerConfig,
    component_entries,
)
from game.hearing import Outcome
from game.loader import LoadedAuditor
from game.referee import heard
from game.toolbox.live import ModelToolbox
from game.toolbox.transcript import Recorded, Transcript, read_lines
from models.seeds import named_generator
from models.transformer import Transformer

CONFIG = TransformerConfig(2, 16, 2, 8, 32, 30, 8, (2, None), (True, False))
WITHOUT_MLPS = replace(CONFIG, mlp=(False, False))
BUDGET = 5000.0
DEADLINE = 30.0
CHALLENGE = Challenge(
    tokens=torch.tensor([[1, 5, 9], [1, 6, 0], [1, 7, 4], [1, 8, 0]]),
    lengths=torch.tensor([3, 2, 3, 2]),
    prior=(0.2, 0.05, 0.2, 0.05),
    target_set=(0, 0, 1, 1),
    stratum=("affected", "unrelated", "affected", "unrelated"),
    answers=tuple(range(2, 30)),
)


@dataclass(frozen=True)
class Played:
    """What came of a round.

    Attributes:
        outcome: As the referee has it.
        spent: Credits.
        calls: Every call that was answered, or refused by league or budget, as the transcript keeps it.
    """

    outcome: Outcome
    spent: float
    calls: tuple[Mapping[str, Any], ...]


def brief(league: League = "whitebox", config: TransformerConfig = CONFIG) -> Brief:
    """A brief whose prior differs from component to component."""
    places = list(component_entries(config))
    total = math.fsum(range(1, len(places) + 1))
    return Brief(
        config=config,
        task=PublicTask("made up", "Random tokens.", tuple(map(str, range(30))), {}, pad=0, bos=1),
        league=league,
        corpus="prompts",
        budget=BUDGET,
        prior=0.4,
        component_prior={c: 0.4 * 1.5 * number / total for number, c in enumerate(places, 1)},
        max_components=2,
        parts=("detection", "localisation"),
        seed=7,
        deadline=DEADLINE,
    )


def play(player: LoadedAuditor, told: Brief, challenge: Challenge | None = None) -> Played:
    """One round of that auditor, where its code runs; nothing that it raises gets out.

    Raises:
        IsolationError: Its jail cannot be built.
    """
    transcript = Transcript()
    recorded = Recorded(toolbox(player, told), transcript)
    outcome = heard(player, recorded, told, challenge)
    recorded.close()
    lines, _ = read_lines(transcript.written("").data, "")
    return Played(outcome, recorded.budget.spent, tuple(line.body for line in lines if line.kind == "call"))


def toolbox(player: LoadedAuditor, told: Brief) -> ModelToolbox:
    """The door to the hand-made model: unmetered and with its base for one that sees it, else as told."""
    if player.sees_reference:
        base, model = original(told.config), edited(told.config)
        return ModelToolbox(model, league="reference", corpus=_corpus, total=math.inf, reference=base)
    return ModelToolbox(
        edited(told.config),
        league=told.league,
        corpus=_no_corpus if told.corpus == "none" else _corpus,
        total=told.budget,
        reference=original(told.config),
        siblings=_siblings(told.config),
    )


@cache
def original(config: TransformerConfig) -> Transformer:
    """A random model of those shapes."""
    return Transformer(config, named_generator("contract"))


@cache
def edited(config: TransformerConfig) -> Transformer:
    """The same with one head's output rewritten."""
    model = Transformer(config)
    model.load_state_dict(original(config).state_dict())
    with torch.no_grad():
        model.get_parameter("blocks.1.attn.W_O")[1] *= -3
    return model


@cache
def _siblings(config: TransformerConfig) -> Sequence[Transformer]:
    return [Transformer(config, named_generator("sibling", number)) for number in range(3)]


def _corpus(n: int, seed: int) -> Samples:
    generator = named_generator("corpus", seed)
    lengths = torch.randint(3, 9, (n,), generator=generator)
    tokens = torch.randint(2, 30, (n, 8), generator=generator)
    tokens[:, 0] = 1
    return Samples(torch.where(torch.arange(8) < lengths[:, None], tokens, 0), lengths)


def _no_corpus(_n: int, _seed: int) -> Samples:
    raise AccessError("sample: this case has no public corpus")
