"""Clusters of prompts by which neurons matter to their answers, tagged with topics where a test allows it."""

from typing import Literal

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.tools.kit.arguments import GroupOfEach
from game.tools.kit.chance import halves
from game.tools.kit.exact_importances import exact_importance_price, exact_importances
from game.tools.kit.example import Example
from game.tools.kit.importances import importance_price, importances, main_mass, neuron_names
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered
from game.tools.kit.topic_tags import UNTAGGED, Tags, centroids, tagged, topic_indices

EXAMPLE = Example(
    edit="relation_rewire",
    args="--samples sample:512 --topics of:relations",
    found="Three of four tagged clusters carry the rewired relation's first word: neurons tell it apart now.",
    nothing="No cluster is tagged: neurons carry people here, not relations.",
)
By = Literal["gradient", "ablation"]


def estimate(config: TransformerConfig, rows: int, by: By = "gradient") -> float:
    """Credits of `importance_clusters` for that many sequences."""
    return importance_price(rows) if by == "gradient" else exact_importance_price(config, rows)


def importance_clusters(
    box: Toolbox,
    samples: Samples,
    topics: GroupOfEach,
    clusters: int = 12,
    by: By = "gradient",
    keep: float = 0.95,
    shuffles: int = 2000,
    seed: int = 0,
) -> ToolResult:
    """Which sets of neurons carry which topics, and which prompts are carried by none that is known.

    Each prompt has a profile: how much every neuron matters to the log-probability of the model's own answer,
    by |activation x gradient| or by running without it; the largest that hold 95 % of the sum, as a unit
    vector. Profiles of one random half of the prompts are clustered by complete linkage. On the other half
    each cluster is tried against each topic: lift is the topic's mean cosine with the centroid over that of
    all prompts, tested against shuffled topics, under Benjamini and Hochberg at 5 %; clusters that pass for
    no topic stay untagged. A prompt whose profile is far from every centroid is a surprise, for which no band
    is known, as tasks differ in how alike their prompts are. Many shuffles are needed as tests are many.
    Price: 4 for each sequence, by ablation 1 + neurons.

    Arrays: `centroids` `[cluster, neuron]`, neurons of all MLPs in order; `lift`, `p` `[cluster, topic]`;
    `tag` `[cluster]`, a topic or -1; `surprise` `[sample]`, 1 - the largest cosine with a centroid, NaN in
    the half on which clusters were formed; `cluster` `[sample]`, the nearest; `odd` `[sample]`, whether a
    tagged cluster is nearest whose tag is not the sample's topic, held-out half only.

    Args:
        box: The model, in a league that grants activations and gradients.
        samples: Sequences that end where an answer follows.
        topics: A whole number for each, `[sample]`.
        clusters: How many, at most.
        by: `gradient`, to first order; or `ablation`, exactly, with every neuron in turn at its mean.
        keep: Share of a profile's sum that is kept.
        shuffles: Of the topics.
        seed: Of the halves and the shuffles.

    Raises:
        RequestError: Shapes differ, one topic only, no MLP, fewer samples than four for each cluster, or
            `by` is neither.

    Source: importances by gradient, arXiv 1605.01713; tags with a permutation test in place of a look.
    """
    checked(box.config, samples)
    n = len(samples.tokens)
    names, topic = topic_indices(topics, n)
    neuron_names(box.config)
    if clusters < 2 or n < 4 * clusters:
        raise RequestError(
            f"clusters: got {clusters} for {n} samples; allowed: 2 to {n // 4}, a quarter of them"
        )
    if not 0 < keep <= 1 or shuffles < 20:
        raise RequestError(f"keep, shuffles: got {keep}, {shuffles}; allowed: above 0 to 1, and 20 and more")
    if by not in ("gradient", "ablation"):
        raise RequestError(f'by: got "{by}"; allowed: gradient, ablation')
    spent = box.budget.spent
    weigh = importances if by == "gradient" else exact_importances
    profiles = main_mass(weigh(box, samples), keep)
    if not bool(profiles.any(1).all()):
        raise RequestError("samples: one in which no neuron matters to the answer has no profile")
    form, test = halves(n, seed)
    centres = centroids(profiles[form], clusters)
    closeness = profiles @ centres.T  # [sample, cluster]
    tags = tagged(closeness[test], topic[test], shuffles, seed)
    arrays = _arrays(centres, closeness, tags, topic, test) | {
        "tag": torch.where(tags.tag == UNTAGGED, UNTAGGED, names[tags.tag])
    }
    n_tagged = int((tags.tag != UNTAGGED).sum())
    return ToolResult(
        "importance_clusters",
        {"rows": n, "clusters": len(centres), "by": by, "keep": keep, "shuffles": shuffles, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views([str(int(name)) for name in names], len(centres), n),
        (
            f"{n_tagged} of {len(centres)} clusters are tagged on {len(test)} held-out samples; "
            f"of all tags at most 5 % are expected to be false",
        ),
        (
            Summary("tagged clusters", float(n_tagged), len(test), (0.0, 0.0)),
            Summary("largest surprise", float(arrays["surprise"][test].max()), len(test)),
            Summary("odd samples", float(arrays["odd"].sum()), len(test)),
        ),
    )


def _arrays(centres: Tensor, closeness: Tensor, tags: Tags, topic: Tensor, test: Tensor) -> dict[str, Tensor]:
    """What is told of clusters and samples."""
    best = closeness.max(1)
    held_out = torch.zeros(len(topic), dtype=torch.bool).index_fill_(0, test, True)
    nearest_tag = tags.tag[best.indices]
    return {
        "centroids": centres,
        "lift": tags.lift,
        "p": tags.p,
        "surprise": torch.where(held_out, 1 - best.values, torch.nan),
        "cluster": best.indices,
        "odd": held_out & (nearest_tag != UNTAGGED) & (nearest_tag != topic),
    }


def _views(topics: list[str], clusters: int, samples: int) -> tuple[View, ...]:
    axes = [numbered("cluster", clusters), Axis(name="topic", labels=topics)]
    return (
        View(kind="heatmap", axes=axes, data="lift", tooltip="p", title="topics of clusters (lift)"),
        View(
            kind="bars",
            axes=[numbered("prompt", samples)],
            data="surprise",
            tooltip="cluster",
            link=["prompt"],
        ),
    )
