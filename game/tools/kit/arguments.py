"""What a tool's arguments mean beyond their types, so that a person can give them in words.

A tool uses these names as annotations: `def lens(box: Toolbox, tokens: Prompts, layer: Layer = 0)`. For the
tool itself they are tensors and numbers; a command line or a page reads off them what to ask for, takes words
for tokens, and refuses a layer that the model does not have. `int`, `float`, `bool`, `str`, `Literal[...]`,
`Samples`, tuples of these, and frozen dataclasses of these need no name of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from torch import Tensor

Meaning = Literal[
    "prompts",
    "token",
    "layer",
    "head",
    "hook",
    "weight",
    "vector",
    "token of each",
    "position of each",
    "label of each",
    "group of each",
    "labels by name",
    "classes",
]


@dataclass(frozen=True)
class Means:
    """Marks what an argument stands for."""

    meaning: Meaning


Prompts: TypeAlias = Annotated[Tensor, Means("prompts")]  # token ids, [row, pos], padding on the right
TokenOfEach: TypeAlias = Annotated[Tensor, Means("token of each")]  # one token id for each prompt, [row]
PositionOfEach: TypeAlias = Annotated[Tensor, Means("position of each")]  # in each prompt, [row]
LabelOfEach: TypeAlias = Annotated[Tensor, Means("label of each")]  # 0 or 1 for each prompt, [row]
GroupOfEach: TypeAlias = Annotated[Tensor, Means("group of each")]  # a number for each prompt, [row]
LabelsByName: TypeAlias = Annotated[Mapping[str, Tensor], Means("labels by name")]  # several of these
Classes: TypeAlias = Annotated[Mapping[str, Sequence[int]], Means("classes")]  # token ids by name
Vectors: TypeAlias = Annotated[Tensor, Means("vector")]  # several, one a row
Vector: TypeAlias = Annotated[Tensor, Means("vector")]  # as another tool found it
Token: TypeAlias = Annotated[int, Means("token")]
Layer: TypeAlias = Annotated[int, Means("layer")]
Head: TypeAlias = Annotated[int, Means("head")]
HookName: TypeAlias = Annotated[str, Means("hook")]
WeightName: TypeAlias = Annotated[str, Means("weight")]  # or one head's slice, `blocks.0.attn.W_O[1]`
