"""Contracts as classes that pytest collects: a test for each plug-in and rule."""

from contextlib import ExitStack
from typing import Any, ClassVar

from game.sandbox.warden import Sandbox
from game.testing.auditor_rules import AUDITOR_RULES
from game.testing.check import auditor_subject, best_sandbox
from game.testing.contract import Finding, Rule
from game.testing.stage import DEADLINE


class AuditorContract:
    """What every auditor keeps to; a test file of your own derives from it and says which ones.

    Attributes:
        references: Folders with `auditor.yaml`, `file.py@Class`, or names.
        jailed: Whether they play in the strongest jail of this machine; without it they play in this
            process, where prints and debuggers work.
        deadline: Seconds for each round.
    """

    references: ClassVar[tuple[str, ...]] = ()
    jailed: ClassVar[bool] = True
    deadline: ClassVar[float] = DEADLINE
    _sandboxes: ClassVar[dict[str, Sandbox | None]]
    _opened: ClassVar[ExitStack]

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """A test for each plug-in and rule; pytest's own hook."""
        if {"reference", "rule"} <= set(metafunc.fixturenames):
            metafunc.parametrize("reference", self.references)
            metafunc.parametrize("rule", AUDITOR_RULES, ids=lambda rule: rule.name)

    @classmethod
    def setup_class(cls) -> None:
        """Before the first test; pytest's own hook."""
        cls._opened, cls._sandboxes = ExitStack(), {}

    @classmethod
    def teardown_class(cls) -> None:
        """After the last test; pytest's own hook."""
        cls._opened.close()

    def test_contract(self, reference: str, rule: Rule[Any]) -> None:
        """One rule on one plug-in."""
        subject = auditor_subject(reference, self._sandbox(reference), self.deadline)
        _require(rule.finding(subject))

    @classmethod
    def _sandbox(cls, reference: str) -> Sandbox | None:
        if cls.jailed and reference not in cls._sandboxes:
            cls._sandboxes[reference] = cls._opened.enter_context(best_sandbox(reference))
        return cls._sandboxes.get(reference)


def _require(found: Finding) -> None:
    """Fails with the message of a rule that is broken; one that does not apply holds."""
    if found.verdict == "broken":
        raise AssertionError(f"{found.rule}: {found.message}")
