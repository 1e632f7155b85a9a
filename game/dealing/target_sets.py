"""Edits that a case might have been about: solved on the same base by the dealer's own rule, and discarded.

A pool of them belongs to one group on one base, and lies beside the zoo, so that it is solved once in a run.
Why no set of a challenge tells by itself that it is the true one: docs/decisions/019-target-sets.md.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil
from pathlib import Path

import torch

from edits.apply import tries
from edits.base import EditError, EditSpec
from edits.moments import Base
from edits.targets import Prompt, Target, target_of
from game.dealing.acceptance import code_of_edits
from game.dealing.challenge import STRATA, Rates, Solved, measured_rates
from game.dealing.master import Master
from game.dealing.suite import Group
from models.checkpoints import write_atomically
from models.components import Component
from models.folders import cache_folder
from models.training import one_thread
from models.transformer import Transformer
from models.zoo import code_of

SETS = 8  # of a challenge, where a family has so many targets on a base
DRAWS = 24  # for a pool, until so many different targets are found
LEAST_SETS = 4  # where the sites of a base decide how many there are
ATTEMPTS = 40  # solutions at one site before it is given up
ENUMERATED = 3  # draws at a site that must agree for the site to be all that there is to draw


@dataclass(frozen=True)
class Pool:
    """Different targets of a group's edits on one base.

    Attributes:
        targets: In the order in which they were drawn, or site by site.
        odds: P(target | base, group) of each, where the site is all that is drawn; else empty.
        rates: Measured on sets of these targets.
    """

    targets: tuple[Target, ...]
    odds: tuple[Fraction, ...]
    rates: Rates

    @property
    def sets(self) -> int:
        """How many sets a challenge has, whichever its label."""
        return most_sets(self.odds) if self.odds else min(SETS, len(self.targets))

    def beside(self, true: Target, generator: torch.Generator) -> list[Target]:
        """The targets that stand beside a case's own in its challenge, all different."""
        if self.odds:
            place = [target.about for target in self.targets].index(true.about)
            chosen = sampled_with(place, self.odds, self.sets, generator)
            return [self.targets[i] for i in chosen if i != place]
        others = [target for target in self.targets if target.about != true.about]
        return others[: self.sets - 1]


class TargetSets:
    """The pools of one run.

    Args:
        suite: The suite's name.
        master: Decoys are drawn from it, so that knowing the code does not tell them apart.
    """

    def __init__(self, suite: str, master: Master) -> None:
        self._suite, self._master = suite, master
        self._pools: dict[tuple[str, ...], Pool] = {}

    def pool(
        self, base: Base, group: Group, sites: Mapping[Component, Fraction], of: tuple[str, ...] = ()
    ) -> Pool:
        """The pool of a group on a base: from memory, from disk, or solved now.

        Args:
            base: What is edited.
            group: Whose edits.
            sites: P(site | base, group), as the dealer draws them.
            of: The case whose own it is; empty for the one that a run's cases share.
        """
        key = (group.name, base.trained.name, *of)
        if key not in self._pools:
            path = cache_folder() / "target-sets" / f"{self._digest(base, group, sites, key)}.json"
            try:
                self._pools[key] = _pool_from(path.read_text())
            except (OSError, ValueError, KeyError, TypeError):
                with one_thread():
                    self._pools[key] = self._solved(base, group, sites, key)
                write_atomically(path, _pool_json(self._pools[key]).encode())
        return self._pools[key]

    def _digest(
        self, base: Base, group: Group, sites: Mapping[Component, Fraction], key: tuple[str, ...]
    ) -> str:
        """What a pool depends on, hashed; the master only through a keyed hash."""
        edit, hidden = (
            group.edit.model_dump(mode="json"),
            [p.model_dump(mode="json") for p in group.camouflage],
        )
        odds = {str(site): str(p) for site, p in sorted(sites.items())}
        nonce = self._master.nonce(self._suite, "target sets", *key).hex()
        facts = [base.hash, edit, hidden, odds, nonce, torch.__version__, _code()]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]

    def _solved(
        self, base: Base, group: Group, sites: Mapping[Component, Fraction], key: tuple[str, ...]
    ) -> Pool:
        names = (self._suite, "decoys", *key)
        if site_is_all(base, group, sites):
            tried = {site: self._draw(base, group, site, (*names, str(site))) for site in sorted(sites)}
            found = [(sites[site], solved) for site, solved in tried.items() if solved is not None]
            total = sum((p for p, _ in found), Fraction(0))
            odds = tuple(p / total for p, _ in found)
            solved = [each for _, each in found]
        else:
            odds, solved = (), list(self._different(base, group, sites, names))
        targets = [each.target for each in solved]
        shown = solved
        if odds:
            few = _spread(odds, most_sets(odds), self._master.generator(*names, "rates"))
            shown = [solved[place] for place in few]
        return Pool(tuple(targets), odds, measured_rates(base, shown, self._master.generator(*names, "sets")))

    def _different(
        self, base: Base, group: Group, sites: Mapping[Component, Fraction], names: tuple[str, ...]
    ) -> Iterator[Solved]:
        """Different targets in the order in which the dealer's rule draws them."""
        seen: set[str] = set()
        weights = torch.tensor([float(p) for p in sites.values()], dtype=torch.float64)
        for number in range(DRAWS):
            generator = self._master.generator(*names, number)
            site = list(sites)[int(torch.multinomial(weights, 1, generator=generator))]
            solved = self._draw(base, group, site, (*names, number))
            if solved is not None and solved.target.about not in seen:
                seen.add(solved.target.about)
                yield solved
            if len(seen) == SETS:
                return

    def _draw(self, base: Base, group: Group, site: Component, names: tuple[str | int, ...]) -> Solved | None:
        """The first edit at a site that passes its gates, as the dealer would deal it."""
        for attempt in range(ATTEMPTS):
            seed = self._master.seed(*names, attempt)
            with suppress(EditError):
                spec = group.hidden(group.edit.draw(base, site, "decoy", seed))
                after = _accepted(base, spec)
                if after is not None:
                    return Solved(target_of(base, spec, after), after)
        return None


