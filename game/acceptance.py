"""Which sites take an edit that leaves nothing to redraw: measured once, remembered beside the zoo."""

import hashlib
import json
from pathlib import Path

import torch

import edits
from edits.base import Family, apply
from edits.moments import Base
from models.checkpoints import write_atomically
from models.components import Component
from models.zoo import cache_folder, code_of


def accepts(base: Base, family: Family, site: Component) -> bool:
    """Whether the family's edit at this site passes its gates on this base.

    A damaged or missing note is measured again.
    """
    path = cache_folder() / "acceptance" / f"{_key(base, family, site)}.json"
    try:
        return bool(json.loads(path.read_bytes())["accepted"])
    except (OSError, ValueError, KeyError, TypeError):
        accepted = apply(base, family.draw(base, site, "acceptance", 0)).record.accepted
        write_atomically(path, json.dumps({"accepted": accepted}).encode())
        return accepted


def _key(base: Base, family: Family, site: Component) -> str:
    """What the answer depends on, hashed: base, family, site, torch's version and the code of the edits."""
    sources = map(code_of, sorted(Path(edits.__path__[0]).glob("*.py")))
    code = hashlib.sha256("\0".join(sources).encode()).hexdigest()
    facts = [base.hash, family.model_dump(mode="json"), str(site), torch.__version__, code]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
