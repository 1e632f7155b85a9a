"""Differences between two sets of prompts, as sentences that hold on prompts they were not found on."""

from collections import Counter

import torch
from torch import Tensor

from game.api import RequestError, Samples, Toolbox, TransformerConfig
from game.tools.kit.arguments import Classes
from game.tools.kit.chance import discoveries, halves
from game.tools.kit.example import Example
from game.tools.kit.predicates import Rows, Table, sayings
from game.tools.kit.readings import checked
from game.tools.kit.result import Axis, Summary, ToolResult, View

EXAMPLE = Example(
    edit="rrome",
    args="--first having:Bela:32 --others sample:64",
    found="What is true of the chosen prompts, and of no others, is found and verified.",
    nothing="The same: the model is not asked, and the finding is about the chosen prompts.",
)

LEAST = 8  # prompts in each set
PAIRED = 8  # of the best single sentences are put together
GAIN = 2.0  # that a pair needs over either alone, in units of its log-odds' error


def estimate(config: TransformerConfig) -> float:
    """Credits of `describe`, which asks the model nothing."""
    return 0.0


def describe(
    box: Toolbox,
    first: Samples,
    others: Samples,
    classes: Classes | None = None,
    proposals: int = 40,
    seed: int = 0,
) -> ToolResult:
    """What is true of the first set of prompts more often, or less often, than of the others.

    Sentences are about tokens anywhere or at a distance from the end, classes of tokens, neighbours, one
    token after another, repeats and lengths; and pairs of the best of these, with "and" or "but not", where
    they differ more than either alone by two errors. Those with the largest log-odds in units of their error
    are proposed on a random half of both sets; the other halves judge them by Fisher's exact test, under
    Benjamini and Hochberg at 5 %. Of sentences that are true of the same prompts only the simplest is
    proposed. The model is not asked. Price: 0.

    Arrays `[sentence]`, verified ones first, then by the size of their effect, all on the halves that judge:
    `effect` = `share_first` - `share_others`, shares of prompts of which it is true; `p`; `verified`; and
    `of_first` `[sentence, prompt]`, of which prompts of the first set it is true, all of them.

    Args:
        box: Says how many tokens there are.
        first: Prompts, such as those whose answer is odd.
        others: Prompts to compare with.
        classes: Names of groups of token ids, such as the brief's.
        proposals: How many sentences are judged, at most.
        seed: Of the halves.

    Raises:
        RequestError: A set of fewer than 8 prompts, a token that does not exist, or no proposals.

    Source: differences between distributions as sentences: Zhong et al. 2022, arXiv 2201.12323; log-odds by
    their error: Monroe et al. 2008, "Fightin' Words".
    """
    for name, samples in (("first", first), ("others", others)):
        checked(box.config, samples, name)
        if len(samples.tokens) < LEAST:
            raise RequestError(f"{name}: got {len(samples.tokens)} prompts; wanted {LEAST} and more")
    if proposals < 1:
        raise RequestError(f"proposals: got {proposals}; allowed: 1 and more")
    spent = box.budget.spent
    rows = sayings(first, classes or {}) + sayings(others, classes or {})
    is_first = torch.arange(len(rows)) < len(first.tokens)
    form, test = _halves(is_first, seed)
    proposed = _proposed(rows, is_first, form, proposals)
    if not proposed.sentences:
        raise RequestError("first: every prompt of both sets is alike; there is nothing to tell apart")
    arrays, order = _judged(proposed.holds[test], is_first[test])
    told = proposed.picked(order)
    arrays["of_first"] = told.holds[is_first].T
    verified = int(arrays["verified"].sum())
    best = float(arrays["effect"].abs().max()) if verified else 0.0
    return ToolResult(
        "describe",
        {"first": len(first.tokens), "others": len(others.tokens), "proposals": len(order), "seed": seed},
        box.budget.spent - spent,
        arrays,
        _views(told.sentences),
        (f"{verified} of {len(order)} sentences are verified, on {len(test)} prompts that proposed none",),
        (
            Summary("verified sentences", verified, len(test), (0.0, 0.0)),
            Summary("largest verified effect", best, len(test)),
        ),
    )