@cache
def _code() -> str:
    """What decides a pool beside the edits: this module and how sets are composed."""
    here = Path(__file__).parent
    own = (code_of(here / name) for name in ("target_sets.py", "challenge.py"))
    return code_of_edits() + hashlib.sha256("\0".join(own).encode()).hexdigest()


def _accepted(base: Base, spec: EditSpec) -> Transformer | None:
    """The model that `apply` would deliver, without what it measures besides; None if no candidate passes."""
    passed = (each for each in tries(base, spec) if each.record.accepted)
    edited = next(passed, None)
    return None if edited is None else edited.checkpoint.model()


def site_is_all(base: Base, group: Group, sites: Collection[Component]) -> bool:
    """Whether a site's draws are all alike, so that each target's probability is known."""

    def draws(site: Component) -> set[str]:
        specs = (group.edit.draw(base, site, "decoy", seed) for seed in range(ENUMERATED))
        return {spec.model_dump_json(exclude={"seed"}) for spec in specs}

    return not group.edit.redraws and all(len(draws(site)) == 1 for site in sites)


def most_sets(odds: Collection[Fraction]) -> int:
    """The most sets, up to `SETS`, of which each can be equally likely to be the true one."""
    return min(SETS, len(odds), int(1 / max(odds)))


def _spread(odds: tuple[Fraction, ...], size: int, generator: torch.Generator) -> list[int]:
    """A sample of so many targets as a case would have."""
    weights = torch.tensor([float(p) for p in odds], dtype=torch.float64)
    return sampled_with(int(torch.multinomial(weights, 1, generator=generator)), odds, size, generator)


def sampled_with(given: int, odds: tuple[Fraction, ...], size: int, generator: torch.Generator) -> list[int]:
    """So many different items, the given one among them, in order of their numbers.

    If the given one was drawn with these odds, then each of those returned is equally likely to be the given
    one: the sample has the distribution of systematic sampling in random order, which takes item i with
    probability `size * odds[i]`, given that it takes the given one.

    Args:
        given: Number of an item.
        odds: Of each item, in all 1, none above 1 / size.
        size: How many.
        generator: Draws order and offset.

    Source: Madow 1949, Annals of Mathematical Statistics 20.
    """
    order = torch.randperm(len(odds), generator=generator).tolist()
    part = Fraction(int(torch.randint(2**53, (), generator=generator)), 2**53)
    start, spans = Fraction(0), {}
    for item in order:
        spans[item] = (start, start + size * odds[item])
        start = spans[item][1]
    low, high = spans[given]
    offset = (low + part * (high - low)) % 1
    return sorted(i for i, (low, high) in spans.items() if ceil(low - offset) < ceil(high - offset))


def _pool_json(pool: Pool) -> str:
    targets = [
        {"about": t.about, "affected": t.affected, "paraphrase": t.paraphrase, "changed": sorted(t.changed)}
        for t in pool.targets
    ]
    odds = [[p.numerator, p.denominator] for p in pool.odds]
    return json.dumps({"targets": targets, "odds": odds, "own": pool.rates.own, "cross": pool.rates.cross})


def _pool_from(text: str) -> Pool:
    """The pool that `_pool_json` wrote; a damaged one raises ValueError, KeyError or TypeError."""
    data = json.loads(text)
    targets = tuple(
        Target(t["about"], _prompts(t["affected"]), _prompts(t["paraphrase"]), frozenset(t["changed"]))
        for t in data["targets"]
    )
    own, cross = (
        {s: (int(data[name][s][0]), int(data[name][s][1])) for s in STRATA} for name in ("own", "cross")
    )
    return Pool(targets, tuple(Fraction(n, d) for n, d in data["odds"]), Rates(own, cross))


def _prompts(rows: list[list[int]]) -> tuple[Prompt, ...]:
    return tuple(map(tuple, rows))
