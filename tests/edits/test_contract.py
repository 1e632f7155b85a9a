"""What every kind of edit in the folder keeps to; a new file is tested by existing."""

import hashlib
from collections.abc import Callable

import pytest
import torch

from edits.apply import apply, written_components
from edits.base import EditSpec, Family
from edits.kinds import control_kinds, edit_kinds, families
from edits.moments import Base
from edits.truth import changed_entries
from models.checkpoints import from_bytes, to_bytes
from models.recipe import named_recipe

QUICK = {"facts-small": "facts-tiny", "facts-plain": "facts-tiny"}  # of the same task, trained in seconds


@pytest.fixture(params=sorted(families()))
def family(request: pytest.FixtureRequest) -> Family:
    return families()[request.param].model_validate({"kind": request.param})


@pytest.fixture
def base(family: Family, base_of: Callable[[str], Base]) -> Base:
    return base_of(QUICK.get(family.home, family.home))


@pytest.fixture
def spec(family: Family, base: Base) -> EditSpec:
    """The edit that the family draws at the middle one of its sites."""
    sites = family.open_sites(base.checkpoint.config)
    return family.draw(base, sites[len(sites) // 2], "drawn", 1)


def test_a_kind_is_at_home_on_a_shipped_recipe_of_its_tasks(family: Family) -> None:
    assert family.tasks is None or named_recipe(family.home).task.kind in family.tasks


def test_every_kind_is_dealt_by_a_family_or_a_control() -> None:
    assert set(edit_kinds()) == set(families()) | set(control_kinds())


def test_an_edit_is_pure_truthful_and_states_what_it_does(family: Family, spec: EditSpec, base: Base) -> None:
    before = hashlib.sha256(to_bytes(base.checkpoint)).hexdigest()
    rng = torch.get_rng_state()
    one, two = apply(base, spec), apply(Base(base.trained), spec)
    assert one.artefact == two.artefact, "equal inputs give equal bytes"
    assert one.record == two.record
    assert hashlib.sha256(to_bytes(base.checkpoint)).hexdigest() == before, "the base stays as it was"
    assert torch.equal(torch.get_rng_state(), rng), "no draw is anybody else's"
    record = one.record
    changed = tuple(map(str, changed_entries(base.checkpoint, from_bytes(one.artefact))))
    assert set(record.written) == set(record.touched) == set(changed) != set()
    sites = family.open_sites(base.checkpoint.config)
    assert written_components(one) == family.writes(sites[len(sites) // 2])
    assert record.edited
    predicate = spec.predicate(base)
    assert predicate is not None
    assert record.behaviour == predicate.statement
    assert {"effect", "drop", "changed", "kl", "agree"} <= set(record.measured)
    assert record.carriers.repairs.keys() == record.carriers.suffices.keys() != set()


def test_a_spec_survives_its_own_yaml_form(spec: EditSpec) -> None:
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec


def test_a_head_that_camouflage_moved_is_told_where_it_is_now(base_of: Callable[[str], Base]) -> None:
    base = base_of("facts-tiny")
    kind = edit_kinds()["head_ablate"]
    text = (
        '{"version": 1, "id": "x", "seed": 3, "edit": {"kind": "head_ablate", "head": [2, 1]},'
        ' "camouflage": [{"kind": "head_permute"}]}'
    )
    hidden = apply(base, kind.model_validate_json(text))
    (moved,) = hidden.record.written
    layer, head = 2, int(moved.removesuffix("]").rpartition("[")[2])
    assert not hidden.checkpoint.weights[f"blocks.{layer}.attn.W_O"][head].any()
    assert hidden.at[0].head == 1
    assert len(hidden.record.touched) > 1
