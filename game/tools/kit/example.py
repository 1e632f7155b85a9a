"""The example with which a tool is documented: a known planted edit, and the same model untouched."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One command, `audit-game tool NAME --on RECIPE --world N --edit SPEC` and the arguments.

    A tool's module has one, as `EXAMPLE`.

    Attributes:
        edit: A specification of `edits/specs`, by name; it is applied to the recipe's model of that world.
            Empty where training planted what is to be found.
        args: The tool's arguments as on the command line, such as `--tensor blocks.0.mlp.W_out`. What a tool
            takes from another one's result is named `spike.json:read[0]`: of that tool's own example.
        found: What the picture shows where the edit is, in one sentence.
        nothing: What it shows where there is none.
        recipe: Which model.
        world: World and training seed of the model.
        other: The recipe without what training planted; empty where an edit was planted.
        other_args: The arguments there.
    """

    edit: str
    args: str
    found: str
    nothing: str
    recipe: str = "facts-small"
    world: int = 0
    other: str = ""
    other_args: str = ""
