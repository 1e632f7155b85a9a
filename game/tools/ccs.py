"""CCS and its kin: what a model may believe, from contrast pairs without labels, or what else it may be."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit import contrast
from game.tools.kit.arguments import GroupOfEach, HookName, LabelsByName
from game.tools.kit.chance import checked_labels, generator, halves, shuffled
from game.tools.kit.contrast import Scaling, Sides, up_to_sign
from game.tools.kit.example import Example
from game.tools.kit.linear_probe import fitted
from game.tools.kit.readings import checked, checked_hook, read_last
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered

EXAMPLE = Example(
    edit="",
    args="--claimed-false having:false:128 --claimed-true swap:false=true "
    "--name blocks.2.hook_resid_post --features judged=says:rightly/wrongly word=has:banana",
    found="ccs and the contrastive eigenvector tell pairs apart by the appended word, not by what is judged.",
    nothing="Where no word is appended, all tell what the model judges, and so do many random directions.",
    recipe="statements-distractor",
    other="statements",
    other_args="--claimed-false having:false:128 --claimed-true swap:false=true "
    "--name blocks.2.hook_resid_post --features judged=says:rightly/wrongly",
)

METHODS = ("ccs", "crc", "eigen", "k-means", "unpaired", "supervised")
DIRECTIONS = 200  # random ones, for the floor
SHUFFLES = 1000  # of each feature, for the null band
STRENGTH = 10.0  # of the ceiling's penalty
LEAST = 16  # pairs


def estimate(config: TransformerConfig, pairs: int) -> float:
    """Credits of `ccs` for that many contrast pairs."""
    return forward_price(2 * pairs)


def ccs(
    box: Toolbox,
    claimed_false: Samples,
    claimed_true: Samples,
    name: HookName,
    features: LabelsByName,
    clusters: GroupOfEach | None = None,
    seed: int = 0,
) -> ToolResult:
    """Which property of the statements the directions that contrast pairs share tell, truth or another one.

    Directions are fitted on a random half of the pairs and judged on the other, at the last token. Beside
    contrast-consistent search (`ccs`) stand the main component of the differences (`crc`), the contrastive
    eigenvector (`eigen`), `k-means` of the differences, `unpaired`: `ccs` on pairs whose sides belong to
    different statements, which should lose what consistency brings, and `supervised`: a logistic regression
    of the first feature, the ceiling. The floor is what random directions reach: where one
    feature rules the differences, they all follow it. Any feature that changes
    sign with the claim solves the pairs, so every one that is suspected belongs into `features`: the
    loudest wins, and this table names it. Price: 2 for each pair.

    Arrays, on the held-out half: `agreement` `[method, feature]`, share of pairs told alike, up to sign;
    `floor` `[feature]`, the 95 % quantile of random directions, `floor_mean` `[feature]` their mean;
    `chance` `[feature]`, what `ccs` and shuffled labels pass in 1 of 20 tables, the null band's end;
    `restarts` `[restart, feature]`, agreement of every start of `ccs`; `loss` `[restart]`, on the fitted
    half; `restart_agreement`, how alike the starts' answers are, up to sign, mean over pairs of starts;
    `belief` `[pair]`, (1 - p0 + p1) / 2 of the start with the least loss, all pairs; `held_out` `[pair]`;
    `direction` `[method, d]`, along which the difference of the two sides is read.

    Args:
        box: The model, in a league that grants activations.
        claimed_false: Statements claimed to be false.
        claimed_true: The same statements, row by row, claimed to be true.
        name: Hook point that is read.
        features: What the pairs may be told apart by, 0 or 1, `[pair]` each; the first is the one hoped for.
        clusters: Numbers from 0, `[pair]`: means are taken away within each, which removes what is known to
            distract, such as an appended word.
        seed: Of halves, starts and random directions.

    Raises:
        RequestError: Sides, features or clusters do not fit, a feature is one class, or nothing differs.

    Source: Burns et al. 2022, arXiv 2212.03827; distractors: Farquhar et al. 2023, arXiv 2312.10029; random
    floor and controls: Roger 2023, "What discovering latent knowledge did and did not find".
    """
    pairs = _checked_pairs(box.config, claimed_false, claimed_true, name)
    fit, test = halves(pairs, seed)
    known = _checked_features(features, pairs, fit)
    cluster = _checked_clusters(clusters, pairs, fit)
    spent = box.budget.spent
    x0, x1 = read_last(box, claimed_false, name), read_last(box, claimed_true, name)
    if not float((x1 - x0 - (x1 - x0).mean(0)).abs().max()) > 0:
        raise RequestError(f"{name}: the two sides differ alike in every pair; there is nothing to search")
    scaling = Scaling.of(x0[fit], x1[fit], cluster[fit])
    every = scaling.apply(x0, x1, cluster)
    apart = every.difference[test]
    found = _directions(every.of(fit), known[0][fit], seed)
    told = apart @ found.directions.T > found.borders  # [pair, method]
    starts = (apart @ found.starts.T > 0).T  # [restart, pair]
    random = contrast.random_directions(x0.shape[1], DIRECTIONS, seed)
    floor = torch.stack([up_to_sign((apart @ random.T > 0).T, label[test]) for label in known])
    arrays = {
        "agreement": torch.stack([up_to_sign(told.T, label[test]) for label in known], 1),
        "floor": floor.quantile(0.95, dim=1),
        "floor_mean": floor.mean(1),
        "chance": torch.stack([_by_chance(told[:, 0], label[test], len(known), seed) for label in known]),
        "restarts": torch.stack([up_to_sign(starts, label[test]) for label in known], 1),
        "loss": found.losses,
        "restart_agreement": _alike(starts),
        "belief": found.belief(every),
        "held_out": torch.zeros(pairs, dtype=torch.bool).index_fill_(0, test, True),
        "direction": found.directions / scaling.spread,
    }
    names = tuple(features)
    return ToolResult(
        "ccs",
        {
            "pairs": pairs,
            "name": name,
            "features": names,
            "centred within": clusters is not None,
            "seed": seed,
        },
        box.budget.spent - spent,
        arrays,
        _views(names),
        _notes(names, arrays, len(test)),
        _summary(names, arrays, len(test)),
    )


@dataclass(frozen=True)
class _Found:
    """Every method's direction `[method, d]` and border `[method]`, and the starts of the search."""

    directions: Tensor
    borders: Tensor
    starts: Tensor
    biases: Tensor
    losses: Tensor

    def belief(self, sides: Sides) -> Tensor:
        """What the start with the least loss believes of each pair, `[pair]`."""
        best = int(self.losses.argmin())
        p0, p1 = (torch.sigmoid(x @ self.starts[best] + self.biases[best]) for x in (sides.x0, sides.x1))
        return (1 - p0 + p1) / 2


