"""From words to a tool's arguments, one after another; what is left out is drawn, or left to the tool."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from game.by_hand.menu import REQUIRED, Parameter, Tool
from game.by_hand.prompts import PROMPTS, SAMPLES, PromptReader
from game.by_hand.subject import ToolSubject
from game.by_hand.values import VECTOR, Values, WordsError, named

__all__ = ["Given", "WordsError", "given"]


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
    return Given(values | built, reader.prompts.made[0].tokens if reader.prompts.made else None)


class _Reader:
    """Reads one argument after another."""

    def __init__(self, subject: ToolSubject, seed: int) -> None:
        self._config, self._classes, self._answered = subject.box.config, subject.task.classes, 0
        self._values = Values(subject)
        self.prompts = PromptReader(subject, self._values, seed)

    def read(self, parameter: Parameter, words: Sequence[str] | None) -> Any:
        """The value, or `REQUIRED` if it is left to the tool."""
        form = parameter.form
        if parameter.name == "name" and words is not None:
            self._values.hook = words[0]
        if words is None and (parameter.default is not REQUIRED or form == "unreadable"):
            return REQUIRED
        if form == "prompts":
            return self.prompts.sequences(words, PROMPTS, even=True).tokens
        if form == "samples":
            return self.prompts.sequences(words, SAMPLES, even=False)
        if words is None:
            return self._supplied(parameter)
        if form in ("token of each", "position of each", "label of each", "group of each"):
            return self.prompts.of_each(form, words)
        if form == "bool":
            return words == ["yes"]
        if form == "choice":
            return named("choice", words[0], parameter.choices)
        if form == "classes":
            names = [part for word in words for part in word.split(",") if part]
            return {name: self._classes[named("class", name, self._classes)] for name in names}
        if form == "labels by name":
            pairs = [word.partition("=") for word in words]
            return {name: self.prompts.of_each("label of each", [rest]) for name, _, rest in pairs}
        if form == "several":
            return self._values.several(parameter.within, words)
        return self._values.read(form, words[0])

    def _supplied(self, parameter: Parameter) -> Any:
        """What stands for a required argument that was not given: the answers are the model's own."""
        made = self.prompts.made
        if parameter.owner and parameter.form == "position of each" and made:
            return made[0].lengths - 1
        if parameter.owner and parameter.form == "token of each" and made:
            asked = made[min(self._answered, len(made) - 1)]
            self._answered += 1
            return self.prompts.answers(asked)
        if parameter.form == "classes":
            return dict(self._classes)
        allowed = {
            "layer": f"0 to {self._config.n_layers - 1}",
            "head": f"0 to {self._config.n_heads - 1}",
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
