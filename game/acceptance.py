"""Which sites take an edit that leaves nothing to redraw: measured once, remembered beside the zoo."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

import edits
import models
from edits.base import Control, EditRecord, EditSpec, Family, apply
from edits.kinds import control_kinds
from edits.moments import Base
from models.checkpoints import write_atomically
from models.components import Component
from models.folders import cache_folder
from models.zoo import code_of

DRAWS = 2  # of each control that must pass: one that seldom does would stall the dealing


def accepts(base: Base, family: Family, site: Component, controls: Sequence[str]) -> bool:
    """Whether the family's edit, and every control that must match it, passes its gates here.

    Both labels need the same of a site, or the site would tell the label. A damaged or missing note is
    measured again.
    """
    path = cache_folder() / "acceptance" / f"{_key(base, family, site, controls)}.json"
    try:
        return bool(json.loads(path.read_bytes())["accepted"])
    except (OSError, ValueError, KeyError, TypeError):
        accepted = _accepts(base, family, site, controls)
        write_atomically(path, json.dumps({"accepted": accepted}).encode())
        return accepted


def matched_control(kind: str, edit: EditRecord, spec_id: str, seed: int) -> EditSpec:
    """The control of that kind that takes an edit's place."""
    control: type[Control] = control_kinds()[kind]
    block = {"kind": kind, **control.matching(edit)}
    return control.model_validate({"version": 1, "id": spec_id, "seed": seed, "edit": block})


def _accepts(base: Base, family: Family, site: Component, controls: Sequence[str]) -> bool:
    edit = apply(base, family.draw(base, site, "acceptance", 0)).record
    matching = [kind for kind in controls if control_kinds()[kind].matching(edit)]
    return edit.accepted and all(
        apply(base, matched_control(kind, edit, "acceptance", seed)).record.accepted
        for kind in matching
        for seed in range(DRAWS)
    )


def _key(base: Base, family: Family, site: Component, controls: Sequence[str]) -> str:
    """What the answer depends on, hashed: base, family, site, controls, torch's version and the code."""
    folders = [Path(package.__path__[0]) for package in (edits, models)]
    sources = [code_of(file) for folder in folders for file in sorted(folder.rglob("*.py"))]
    code = hashlib.sha256("\0".join(sources).encode()).hexdigest()
    family_data = family.model_dump(mode="json")
    facts = [base.hash, family_data, str(site), sorted(controls), torch.__version__, code]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
