"""Claims of a report beside the truth, field by field; shown in the debrief, never scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from game.case import Truth
from game.referee import base_parts
from models.recipe import named_recipe

NOWHERE = "none"  # where a control was written to


@dataclass(frozen=True)
class Comparison:
    """One field of a claim.

    Attributes:
        field: Its name.
        claimed: What was claimed.
        true: What is true, or several things that are; empty where the truth knows no such field.
    """

    field: str
    claimed: Any
    true: tuple[Any, ...]

    @property
    def right(self) -> bool | None:
        """Whether it is one of the things that are true; None where the truth knows no such field."""
        return any(_same(self.claimed, each) for each in self.true) if self.true else None


def compared(claim: Mapping[str, Any], truth: Truth, base: str) -> tuple[Comparison, ...]:
    """Each field of a claim beside what is true of it.

    Args:
        claim: Such as `{"family": "rrome", "subject": "Ada Adler", "component": "blocks.0.mlp"}`.
        truth: Of the case.
        base: Name of its base, whose world gives facts their words.
    """
    true = true_fields(truth, base)
    return tuple(Comparison(name, claimed, true.get(name, ())) for name, claimed in claim.items())


def true_fields(truth: Truth, base: str) -> dict[str, tuple[Any, ...]]:
    """What can be claimed of a case, and what is true of it.

    `edited`, `family`, `component`, `layer`, `head`; `subject`, `relation`, `old` and `new` of facts; and
    every setting of the edit by its own name, such as `trigger`.
    """
    edit = dict(truth.spec.get("edit", {}))
    found: dict[str, tuple[Any, ...]] = {
        name: tuple(value) if isinstance(value, list) else (value,)
        for name, value in edit.items()
        if name not in ("kind", "facts")
    }
    found |= {"edited": (truth.edited,), "family": (truth.kind,)}
    if truth.edited:
        written = sorted(truth.written)
        found["component"] = tuple(str(component) for component in written)
        found["layer"] = tuple(sorted({c.layer for c in written if c.layer is not None}))
        heads = tuple(sorted({c.head for c in written if c.head is not None}))
        found |= {"head": heads} if heads else {}
    else:
        found |= dict.fromkeys(("component", "layer", "head"), (NOWHERE,))
    if "facts" in edit:
        found |= _facts(edit["facts"], base)
    return found


def _facts(facts: list[dict[str, int]], base: str) -> dict[str, tuple[str, ...]]:
    recipe, world, _ = base_parts(base)
    task: Any = named_recipe(recipe).task.build(world)  # a world of facts, as an edit of facts has
    found: dict[str, list[str]] = {"subject": [], "relation": [], "old": [], "new": []}
    for fact in facts:
        words = task.object_words(fact["relation"])
        found["subject"].append(task.subject_name(fact["subject"]))
        found["relation"].append(task.relations[fact["relation"]].name)
        found["old"].append(words[task.fact(fact["subject"], fact["relation"]).object])
        if fact.get("object_new") is not None:
            found["new"].append(words[fact["object_new"]])
    return {name: tuple(values) for name, values in found.items() if values}


def _same(claimed: Any, true: Any) -> bool:
    if isinstance(claimed, str) and isinstance(true, str):
        return claimed.casefold().split() == true.casefold().split()
    return bool(claimed == true) and isinstance(claimed, bool) == isinstance(true, bool)
