"""Planted edits, each with a control that takes its place on the same model."""

from dataclasses import dataclass

import torch

from edits.apply import apply
from edits.base import Edited, EditError, EditSpec
from edits.kinds import control_kinds, families
from edits.moments import Base
from game.by_hand.subject import UNMETERED, ToolSubject
from game.dealing.acceptance import matched_control
from game.dealing.dealer import public_part
from game.dealing.public_corpus import public_corpus
from game.toolbox.live import ModelToolbox
from models.recipe import named_recipe
from models.seeds import named_generator, named_seed
from models.zoo import trained

USUAL = ("untouched", "random_rank1", "benign_finetune")  # as the shipped suites have them


@dataclass(frozen=True)
class Pair:
    """An edit that passed its gates, and what a control in its place did.

    Attributes:
        kind: Of the edit.
        seed: World and training seed of the model.
        attempt: Which draw it was.
        control: Kind of the control.
        edit, sham: What both made.
    """

    kind: str
    seed: int
    attempt: int
    control: str
    edit: Edited
    sham: Edited

    @property
    def written(self) -> tuple[str, ...]:
        """The components that the edit wrote to."""
        return self.edit.record.components


class Planter:
    """Draws edits of one kind on one model, each a pure function of kind, seed and number of the attempt.

    Args:
        kind: Of edits, at its family's own settings.
        recipe: Name of the model's.
        seed: Its world and training seed.
    """

    def __init__(self, kind: str, recipe: str, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.base = Base(trained(named_recipe(recipe), seed, seed))
        self._family = families()[kind].model_validate({"kind": kind})
        sites = self._family.open_sites(self.base.checkpoint.config)
        order = torch.randperm(len(sites), generator=named_generator("matrix", kind, seed)).tolist()
        self._sites = [sites[place] for place in order]
        self._drawn: list[EditSpec | EditError] = []

    def pair(self, attempt: int) -> Pair | str:
        """The pair of an attempt, or why there is none, as a suite's dealer would draw again."""
        try:
            spec = self._spec(attempt)
            if spec is None:
                return "drawn before"
            edit = apply(self.base, spec)
            if not edit.record.accepted:
                return "the edit did not pass its gates"
            control = self._control(edit, attempt)
            sham = apply(self.base, matched_control(control, edit, spec))
        except EditError as error:
            return str(error)
        if not sham.record.accepted:
            return f"{control} did not pass its gates"
        return Pair(self.kind, self.seed, attempt, control, edit, sham)

    def subject(self, made: Edited) -> ToolSubject:
        """What an auditor of the whitebox league has, without a limit of credits."""
        corpus = public_corpus("prompts", lambda: self.base.task)
        box = ModelToolbox(made.checkpoint.model(), league="whitebox", corpus=corpus, total=UNMETERED)
        return ToolSubject("model under audit", box, public_part(self.base.task))

    def _spec(self, attempt: int) -> EditSpec | None:
        """The draw of an attempt; None if an earlier one was the same but for its seed.

        Raises:
            EditError: Nothing of the kind can be drawn there.
        """
        while len(self._drawn) <= attempt:
            self._drawn.append(self._draw(len(self._drawn)))
        *earlier, spec = self._drawn[: attempt + 1]
        if isinstance(spec, EditError):
            raise spec
        known = {_content(each) for each in earlier if isinstance(each, EditSpec)}
        return None if _content(spec) in known else spec

    def _draw(self, attempt: int) -> EditSpec | EditError:
        site = self._sites[attempt % len(self._sites)]
        try:
            return self._family.draw(
                self.base, site, "matrix", named_seed("matrix", self.kind, self.seed, attempt)
            )
        except EditError as error:
            return error

    def _control(self, edit: Edited, attempt: int) -> str:
        """One of the usual controls that can stand in for the edit, each as likely."""
        fitting = [kind for kind in USUAL if _can_match(kind, edit)]
        generator = named_generator("matrix control", self.kind, self.seed, attempt)
        return fitting[int(torch.randint(len(fitting), (), generator=generator))]


def _can_match(kind: str, edit: Edited) -> bool:
    try:
        control_kinds()[kind].matching(edit)
    except EditError:
        return False
    return True


def _content(spec: EditSpec) -> str:
    return spec.model_dump_json(exclude={"seed", "id"})
