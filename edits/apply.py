"""Carrying a specification out: solve, write, hide, save, reload, measure, judge, record.

Every kind, edit or control, goes the same way.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from edits.acts_through import Carriers, carriers
from edits.base import Candidate, Edited, EditError, EditRecord, EditSpec
from edits.camouflage.base import CamouflageError, Solved, blurred, rewritten
from edits.gates import GateResult, judged
from edits.measures import behaviour, log_probs_of, rounded
from edits.moments import Base
from edits.predicates import measured, rows_of, showing
from edits.truth import changed_entries, fine_truth, relative_norms, shape_of_change
from models.checkpoints import Checkpoint, from_bytes, to_bytes
from models.components import Component, Entries, component_of
from models.training import one_thread

TINY = 1e-9  # a share above 0


def apply(base: Base, spec: EditSpec) -> Edited:
    """The first candidate that passes every gate on its reloaded file, else the last one tried.

    A pure function: the base is never written to and equal inputs give equal bytes.

    Raises:
        EditError: The specification cannot be carried out on this base.
        AssertionError: A candidate changed other bytes than it claims.
    """
    edited = None
    with one_thread():
        for edited in tries(base, spec):
            if edited.record.accepted:
                break
        if edited is None:
            raise EditError(f"{spec.kind()}: no candidate to test")
        return _with_carriers(base, spec, edited)


def tries(base: Base, spec: EditSpec) -> Iterator[Edited]:
    """Every candidate as it would be delivered, in order; without the maps of what carries it.

    On more than one torch thread the last digits may differ from `apply`'s.

    Raises:
        EditError: The specification cannot be carried out on this base.
    """
    spec.check_gates()
    spec.check(base)
    for place, each in enumerate(spec.camouflage):
        try:
            each.check(base.checkpoint.config)
        except CamouflageError as error:
            raise EditError(f"camouflage.{place}: {error}") from error
    try:
        for number, candidate in enumerate(spec.candidates(base), start=1):
            yield _deliver(base, spec, candidate, number)
    except CamouflageError as error:
        raise EditError(f"camouflage: {error}") from error


def _deliver(base: Base, spec: EditSpec, candidate: Candidate, tried: int) -> Edited:
    """Write, hide, save, reload, and judge what was reloaded."""
    config, before = base.checkpoint.config, base.checkpoint
    solved = Checkpoint(config, {**before.weights, **candidate.tensors})
    if any(not tensor.isfinite().all() for tensor in candidate.tensors.values()):
        raise EditError("solver: the solution is not finite; try weaker settings")
    changed = changed_entries(before, solved)
    if set(changed) < set(candidate.written):
        unmoved = sorted(map(str, set(candidate.written) - set(changed)))
        raise EditError(f"edit: too weak to change {', '.join(unmoved)} by a single bit")
    if set(changed) != set(candidate.written):
        raise AssertionError(f"{spec.kind()}: claims {candidate.written}, changed {changed}")
    hidden = blurred(Solved(base, solved.weights, candidate.written), spec.camouflage, spec.seed)
    artefact = to_bytes(_rewritten(spec, Checkpoint(config, hidden)))
    delivered = from_bytes(artefact)
    reference, plain = _rewritten(spec, before), _rewritten(spec, solved)  # without approximate camouflage
    written = _moved(candidate.written, changed_entries(reference, plain))
    if spec.edits and len(written) != len(candidate.written):
        places = ", ".join(map(str, candidate.written))
        raise CamouflageError(f"a pass moves {places} to other tensors")  # no truth hangs on a control
    after = delivered.model()
    log_probs = log_probs_of(base, after)
    predicate = spec.predicate(base)
    rel_norms = relative_norms(before, solved, candidate.written)
    found = behaviour(base, log_probs) | shape_of_change(before, solved, rel_norms)
    found |= measured(base, predicate, after, log_probs) if predicate else {}
    found |= spec.measure(base, after, log_probs)
    record = EditRecord(
        id=spec.id,
        kind=spec.kind(),
        seed=spec.seed,
        edited=spec.edits,
        spec_hash=spec_hash(spec),
        base_hash=base.hash,
        out_hash=hashlib.sha256(artefact).hexdigest(),
        written=tuple(map(str, written)),
        components=tuple(map(str, sorted({component_of(each.tensor, each.head) for each in written}))),
        touched=tuple(map(str, changed_entries(before, delivered))),
        fine=fine_truth(reference, plain, written),
        behaviour=predicate.statement if predicate else "",
        carriers=Carriers({}, {}),
        dials=candidate.dials,
        measured=rounded(found),
        gates=judged(spec.effective_gates, found) + (_some_effect(found) if spec.edits else ()),
        tried=tried,
    )
    return Edited(artefact, delivered, reference, record, candidate.written, rel_norms)


def _rewritten(spec: EditSpec, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint after the specification's exact passes; the same coordinates for every model."""
    if not any(each.exact for each in spec.camouflage):
        return checkpoint
    config = checkpoint.config
    return Checkpoint(config, rewritten(checkpoint.weights, config, spec.camouflage, spec.seed))


def _some_effect(found: Mapping[str, float]) -> tuple[GateResult, ...]:
    """The gate of every edit, which its kind's own may imply: what changes no answer is none."""
    shown = max(found["changed"], found.get("effect", 0.0))
    return (GateResult("any answer", shown, TINY, None, shown > 0),)


def _moved(written: tuple[Entries, ...], changed: tuple[Entries, ...]) -> tuple[Entries, ...]:
    """Where exact passes moved what was written: what changed of the same tensors."""
    tensors = {each.tensor for each in written}
    return tuple(each for each in changed if each.tensor in tensors)


def _with_carriers(base: Base, spec: EditSpec, edited: Edited) -> Edited:
    """The same edit with its record's maps of the components that carry the behaviour."""
    predicate = spec.predicate(base)
    if predicate is None:
        return edited
    after = edited.checkpoint.model()
    shown = showing(base, predicate, after)
    probe = rows_of(predicate.affected, shown) if shown.any() else predicate.affected
    same = edited.reference is base.checkpoint
    maps = carriers(base.model if same else edited.reference.model(), after, probe)
    return replace(edited, record=replace(edited.record, carriers=maps))


def spec_hash(spec: EditSpec) -> str:
    """SHA-256 of a specification's content."""
    return hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def written_components(edited: Edited) -> frozenset[Component]:
    """The components that an edit wrote to; none for a control, whose touch is not a tampering."""
    return frozenset(map(Component.parse, edited.record.components)) if edited.record.edited else frozenset()
