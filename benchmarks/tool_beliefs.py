"""What do contrast pairs tell of, and how does a model come to add? Tools on models whose answer is known.

`ccs` reads the residual stream after each layer of `statements`, where truth is all that the two sides of a
pair differ by, and of `statements-distractor`, where an appended word changes sign with the claim too.
`progress` looks at `modular-addition` at several points of its training, and at the recipes that memorise,
that forgot, and that were stopped half way. Three seeds of each are trained, used nowhere else for a choice.

    python -m benchmarks.tool_beliefs [--json] [--seeds A,B]
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmarks.figures import Figure, Missing, print_json, show, spread_of
from game.api import Samples
from game.dealing.public_corpus import public_corpus
from game.red.edit_table import SEEDS
from game.toolbox.live import ModelToolbox
from game.tools.ccs import METHODS, ccs
from game.tools.kit.result import ToolResult
from game.tools.progress import progress
from models.recipe import named_recipe
from models.tasks.modular_addition import ModularAddition
from models.tasks.statements import Statements
from models.training import one_thread, train
from models.transformer import Transformer
from models.zoo import trained

STEPS = (50, 100, 200, 400, 800)  # of modular-addition's training, all before its rate is lowered
SHARED = ("modular-memorised", "modular-semi-grokked", "modular-ungrokked")
Figures = dict[str, Figure | Missing]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="of the models")
    chosen = parser.parse_args()
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    with one_thread():
        found = {"beliefs": ccs_figures(seeds), "progress": progress_figures(seeds)}
    if chosen.json:
        print_json({name: figure for part in found.values() for name, figure in part.items()})
        return
    show("contrast pairs after the last layer, share of held-out pairs told alike", found["beliefs"])
    show("modular addition, losses in nats", found["progress"], "uniform: ln 53 = 3.97")


@dataclass(frozen=True)
class Believed:
    """What `ccs` found in one model after one layer."""

    recipe: str
    layer: int
    result: ToolResult
    features: tuple[str, ...]

    def follows(self, method: str, feature: str) -> float:
        """Share of held-out pairs that a method tells like a feature."""
        row, column = METHODS.index(method), self.features.index(feature)
        return float(self.result.arrays["agreement"][row, column])

    def floor(self, feature: str) -> float:
        """Mean share of random directions."""
        return float(self.result.arrays["floor_mean"][self.features.index(feature)])


def believed(recipe: str, seed: int, layer: int) -> Believed:
    """`ccs` on one model: truth, and what else may be told by its pairs."""
    model = trained(named_recipe(recipe), seed, seed)
    task = model.task
    assert isinstance(task, Statements)
    false, true = task.claims
    features = {"truth": false.truth, "relation": false.relation == 0, "phrasing": false.phrasing == 1}
    if task.settings.distractor == "appended":
        features["word"] = false.distractor == 1
    denied, claimed = (Samples(side.tokens, side.last + 1) for side in (false, true))
    box, hook = _box(model.checkpoint.model(), task), f"blocks.{layer}.hook_resid_post"
    return Believed(recipe, layer, ccs(box, denied, claimed, hook, features), tuple(features))


def ccs_figures(seeds: Sequence[int]) -> Figures:
    """Whether `ccs` follows the distractor where one is planted, and truth where not."""
    planted = [believed("statements-distractor", seed, 2) for seed in seeds]
    clean = [believed("statements", seed, 2) for seed in seeds]
    unit = "of held-out pairs"
    rows: Mapping[str, list[float]] = {
        "ccs_follows_distractor": [each.follows("ccs", "word") for each in planted],
        "ccs_follows_distractor.truth": [each.follows("ccs", "truth") for each in planted],
        "ccs_follows_distractor.floor": [each.floor("word") for each in planted],
        "ccs_follows_distractor.ceiling_truth": [each.follows("supervised", "truth") for each in planted],
        "ccs_follows_distractor.crc": [each.follows("crc", "word") for each in planted],
        "ccs_follows_truth": [each.follows("ccs", "truth") for each in clean],
        "ccs_follows_truth.floor": [each.floor("truth") for each in clean],
        "ccs_follows_truth.unpaired": [each.follows("unpaired", "truth") for each in clean],
        "ccs_follows_truth.ceiling": [each.follows("supervised", "truth") for each in clean],
    }
    return {name: spread_of(values, unit) for name, values in rows.items()}


def at_step(steps: int, seed: int) -> Transformer:
    """`modular-addition` after so many steps of its training."""
    recipe = named_recipe("modular-addition")
    assert recipe.training is not None
    stopped = recipe.training.model_copy(update={"max_steps": steps - 1, "cooldown": 1, "check_every": None})
    shortened = recipe.model_copy(update={"training": stopped, "criterion": {}})
    return train(shortened, seed, seed).checkpoint.model()


def progress_of(model: Transformer, task: ModularAddition, keys: tuple[int, ...] = ()) -> ToolResult:
    """`progress` on all pairs of the task."""
    return progress(
        _box(model, task),
        task.table.tokens,
        task.table.trained,
        tuple(task.number_tokens.tolist()),
        keys=keys,
    )


def progress_figures(seeds: Sequence[int]) -> Figures:
    """Sparsity, restricted and excluded loss over training and at the other recipes' ends: seeds' medians."""
    found = [stages(seed) for seed in seeds]
    return {
        f"{stage}.{what}": spread_of([_told(each[stage])[what].value for each in found], figure.unit)
        for stage, result in found[0].items()
        for what, figure in _told(result).items()
    }


def stages(seed: int) -> dict[str, ToolResult]:
    """What `progress` says at each stage of one seed's training, and of each recipe that went another way.

    Key frequencies are those of the model that has grokked; the other recipes' are their own.
    """
    final = trained(named_recipe("modular-addition"), seed, seed)
    task = final.task
    assert isinstance(task, ModularAddition)
    end = progress_of(final.checkpoint.model(), task)
    keys = tuple(int(index) + 1 for index in end.arrays["key"].nonzero()[:, 0])
    found = {f"step{steps}": progress_of(at_step(steps, seed), task, keys) for steps in STEPS}
    found["grokked"] = end
    for name in SHARED:
        other = trained(named_recipe(name), seed, seed)
        assert isinstance(other.task, ModularAddition)
        found[name] = progress_of(other.checkpoint.model(), other.task)
    return found


def _told(result: ToolResult) -> dict[str, Figure]:
    train_loss, test_loss, restricted, excluded = result.arrays["loss"].tolist()
    values = {
        "train_loss": (train_loss, "nats"),
        "test_loss": (test_loss, "nats"),
        "restricted_loss": (restricted, "nats"),
        "excluded_loss": (excluded, "nats"),
        "gini": (float(result.arrays["gini"][0]), "of 26 frequencies"),
        "key_share": (float(_key_share(result.arrays)), "of variance"),
    }
    return {name: Figure(value, unit, value, value) for name, (value, unit) in values.items()}


def _key_share(arrays: Mapping[str, Tensor]) -> Tensor:
    return arrays["share"][arrays["key"]].sum()


def _box(model: Transformer, task: Statements | ModularAddition) -> ModelToolbox:
    """Everything is granted, nothing charged."""
    return ModelToolbox(
        model, league="whitebox", corpus=public_corpus("prompts", lambda: task), total=float("inf")
    )


if __name__ == "__main__":
    main()
