"""The kit for plug-ins of your own: contracts as functions and as classes for pytest."""

from game.testing.check import check_auditor, check_red
from game.testing.classes import AuditorContract, RedContract
from game.testing.contract import Finding

__all__ = ["AuditorContract", "Finding", "RedContract", "check_auditor", "check_red"]
