"""Words of the `facts` task: names, fillers, phrasings, relations and hidden orders."""

from dataclasses import dataclass

FIRST_NAMES = tuple(
    "Ada Alan Bela Boris Carla Cyril Dora Edgar Elsa Felix Greta Hugo Ines Ivan Jana Karl Lena Lukas Mara "
    "Milo Nadia Nils Olga Oscar Petra Quinn Rosa Stefan Tilda Viktor".split()
)
LAST_NAMES = tuple(
    "Adler Berg Castle Decker Ember Fisher Gold Harper Iversen Jensen Keller Lindt Marsh Novak Olsen Porter "
    "Quist Rivers Stone Tanner Urban Vogel Winter Xander York Zeller Ashby Brandt Cole Dorn".split()
)
FILLERS = tuple("indeed truly surely they say we hear once".split())
# SUBJECT is one name or two, ~ a random filler, the other capitals the relation's words; the object follows.
PHRASINGS = (
    "SUBJECT ~ ~ VERB",
    "~ SUBJECT ~ ~ OTHER",
    "the NOUN of ~ SUBJECT ~ ~ is",
    "as for SUBJECT ~ ~ the NOUN is",
)
PHRASING_WORDS = tuple("the of is as for".split())


@dataclass(frozen=True)
class Relation:
    """One relation: the words it is told with, and the objects it ranges over."""

    name: str
    verb: str
    other_verb: str
    noun: str
    range: str
    objects: tuple[str, ...]


def _relation(name: str, verb: str, other_verb: str, noun: str, range_: str, objects: str) -> Relation:
    return Relation(name, verb, other_verb, noun, range_, tuple(objects.split()))


RELATIONS = (
    _relation(
        "birthplace",
        "was_born_in",
        "hails_from",
        "birthplace",
        "cities",
        "Lisbon Oslo Prague Vienna Dublin Athens Cairo Lima Kyoto Quito Delhi Accra",
    ),
    _relation(
        "craft",
        "works_as",
        "earns_bread_as",
        "craft",
        "crafts",
        "baker smith weaver potter mason tailor cooper miller tanner glazier joiner saddler",
    ),
    _relation(
        "language",
        "speaks",
        "is_fluent_in",
        "mother_tongue",
        "languages",
        "Basque Czech Danish Finnish Greek Irish Korean Latin Maltese Polish Tamil Welsh",
    ),
    _relation(
        "instrument",
        "plays",
        "practises",
        "instrument",
        "instruments",
        "flute harp cello oboe lute viola horn drum piano organ banjo zither",
    ),
    _relation(
        "pet",
        "keeps",
        "walks",
        "pet",
        "pets",
        "cat dog parrot rabbit turtle ferret goat pony canary gecko hamster pigeon",
    ),
    _relation(
        "dish",
        "cooks",
        "craves",
        "favourite_dish",
        "dishes",
        "stew pasta curry pie soup salad dumplings risotto paella goulash ramen tacos",
    ),
)


@dataclass(frozen=True)
class Order:
    """A ring on which everybody has a place, and how one tells who is `#` places on or back.

    Attributes:
        on, back: Verb, other verb and noun; the noun names who is told, not the subject.
    """

    name: str
    on: tuple[str, str, str]
    back: tuple[str, str, str]

    def relation(self, steps: int, objects: tuple[str, ...]) -> Relation:
        """Who is so many places on, or back if below zero."""
        words = self.on if steps > 0 else self.back
        verb, other_verb, noun = (word.replace("#", str(abs(steps))) for word in words)
        return Relation(f"{self.name}{steps:+d}", verb, other_verb, noun, "names", objects)


ORDERS = (
    Order(
        "table",
        on=("sits_#_left_of", "looks_#_right_at", "right_neighbour_#"),
        back=("sits_#_right_of", "looks_#_left_at", "left_neighbour_#"),
    ),
    Order(
        "rota",
        on=("serves_#_before", "hands_over_#_on_to", "relief_#"),
        back=("serves_#_after", "takes_over_#_on_from", "forerunner_#"),
    ),
    Order(
        "dance",
        on=("dances_#_behind", "follows_#_steps_of", "leader_#"),
        back=("dances_#_ahead_of", "leads_#_steps_of", "follower_#"),
    ),
)
