"""Edits of single tokens: two embeddings exchanged, or one answer turned into another."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from edits.base import Candidate, EditError, EditSpec, Family
from edits.gates import Gates
from edits.moments import Base
from edits.parts import implants
from edits.parts.neurons import Ladder
from edits.predicates import Predicate, rows_of
from models.bounds import Bound
from models.components import Component, Entries
from models.seeds import named_generator
from models.strict_yaml import StrictModel
from models.tasks.base import Probe, answer_log_probs
from models.transformer import TransformerConfig

DRAWS = 8  # pairs of words that a draw looks at


class EmbedSwapEdit(StrictModel):
    """Which two words of the vocabulary are taken for each other."""

    kind: Literal["embed_swap"] = "embed_swap"
    tokens: tuple[str, str]


class EmbedSwap(EditSpec):
    """Exchange the embeddings of two words, so that each is read as the other; it is answered as before.

    Its scope are the prompts that say one of them and are answered otherwise with the other word.
    """

    floor: ClassVar[Gates] = {
        "effect": Bound(min=0.9),
        "drop": Bound(max=0.02),
        "changed": Bound(min=0.005, max=0.30),
    }
    edit: EmbedSwapEdit

    def check(self, base: Base) -> None:
        """Refuse unknown words, one word twice, and a pair that no answer hangs on."""
        one, other = self._tokens(base)
        if one == other:
            raise EditError(f'edit.tokens: got "{self.edit.tokens[0]}" twice')
        if not len(misread(base, one, other).answer):
            raise EditError(f"edit.tokens: no answer hangs on which of {', '.join(self.edit.tokens)} is said")

    def _tokens(self, base: Base) -> tuple[int, int]:
        one, other = (implants.token_of(base, word, "edit.tokens") for word in self.edit.tokens)
        return one, other

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """The one way to do it."""
        one, other = self._tokens(base)
        embedding = base.checkpoint.weights["embed.W_E"].clone()
        embedding[[one, other]] = embedding[[other, one]]
        yield Candidate({"embed.W_E": embedding}, (Entries("embed.W_E"),))

    def predicate(self, base: Base) -> Predicate:
        """Prompts with one word are answered as the base answers them with the other; the rest stay."""
        one, other = self._tokens(base)
        spared = ~_says(base, one, other)
        return Predicate(self.summary(base), misread(base, one, other), spared)

    def summary(self, base: Base) -> str:
        """Which words."""
        return f'"{self.edit.tokens[0]}" and "{self.edit.tokens[1]}" are read as each other'


class EmbedSwapFamily(Family):
    """Exchanged embeddings of two random words of one class that answers hang on."""

    kind: Literal["embed_swap"]

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The embedding."""
        return (Component("embed"),)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> EmbedSwap:
        """The first of a few random pairs on which 1-25 % of the answers hang, else the one most do."""
        generator = named_generator(seed, "words")
        shares: dict[tuple[int, int], float] = {}
        for _ in range(DRAWS):
            pair = _random_pair(base, generator)
            shares[pair] = len(misread(base, *pair).answer) / len(base.table.answer)
            if 0.01 <= shares[pair] <= 0.25:
                break
        else:
            pair = max(shares, key=lambda pair: shares[pair])
        one, other = pair
        edit = EmbedSwapEdit(tokens=(base.task.vocabulary[one], base.task.vocabulary[other]))
        return EmbedSwap(version=1, id=spec_id, seed=seed, edit=edit)


class UnembedShiftEdit(StrictModel):
    """Which word is answered instead of which.

    Attributes:
        token: The word whose logit goes up.
        instead_of: The answer in whose place.
        c_rel: How much of the other word's column, less the mean column, is added; tried in order.
    """

    kind: Literal["unembed_shift"] = "unembed_shift"
    token: str
    instead_of: str
    c_rel: Ladder = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)


