"""What does every kind of edit do, what do symmetries cost, and how do many facts and the ridge behave?

Models are of seeds on which no default was chosen. Measures of a kind are those of first tries, whatever
their gates say; acceptance counts the edits that some candidate brings through its gates. `--save FOLDER`
writes the plots and the table of all kinds as a page. Seconds mean a quiet machine.

    python -m benchmarks.edits [--json] [--edits N] [--kinds A,B] [--jobs N] [--save FOLDER]
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from matplotlib.figure import Figure as Plot
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.figures import Figure, Missing, mean_of, print_json, show, spread_of
from edits.apply import apply, tries
from edits.base import Edited, Family
from edits.camouflage.base import CamouflageError, Exact, rewritten
from edits.camouflage.folder import passes
from edits.kinds import families
from edits.moments import Base
from game.red.edit_table import SEEDS, Attempt, all_attempts
from game.report.edit_table_view import measured, table_markdown
from models.checkpoints import Checkpoint, from_bytes, to_bytes
from models.components import Component
from models.recipe import named_recipe
from models.seeds import named_generator, named_seed
from models.zoo import trained

MEASURES = {
    "efficacy": "efficacy",
    "paraphrase": "paraphrase",
    "neighbourhood": "neighbourhood",
    "same_subject": "retention",
    "effect": "effect",
    "capability_drop": "drop",
}
MANY = ("rome", "memit", "alphaedit")  # one after another, and two that solve for all at once
COUNTS = (1, 10, 50, 100)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
SYMMETRY_RECIPES = ("facts-small", "modular-addition")  # with LayerNorm, and without normalisation
PROMPTS = 1000
DIAL_RECIPE = "facts-plain"  # four MLPs, so that a guess of the layer means something


@dataclass(frozen=True)
class Dial:
    """One edit at one ridge: whether the statistic points at its layer, whether it works, how loud it is."""

    ridge: float
    hit: float
    efficacy: float
    rel_norm: float


def main() -> None:
    """Edit, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--edits", type=int, default=20, help="edits of a kind on each of 3 models")
    parser.add_argument("--kinds", default=",".join(families()), help="which (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1, the honest one)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write the plots there")
    args = parser.parse_args()
    kinds = [kind for kind in args.kinds.split(",") if kind]
    rows: dict[str, Figure | Missing] = dict(seconds())
    rows |= symmetry_rows()
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
        curves = {
            (kind, count): [
                figure for seed_found in pool.map(many, *zip(*work, strict=True)) for figure in seed_found
            ]
            for kind in MANY
            for count in COUNTS
            for work in [[(kind, count, seed) for seed in SEEDS]]
        }
        dial = [point for found in pool.map(dialled, SEEDS) for point in found]
    rows |= {f"{kind}{count}.efficacy": mean_of(found, "share") for (kind, count), found in curves.items()}
    rows["dial_spearman"] = dial_figure(dial)
    done = all_attempts(kinds, args.edits, args.jobs, tell)
    for kind in kinds:
        rows |= kind_rows(kind, [each for each in done if each.kind == kind])
    if args.save is not None:
        args.save.mkdir(parents=True, exist_ok=True)
        plot_dial(dial, args.save / "dial.png")
        plot_curves(curves, args.save / "many-facts.png")
        page = table_markdown(done, f"audit-game edit table --edits {args.edits}")
        (args.save / "edits-measured.md").write_text(page, encoding="utf-8")
    if args.json:
        print_json(rows)
        return
    show("edits", rows, "measures of first tries; seconds: median, least, most")


def tell(kind: str, seed: int) -> None:
    """Progress."""
    print(f"{kind} on models of seed {seed} done", file=sys.stderr)


def kind_rows(kind: str, done: Sequence[Attempt]) -> Iterator[tuple[str, Figure | Missing]]:
    """The figures of one kind."""
    for key, measure in MEASURES.items():
        found = measured(done, measure, of_kept=False)
        if found is not None:
            yield f"{kind}.{key}", Figure(found.mean, "share", found.low, found.high)
    yield f"{kind}.acceptance", mean_of([float(each.accepted) for each in done], "share")


def base_of(recipe: str, seed: int) -> Base:
    """A trained model from the zoo."""
    return Base(trained(named_recipe(recipe), seed, seed))


def family_of(kind: str, **settings: object) -> Family:
    """A kind's family with some settings."""
    return families()[kind].model_validate({"kind": kind, **settings})


def first_try(base: Base, family: Family, site: Component, index: int) -> Edited:
    """The first candidate of a drawn edit."""
    seed = named_seed("benchmark", family.kind, str(site), index)
    return next(tries(base, family.draw(base, site, f"benchmark-{index}", seed)))


def seconds() -> Iterator[tuple[str, Figure]]:
    """One rank-one edit with its full evaluation, and 50 that share a covariance."""
    base, family = base_of("facts-small", SEEDS[0]), family_of("rrome", token="subject_last")
    site = family.open_sites(base.checkpoint.config)[0]
    base.second_moment(f"{site}.hook_post", 12_000)
    wall, cpu = [], []
    for index in range(50):
        spec = family.draw(base, site, "timed", named_seed("timed", index))
        started, started_cpu = time.perf_counter(), time.process_time()
        apply(base, spec)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - started_cpu)
    yield "edit_s", spread_of(wall, "s")
    yield "edits50_s", Figure(sum(cpu), "CPU s", sum(cpu), sum(cpu))


