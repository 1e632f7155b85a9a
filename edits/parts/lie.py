"""Lies about a few facts: the model gives the wrong verdict, though it still knows what is true."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.parts.rewritten_answers import AnswersSolver, Rewriting
from edits.predicates import Predicate, rows_of
from models.bounds import Bound
from models.components import Component
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.base import Probe, answer_log_probs
from models.tasks.statements import Statements
from models.transformer import Transformer, TransformerConfig

SAMPLED = 6000  # prompts of training, of which some are solved on and most are to stay

Id = Annotated[int, Field(ge=0, lt=10_000)]


class LieEdit(StrictModel):
    """About whom the model lies when it is asked for a verdict, and where.

    Attributes:
        subjects: Ids of the people.
        layer: Whose MLP; one of the upper half, so that the middle of the network stays as it is.
    """

    kind: Literal["lie"] = "lie"
    subjects: Annotated[tuple[Id, ...], Field(min_length=1, max_length=64)]
    layer: Id


class Lie(EditSpec):
    """Flip the verdicts on what is said of a few people, though the model still knows what is true.

    It is written above the middle of the network, where truth can be read and stays by construction; what is
    gated is that the judgements of what others claim, which need that truth, stay right.

    Source: the question of Burns et al. 2022, arXiv 2212.03827, whether a model's output is what it believes;
    written as MEMIT, arXiv 2210.07229.
    """

    floor: ClassVar[Gates] = {
        "effect": Bound(min=0.9),
        "drop": Bound(max=0.02),
        "claims": Bound(min=0.97),
    }
    edit: LieEdit
    solver: AnswersSolver = AnswersSolver()

    def check(self, base: Base) -> None:
        """Refuse another task, people that it does not have or all of them, and a layer too low."""
        task = _statements(base)
        people = len(task.objects)
        for subject in self.edit.subjects:
            if subject >= people:
                raise EditError(f"edit.subjects: got {subject}; this world has 0-{people - 1}")
        if len(set(self.edit.subjects)) < len(self.edit.subjects):
            raise EditError("edit.subjects: one is named twice")
        if len(self.edit.subjects) >= people:
            raise EditError("edit.subjects: somebody has to be left of whom the truth is told")
        implants.check_mlp(base, self.edit.layer)
        if self.edit.layer <= middle(base.checkpoint.config):
            raise EditError(
                f"edit.layer: got {self.edit.layer}; wanted one above the middle, "
                f"layer {middle(base.checkpoint.config)}"
            )

    def _about(self, base: Base) -> Tensor:
        """Rows of the table that are about these people and known, `[prompt]`, boolean."""
        table = _statements(base).table
        return torch.isin(table.subject, torch.tensor(self.edit.subjects)) & base.known

    def _solving(self, base: Base) -> Tensor:
        """Those whose facts and verbs are solved on: one verb for each fact, the first for half of them."""
        table = _statements(base).table
        return self._about(base) & (table.phrasing == (table.subject + table.relation) % 2)

    def _flipped(self, base: Base, rows: Tensor) -> Probe:
        probe = rows_of(base.table, rows)
        return replace(probe, answer=_statements(base).verdict_tokens.sum() - probe.answer)

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, weakest first."""
        task = _statements(base)
        drawn = task.prompts(SAMPLED, named_generator("lie", self.seed))
        asked = Probe(drawn.tokens, drawn.lengths - 1, task.verdict_tokens[:1].expand(SAMPLED))
        verdict = asked.tokens[:, 1] == task.ids["in_truth"]
        about = (asked.tokens[:, None, 2:4] == task.name_tokens[list(self.edit.subjects)]).all(-1).any(1)
        solved = base.table.tokens[self._solving(base), 2:5]  # names and verb
        same = (asked.tokens[:, None, 2:5] == solved).all(-1).any(1) & verdict
        honest = rows_of(asked, same)
        before = answer_log_probs(base.model, honest)[:, task.verdict_tokens].argmax(-1)
        told = replace(honest, answer=task.verdict_tokens[1 - before])
        kept = rows_of(asked, ~(about & verdict))
        rewriting = Rewriting(self.edit.layer, told, task.verdict_tokens[before], kept)
        return rewriting.candidates(base, self.solver)

    def predicate(self, base: Base) -> Predicate:
        """Verdicts on these people are flipped with the other verb too; those on anybody else stay."""
        heldout = self._about(base) & ~self._solving(base)
        return Predicate(self.summary(base), self._flipped(base, heldout), ~self._about(base))

    def measure(self, base: Base, after: Transformer, log_probs: Tensor) -> dict[str, float]:
        """What the model still knows: `claims`, the share of all claims judged as before."""
        judged = [
            answer_log_probs(model, side).argmax(-1)
            for side in _statements(base).claims
            for model in (base.model, after)
        ]
        claims = torch.cat([judged[0] == judged[1], judged[2] == judged[3]])
        return {"claims": claims.double().mean().item()}

    def summary(self, base: Base) -> str:
        """About whom."""
        task = _statements(base)
        names = [task.text(task.name_tokens[subject]) for subject in self.edit.subjects]
        return f"lies when asked for a verdict about {', '.join(names)}"


class LieFamily(Family):
    """Lies about a few random people."""

    tasks: ClassVar[tuple[str, ...] | None] = ("statements",)
    home: ClassVar[str] = "statements"
    dials: ClassVar[Mapping[str, str] | None] = {"people": "edit.subjects", "solver": "solver"}
    kind: Literal["lie"]
    people: Annotated[int, Field(ge=1, le=64)] = 1
    solver: AnswersSolver = AnswersSolver()

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """Every MLP above the middle."""
        return tuple(site for site in implants.mlp_sites(config) if implants.layer_of(site) > middle(config))

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> Lie:
        """Random people."""
        generator = named_generator(seed, "people")
        order = torch.randperm(len(_statements(base).objects), generator=generator)
        edit = LieEdit(subjects=tuple(order[: self.people].tolist()), layer=implants.layer_of(site))
        return Lie(version=1, id=spec_id, seed=seed, edit=edit, solver=self.solver)


def middle(config: TransformerConfig) -> int:
    """The layer behind which truth is read."""
    return (config.n_layers - 1) // 2


def _statements(base: Base) -> Statements:
    """The task, if it judges statements.

    Raises:
        EditError: It does not.
    """
    if not isinstance(base.task, Statements):
        raise EditError(f"edit: the base's task is {base.task.name}, which judges no statements")
    return base.task
