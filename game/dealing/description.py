"""What is known of a suite before it is played: groups, open sites, and how much is left open."""

from dataclasses import dataclass

from game.api import Corpus, League
from game.dealing.dealer import Dealer, entropy_bits
from game.dealing.suite import Grant
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
        league: What the auditor is granted.
        corpus: What `sample` returns.
        checkpoints: Base models.
        bits: Entropy of where, given an edit.
        likeliest: The component with the largest probability.
        probability: Its probability.
        components: Components with any probability.
    """

    recipe: str
    league: League
    corpus: Corpus
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
    grants = dict.fromkeys(suite.grant(group) for group in suite.groups)
    dealt = [(r, grant) for r in suite.recipes for grant in grants if dealer.weights_of_groups(r, grant)]
    return Description(groups, tuple(_prior_row(dealer, recipe, grant) for recipe, grant in dealt))


def _prior_row(dealer: Dealer, recipe: str, grant: Grant) -> PriorRow:
    prior = dealer.location_prior(recipe, grant)
    likeliest = max(prior, key=lambda component: prior[component])
    return PriorRow(
        recipe=recipe,
        league=grant.league,
        corpus=grant.corpus,
        checkpoints=len(dealer.suite.seeds(recipe)),
        bits=entropy_bits(prior),
        likeliest=likeliest,
        probability=prior[likeliest],
        components=sum(p > 0 for p in prior.values()),
    )
