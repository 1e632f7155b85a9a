"""Which sites take an edit that leaves nothing to redraw: measured once, remembered beside the zoo."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from pydantic import ValidationError

import edits
import models
from edits.apply import apply
from edits.base import Control, Edited, EditError, EditSpec
from edits.kinds import control_kinds
from edits.moments import Base
from game.dealing.suite import Group
from models.checkpoints import write_atomically
from models.components import Component
from models.folders import cache_folder
from models.zoo import code_of

TRIED = 5  # draws of an edit at a site
ENOUGH = 0.2  # share of them that must pass
DRAWS = 2  # of each control that must pass: one that seldom does would stall the dealing


def accepts(base: Base, group: Group, site: Component) -> bool:
    """Whether the group's edit, and every control that must match it, passes its gates here.

    Both labels need the same of a site, or the site would tell the label. A damaged or missing note is
    measured again.
    """
    path = cache_folder() / "acceptance" / f"{_key(base, group, site)}.json"
    try:
        return bool(json.loads(path.read_bytes())["accepted"])
    except (OSError, ValueError, KeyError, TypeError):
        accepted = _accepts(base, group, site)
        write_atomically(path, json.dumps({"accepted": accepted}).encode())
        return accepted


def matched_control(kind: str, edit: Edited, spec: EditSpec) -> EditSpec:
    """The control of that kind that takes an edit's place, with its camouflage at the same places."""
    control: type[Control] = control_kinds()[kind]
    block = {"kind": kind, **control.matching(edit)}
    try:
        sham = control.model_validate({"version": 1, "id": spec.id, "seed": spec.seed, "edit": block})
    except ValidationError as error:
        raise EditError(f"{kind} cannot stand in for this {edit.record.kind}: {error}") from error
    return sham.model_copy(update={"camouflage": tuple(each.at(edit.at) for each in spec.camouflage)})


def _accepts(base: Base, group: Group, site: Component) -> bool:
    """Whether a fifth of the draws pass; most kinds that ask have one draw only, as their site is all."""
    draws = {draw.model_dump_json(exclude={"seed"}): draw for draw in _draws(base, group, site)}
    passed = sum(_draw_passes(base, group, draw) for draw in draws.values())
    return bool(draws) and passed >= ENOUGH * len(draws)


def _draws(base: Base, group: Group, site: Component) -> Iterator[EditSpec]:
    for seed in range(TRIED):
        with suppress(EditError):  # nothing of the kind can be done here
            yield group.hidden(group.edit.draw(base, site, "acceptance", seed))


def _draw_passes(base: Base, group: Group, spec: EditSpec) -> bool:
    try:
        edit = apply(base, spec)
    except EditError:
        return False
    return edit.record.accepted and all(
        apply(base, matched_control(kind, edit, spec.model_copy(update={"seed": seed}))).record.accepted
        for kind in group.controls
        if control_kinds()[kind].matching(edit)  # the others do not depend on the site
        for seed in range(DRAWS)
    )


def _key(base: Base, group: Group, site: Component) -> str:
    """What the answer depends on, hashed: base, group, site, torch's version and the code."""
    edit, hidden = group.edit.model_dump(mode="json"), [p.model_dump(mode="json") for p in group.camouflage]
    facts = [base.hash, edit, hidden, str(site), sorted(group.controls), torch.__version__, code_of_edits()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


@cache
def code_of_edits() -> str:
    """Hash of the code that decides what an edit does to a base."""
    folders = [Path(package.__path__[0]) for package in (edits, models)]
    sources = [code_of(file) for folder in folders for file in sorted(folder.rglob("*.py"))]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()
