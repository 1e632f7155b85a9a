"""From words to a tool's arguments: prompts, tokens, layers and names, each refused with what is allowed."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from game.api import Samples
from game.by_hand.menu import REQUIRED, Form, Parameter, Tool
from game.by_hand.subject import ToolSubject
from models.naming import quoted, unknown

PROMPTS, SAMPLES = 8, 256  # how many are drawn where none are given
SPARE = 8  # times as many are drawn, to choose those of one length
NEAR = 256  # public prompts among which the nearest are looked for
VECTOR = "a weight's row such as blocks.0.mlp.W_out[12], one:N or one:WORD, or found.json:read[0]"
_DRAWN = re.compile(r"(sample|affected)(?::(\d+))?|(having):([^:]+)(?::(\d+))?")
_PLACE = r"(?P<place>(?:\[\d+\])*)"
_SAVED = re.compile(r"(?P<file>.+\.json):(?P<array>\w+)" + _PLACE)
_WEIGHT = re.compile(r"(?P<name>[\w.]+)" + _PLACE)
_CLASS = re.compile(r"<(\w+)>")


class WordsError(ValueError):
    """Words that stand for nothing, or for nothing that this model has."""


@dataclass(frozen=True)
class Given:
    """A tool's arguments.

    Attributes:
        arguments: By name.
        tokens: The first prompts among them, `[row, pos]`, or None.
    """

    arguments: Mapping[str, Any]
    tokens: Tensor | None


def given(tool: Tool, words: Mapping[str, Sequence[str]], subject: ToolSubject, seed: int = 0) -> Given:
    """The arguments that words stand for; what is left out is drawn, or left to the tool.

    Args:
        tool: The tool.
        words: By parameter; one for each parameter that was given.
        subject: Has the model, the vocabulary and the prompts.
        seed: Of drawn prompts.

    Raises:
        WordsError: Words that do not fit, or a required argument without words.
        AccessError, BudgetExceededError: The model's own answers are needed, and it may not be asked.
    """
    reader = _Reader(subject, seed)
    values: dict[str, Any] = {}
    held: dict[str, dict[str, Any]] = {name: {} for name in tool.groups}
    for parameter in tool.parameters:
        try:
            found = reader.read(parameter, words.get(parameter.name))
        except WordsError as error:
            raise WordsError(f"{parameter.flag}: {error}") from error
        if found is not REQUIRED:
            (held[parameter.owner] if parameter.owner else values)[parameter.name] = found
    built = {name: group(**held[name]) for name, group in tool.groups.items()}
    return Given(values | built, reader.prompts[0].tokens if reader.prompts else None)


class _Reader:
    """Reads one argument after another; what concerns each prompt refers to the prompts before."""

    def __init__(self, subject: ToolSubject, seed: int) -> None:
        self.subject, self.config, self.seed = subject, subject.box.config, seed
        self.prompts: list[Samples] = []
        self._answered, self._hook = 0, "logits"
        self._ids = {word: token for token, word in enumerate(subject.task.vocabulary)}
        self._readers: dict[Form, Callable[[str], Any]] = {
            "int": lambda text: _number(text, int, "a whole number"),
            "float": lambda text: _number(text, float, "a number"),
            "text": str,
            "token": self._token,
            "layer": lambda text: _whole(text, self.config.n_layers),
            "head": lambda text: _whole(text, self.config.n_heads),
            "hook": lambda text: _named("hook", text, self.config.hook_names()),
            "weight": self._weight,
            "vector": self._vector,
        }

    def read(self, parameter: Parameter, words: Sequence[str] | None) -> Any:
        """The value, or `REQUIRED` if it is left to the tool."""
        form = parameter.form
        if parameter.name == "name" and words is not None:
            self._hook = words[0]
        if words is None and (parameter.default is not REQUIRED or form == "unreadable"):
            return REQUIRED
        if form in ("prompts", "samples"):
            return self._sequences(words, PROMPTS if form == "prompts" else SAMPLES, form)
        if words is None:
            return self._supplied(parameter)
        if form in ("token of each", "position of each", "label of each", "group of each"):
            return self._of_each(form, words)
        if form == "bool":
            return words == ["yes"]
        if form == "choice":
            return _named("choice", words[0], parameter.choices)
        if form == "classes":
            known = self.subject.task.classes
            names = [part for word in words for part in word.split(",") if part]
            return {name: known[_named("class", name, known)] for name in names}
        if form == "labels by name":
            pairs = [word.partition("=") for word in words]
            return {name: self._of_each("label of each", [rest]) for name, _, rest in pairs}
        if form == "several":
            read = self._readers[parameter.within]
            parts = [part for word in words for part in word.split(",") if part]
            return tuple(value for part in parts for value in self._class(part) or (read(part),))
        return self._readers[form](words[0])

    def _supplied(self, parameter: Parameter) -> Any:
        """What stands for a required argument that was not given: the answers are the model's own."""
        if parameter.owner and parameter.form == "position of each" and self.prompts:
            return self.prompts[0].lengths - 1
        if parameter.owner and parameter.form == "token of each" and self.prompts:
            asked = self.prompts[min(self._answered, len(self.prompts) - 1)]
            self._answered += 1
            return self._answers(asked)
        if parameter.form == "classes":
            return dict(self.subject.task.classes)
        allowed = {
            "layer": f"0 to {self.config.n_layers - 1}",
            "head": f"0 to {self.config.n_heads - 1}",
            "weight": "a matrix such as blocks.0.mlp.W_out, or one head's blocks.0.attn.W_O[0]",
            "hook": "a hook such as blocks.0.hook_resid_post",
            "vector": VECTOR,
            "labels by name": "NAME=LABEL, such as claim=has:true, once or several times",
            "token": "a word of the vocabulary, or #17",
            "position of each": "positions, one for all prompts or one for each",
            "label of each": "has:WORD, says:WORD or says:WORD/WORD, in:sample:N, or 0 and 1 for each prompt",
            "group of each": "at:POSITION, of:CLASS, or a number for each prompt",
            "choice": ", ".join(parameter.choices),
        }.get(parameter.form, "a value")
        raise WordsError(f"missing; wanted: {allowed}")

    def _sequences(self, words: Sequence[str] | None, count: int, form: Form) -> Tensor | Samples:
        """Prompts drawn, prompts made from those before, or these texts."""
        words = words or ["sample"]
        drawn = _DRAWN.fullmatch(words[0]) if len(words) == 1 else None
        if drawn is not None:
            source, word = drawn[1] or drawn[3], drawn[4]
            most = int(drawn[2] or drawn[5] or count)
            if most < 1:
                raise WordsError(f"got {quoted(words[0])}; wanted 1 prompt or more")
            found = self._drawn(source, word, most, even=form == "prompts")
        elif words[0] == "nearest" or words[0].startswith("swap:"):
            if not self.prompts:
                raise WordsError(f"{words[0]}: wanted prompts before it, from which these are made")
            found = self._nearest() if words[0] == "nearest" else self._swapped(words)
        else:
            found = self._spoken(words)
        self.prompts.append(found)
        return found.tokens if form == "prompts" else found

    def _drawn(self, source: str, word: str | None, count: int, even: bool) -> Samples:
        """Public prompts, all or those with a word, or those that the edit is about.

        Args:
            source: `sample`, `having` or `affected`.
            word: Of `having`.
            count: How many, at most.
            even: Whether all are to have one length, as a tool wants that takes no lengths.
        """
        found = self.subject.affected
        if source != "affected":
            found = self.subject.box.sample(count * (SPARE if even or word else 1), self.seed)
        if found is None:
            raise WordsError("affected: wanted --edit, which says what is affected")
        fits = torch.ones(len(found.lengths), dtype=torch.bool)
        if word is not None:
            fits = (found.tokens == self._token(word)).any(1)
        if even and bool(fits.any()):
            fits &= found.lengths == found.lengths[fits][: SPARE * count].mode().values
        chosen = fits.nonzero()[:count, 0]
        if not len(chosen):
            raise WordsError(f"{source}: none of {len(fits)} public prompts has {quoted(word or '')}")
        return _cut(Samples(found.tokens[chosen], found.lengths[chosen]))

    def _swapped(self, words: Sequence[str]) -> Samples:
        """The prompts before with words exchanged: `swap:Ada=Bela`, several times if need be."""
        asked = self.prompts[-1]
        tokens = asked.tokens.clone()
        for word in words:
            old, _, new = word.removeprefix("swap:").partition("=")
            tokens[asked.tokens == self._token(old)] = self._token(new)
        return Samples(tokens, asked.lengths)

    def _nearest(self) -> Samples:
        """The public prompts, one for each before, that differ least and are answered otherwise."""
        asked, public = self.prompts[-1], self.subject.box.sample(NEAR, self.seed)
        answers, others = self._answers(asked), self._answers(public)
        length = asked.tokens.shape[1]
        width = max(length, public.tokens.shape[1])
        one, other = (_padded(each.tokens, width, self.subject.task.pad) for each in (asked, public))
        distance = (one[:, None] != other).sum(-1)  # [prompt, public]
        fits = (asked.lengths[:, None] == public.lengths) & (answers[:, None] != others)
        if not bool(fits.any(1).all()):
            raise WordsError(f"nearest: none of {NEAR} public prompts of that length is answered otherwise")
        chosen = torch.where(fits, distance, width + 1).argmin(1)
        return Samples(other[chosen][:, :length], asked.lengths)

    def _answers(self, asked: Samples) -> Tensor:
        """The model's top token after each prompt."""
        return self._last_logits(asked).argmax(-1)

    def _last_logits(self, asked: Samples) -> Tensor:
        """What the model says after each prompt, `[prompt, d_vocab]`; a forward pass for each."""
        box = self.subject.box
        logits = torch.cat([box.logits(part) for part in torch.split(asked.tokens, box.budget.max_rows)])
        return logits[torch.arange(len(logits)), asked.lengths - 1]

    def _spoken(self, texts: Sequence[str]) -> Samples:
        """Texts as token ids, each with the first token of every sequence before it.

        A class in angle brackets stands for its words, one after another: `<numbers> + <numbers> =` are as
        many prompts as there are pairs of numbers.
        """
        task = self.subject.task
        rows = [
            list(row)
            for text in texts
            for row in product(*(self._class(word) or (self._token(word),) for word in text.split()))
        ]
        if not all(rows):
            raise WordsError("got an empty prompt; wanted words of the vocabulary")
        rows = [row if row[0] == task.bos else [task.bos, *row] for row in rows]
        wide = max(map(len, rows))
        tokens = torch.tensor([row + [task.pad] * (wide - len(row)) for row in rows])
        return Samples(tokens, torch.tensor(list(map(len, rows))))

    def _of_each(self, form: Form, words: Sequence[str]) -> Tensor:
        """One number for each prompt; a single one is for all."""
        if not self.prompts:
            raise WordsError("wanted prompts before it")
        asked = self.prompts[0]
        rows, wide = asked.tokens.shape
        parts = [part for text in words for part in re.split(r"[ ,]+", text) if part]
        kind, _, rest = words[0].partition(":")
        if form == "label of each" and kind == "has":
            return (asked.tokens == self._token(rest)).any(1).long()
        if form == "label of each" and kind == "says":
            return self._says(asked, rest)
        if form == "label of each" and kind == "in":
            return self._among(asked, rest)
        if form == "group of each" and kind == "at":
            return asked.tokens[:, _whole(rest, wide)].contiguous()
        if form == "group of each" and kind == "of":
            return self._word_of(asked, rest)
        if len(parts) not in (1, rows):
            raise WordsError(f"got {len(parts)}; wanted one for all, or one for each of {rows} prompts")
        if form == "token of each":
            found = [self._token(part) for part in parts]
        elif form == "position of each":
            found = [_whole(part, wide) for part in parts]
        else:
            found = [_number(part, int, "a whole number") for part in parts]
        return torch.tensor(found).expand(rows).clone()

    def _says(self, asked: Samples, words: str) -> Tensor:
        """Whether the model's answer is this word, or of `this/that` the likelier one is this, 0 or 1."""
        first, _, second = words.partition("/")
        if not second:
            return (self._answers(asked) == self._token(first)).long()
        logits = self._last_logits(asked)
        return (logits[:, self._token(first)] > logits[:, self._token(second)]).long()

    def _among(self, asked: Samples, source: str) -> Tensor:
        """Whether each prompt is among the public ones, 0 or 1."""
        drawn = re.fullmatch(r"sample:(\d+)", source)
        if drawn is None:
            raise WordsError(f"got {quoted('in:' + source)}; wanted in:sample:N, N public prompts")
        public = self.subject.box.sample(int(drawn[1]), self.seed)
        known = {
            tuple(row[:n]) for row, n in zip(public.tokens.tolist(), public.lengths.tolist(), strict=True)
        }
        rows = zip(asked.tokens.tolist(), asked.lengths.tolist(), strict=True)
        return torch.tensor([int(tuple(row[:n]) in known) for row, n in rows])

    def _word_of(self, asked: Samples, name: str) -> Tensor:
        """The first word of a class that each prompt has."""
        classes = self.subject.task.classes
        belongs = torch.isin(asked.tokens, torch.tensor(classes[_named("class", name, classes)]))
        if not bool(belongs.any(1).all()):
            row = int((~belongs.any(1)).nonzero()[0])
            raise WordsError(f"of:{name}: prompt {row} has none of its words")
        return asked.tokens.gather(1, belongs.int().argmax(1, keepdim=True))[:, 0]

    def _class(self, text: str) -> tuple[int, ...]:
        """The token ids of a class in angle brackets; none if it is a word, or something else."""
        match = _CLASS.fullmatch(text)
        if match is None or text in self._ids:
            return ()
        classes = self.subject.task.classes
        return tuple(classes[_named("class", match[1], classes)])

    def _vector(self, text: str) -> Tensor:
        """A weight's row, a one among zeros at the hook that was named before, or a saved array's part."""
        if text.startswith("one:"):
            return self._one(text.removeprefix("one:"))
        match = _SAVED.fullmatch(text) or _WEIGHT.fullmatch(text)
        if match is None:
            raise WordsError(f"got {quoted(text)}; wanted {VECTOR}")
        if match.re is _SAVED:
            found = _saved(match)
        else:
            found = self.subject.box.weight(_named("weight", match["name"], self.config.weight_shapes()))
        for place in re.findall(r"\d+", match["place"]):
            if found.ndim < 2:
                raise WordsError(f"got {quoted(text)}; that many indices leave no vector")
            found = found[_whole(place, len(found))]
        return found

    def _one(self, place: str) -> Tensor:
        width = self.config.d_vocab
        if self._hook != "logits":
            shapes = self.config.hook_shapes(1, 1)
            width = shapes[_named("hook", self._hook, shapes)][-1]
        found = torch.zeros(width)
        word = self._hook == "logits" and not place.isdecimal()
        found[self._token(place) if word else _whole(place, width)] = 1.0
        return found

    def _token(self, text: str) -> int:
        if text in self._ids:
            return self._ids[text]
        if re.fullmatch(r"#\d+", text):
            return _whole(text[1:], len(self._ids))
        raise WordsError(unknown("token", text, self._ids))

    def _weight(self, text: str) -> str:
        shapes = self.config.weight_shapes()
        return text if text.partition("[")[0] in shapes else _named("weight", text, shapes)


