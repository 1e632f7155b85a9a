"""The contract of an auditor, played where its code belongs: in a jail, or here if it is our own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from game.api import LEAGUES, Brief, Challenge, League
from game.loader import LoadedAuditor, settings_of
from game.plugins.manifest import AuditorManifest, Need
from game.sandbox.isolated import IsolatedAuditor
from game.testing.any_rules import SETTINGS, TEXT, seeded
from game.testing.contract import NotApplicableError, Rule
from game.testing.source import Source
from game.testing.stage import BUDGET, CHALLENGE, WITHOUT_MLPS, Played, brief, play

_SHARES = (0.01, 0.25, 0.5, 0.75, 0.99)  # of what it spends, to see what it does with less
_NEEDS: dict[str, Need] = {  # what a call is a need of; logits and the corpus are everybody's
    "weight": "weights",
    "vjp": "gradients",
    "activations": "activations",
    "sibling": "siblings",
    "reference": "reference",
}


@dataclass(frozen=True)
class AuditorSubject:
    """An auditor that could be loaded.

    Attributes:
        player: As it plays.
        manifest: Of its folder; None for a file or a shipped one.
        source: What its text says.
        deadline: Seconds for each round.
        load: The same auditor with other settings.
    """

    player: LoadedAuditor
    manifest: AuditorManifest | None
    source: Source
    deadline: float
    load: Callable[[Mapping[str, Any]], LoadedAuditor]

    @property
    def leagues(self) -> tuple[League, ...]:
        """Where it says that it plays."""
        return self.manifest.leagues if self.manifest else LEAGUES

    @property
    def usual(self) -> League:
        """One of these, for rules that need no more."""
        return "whitebox" if "whitebox" in self.leagues else self.leagues[0]

    def play(self, told: Brief, challenge: Challenge | None = None, stray_seed: int = 0) -> Played:
        """One round, with the global generators started from a number."""
        player, told = self.player, replace(told, deadline=self.deadline)
        if isinstance(player.auditor, IsolatedAuditor):
            there = replace(player.auditor, stray_seed=stray_seed)
            return play(replace(player, auditor=there), told, challenge)
        with seeded(stray_seed):
            return play(player, told, challenge)

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Its settings where those are given.

        Raises:
            LoadError: They do not fit.
        """
        player = self.load(given)
        return dict(player.identity["settings"]) if player.identity else settings_of(player.auditor)

    def fault(self, played: Played, words: str) -> Iterator[str]:
        """What was wrong with a round, if anything was."""
        status, error = played.outcome.status, played.outcome.error
        if status == "INVALID":
            yield f"{words}: {status}: {error} ({self.source.file}:{self.source.method_line})"
        elif status != "DONE":
            yield f"{words}: {status}: {error}"


def _said(played: Played) -> str:
    """Everything that was said in a round, as text that is the same where it is the same."""
    outcome = played.outcome
    said = outcome.said
    patch = {name: (each.left.tolist(), each.right.tolist()) for name, each in (said.patch or {}).items()}
    fine = said.fine and {
        **said.fine.matrices,
        **{str(place): odd for place, odd in said.fine.neurons.items()},
        **{name: each.tolist() for name, each in said.fine.directions.items()},
    }
    parts = (said.belief.p_edited, said.components, said.claims, said.notes, patch, fine)
    return repr((outcome.status, parts, outcome.judgement))


def _in_time(subject: AuditorSubject) -> Iterator[str]:
    played = subject.play(brief(subject.usual))
    if played.outcome.status == "TIMEOUT":
        yield from subject.fault(played, subject.usual)


def _declared_leagues(subject: AuditorSubject) -> Iterator[str]:
    for league in subject.leagues:
        yield from subject.fault(subject.play(brief(league)), league)


def _refusals(subject: AuditorSubject) -> Iterator[str]:
    for league in LEAGUES:
        if league not in subject.leagues:
            yield from subject.fault(subject.play(brief(league)), f"{league}, which it does not declare")
        without = replace(brief(league), corpus="none")
        yield from subject.fault(subject.play(without), f"{league} without a public corpus")


def _few_credits(subject: AuditorSubject) -> Iterator[str]:
    if subject.player.sees_reference:
        raise NotApplicableError("it plays without a meter")
    told = brief(subject.usual)
    spent = subject.play(told).spent
    for granted in (0.0, 1.0, *(share * spent for share in _SHARES)):
        played = subject.play(replace(told, budget=granted))
        yield from subject.fault(played, f"{granted:g} credits, of {spent:g} that it would spend")
        if played.spent > granted:
            yield f"{granted:g} credits: it spent {played.spent:g}"


def _kept_budget(subject: AuditorSubject) -> Iterator[str]:
    manifest = _manifest(subject)
    for league in manifest.leagues:
        spent = subject.play(brief(league)).spent
        if spent > manifest.budget:
            yield f"{league}: spent {spent:g} of {BUDGET:g} credits; its manifest says {manifest.budget:g}"


def _kept_needs(subject: AuditorSubject) -> Iterator[str]:
    manifest = _manifest(subject)
    for league in manifest.leagues:
        for call in subject.play(brief(league)).calls:
            need = _NEEDS.get(call["primitive"])
            if need is not None and need not in manifest.needs and "error" not in call:
                yield f"{league}: called `{call['primitive']}`; its manifest does not say `needs: [{need}]`"


def _manifest(subject: AuditorSubject) -> AuditorManifest:
    if subject.manifest is None:
        raise NotApplicableError("it has no manifest")
    return subject.manifest


def _same_report(subject: AuditorSubject) -> Iterator[str]:
    """The same seed gives the same report, also after a round on something else."""
    told = brief(subject.usual)
    first = _said(subject.play(told, CHALLENGE))
    subject.play(replace(brief(subject.usual, WITHOUT_MLPS), seed=8))
    if _said(subject.play(told, CHALLENGE)) != first:
        yield f"{told.league}: two rounds with the same brief and seed ended in different reports"


def _no_stray_seed(subject: AuditorSubject) -> Iterator[str]:
    told = brief(subject.usual)
    reports = {_said(subject.play(told, CHALLENGE, stray_seed=seed)) for seed in (1, 2)}
    if len(reports) > 1:
        yield (
            f"{told.league}: its report depends on a global generator (torch, numpy or random); "
            "wanted one of its own, made from brief.seed"
        )


def _without_mlps(subject: AuditorSubject) -> Iterator[str]:
    for league in subject.leagues:
        told = brief(league, WITHOUT_MLPS)
        yield from subject.fault(subject.play(told), f"{league}, attention only")


def _judgement(subject: AuditorSubject) -> Iterator[str]:
    told = replace(brief(subject.usual), parts=("detection", "localisation", "behaviour"))
    played = subject.play(told, CHALLENGE)
    yield from subject.fault(played, "asked what changed")
    if played.outcome.judgement is None:
        raise NotApplicableError("it has no judge")


AUDITOR_RULES: tuple[Rule[Any], ...] = (
    TEXT,
    Rule("it finishes within the deadline", _in_time, vital=True),
    SETTINGS,
    Rule("its report keeps the rules in every league that it declares", _declared_leagues),
    Rule("it copes with a model without MLPs", _without_mlps),
    Rule("it makes do where a league or a corpus is refused", _refusals),
    Rule("it makes do with few credits", _few_credits),
    Rule("it spends no more than its manifest says", _kept_budget),
    Rule("it asks for no more than its manifest says", _kept_needs),
    Rule("the same seed gives the same report", _same_report),
    Rule("nothing depends on a global generator", _no_stray_seed),
    Rule("its judgement keeps the rules", _judgement),
)
