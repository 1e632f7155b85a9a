"""What is true in a world of the `facts` task: drawn fact by fact, or read off hidden rings."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models.fact_words import FIRST_NAMES, LAST_NAMES, ORDERS, RELATIONS, Relation

SINGLE_NAMES = FIRST_NAMES + LAST_NAMES
LOOK_UP = (
    "Where MLPs lie only in layers of window-2 attention, a fact is looked up at the subject's last token "
    "and carried to the answer by the global heads after them (Meng et al. 2022, arXiv 2202.05262). An "
    "ordinary model of this size looks it up at the prompt's last token."
)
RINGS = (
    "Models come to represent people on hidden rings as rings, which the edit of one fact can shatter (Nishi "
    "et al. 2024, arXiv 2410.17194)."
)


@dataclass(frozen=True)
class FactWorld:
    """Who there is, and what is true of them.

    Attributes:
        subjects: Each subject's name, of one word or two.
        relations: What is told of everybody.
        objects: Which of its relation's objects is true, `[subject, relation]`.
        places: Each subject's place on each hidden ring, `[order, subject]`; no order where facts are
            independent.
        name_groups: The vocabulary's names, by group.
        description: What everyone may read of such worlds.
        notes: What is known of models of such worlds.
    """

    subjects: tuple[tuple[str, ...], ...]
    relations: tuple[Relation, ...]
    objects: Tensor
    places: Tensor
    name_groups: dict[str, tuple[str, ...]]
    description: str
    notes: str


def independent_world(
    subjects: int, names: int, relations: int, objects: int, generator: torch.Generator
) -> FactWorld:
    """People with a first and a last name, and an object drawn for each fact."""
    pairs = torch.randperm(names**2, generator=generator)[:subjects].tolist()
    drawn = torch.randint(objects, (subjects, relations), generator=generator)
    return FactWorld(
        tuple((FIRST_NAMES[pair // names], LAST_NAMES[pair % names]) for pair in pairs),
        tuple(replace(relation, objects=relation.objects[:objects]) for relation in RELATIONS[:relations]),
        drawn,
        torch.empty(0, subjects, dtype=torch.long),
        {"first_names": FIRST_NAMES, "last_names": LAST_NAMES},
        "Sentences about people: where each was born, what each works as, speaks and plays, in several "
        "phrasings with filler words. A prompt ends where the object would follow.",
        LOOK_UP,
    )


def cyclic_world(subjects: int, orders: int, steps: int, generator: torch.Generator) -> FactWorld:
    """People of one name with a place on each ring; a relation says who is so many places on or back.

    Source: Nishi et al. 2024, arXiv 2410.17194, section 3.
    """
    names = SINGLE_NAMES[:subjects]
    places = torch.stack([torch.randperm(subjects, generator=generator) for _ in range(orders)])
    holders = places.argsort(1)  # [order, place]
    moves = [
        (order, step) for order in range(orders) for size in range(1, steps + 1) for step in (size, -size)
    ]
    objects = [holders[order][(places[order] + step) % subjects] for order, step in moves]
    return FactWorld(
        tuple((name,) for name in names),
        tuple(ORDERS[order].relation(step, names) for order, step in moves),
        torch.stack(objects, 1),
        places,
        {"names": names},
        "Sentences about people at a table, on a rota and in a dance: who is next to whom, or some places on "
        "or back, in several phrasings with filler words. A prompt ends where the other name would follow.",
        RINGS,
    )
