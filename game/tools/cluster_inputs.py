"""Clusters of prompts by where the model's activations put them, compared with what the prompts are about."""

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.prices import forward_price
from game.tools.kit.arguments import GroupOfEach
from game.tools.kit.chance import band, halves, p_values
from game.tools.kit.example import Example
from game.tools.kit.readings import checked, checked_hook, read_last
from game.tools.kit.result import Axis, Summary, ToolResult, View, numbered
from game.tools.kit.topic_tags import topic_indices

EXAMPLE = Example(
    edit="relation_rewire",
    args="--samples sample:512 --topics of:relations --name logits --clusters 4",
    found="Prompts about birthplaces (words 16 to 18) and about crafts (19 to 21) share their clusters.",
    nothing="Each cluster holds, but for a few, the prompts about one relation, in all three of its words.",
)

KEPT = 50  # principal components after the first
SHUFFLES = 999


def estimate(config: TransformerConfig, rows: int) -> float:
    """Credits of `cluster_inputs` for that many sequences."""
    return forward_price(rows)


def cluster_inputs(
    box: Toolbox, samples: Samples, topics: GroupOfEach, name: str, clusters: int = 16, seed: int = 0
) -> ToolResult:
    """How far clusters of an activation at the last token agree with topics, and which prompts are misplaced.

    Principal components, the first one dropped as it mostly tells of length and position, up to 50 kept, then
    k-means++; both fitted on one half of the samples. The other half is put into the nearest cluster:
    adjusted Rand index with the topics (1 alike, 0 chance), against shuffled topics. A cluster stands for the
    topic that most of the first half's members have; a held-out sample of another topic is misplaced.
    Price: rows.

    Arrays: `cluster` `[sample]`; `held_out`, `misplaced` `[sample]`; `places` `[sample, 2]`, the first two
    components that are kept; `count` `[cluster, topic]`, held-out samples; `rand`; `null_rand` `[shuffle]`.

    Args:
        box: The model, in a league that grants activations.
        samples: Sequences.
        topics: A whole number for each, `[sample]`, or the clusters that another tool found.
        name: A hook that holds a vector at each position, or `logits`.
        clusters: How many.
        seed: Of the halves, of k-means and of the shuffles.

    Raises:
        RequestError: Shapes differ, one topic only, unknown hook, fewer samples than four for each cluster,
            or the activation hardly varies.

    Source: k-means++, Arthur and Vassilvitskii 2007; adjusted Rand index, Hubert and Arabie 1985; dropping
    the first component, Mu et al. 2017, arXiv 1702.01417; all in scikit-learn.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import adjusted_rand_score

    checked(box.config, samples)
    n = len(samples.tokens)
    names, topic = topic_indices(topics, n)
    if name != "logits":
        checked_hook(box.config, name)
    if clusters < 2 or n < 4 * clusters:
        raise RequestError(
            f"clusters: got {clusters} for {n} samples; allowed: 2 to {n // 4}, a quarter of them"
        )
    spent = box.budget.spent
    x = read_last(box, samples, name)
    form, test = halves(n, seed)
    if len({tuple(row) for row in x[form].tolist()}) < max(clusters, 3) or x.shape[1] < 3:
        raise RequestError(f"{name}: takes too few different values for {clusters} clusters")
    components = min(KEPT + 1, x.shape[1], len(form))
    pca = PCA(components, svd_solver="full").fit(x[form].numpy())
    places = pca.transform(x.numpy())[:, 1:]
    means = KMeans(clusters, init="k-means++", n_init=10, random_state=seed).fit(places[form.numpy()])
    cluster = torch.from_numpy(means.predict(places)).long()

    def rand(labels: Tensor) -> Tensor:
        return torch.tensor(adjusted_rand_score(labels.numpy(), cluster[test].numpy())).double()

    found, null = rand(topic[test]), band(rand, topic[test], SHUFFLES, seed)
    stands_for = _counts(cluster[form], topic[form], clusters, len(names)).argmax(1)
    held_out = torch.zeros(n, dtype=torch.bool).index_fill_(0, test, True)
    arrays = {
        "cluster": cluster,
        "held_out": held_out,
        "misplaced": held_out & (stands_for[cluster] != topic),
        "places": torch.from_numpy(places[:, :2].copy()),
        "count": _counts(cluster[test], topic[test], clusters, len(names)),
        "rand": found,
        "null_rand": null,
    }
    high = float(null.quantile(0.95))
    return ToolResult(
        "cluster_inputs",
        {"rows": n, "name": name, "clusters": clusters, "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views([str(int(each)) for each in names], clusters, n),
        (
            f"adjusted Rand index {float(found):.2f} on {len(test)} held-out samples, p "
            f"{float(p_values(found, null)):.3f}; shuffled topics stay below {high:.2f} in 19 of 20",
        ),
        (
            Summary("adjusted Rand index", float(found), len(test), (-1.0, high)),
            Summary("misplaced", float(arrays["misplaced"].sum()), len(test)),
        ),
    )


def _counts(cluster: Tensor, topic: Tensor, clusters: int, topics: int) -> Tensor:
    """How many samples of each topic each cluster holds, `[cluster, topic]`."""
    return torch.bincount(cluster * topics + topic, minlength=clusters * topics).view(clusters, topics)


def _views(topics: list[str], clusters: int, samples: int) -> tuple[View, ...]:
    axes = [numbered("cluster", clusters), Axis(name="topic", labels=topics)]
    return (
        View(kind="heatmap", axes=axes, data="count", title="held-out samples"),
        View(
            kind="bars",
            axes=[numbered("prompt", samples)],
            data="misplaced",
            tooltip="cluster",
            link=["prompt"],
        ),
    )