def _halves(is_first: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Half of either set to propose on, and the rest to judge."""
    n_first, n_others = int(is_first.sum()), int((~is_first).sum())
    (form, test), (form_others, test_others) = halves(n_first, seed), halves(n_others, seed)
    return torch.cat([form, n_first + form_others]), torch.cat([test, n_first + test_others])


def _proposed(rows: Rows, is_first: Tensor, form: Tensor, most: int) -> Table:
    """The sentences that differ most on the half that may be looked at, told of all prompts."""
    counts = Counter(sentence for row in form.tolist() for sentence in rows[row])
    single = Table.of(rows, sorted(name for name, count in counts.items() if 2 <= count < len(form)))
    single = single.picked(_best(single, is_first, form, most))
    paired, parents = single.picked(range(min(PAIRED, len(single.sentences)))).pairs()
    alone, together = (_differences(table.holds[form], is_first[form]) for table in (single, paired))
    better = [c for c, (a, b) in enumerate(parents) if together[c] > max(alone[a], alone[b]) + GAIN]
    table = single.joined(paired.picked(better))
    return table.picked(_best(table, is_first, form, most))


def _best(table: Table, is_first: Tensor, form: Tensor, most: int) -> list[int]:
    """Columns that differ most; of equal ones the shortest sentence's."""
    holds, names = table.holds[form], table.sentences
    sizes = _differences(holds, is_first[form]).tolist()
    order = sorted(range(len(sizes)), key=lambda c: (-round(sizes[c], 9), len(names[c]), c))
    chosen: dict[bytes, int] = {}
    for column in order:
        chosen.setdefault(holds[:, column].numpy().tobytes(), column)
    return list(chosen.values())[:most]


def _differences(holds: Tensor, is_first: Tensor) -> Tensor:
    """Size of each sentence's difference in log-odds, in units of its error, `[sentence]`."""
    sets = (is_first, ~is_first)
    hits = torch.stack([holds[rows].sum(0) for rows in sets]).double() + 0.5  # [set, sentence]
    misses = torch.stack([(~holds[rows]).sum(0) for rows in sets]).double() + 0.5
    odds = (hits / misses).log()
    return (odds[0] - odds[1]).abs() / (1 / hits + 1 / misses).sum(0).sqrt()


def _judged(holds: Tensor, is_first: Tensor) -> tuple[dict[str, Tensor], list[int]]:
    """Figures of each sentence in the order in which they are told, and that order."""
    from scipy.stats import fisher_exact

    shares = torch.stack([holds[is_first].double().mean(0), holds[~is_first].double().mean(0)])
    tables = torch.stack(
        [torch.stack([holds[rows].sum(0), (~holds[rows]).sum(0)]) for rows in (is_first, ~is_first)]
    )  # [set, (true, false), sentence]
    p = torch.tensor([float(fisher_exact(tables[..., c].numpy()).pvalue) for c in range(holds.shape[1])])
    effect, verified = shares[0] - shares[1], discoveries(p.double())
    order = sorted(range(len(p)), key=lambda c: (not bool(verified[c]), -float(effect[c].abs()), c))
    figures = {"effect": effect, "share_first": shares[0], "share_others": shares[1], "p": p.double()}
    return {name: values[order] for name, values in (figures | {"verified": verified}).items()}, order


def _views(sentences: tuple[str, ...]) -> tuple[View, ...]:
    axes = [Axis(name="sentence", labels=sentences)]
    return (
        View(kind="text", axes=axes, data="effect", tooltip="p", title="how much more often it is true"),
        View(
            kind="table", axes=axes, data="effect", columns=("share_first", "share_others", "p", "verified")
        ),
    )
