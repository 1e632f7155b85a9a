"""Contracts as classes that pytest collects: a test for each plug-in and rule."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from game.sandbox.warden import Sandbox
from game.testing.auditor_rules import AUDITOR_RULES
from game.testing.check import RECIPE, auditor_subject, best_sandbox, red_subject
from game.testing.contract import Finding, Rule
from game.testing.red_rules import RED_RULES
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
        _parametrize(metafunc, self.references, AUDITOR_RULES)

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


class RedContract:
    """What every red strategy keeps to; it plans in this process.

    Attributes:
        references: Folders with `red.yaml`, `file.py@Class`, or names.
        settings: Of some of them, by reference.
        recipe: Of the model that they plan on.
        deadline: Seconds for each plan.
    """

    references: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    recipe: ClassVar[str] = RECIPE
    deadline: ClassVar[float] = DEADLINE

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """A test for each plug-in and rule; pytest's own hook."""
        _parametrize(metafunc, self.references, RED_RULES)

    def test_contract(self, reference: str, rule: Rule[Any]) -> None:
        """One rule on one plug-in."""
        given = self.settings.get(reference, {})
        _require(rule.finding(red_subject(reference, self.deadline, self.recipe, given)))


def _parametrize(metafunc: Any, references: Sequence[str], rules: Sequence[Rule[Any]]) -> None:
    if {"reference", "rule"} <= set(metafunc.fixturenames):
        metafunc.parametrize("reference", references)
        metafunc.parametrize("rule", rules, ids=lambda rule: rule.name)


def _require(found: Finding) -> None:
    """Fails with the message of a rule that is broken; one that does not apply holds."""
    if found.verdict == "broken":
        raise AssertionError(f"{found.rule}: {found.message}")