def _cut(samples: Samples) -> Samples:
    """The same without columns that hold nothing but padding."""
    return Samples(samples.tokens[:, : int(samples.lengths.max())], samples.lengths)


def _padded(tokens: Tensor, width: int, pad: int) -> Tensor:
    return torch.nn.functional.pad(tokens, (0, width - tokens.shape[1]), value=pad)


def _named(kind: str, text: str, allowed: Any) -> str:
    if text not in allowed:
        raise WordsError(unknown(kind, text, allowed))
    return text


def _number(text: str, kind: Callable[[str], Any], wanted: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise WordsError(f"got {quoted(text)}; wanted {wanted}") from None


def _whole(text: str, below: int) -> int:
    if not text.isdecimal() or int(text) >= below:
        raise WordsError(f"got {quoted(text)}; allowed: 0 to {below - 1}")
    return int(text)


def _saved(match: re.Match[str]) -> Tensor:
    """An array of a result that was saved with --json."""
    try:
        arrays = json.loads(Path(match["file"]).read_text(encoding="utf-8"))["arrays"]
        return torch.tensor(arrays[_named("array", match["array"], arrays)], dtype=torch.float32)
    except OSError as error:
        raise WordsError(f"{match['file']}: {error.strerror}") from error
    except WordsError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise WordsError(f"{match['file']}: not a result that was saved with --json") from error
