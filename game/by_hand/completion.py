"""What may follow on a line that is being typed: names of tools, their arguments, and words for these."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from game.api import PublicTask, TransformerConfig
from game.by_hand.menu import MenuError, Parameter, Tool, load_tool

_PROMPTS = ("sample:", "having:", "nearest", "swap:")
_VECTORS = ("one:",)


def continuations(
    typed: str,
    names: Sequence[str],
    own: Mapping[str, Sequence[str]],
    task: PublicTask,
    config: TransformerConfig,
) -> list[str]:
    """Words that the last, unfinished word of a line may become.

    Args:
        typed: The line up to the cursor.
        names: Of all that may stand at its beginning.
        own: What follows those names that are no tools.
        task: Has the vocabulary.
        config: Has layers, hooks and weights.
    """
    words = typed.split()
    last = "" if not words or typed[-1:].isspace() else words.pop()
    if not words:
        options: Sequence[str] = names
    elif words[0] in own:
        options = own[words[0]]
    else:
        options = list(_of_tool(words, last, task, config))
    return [option for option in options if option.startswith(last) and option != last]


def _of_tool(words: Sequence[str], last: str, task: PublicTask, config: TransformerConfig) -> Iterator[str]:
    tool = _tool(words[0])
    if tool is None:
        return
    flags = {parameter.flag: parameter for parameter in tool.parameters if parameter.form != "unreadable"}
    given = [word for word in words[1:] if word.startswith("--")]
    if not last.startswith("--") and given and given[-1] in flags:
        yield from _values(flags[given[-1]], task, config)
    if last.startswith("--") or not given or words[-1] not in flags or flags[words[-1]].form == "bool":
        yield from (f"{flag} " for flag in (*flags, "--draw", "--save", "--slices") if flag not in given)


def _values(parameter: Parameter, task: PublicTask, config: TransformerConfig) -> Iterator[str]:
    """Words for one argument; none where any number or text will do."""
    form = parameter.within if parameter.form == "several" else parameter.form
    if form == "choice":
        yield from parameter.choices
    elif form in ("prompts", "samples"):
        yield from (*_PROMPTS, *task.vocabulary)
    elif form in ("token", "token of each"):
        yield from task.vocabulary
    elif form == "classes":
        yield from task.classes
    elif form == "hook":
        yield from config.hook_names()
    elif form in ("weight", "vector"):
        yield from (*(_VECTORS if form == "vector" else ()), *config.weight_shapes())
    elif form == "layer":
        yield from map(str, range(config.n_layers))
    elif form == "head":
        yield from map(str, range(config.n_heads))


@cache
def _tool(name: str) -> Tool | None:
    try:
        return load_tool(name)
    except MenuError:
        return None