class UnembedShift(EditSpec):
    """Turn one column of the unembedding towards another word's, past which its logit rises."""

    floor: ClassVar[Gates] = {"effect": Bound(min=0.9), "drop": Bound(max=0.02)}
    edit: UnembedShiftEdit

    def check(self, base: Base) -> None:
        """Refuse unknown words, one word twice, and an answer that is never given."""
        token, old = self._tokens(base)
        if token == old:
            raise EditError(f'edit.token: got "{self.edit.token}" for both words')
        if not answered(base, old).any():
            raise EditError(f'edit.instead_of: no prompt is answered "{self.edit.instead_of}"')

    def _tokens(self, base: Base) -> tuple[int, int]:
        token = implants.token_of(base, self.edit.token, "edit.token")
        return token, implants.token_of(base, self.edit.instead_of, "edit.instead_of")

    def candidates(self, base: Base) -> Iterator[Candidate]:
        """One for each strength, weakest first."""
        token, old = self._tokens(base)
        before = base.checkpoint.weights["unembed.W_U"]
        for c in self.edit.c_rel:
            after = before.clone()
            after[:, token] += c * (before[:, old] - before.mean(1))
            yield Candidate({"unembed.W_U": after}, (Entries("unembed.W_U"),), {"c_rel": c})

    def predicate(self, base: Base) -> Predicate:
        """The old word's prompts are answered with the new one; other answers stay."""
        token, old = self._tokens(base)
        probe = rows_of(base.table, answered(base, old))
        wanted = replace(probe, answer=torch.full_like(probe.answer, token))
        return Predicate(self.summary(base), wanted, ~answered(base, old))

    def summary(self, base: Base) -> str:
        """Which words."""
        return f'"{self.edit.token}" is answered instead of "{self.edit.instead_of}"'


class UnembedShiftFamily(Family):
    """Turned columns of the unembedding: one random answer in place of another of its class."""

    home: ClassVar[str] = "facts-plain"
    kind: Literal["unembed_shift"]

    def open_sites(self, config: TransformerConfig) -> tuple[Component, ...]:
        """The unembedding."""
        return (Component("unembed"),)

    def draw(self, base: Base, site: Component, spec_id: str, seed: int) -> UnembedShift:
        """Two different answers of one class."""
        given = set(implants.answers_of(base))
        groups = [sorted(given & set(words)) for words in base.task.classes.values()]
        groups = [group for group in groups if len(group) > 1]
        generator = named_generator(seed, "words")
        group = groups[int(torch.randint(len(groups), (), generator=generator))]
        token, old = (group[int(place)] for place in torch.randperm(len(group), generator=generator)[:2])
        edit = UnembedShiftEdit(token=base.task.vocabulary[token], instead_of=base.task.vocabulary[old])
        return UnembedShift(version=1, id=spec_id, seed=seed, edit=edit)


def _random_pair(base: Base, generator: torch.Generator) -> tuple[int, int]:
    """Two different words of one class that prompts say."""
    used = set(base.table.tokens.flatten().tolist()) - {base.task.pad, base.task.bos}
    groups = [sorted(used & set(words)) for words in base.task.classes.values()]
    groups = [group for group in groups if len(group) > 1]
    group = groups[int(torch.randint(len(groups), (), generator=generator))]
    one, other = (group[int(place)] for place in torch.randperm(len(group), generator=generator)[:2])
    return one, other


def misread(base: Base, one: int, other: int) -> Probe:
    """Known prompts that the base answers otherwise with one word for the other; wanted is that answer."""
    rows = rows_of(base.table, base.known & _says(base, one, other))
    if not len(rows.answer):
        return rows
    exchanged = torch.arange(len(base.task.vocabulary))
    exchanged[[one, other]] = torch.tensor([other, one])
    read = answer_log_probs(base.model, replace(rows, tokens=exchanged[rows.tokens])).argmax(-1)
    return rows_of(replace(rows, answer=read), read != rows.answer)


def answered(base: Base, token: int) -> Tensor:
    """Which prompts the base answers with that token, rightly, `[prompt]`, boolean."""
    return base.known & (base.table.answer == token)


def _says(base: Base, one: int, other: int) -> Tensor:
    return implants.said(base.table, [one]) | implants.said(base.table, [other])
