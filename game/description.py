"""What is known of a suite before it is played: groups, open sites, and how much is left open."""

from dataclasses import dataclass

from game.dealer import Dealer, entropy_bits
from models.components import Component


@dataclass(frozen=True)
class GroupRow:
    """One group.

    Attributes:
        name: Of the group.
        kind: Of its edits.
        cases: How many.
        controls: Kinds of controls.
        sites: Open sites by recipe.
    """

    name: str
    kind: str
    cases: int
    controls: tuple[str, ...]
    sites: dict[str, int]


@dataclass(frozen=True)
class PriorRow:
    """The location prior of one recipe, given an edit; it is what an auditor of such a model is told.

    Attributes:
        recipe: The recipe.
        checkpoints: Base models.
        bits: Entropy of where, given an edit.
        likeliest: The component with the largest probability.
        probability: Its probability.
        components: Components with any probability.
    """

    recipe: str
    checkpoints: int
    bits: float
    likeliest: Component
    probability: float
    components: int


@dataclass(frozen=True)
class Description:
    """A suite's groups and its location priors."""

    groups: tuple[GroupRow, ...]
    priors: tuple[PriorRow, ...]


def describe(dealer: Dealer) -> Description:
    """The description of the dealer's suite; trains what the zoo lacks, as open sites are measured.

    Raises:
        DealError: A group has no open site.
    """
    suite = dealer.suite
    groups = tuple(
        GroupRow(
            group.name,
            group.edit.kind,
            group.count,
            group.controls,
            {recipe: len(dealer.cells(group, recipe)) for recipe in group.sites},
        )
        for group in suite.groups
    )
    return Description(groups, tuple(_prior_row(dealer, recipe) for recipe in suite.recipes))


def _prior_row(dealer: Dealer, recipe: str) -> PriorRow:
    prior = dealer.location_prior(recipe)
    likeliest = max(prior, key=lambda component: prior[component])
    checkpoints = sum(bases.checkpoints for bases in dealer.suite.bases if bases.recipe == recipe)
    possible = sum(p > 0 for p in prior.values())
    return PriorRow(recipe, checkpoints, entropy_bits(prior), likeliest, prior[likeliest], possible)
