"""Controls whose weights are not the base's plus a change, but others altogether."""

from collections.abc import Mapping

from torch import Tensor

from edits.base import Candidate, EditError, EditSpec
from edits.camouflage.base import Approximate
from edits.moments import Base
from edits.truth import changed_entries
from models.checkpoints import Checkpoint


def check_camouflage(spec: EditSpec) -> None:
    """Refuse passes that work on the difference from the base, which here means nothing.

    Raises:
        EditError: With the pass.
    """
    for each in spec.camouflage:
        if isinstance(each, Approximate) and each.of_change:
            raise EditError(
                f"camouflage: {each.kind} works on a change of the base's weights; "
                f"{spec.kind()} has others altogether"
            )


def replaced(base: Base, weights: Mapping[str, Tensor], dials: Mapping[str, float | str]) -> Candidate:
    """A candidate that writes whatever differs."""
    written = changed_entries(base.checkpoint, Checkpoint(base.checkpoint.config, weights))
    return Candidate(weights, written, dials)
