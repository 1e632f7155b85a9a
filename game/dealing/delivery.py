"""What a case delivers: an edit that passed its gates, or the control that takes its place."""

from dataclasses import dataclass

from edits.apply import apply, written_components
from edits.base import Control, Edited, EditSpec
from edits.moments import Base
from game.case import Truth
from game.dealing.acceptance import matched_control
from game.dealing.suite import as_data
from models.checkpoints import Checkpoint


@dataclass(frozen=True)
class Delivered:
    """What a case delivers.

    Attributes:
        spec: Of the edit or control.
        edited: What it made.
        drawn: The edit that the case was drawn around; `spec` itself, unless that is a control's.
        solved: What that edit made.
    """

    spec: EditSpec
    edited: Edited
    drawn: EditSpec
    solved: Edited

    def own_base(self, base: Base) -> Checkpoint:
        """The model before the edit; a control with weights of its own, as a training anomaly, is its own."""
        replaced = isinstance(self.spec, Control) and self.spec.replaces
        return self.edited.checkpoint if replaced else base.checkpoint


def delivered(base: Base, spec: EditSpec, edited: bool, control: str) -> Delivered | None:
    """The edit, or its matched control; None where one of them fails its gates.

    Args:
        base: What is edited.
        spec: The edit, solved for a control too.
        edited: The label.
        control: Kind of control.
    """
    edit = apply(base, spec)
    if not edit.record.accepted:
        return None
    if edited:
        return Delivered(spec, edit, spec, edit)
    sham = matched_control(control, edit, spec)
    made = apply(base, sham)
    return Delivered(sham, made, spec, edit) if made.record.accepted else None


def truth_of(base: Base, found: Delivered, group: str, redraws: int) -> Truth:
    """What the referee knows of a delivered case, with the draws that failed before it."""
    record = found.edited.record
    return Truth(
        edited=record.edited,
        written=written_components(found.edited),
        group=group,
        kind=record.kind,
        matched=found.drawn.kind(),
        summary=found.spec.summary(base),
        spec=as_data(found.spec),
        record={**record.to_dict(), "redraws": redraws},
    )