def _directions(sides: Sides, labels: Tensor, seed: int) -> _Found:
    """What every method of `METHODS` finds on the pairs that it may see."""
    starts, biases, losses = contrast.ccs_restarts(sides, seed)
    order = torch.randperm(len(sides.x0), generator=generator(seed))
    unpaired, _, unpaired_losses = contrast.ccs_restarts(Sides(sides.x0, sides.x1[order]), seed)
    clustered, border = contrast.two_means(sides, seed)
    supervised = fitted(sides.difference, labels, STRENGTH)
    directions = torch.stack(
        [
            starts[losses.argmin()],
            contrast.crc(sides),
            contrast.contrastive_eigenvector(sides),
            clustered,
            unpaired[unpaired_losses.argmin()],
            supervised.direction,
        ]
    )
    borders = torch.tensor([0.0, 0.0, 0.0, border, 0.0, -supervised.intercept]).double()
    return _Found(directions, borders, starts, biases, losses)


def _by_chance(told: Tensor, labels: Tensor, features: int, seed: int) -> Tensor:
    """Agreement with shuffled labels that is passed in 1 of 20 tables, all features of a table counted."""
    null = up_to_sign(told, shuffled(labels, SHUFFLES, seed))
    return null.quantile(1 - 0.05 / features)


def _alike(told: Tensor) -> Tensor:
    """Mean over pairs of starts of how alike they answer, up to sign, of boolean `[restart, pair]`."""
    pairs = torch.combinations(torch.arange(len(told)))
    share = (told[pairs[:, 0]] == told[pairs[:, 1]]).double().mean(1)
    return torch.maximum(share, 1 - share).mean()


