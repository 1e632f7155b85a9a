"""Practice cases: dealt with their answers from a suite for practice, and kept beside the zoo."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock

import game.dealing
from game.case import Case
from game.dealing.acceptance import code_of_edits
from game.dealing.dealer import CasePlan, Dealer, OnStep, plan_cases
from game.dealing.master import Master
from game.dealing.suite import Suite
from game.runs.store import open_run, read_run
from models.folders import cache_folder
from models.training import one_thread
from models.zoo import code_of

SEED = 0  # public: everybody practises on the same cases
OnCase = Callable[[str], None]


@dataclass(frozen=True)
class Practice:
    """The cases of a suite under the public seed, each dealt when it is first asked for.

    Attributes:
        suite: What is dealt; of it, only the first `cases` in the dealer's order.
        cases: How many.
        on_case: Told the id of a case that is about to be dealt.
        on_step: Told of a checkpoint that must be trained for it.
    """

    suite: Suite
    cases: int
    on_case: OnCase = lambda _case_id: None
    on_step: OnStep = lambda _name, _progress: None

    @cached_property
    def digest(self) -> str:
        """Of all that a case depends on: the suite, the seed, the code that deals, and torch."""
        folder = Path(game.dealing.__path__[0])
        code = [code_of_edits(), *(code_of(file) for file in sorted(folder.glob("*.py")))]
        facts = [self.suite.digest, SEED, torch.__version__, *code]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where cases are kept, and what was read of them."""
        return cache_folder() / "practice" / f"{self.suite.name}-{self.digest[:16]}"

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the cases, in the dealer's order."""
        return tuple(self._plans)[: self.cases]

    def case(self, case_id: str) -> Case:
        """A case, from disk or dealt now.

        Raises:
            DealError: A site takes no edit.
        """
        found = self._kept(case_id)
        if found is None:
            self.on_case(case_id)
            with one_thread():
                found = self._dealer.deal(self._plans[case_id])
            with self._alone(), open_run(self.folder) as store:
                store.save_case(found)
        return found

    def _kept(self, case_id: str) -> Case | None:
        if not self.folder.exists():
            return None
        with self._alone(), read_run(self.folder) as store:
            return store.case(case_id)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else reads or writes cases: several auditors may be fitted at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "practice.lock"):
            yield

    @cached_property
    def _plans(self) -> dict[str, CasePlan]:
        return {plan.id: plan for plan in plan_cases(self.suite, Master.of_seed(SEED))}

    @cached_property
    def _dealer(self) -> Dealer:
        return Dealer(self.suite, Master.of_seed(SEED), self.on_step)
