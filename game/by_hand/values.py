"""What a single word stands for: a number, a token, a layer, a name, a vector; or it is refused."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from game.by_hand.menu import Form
from game.by_hand.subject import ToolSubject
from models.naming import quoted, unknown

VECTOR = "a weight's row such as blocks.0.mlp.W_out[12], one:N or one:WORD, or found.json:read[0]"
_PLACE = r"(?P<place>(?:\[\d+\])*)"
_SAVED = re.compile(r"(?P<file>.+\.json):(?P<array>\w+)" + _PLACE)
_WEIGHT = re.compile(r"(?P<name>[\w.]+)" + _PLACE)
_CLASS = re.compile(r"<(\w+)>")


class WordsError(ValueError):
    """Words that stand for nothing, or for nothing that this model has."""


class Values:
    """Reads one word at a time, as one model and its vocabulary have it.

    Attributes:
        hook: The activation of which `one:N` is a coordinate; whoever reads a hook's name sets it.
    """

    def __init__(self, subject: ToolSubject) -> None:
        self.hook = "logits"
        self._box, self._config, self._task = subject.box, subject.box.config, subject.task
        self._ids = {word: token for token, word in enumerate(subject.task.vocabulary)}
        self._readers: Mapping[Form, Callable[[str], Any]] = {
            "int": lambda text: number(text, int, "a whole number"),
            "float": lambda text: number(text, float, "a number"),
            "text": str,
            "token": self.token,
            "layer": lambda text: whole(text, self._config.n_layers),
            "head": lambda text: whole(text, self._config.n_heads),
            "hook": lambda text: named("hook", text, self._config.hook_names()),
            "weight": self._weight,
            "vector": self._vector,
        }

    def read(self, form: Form, text: str) -> Any:
        """The value of that form.

        Raises:
            WordsError: The word stands for none.
        """
        return self._readers[form](text)

    def several(self, form: Form, words: Sequence[str]) -> tuple[Any, ...]:
        """The values of words, or of what stands between their commas; a class is all of its tokens.

        Raises:
            WordsError: One of them stands for none.
        """
        parts = [part for word in words for part in word.split(",") if part]
        return tuple(value for part in parts for value in self.of_class(part) or (self.read(form, part),))

    def token(self, text: str) -> int:
        """The id of a word of the vocabulary, or of `#17`.

        Raises:
            WordsError: It is not in the vocabulary.
        """
        if text in self._ids:
            return self._ids[text]
        if re.fullmatch(r"#\d+", text):
            return whole(text[1:], len(self._ids))
        raise WordsError(unknown("token", text, self._ids))

    def of_class(self, text: str) -> tuple[int, ...]:
        """The token ids of a class in angle brackets; none if it is a word, or something else."""
        match = _CLASS.fullmatch(text)
        if match is None or text in self._ids:
            return ()
        classes = self._task.classes
        return tuple(classes[named("class", match[1], classes)])

    def _weight(self, text: str) -> str:
        shapes = self._config.weight_shapes()
        return text if text.partition("[")[0] in shapes else named("weight", text, shapes)

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
            found = self._box.weight(named("weight", match["name"], self._config.weight_shapes()))
        for place in re.findall(r"\d+", match["place"]):
            if found.ndim < 2:
                raise WordsError(f"got {quoted(text)}; that many indices leave no vector")
            found = found[whole(place, len(found))]
        return found

    def _one(self, place: str) -> Tensor:
        width = self._config.d_vocab
        if self.hook != "logits":
            shapes = self._config.hook_shapes(1, 1)
            width = shapes[named("hook", self.hook, shapes)][-1]
        found = torch.zeros(width)
        word = self.hook == "logits" and not place.isdecimal()
        found[self.token(place) if word else whole(place, width)] = 1.0
        return found


def named(kind: str, text: str, allowed: Any) -> str:
    """The word, if it is one of those that are allowed.

    Raises:
        WordsError: It is not.
    """
    if text not in allowed:
        raise WordsError(unknown(kind, text, allowed))
    return text


def number(text: str, kind: Callable[[str], Any], wanted: str) -> Any:
    """The number that `kind` makes of the word.

    Raises:
        WordsError: It makes none.
    """
    try:
        return kind(text)
    except ValueError:
        raise WordsError(f"got {quoted(text)}; wanted {wanted}") from None


def whole(text: str, below: int) -> int:
    """The whole number from 0 on that the word is.

    Raises:
        WordsError: It is none, or none below that.
    """
    if not text.isdecimal() or int(text) >= below:
        raise WordsError(f"got {quoted(text)}; allowed: 0 to {below - 1}")
    return int(text)


def _saved(match: re.Match[str]) -> Tensor:
    """An array of a result that was saved with --json."""
    try:
        arrays = json.loads(Path(match["file"]).read_text(encoding="utf-8"))["arrays"]
        return torch.tensor(arrays[named("array", match["array"], arrays)], dtype=torch.float32)
    except OSError as error:
        raise WordsError(f"{match['file']}: {error.strerror}") from error
    except WordsError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise WordsError(f"{match['file']}: not a result that was saved with --json") from error
