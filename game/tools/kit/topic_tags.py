"""Clusters formed on some rows and tagged with topics on others: no tag is tested where it arose."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from game.api import RequestError
from game.tools.kit.chance import different, discoveries, p_values, shuffled

UNTAGGED = -1


def centroids(rows: Tensor, clusters: int) -> Tensor:
    """Unit centroids of the rows' clusters by complete linkage of cosine distances, `[cluster, d]`.

    Complete linkage keeps every pair within a cluster alike, so that one odd prompt cannot chain two topics.

    Args:
        rows: Unit vectors, `[row, d]`.
        clusters: How many at most.

    Source: scipy's hierarchical clustering.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    apart = (1 - rows @ rows.T).clamp(min=0)
    apart = ((apart + apart.T) / 2).fill_diagonal_(0)
    tree = linkage(squareform(apart.numpy(), checks=False), method="complete")
    number = torch.from_numpy(fcluster(tree, clusters, criterion="maxclust")).long()
    members = torch.stack([rows[number == each].mean(0) for each in different(number)])
    return functional.normalize(members, dim=1)


@dataclass(frozen=True)
class Tags:
    """Which topic each cluster belongs to.

    Attributes:
        lift: Mean closeness to the cluster of the topic's rows over that of all rows, `[cluster, topic]`.
        p: P(a lift as large with shuffled topics), `[cluster, topic]`.
        tag: Index of the topic of the largest significant lift, or `UNTAGGED`, `[cluster]`.
    """

    lift: Tensor
    p: Tensor
    tag: Tensor


def tagged(closeness: Tensor, topics: Tensor, shuffles: int, seed: int) -> Tags:
    """Tags of clusters by a permutation test of every cluster and topic, under Benjamini and Hochberg at 5 %.

    Args:
        closeness: Of each row to each cluster, `[row, cluster]`, none negative.
        topics: Each row's topic as an index from 0, `[row]`.
        shuffles: Of the topics.
        seed: Of the shuffles.
    """
    lift = _lifts(closeness, topics[None], int(topics.max()) + 1)[0]
    null = _lifts(closeness, shuffled(topics, shuffles, seed), int(topics.max()) + 1)
    p = p_values(lift, null)
    best = lift.masked_fill(~discoveries(p), -torch.inf).max(1)
    return Tags(lift, p, torch.where(best.values.isfinite(), best.indices, UNTAGGED))


def _lifts(closeness: Tensor, topics: Tensor, count: int) -> Tensor:
    """Lifts for many orders of the topics, `[order, cluster, topic]`."""
    member = functional.one_hot(topics, count).double()  # [order, row, topic]
    means = (closeness.T @ member) / member.sum(1, keepdim=True).clamp(min=1)
    overall: Tensor = means / closeness.mean(0)[:, None].clamp(min=1e-12)
    return overall


def topic_indices(topics: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The different topics, ascending, and each row's as an index into them.

    Raises:
        RequestError: Not one whole number for each row, or one topic only.
    """
    if topics.shape != (rows,) or topics.is_floating_point():
        raise RequestError(f"topics: got {topics.dtype} {list(topics.shape)}; wanted [{rows}] whole numbers")
    names = different(topics)
    if len(names) < 2:
        raise RequestError(f"topics: got {len(names)} different ones; wanted at least 2")
    return names, torch.searchsorted(names, topics.long())
