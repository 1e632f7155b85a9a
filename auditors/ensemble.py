"""Asks every member that the credits pay for, and believes what all of them together say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from auditors.adapter_features import AdapterFeatures
from auditors.aligned_difference import AlignedDifference
from auditors.confidence_scan import ConfidenceScan
from auditors.excluded_loss import ExcludedLoss
from auditors.head_scores import HeadScores
from auditors.hidden_state_classifier import HiddenStateClassifier
from auditors.key_subspace import KeySubspace
from auditors.lens_jump import LensJump
from auditors.old_object_probe import OldObjectProbe
from auditors.reference_detective import ReferenceDetective
from auditors.row_cosine import RowCosine
from auditors.sibling_outlier import SiblingOutlier
from auditors.spectral_spike import SpectralSpike
from auditors.trace_disagreement import TraceDisagreement
from auditors.trigger_search import TriggerSearch
from auditors.truncated_answers import TruncatedAnswers
from auditors.unembedding_signature import UnembeddingSignature
from game.api import Brief, Challenge, Judgement, Report, Toolbox
from game.auditing.evidence import Evidence, Reader
from game.auditing.suspects import Suspects
from game.auditing.team import TeamFit, asked_one
from game.auditing.undoing import undone

MEMBERS: Mapping[str, type[Reader]] = {
    "adapter_features": AdapterFeatures,
    "aligned_difference": AlignedDifference,
    "confidence_scan": ConfidenceScan,
    "excluded_loss": ExcludedLoss,
    "head_scores": HeadScores,
    "hidden_state_classifier": HiddenStateClassifier,
    "key_subspace": KeySubspace,
    "lens_jump": LensJump,
    "old_object_probe": OldObjectProbe,
    "reference_detective": ReferenceDetective,
    "row_cosine": RowCosine,
    "sibling_outlier": SiblingOutlier,
    "spectral_spike": SpectralSpike,
    "trace_disagreement": TraceDisagreement,
    "trigger_search": TriggerSearch,
    "truncated_answers": TruncatedAnswers,
    "unembedding_signature": UnembeddingSignature,
}


@dataclass(frozen=True)
class Ensemble:
    """One calibrated belief over what many single signals read.

    Asked are those who told anything in practice that the others had not, cheapest first, each only if what
    it took in practice is left; what two of them ask in the same words is paid once. A member that fails
    loses the others nothing. The belief is the one that was fitted to those who were asked: a number that
    nobody read is no evidence.

    Attributes:
        members: Who may be asked; everybody if empty. `audit-game fit` practises with these.
        memory: Between `audit` and `judge`.
    """

    yardstick: ClassVar[bool] = False
    members: tuple[str, ...] = ()
    memory: list[Suspects] = field(default_factory=list, init=False, repr=False, compare=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        fit, team = TeamFit.beside(__file__), self.team()
        evidence, asked = Evidence(), []
        for step in sorted(fit.steps_of(brief), key=lambda step: step.price):
            if step.member in team and step.price <= toolbox.budget.remaining:
                evidence = evidence.joined(asked_one(step.member, team[step.member], toolbox, brief))
                asked.append(step.member)
        report, self.memory[:] = undone(toolbox, brief, fit.believed_of(brief, evidence, asked))
        return report

    def judge(self, challenge: Challenge) -> Judgement:
        """The set whose prompts hang on the likeliest component."""
        return self.memory[0].judged(challenge)

    def team(self) -> Mapping[str, Reader]:
        """The members by name.

        Raises:
            ValueError: A name is none of them.
        """
        if strangers := [name for name in self.members if name not in MEMBERS]:
            raise ValueError(f'members: got "{strangers[0]}"; allowed: {", ".join(MEMBERS)}')
        return {name: MEMBERS[name]() for name in self.members or MEMBERS}