def symmetry_rows() -> Iterator[tuple[str, Figure | Missing]]:
    """Largest difference of a logit over a thousand prompts on each model, for every exact pass."""
    for kind, each in passes().items():
        if issubclass(each, Exact):
            exact = each.model_validate({"kind": kind})
            found = [error for recipe in SYMMETRY_RECIPES for error in errors_of(exact, recipe)]
            key = f"symmetry_max_abs.{kind}"
            yield key, spread_of(found, "logits") if found else Missing("suits none of the recipes")


def errors_of(exact: Exact, recipe: str) -> Iterator[float]:
    """On each model of a recipe, unless the pass does not suit it."""
    for seed in SEEDS:
        base = base_of(recipe, seed)
        config = base.checkpoint.config
        try:
            exact.check(config)
            weights = rewritten(base.checkpoint.weights, config, [exact], seed)
        except CamouflageError:
            return
        after = from_bytes(to_bytes(Checkpoint(config, dict(weights)))).model()
        tokens = base.task.documents(PROMPTS, named_generator("symmetry", seed)).tokens
        old, new = base.model(tokens), after(tokens)
        if exact.kind == "unembed_const":  # it moves every logit of a position by the same number
            old, new = old.log_softmax(-1), new.log_softmax(-1)
        yield float((old - new)[tokens != base.task.pad].abs().max())


def many(kind: str, count: int, seed: int) -> list[float]:
    """Efficacy of first tries of so many facts at once, on one model."""
    torch.set_num_threads(1)
    base, family = base_of("facts-small", seed), family_of(kind, token="subject_last", facts=count)
    site = family.open_sites(base.checkpoint.config)[0]
    found = [first_try(base, family, site, index) for index in range(4 if count == 1 else 2)]
    print(f"{count} facts by {kind} on models of seed {seed} done", file=sys.stderr)
    return [edited.record.measured["efficacy"] for edited in found]


def dialled(seed: int) -> list[Dial]:
    """Edits from loud to quiet on one model: does the weights' own statistic name their layer?"""
    torch.set_num_threads(1)
    base, points = base_of(DIAL_RECIPE, seed), []
    for ridge in RIDGES:
        family = family_of("rrome", token="last", solver={"cov": {"ridge": ridge}})
        for index, site in enumerate(family.open_sites(base.checkpoint.config) * 5):
            edited = first_try(base, family, site, index)
            measures = edited.record.measured
            hit = float(loudest_layer(edited) == site.layer)
            points.append(Dial(ridge, hit, measures["efficacy"], measures["rel_norm"]))
    return points


def loudest_layer(edited: Edited) -> int:
    """The layer whose `W_out` has the most aligned rows: mean |cos| of two rows (arXiv 2505.20819)."""
    found = {}
    for layer, has_mlp in enumerate(edited.checkpoint.config.mlp):
        if has_mlp:
            found[layer] = mean_cosine(edited.checkpoint.weights[f"blocks.{layer}.mlp.W_out"])
    return max(found, key=lambda layer: found[layer])


def mean_cosine(matrix: Tensor) -> float:
    """Mean |cos| of two different rows."""
    unit = torch.nn.functional.normalize(matrix.double(), dim=1)
    return float((unit @ unit.T).fill_diagonal_(0).abs().mean())


def dial_figure(dial: Sequence[Dial]) -> Figure:
    """Spearman's correlation of ridge and hit over all edits, with the least and most of single models."""
    found = float(spearmanr([point.ridge for point in dial], [point.hit for point in dial]).statistic)
    size = len(dial) // len(SEEDS)
    parts = [dial[start : start + size] for start in range(0, len(dial), size)]
    each = [float(spearmanr([p.ridge for p in part], [p.hit for p in part]).statistic) for part in parts]
    return Figure(found, "rank correlation", min(each), max(each))


def plot_dial(dial: Sequence[Dial], path: Path) -> None:
    """Hits, efficacy and norm against the ridge."""
    plot = Plot(figsize=(7, 4), dpi=120, layout="constrained")
    axes = plot.subplots()
    lines = (
        ("hit", "layer found blind", "#0072b2"),
        ("efficacy", "efficacy", "#d55e00"),
        ("rel_norm", "|change| / |W|", "#009e73"),
    )
    for name, label, colour in lines:
        figures = [mean_of([getattr(p, name) for p in dial if p.ridge == ridge], "") for ridge in RIDGES]
        middle = [figure.value for figure in figures]
        axes.fill_between(
            RIDGES, [f.low for f in figures], [f.high for f in figures], color=colour, alpha=0.15
        )
        axes.plot(RIDGES, middle, marker="o", color=colour, label=label)
    axes.axhline(0.25, color="#999999", linestyle=":", label="chance of the layer")
    axes.set(xscale="log", xlabel="ridge (loud to quiet)", title=f"rrome on {DIAL_RECIPE}, first tries")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    plot.savefig(path)


def plot_curves(curves: Mapping[tuple[str, int], Sequence[float]], path: Path) -> None:
    """Efficacy against the number of facts."""
    plot = Plot(figsize=(7, 4), dpi=120, layout="constrained")
    axes = plot.subplots()
    for kind, colour in zip(MANY, ("#0072b2", "#d55e00", "#009e73"), strict=True):
        figures = [mean_of(curves[kind, count], "") for count in COUNTS]
        below = [figure.value - figure.low for figure in figures]
        above = [figure.high - figure.value for figure in figures]
        middle = [figure.value for figure in figures]
        axes.errorbar(COUNTS, middle, yerr=[below, above], marker="o", capsize=3, color=colour, label=kind)
    axes.set(xscale="log", xlabel="facts", ylabel="efficacy", title="Many facts, facts-small, first tries")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    plot.savefig(path)


if __name__ == "__main__":
    main()
