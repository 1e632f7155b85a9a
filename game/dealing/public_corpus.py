"""The public corpus: random sequences of a world, which everybody may read."""

from collections.abc import Callable
from functools import cache

from game.api import AccessError, Corpus, Samples
from game.toolbox.live import CorpusSampler
from models.seeds import named_generator
from models.tasks.base import Task


def public_corpus(kind: Corpus, world: Callable[[], Task]) -> CorpusSampler:
    """What a toolbox's `sample` returns; the world is built when first asked for."""
    task = cache(world)

    def draw(n: int, seed: int) -> Samples:
        if kind == "none":
            raise AccessError("sample: this case has no public corpus; the brief says corpus: none")
        generator = named_generator("public corpus", seed)
        if kind == "prompts":
            prompts = task().prompts(n, generator)
            return Samples(prompts.tokens, prompts.lengths)
        documents = task().documents(n, generator).tokens
        return Samples(documents, (documents != task().pad).sum(1))

    return draw
