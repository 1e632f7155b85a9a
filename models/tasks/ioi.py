"""`ioi`: two people are named and one of them again, so that the other one comes next.

Indirect object identification after Wang et al. 2022 (arXiv 2211.00593): "when Mary and John went to the
store John gave a drink to" asks for Mary. The one named twice (S) stands before or after the other (IO)
equally often, and phrasings and openings shift all positions, so that only the repetition tells. Some ordered
pairs (IO, S) never occur in training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.seeds import named_generator
from models.tasks.base import (
    BOS,
    PAD,
    Documents,
    Finding,
    Probe,
    Prompts,
    Task,
    TaskSettings,
    answer_log_probs,
    joined,
)
from models.transformer import Transformer

NAMES = tuple(
    "Mary John Alice Tom Anna Paul Emma James Laura Peter Sarah David Kate Mark Lucy Simon Helen Adam Julia "
    "Eric Diana Frank Rachel Kevin Nina Oscar Clara Henry Irene Leo Martha Ralph Sophie Victor Wendy Brian "
    "Judith George Olivia Daniel Ruth Philip Grace Walter Alma Bruce Edith Gavin "
    "Hazel Ivan Joan Keith".split()
)
PLACES = tuple("store garden school station market office library beach park museum cafe harbour".split())
OBJECTS = tuple("drink book ring ball basket letter camera ticket flower watch lamp blanket".split())
OPENINGS = tuple("then later today yesterday afterwards".split())
# X and Y are the names in the order they come; S is one of them again. IO follows.
TEMPLATES = (
    "OPEN when X and Y went to the PLACE S gave a OBJECT to",
    "OPEN X and Y had fun at the PLACE and S handed a OBJECT to",
    "OPEN after X and Y met at the PLACE S decided to give a OBJECT to",
    "OPEN while X and Y were working S lent a OBJECT to",
    "OPEN friends X and Y found a OBJECT at the PLACE and S gave it to",
    "OPEN X and Y had a long argument and at last S said to",
    "OPEN the PLACE was quiet when X came in with Y and S showed the OBJECT to",
    "OPEN X bought a OBJECT and Y paid for it before S sent it to",
)
ORDERS = ("abba", "baba")
ROWS = 1200  # prompts in the table; a third of them with pairs that training never sees
_SLOTS = ("IO", "S", "PLACE", "OBJECT", "OPEN")  # slot i is token -1 - i until it is filled


class IoiSettings(TaskSettings):
    """Size of the world.

    Attributes:
        names: How many people there are.
        templates: How many phrasings, in the order of `TEMPLATES`.
        heldout: Share of the ordered pairs (IO, S) that training never sees.
        other_weight: Loss weight of every token that is not the indirect object.
    """

    metrics = ("accuracy", "heldout")

    kind: Literal["ioi"] = "ioi"
    names: Annotated[int, Field(ge=3, le=len(NAMES))] = 40
    templates: Annotated[int, Field(ge=1, le=len(TEMPLATES))] = len(TEMPLATES)
    heldout: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    other_weight: Annotated[float, Field(ge=0, le=1)] = 0.05

    @property
    def heldout_pairs(self) -> int:
        """How many ordered pairs training never sees."""
        return round(self.heldout * self.names * (self.names - 1))

    @model_validator(mode="after")
    def _something_held_out(self) -> Self:
        if not self.heldout_pairs:
            raise ValueError(
                f"heldout: got {self.heldout}, but that is none of the pairs of {self.names} names"
            )
        return self

    def build(self, world_seed: int) -> "Ioi":
        """The world of that seed."""
        return Ioi(self, world_seed)


@dataclass(frozen=True)
class IoiTable(Probe):
    """Prompts with the parts that the circuit is described by.

    Attributes:
        io_at, s1_at, s2_at: Positions of the indirect object and of both mentions of the subject, `[prompt]`.
        order: Index in `ORDERS`: whether the indirect object is named first (`abba`) or second, `[prompt]`.
        template: Index in `TEMPLATES`, `[prompt]`.
        trained: Whether the ordered pair (IO, S) occurs in training, `[prompt]`.
    """

    io_at: Tensor
    s1_at: Tensor
    s2_at: Tensor
    order: Tensor
    template: Tensor
    trained: Tensor

    def where(self, mask: Tensor) -> "IoiTable":
        """The rows that a mask selects."""
        return IoiTable(**{name: column[mask] for name, column in vars(self).items()})


class Ioi(Task):
    """A world of people; its seed says which ordered pairs are held out."""

    name = "ioi"
    description = (
        "Sentences that name two people and then one of them again, as in `when Mary and John went to the "
        "store John gave a drink to`, where the other one follows."
    )
    notes = (
        "In GPT-2 small, heads at the subject's second mention (S2) see that it was named before, "
        "S-inhibition heads carry this to the last token, and name movers there attend to the indirect "
        "object and copy it (Wang et al. 2022, arXiv 2211.00593). Two-layer models without MLPs find one of "
        "two circuits, and the seed decides: first-layer heads carry S2 to the last token, and second-layer "
        "name movers attend to the other name; or first-layer heads gather both names at S2, and the last "
        "token reads from there the one that S2 is not."
    )

    def __init__(self, settings: IoiSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        self.templates = TEMPLATES[: settings.templates]
        super().__init__(self._words(), n_ctx=2 + max(len(template.split()) for template in self.templates))
        self.name_tokens = torch.tensor(self.classes["names"])
        pairs = torch.cartesian_prod(self.name_tokens, self.name_tokens)  # [pair, (IO, S)]
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        order = torch.randperm(len(pairs), generator=named_generator("ioi", world_seed))
        self.heldout, self.trained = pairs[order].tensor_split([settings.heldout_pairs])

    def _words(self) -> dict[str, tuple[str, ...]]:
        """The vocabulary in groups."""
        told = " ".join(self.templates).split()
        words = tuple(dict.fromkeys(word for word in told if not word.isupper()))
        return {
            "special": (PAD, BOS),
            "words": words,
            "openings": OPENINGS,
            "places": PLACES,
            "objects": OBJECTS,
            "names": NAMES[: self.settings.names],
        }

    @cached_property
    def _skeletons(self) -> Tensor:
        """Every phrasing in both orders, slots still open, padding on the right, `[template, order, pos]`."""
        rows = [self._skeleton(template, order) for template in self.templates for order in ORDERS]
        width = max(map(len, rows))
        padded = torch.tensor([row + [self.pad] * (width - len(row)) for row in rows])
        return padded.view(len(self.templates), len(ORDERS), width)

    def _skeleton(self, template: str, order: str) -> list[int]:
        """One phrasing in one order; slots are negative."""
        first, second = ("IO", "S") if order == "abba" else ("S", "IO")
        words = [{"X": first, "Y": second}.get(word, word) for word in template.split()]
        return [-1 - _SLOTS.index(word) if word in _SLOTS else self.ids[word] for word in words]

    def _draw(self, pairs: Tensor, generator: torch.Generator) -> IoiTable:
        """One random prompt about each pair (IO, S), `[prompt, 2]`."""
        n = len(pairs)
        template = torch.randint(len(self.templates), (n,), generator=generator)
        order = torch.randint(len(ORDERS), (n,), generator=generator)
        openings = (self.pad, *self.classes["openings"])  # padding: the sentence has no opening
        fillers = [
            torch.tensor(choice)[torch.randint(len(choice), (n,), generator=generator)]
            for choice in (self.classes["places"], self.classes["objects"], openings)
        ]
        slots = torch.stack([pairs[:, 0], pairs[:, 1], *fillers], 1)  # in the order of _SLOTS
        skeletons = self._skeletons[template, order]
        told = torch.where(skeletons < 0, slots.gather(1, (-1 - skeletons).clamp(min=0)), skeletons)
        tokens = joined([torch.full((n, 1), self.bos), told], self.pad)
        io, s = (tokens == pairs[:, :1]).int(), (tokens == pairs[:, 1:]).int()
        return IoiTable(
            tokens=tokens,
            last=(tokens != self.pad).sum(1) - 1,
            answer=pairs[:, 0],
            io_at=io.argmax(1),
            s1_at=s.argmax(1),
            s2_at=tokens.shape[1] - 1 - s.flip(1).argmax(1),
            order=order,
            template=template,
            trained=torch.ones(n, dtype=torch.bool),
        )

    def _draw_trained(self, n: int, generator: torch.Generator) -> IoiTable:
        return self._draw(
            self.trained[torch.randint(len(self.trained), (n,), generator=generator)], generator
        )

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random sentences about trained pairs, with the indirect object at their end."""
        drawn = self._draw_trained(n, generator)
        tokens = joined([drawn.tokens, drawn.answer[:, None]], self.pad)
        answers = torch.arange(tokens.shape[1]) == drawn.last[:, None] + 1
        weight = torch.where(answers, 1.0, self.settings.other_weight)
        return Documents(tokens, weight * (tokens != self.pad) * (tokens != self.bos), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random sentences about trained pairs, cut before the indirect object."""
        drawn = self._draw_trained(n, generator)
        return Prompts(drawn.tokens, drawn.last + 1)

    @cached_property
    def table(self) -> IoiTable:
        """Prompts about trained pairs, then a third about held-out ones."""
        generator = named_generator("ioi table", self.world_seed)
        counts = {True: ROWS - ROWS // 3, False: ROWS // 3}
        pairs = [
            pool[torch.randint(len(pool), (count,), generator=generator)]
            for pool, count in zip((self.trained, self.heldout), counts.values(), strict=True)
        ]
        trained = torch.arange(ROWS) < counts[True]
        return replace(self._draw(torch.cat(pairs), generator), trained=trained)

    def _with_s2(self, names: Tensor, answer: Tensor) -> IoiTable:
        """The table's prompts with other names, `[prompt]`, in place of the subject's second mention."""
        tokens = self.table.tokens.scatter(1, self.table.s2_at[:, None], names[:, None])
        return replace(self.table, tokens=tokens, answer=answer)

    @cached_property
    def swapped(self) -> IoiTable:
        """The table's prompts with the other name said again, so that the former subject follows."""
        table = self.table
        subject = table.tokens.gather(1, table.s1_at[:, None])[:, 0]
        swapped = self._with_s2(table.answer, subject)
        pair = torch.stack([subject, table.answer], 1)  # [prompt, (IO, S)]
        trained = (pair[:, None] == self.trained).all(2).any(1)
        return replace(swapped, io_at=table.s1_at, s1_at=table.io_at, order=1 - table.order, trained=trained)

    @cached_property
    def abc(self) -> IoiTable:
        """The table's prompts with a third name for the subject's second mention; the answer is as before.

        Nothing determines the answer any more: the corrupted prompts of Wang et al., to compare with.
        """
        generator = named_generator("ioi abc", self.world_seed)
        chance = torch.rand(ROWS, len(self.name_tokens), generator=generator)
        named = (self.name_tokens == self.table.tokens[:, :, None]).any(1)  # [prompt, name]
        third = chance.masked_fill(named, -1).argmax(1)
        return self._with_s2(self.name_tokens[third], self.table.answer)

    def probes(self) -> Mapping[str, Probe]:
        """`table`; its parts by order, template and held out; `swapped` and `abc`, row by row beside it."""
        table = self.table
        parts = {name: table.order == index for index, name in enumerate(ORDERS)}
        parts |= {f"template_{index}": table.template == index for index in range(len(self.templates))}
        parts["heldout"] = ~table.trained
        whole = {"table": table, "swapped": self.swapped, "abc": self.abc}
        return whole | {name: table.where(mask) for name, mask in parts.items() if mask.any()}

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """Shares of prompts answered: `accuracy` about trained pairs, `heldout` about the others."""
        right = (answer_log_probs(model, self.table).argmax(-1) == self.table.answer).double()
        trained = self.table.trained
        return {"accuracy": right[trained].mean().item(), "heldout": right[~trained].mean().item()}

    @torch.no_grad()
    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """How much each head attends as the heads of the known circuit do."""
        table, axes = self.table, ("layer", "head")
        names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
        cache = model.run_with_cache(table.tokens.to(model.unembed.W_U.device), names)[1]
        pattern = torch.stack([cache[name].cpu() for name in names])  # [layer, prompt, head, query, key]

        def attention(query: Tensor, key: Tensor) -> Tensor:
            return pattern[:, torch.arange(ROWS), :, query, key].mean(0)  # [layer, head]

        to_io, to_s1, to_s2 = (attention(table.last, at) for at in (table.io_at, table.s1_at, table.s2_at))
        return {
            "name_mover_score": Finding(
                "mean attention from the last token to the indirect object, less that to the subject",
                axes,
                to_io - to_s1 - to_s2,
            ),
            "s_inhibition_score": Finding(
                "mean attention from the last token to the subject's second mention", axes, to_s2
            ),
            "gathering_score": Finding(
                "mean attention from the subject's second mention to the indirect object",
                axes,
                attention(table.s2_at, table.io_at),
            ),
            "duplicate_token_score": Finding(
                "mean attention from the subject's second mention to its first",
                axes,
                attention(table.s2_at, table.s1_at),
            ),
        }
