"""Everything an auditor may import: the metered toolbox, the brief, and the report it returns.

An auditor is a frozen dataclass with one method, `audit(toolbox, brief) -> Report`; its fields are its
settings. It sees the model only through the toolbox, which charges credits for what each call reveals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, get_args

from torch import Tensor

from models.components import Component, Entries, component_entries
from models.transformer import TransformerConfig

__all__ = [
    "LEAGUES",
    "AccessError",
    "Auditor",
    "Brief",
    "Budget",
    "BudgetExceededError",
    "Challenge",
    "Component",
    "Corpus",
    "Entries",
    "Fine",
    "Intervention",
    "Judgement",
    "League",
    "LowRank",
    "Patch",
    "PublicTask",
    "Report",
    "RequestError",
    "Samples",
    "Stratum",
    "Toolbox",
    "TransformerConfig",
    "component_entries",
]

League = Literal["blackbox", "whitebox", "siblings", "scrambled", "reference"]
LEAGUES: tuple[League, ...] = get_args(League)  # those that grant less first
Corpus = Literal["none", "prompts", "documents"]
Mode = Literal["set", "add", "scale", "project_out"]
Part = Literal["detection", "localisation", "behaviour", "repair"]
Stratum = Literal["affected", "paraphrase", "near miss", "unrelated"]


class AccessError(Exception):
    """The league does not grant this call."""


class BudgetExceededError(Exception):
    """The call would cost more credits than are left; nothing was run and nothing charged."""


class RequestError(ValueError):
    """A call's arguments make no sense (unknown name, wrong shape or dtype, not finite); nothing charged."""


@dataclass(frozen=True)
class Intervention:
    """A change to what passes one hook point, as data.

    Where selected, with `a` the activation: `set` a <- v; `add` a <- a + v; `scale` a <- a * v;
    `project_out` a <- a - (a.u - offset) u on the last axis, with u = v / |v|. They apply in list order.
    Scores of hidden keys, minus infinity, stay so unless `set`; `set` and `add` may hide keys that way.

    Attributes:
        name: Hook point, such as `blocks.0.mlp.hook_post`.
        value: Broadcast against the selected part of the activation; for `project_out` a vector on the last
            axis, or one vector a row `[row, ..., d]`.
        mode: `set`, `add`, `scale` or `project_out`.
        mask: Boolean, broadcast to the activation's shape; entries outside it stay as they are.
        positions: Sequence positions that it applies to (axis 1; the query axis of scores and patterns);
            None is all.
        rows: Batch rows that it applies to, so that one batch carries a whole sweep; None is all. The
            value's first axis, where it has as many axes as the activation, then runs over these rows.
        offset: For `project_out` only.
    """

    name: str
    value: Tensor
    mode: Mode = "set"
    mask: Tensor | None = None
    positions: tuple[int, ...] | None = None
    rows: tuple[int, ...] | None = None
    offset: float = 0.0


@dataclass(frozen=True)
class Samples:
    """Sequences of the public corpus.

    Attributes:
        tokens: Token ids padded on the right, `[sample, pos]`.
        lengths: Number of tokens of each sequence, `[sample]`; for prompts the answer would follow at
            position `lengths`, and is predicted at `lengths - 1`.
    """

    tokens: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class Budget:
    """Credits: one is a forward pass of one sequence.

    Attributes:
        total: Credits granted for the round; infinite when unmetered.
        spent: Credits charged so far.
        max_rows: Largest number of sequences in one call; for `vjp`, of sequences times cotangents.
    """

    total: float
    spent: float
    max_rows: int

    @property
    def remaining(self) -> float:
        return self.total - self.spent


class Toolbox(Protocol):
    """The metered door to the model under audit; tensors in, detached float32 tensors out.

    Every method raises `RequestError` for arguments that make no sense, `AccessError` for what the league
    does not grant, and `BudgetExceededError` before any work that the credits left cannot pay. A repeat of
    an identical call is free.
    """

    @property
    def config(self) -> TransformerConfig: ...

    @property
    def budget(self) -> Budget: ...

    def logits(self, tokens: Tensor, interventions: Sequence[Intervention] = ()) -> Tensor:
        """Logits, `[row, pos, d_vocab]`."""
        ...

    def activations(
        self, tokens: Tensor, names: Sequence[str], interventions: Sequence[Intervention] = ()
    ) -> dict[str, Tensor]:
        """Activations by hook name as they leave the hook, after interventions; `logits` is a name too."""
        ...

    def vjp(
        self,
        tokens: Tensor,
        names: Sequence[str],
        cotangent: Mapping[str, Tensor],
        interventions: Sequence[Intervention] = (),
    ) -> dict[str, Tensor]:
        """Gradients, at each named hook, of the sum of cotangent times activation.

        Args:
            tokens: `[row, pos]`.
            names: Hook points where gradients are wanted.
            cotangent: Hook name or `logits` to an array of its shape, optionally with one leading axis K,
                which the results then carry too.
            interventions: Applied on the way.
        """
        ...

    def weight(self, name: str) -> Tensor:
        """One weight tensor (whitebox leagues and above)."""
        ...

    def sample(self, n: int, seed: int = 0) -> Samples:
        """The public corpus: prompts cut before an answer, unless the case grants whole documents."""
        ...

    def sibling(self, index: int) -> "Toolbox":
        """A clean model of another world, same recipe (siblings league); same meter."""
        ...

    def reference(self) -> "Toolbox":
        """The model before the edit (scrambled and reference leagues); same meter."""
        ...