def _checked_pairs(config: TransformerConfig, false: Samples, true: Samples, name: str) -> int:
    """How many pairs there are."""
    checked(config, false, "claimed_false")
    checked(config, true, "claimed_true")
    checked_hook(config, name)
    if len(false.tokens) != len(true.tokens) or len(false.tokens) < LEAST:
        raise RequestError(
            f"claimed_true: got {len(true.tokens)} rows beside {len(false.tokens)}; "
            f"wanted as many, from {LEAST}"
        )
    if false.tokens.shape == true.tokens.shape and bool((false.tokens == true.tokens).all(1).any()):
        row = int((false.tokens == true.tokens).all(1).nonzero()[0])
        raise RequestError(
            f"claimed_true: row {row} is the same as in claimed_false; wanted the opposite claim"
        )
    return len(false.tokens)


def _checked_features(features: Mapping[str, Tensor], pairs: int, fit: Tensor) -> list[Tensor]:
    """The features as booleans, in their order."""
    if not features:
        raise RequestError("features: got none; wanted at least the one that is hoped for, such as truth")
    known = [checked_labels(label, pairs, 4, f"features: {key}") for key, label in features.items()]
    if len(set(known[0][fit].tolist())) < 2:
        raise RequestError(
            f"features: {next(iter(features))} has one class in the fitted half; change the seed"
        )
    return known


def _checked_clusters(clusters: Tensor | None, pairs: int, fit: Tensor) -> Tensor:
    """The clusters, or a single one."""
    if clusters is None:
        return torch.zeros(pairs, dtype=torch.int64)
    if clusters.shape != (pairs,) or clusters.is_floating_point() or int(clusters.min()) < 0:
        raise RequestError(
            f"clusters: got shape {list(clusters.shape)}; wanted [{pairs}] whole numbers from 0"
        )
    if set(clusters.tolist()) != set(clusters[fit].tolist()):
        raise RequestError("clusters: one has no pair in the fitted half; wanted larger clusters")
    return clusters.long()


def _views(names: tuple[str, ...]) -> tuple[View, ...]:
    axes = [Axis(name="method", labels=METHODS), Axis(name="feature", labels=names)]
    starts = [numbered("start", contrast.RESTARTS), axes[1]]
    title = "agreement on held-out pairs, up to sign"
    return (
        View(kind="heatmap", axes=axes, data="agreement", title=title, range=(0.5, 1.0)),
        View(
            kind="table",
            axes=axes[1:],
            data="floor",
            columns=("floor_mean", "chance"),
            title="random directions",
        ),
        View(kind="heatmap", axes=starts, data="restarts", range=(0.5, 1.0)),
    )


def _notes(names: tuple[str, ...], arrays: Mapping[str, Tensor], n: int) -> tuple[str, ...]:
    """Which feature is followed most, in units of what is left to chance, and whether any direction does."""
    agreement, chance = arrays["agreement"][0], arrays["chance"]
    lead = int(((agreement - chance) / (1 - chance)).argmax())
    if float(agreement[lead]) <= float(chance[lead]):
        first = (
            f"ccs follows none of the features: at most {float(agreement.max()):.2f} of {n} held-out pairs"
        )
    else:
        first = (
            f"ccs follows {names[lead]}: {float(agreement[lead]):.2f} of {n} held-out pairs, where chance "
            f"allows {float(chance[lead]):.2f}, and random directions {float(arrays['floor_mean'][lead]):.2f}"
        )
    return (
        first,
        "where random directions or unpaired sides reach as much, consistency has found nothing new",
    )


def _summary(names: tuple[str, ...], arrays: Mapping[str, Tensor], n: int) -> tuple[Summary, ...]:
    """How far ccs follows each feature, and the ceiling of the first."""
    chance, agreement = arrays["chance"].tolist(), arrays["agreement"]
    found = [
        Summary(f"ccs follows {name}", float(agreement[0, index]), n, (0.0, chance[index]))
        for index, name in enumerate(names)
    ]
    return (*found, Summary(f"ceiling of {names[0]}", float(agreement[-1, 0]), n, (0.0, chance[0])))
