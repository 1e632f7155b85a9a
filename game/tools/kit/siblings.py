"""Null bands from siblings: what a tool's figures are on clean models of other worlds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from game.api import RequestError, Toolbox
from game.tools.kit.chance import RATE
from game.tools.kit.result import Summary, ToolResult

Look = Callable[[Toolbox], ToolResult]


def beside_siblings(box: Toolbox, look: Look, numbers: Sequence[int]) -> ToolResult:
    """A tool's result, with what siblings show as the null band of every figure.

    For tools that know no band of their own. The band is Student's prediction interval at 95 % for one more
    model: mean of the siblings +- t s sqrt(1 + 1/k). It counts world, training and prompts as chance, and
    supposes that figures are normal over worlds. With few siblings it is wide: t is 4.3 for three.
    A figure that a sibling does not tell gets no band. Price: the tool's, once more for each sibling.

    Args:
        box: The model, in a league that grants siblings.
        look: The tool with its arguments, such as `lambda box: lens(box, box.sample(64).tokens)`. Prompts
            are to be those of the box that it is given, as worlds differ.
        numbers: Which siblings; two or more.

    Raises:
        RequestError: Fewer than two siblings, or one twice.
        AccessError: The league grants none.
    """
    if len(numbers) < 2 or len(set(numbers)) < len(numbers):
        raise RequestError(f"numbers: got {list(numbers)}; wanted two different siblings or more")
    others = [look(box.sibling(number)) for number in numbers]
    own = look(box)
    return replace(
        own,
        cost=own.cost + sum(each.cost for each in others),
        notes=(
            *own.notes,
            f"null bands: {len(numbers)} clean models of other worlds, such as 19 of 20 are",
        ),
        summary=tuple(_beside(each, others) for each in own.summary),
    )


def _beside(own: Summary, others: Sequence[ToolResult]) -> Summary:
    """The same figure with the siblings' band."""
    from scipy.stats import t

    values = [each.value for other in others for each in other.summary if each.name == own.name]
    if len(values) < len(others):
        return replace(own, null=None)
    count = len(values)
    half = float(t.ppf(1 - RATE / 2, count - 1)) * stdev(values) * (1 + 1 / count) ** 0.5
    return replace(own, null=(fmean(values) - half, fmean(values) + half))