@dataclass(frozen=True)
class PublicTask:
    """What everyone may know of a task.

    Attributes:
        name: Such as `facts`.
        description: One or two sentences.
        vocabulary: Token strings by id.
        classes: Named groups of token ids, such as `cities`; disjoint, not necessarily covering.
        pad: Id of the padding token.
        bos: Id of the first token of every sequence.
    """

    name: str
    description: str
    vocabulary: tuple[str, ...]
    classes: Mapping[str, tuple[int, ...]]
    pad: int
    bos: int

    def text(self, tokens: Sequence[int]) -> str:
        """Token ids as readable text, without padding."""
        return " ".join(self.vocabulary[token] for token in tokens if token != self.pad)


@dataclass(frozen=True)
class Brief:
    """The part of a case that the auditor is told.

    Attributes:
        config: Shapes of the model under audit.
        task: The task's public part.
        league: What the toolbox grants.
        corpus: What `sample` returns.
        budget: Credits for the round.
        prior: P(edited), before looking.
        component_prior: P(edited and this component was written to), before looking, for each component.
        max_components: Largest number of components that any edit of the suite writes to.
        parts: The parts of the score.
        seed: The auditor's own randomness; unrelated to the edit's.
        deadline: Wall-clock limit, seconds.
    """

    config: TransformerConfig
    task: PublicTask
    league: League
    corpus: Corpus
    budget: float
    prior: float
    component_prior: Mapping[Component, float]
    max_components: int
    parts: tuple[Part, ...]
    seed: int
    deadline: float

    @property
    def location_prior(self) -> dict[Component, float]:
        """P(this component was written to, given an edit), before looking."""
        return {component: p / self.prior for component, p in self.component_prior.items()}


@dataclass(frozen=True)
class LowRank:
    """A change of one weight tensor, `left @ right`.

    Attributes:
        left: `[..., rows, rank]`, with the tensor's leading axes, such as the head's.
        right: `[..., rank, columns]`; of a vector's change `rows` is 1.
    """

    left: Tensor
    right: Tensor


Patch: TypeAlias = Mapping[str, LowRank]  # by tensor name, such as `blocks.0.mlp.W_out`


@dataclass(frozen=True)
class Fine:
    """Location finer than components, beside the score; larger is more suspect.

    Attributes:
        matrices: By parameter entries, such as `blocks.1.attn.W_O[2]`.
        neurons: By (layer, neuron).
        directions: By parameter entries of a matrix, unit vectors `[k, d]` along its last axis that span what
            was written.
    """

    matrices: Mapping[str, float] = field(default_factory=dict)
    neurons: Mapping[tuple[int, int], float] = field(default_factory=dict)
    directions: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What the auditor believes.

    Attributes:
        p_edited: Probability that the model was edited.
        components: For each component, the probability that the model was edited *and* this component was
            written to. A component left out takes `p_edited * component_prior / prior`.
        claims: Structured statements for the debrief; not scored.
        patch: Changes of low rank that would undo the edit, where `repair` is a part of the score.
        fine: Location finer than components; a readout, never ranked.
        notes: Free text for the debrief.
    """

    p_edited: float
    components: Mapping[Component, float] = field(default_factory=dict)
    claims: tuple[Mapping[str, Any], ...] = ()
    patch: Patch | None = None
    fine: Fine | None = None
    notes: str = ""

    @classmethod
    def from_location(cls, p_edited: float, location: Mapping[Component, float], notes: str = "") -> Self:
        """A report from P(edited) and P(component was written to, given an edit)."""
        return cls(p_edited, {component: p_edited * p for component, p in location.items()}, notes=notes)


@dataclass(frozen=True)
class Challenge:
    """Prompts about which `judge` is asked: did the edit change the model's top answer?

    They come in several target sets in shuffled order. On an edited model one set is about what was edited;
    the others, and on a control all of them, are about edits of the same family that were solved on the same
    model and thrown away. Each set has four strata.

    Attributes:
        tokens: Token ids padded on the right, `[prompt, pos]`.
        lengths: Tokens of each prompt, `[prompt]`; the answer would follow.
        prior: For each prompt the declared probability that its top answer changed.
        target_set: For each prompt the number of its set, from 0.
        stratum: For each prompt what it is to its set's target.
        answers: The tokens that this task has as answers.
    """

    tokens: Tensor
    lengths: Tensor
    prior: tuple[float, ...]
    target_set: tuple[int, ...]
    stratum: tuple[Stratum, ...]
    answers: tuple[int, ...]


@dataclass(frozen=True)
class Judgement:
    """What an auditor believes of a challenge.

    Attributes:
        changed: For each prompt the probability that the model was edited *and* the edit changed its top
            answer.
        before: For some prompts, by number, the probability of each answer token before the edit, given that
            the top answer changed; what is missing to 1 goes evenly to the answers that are not named.
    """

    changed: Sequence[float]
    before: Mapping[int, Mapping[int, float]] = field(default_factory=dict)


class Auditor(Protocol):
    """A blue strategy.

    An auditor may also have `judge(challenge) -> Judgement`: it is called on the same instance once the
    toolbox is closed, where `behaviour` is a part of the score, within what is left of the deadline. What
    `audit` should remember until then goes into a field with `init=False`. Without it, an auditor is taken to
    believe the declared prior.

    Attributes:
        yardstick: True for a measure of the game itself (prior, random guess, shortcut, oracle): shown, never
            ranked. One that also sets `sees_reference` gets an unmetered toolbox with the exact reference,
            which stays open while it judges.
    """

    yardstick: ClassVar[bool] = False

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        """What the auditor believes after looking."""
        ...
