"""Which tiers this machine reaches, told by trying them."""

from collections.abc import Sequence
from dataclasses import dataclass

from game.sandbox.tiers import JAILS, Finding, IsolationError, Limits, Tier
from game.sandbox.warden import Sandbox, unavailable

_SECONDS = 10.0  # CPU limit of a child that only tests itself


@dataclass(frozen=True)
class Examination:
    """What came of trying a tier.

    Attributes:
        tier: Which one.
        reason: Why it is not reached; empty if it is.
        findings: Of the self-test, where it came that far and held.
    """

    tier: Tier
    reason: str
    findings: tuple[Finding, ...] = ()


def examine(tier: Tier) -> Examination:
    """Build one jail of that tier, let it test itself, and take it down."""
    if reason := unavailable(tier):
        return Examination(tier, reason)
    try:
        with Sandbox(tier) as sandbox, sandbox.child(_SECONDS) as child:
            return Examination(tier, "", child.findings)
    except IsolationError as error:
        return Examination(tier, str(error))


def reach(tiers: Sequence[Tier], shown: Sequence[str] = (), limits: Limits | None = None) -> Sandbox:
    """A running sandbox at the first of those tiers that holds; the caller closes it.

    Args:
        tiers: In the order of preference.
        shown: Files of auditors that are to exist in it.
        limits: Of each round.

    Raises:
        IsolationError: None of them does; the message says why, tier by tier.
    """
    reasons = []
    for tier in tiers:
        if reason := unavailable(tier):
            reasons.append(f"{tier}: {reason}")
            continue
        sandbox = Sandbox(tier, shown, limits)
        try:
            with sandbox.child(_SECONDS):
                return sandbox
        except IsolationError as error:
            sandbox.close()
            reasons.append(str(error) if str(error).startswith(tier) else f"{tier}: {error}")
    raise IsolationError("; ".join(reasons))


def not_above(tier: Tier) -> tuple[Tier, ...]:
    """That tier and those below it, the strongest first."""
    return tuple(reversed(JAILS[: JAILS.index(tier) + 1]))
