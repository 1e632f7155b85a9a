"""`topics`: documents that mix the words of a few topics, and end with the name of their main topic.

A topic model in the manner of latent Dirichlet allocation, as in Li, Li & Risteski 2023 ("How do transformers
learn topic structure: towards a mechanistic understanding", arXiv 2303.04245). Given its main topic, the
words of a document are drawn independently: common words, words of the main topic, and some of other topics.
So the best possible prediction of each next word is known, and a model can be measured against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from models.seeds import named_generator
from models.tasks.base import (
    BOS,
    PAD,
    Documents,
    Finding,
    Probe,
    Prompts,
    Task,
    TaskSettings,
    accuracy,
    joined,
)
from models.transformer import Transformer

COMMON = tuple("the a and of to with in for on by from very then now here there".split())
TOPICS = {
    "cooking": "oven flour butter simmer knife recipe onion sauce bake spoon pepper boil",
    "sailing": "mast anchor harbour keel tide rope deck wind buoy captain hull sail",
    "music": "violin chord melody rhythm concert tempo choir piano tune drum song stage",
    "gardening": "seed soil bloom weed spade hedge compost prune rose lawn shrub bulb",
    "football": "goal striker referee penalty pitch keeper league match whistle corner kick team",
    "medicine": "nurse fever doctor pill surgery pulse clinic dose wound vaccine symptom bandage",
    "astronomy": "comet orbit planet galaxy telescope moon star eclipse meteor crater rocket nebula",
    "law": "judge court verdict lawyer witness trial jury statute appeal contract clause plea",
}
ROWS = 600  # prompts in the table
SURE = 0.95  # least probability of the main topic, given a prompt of the table


class TopicsSettings(TaskSettings):
    """Shape of the topics and of the documents.

    Attributes:
        topics: How many topics, in the order of `TOPICS`.
        words: Words of each topic.
        shortest: Fewest words in a document.
        longest: Most words in a document.
        common: Share of words that belong to no topic.
        purity: Share of the other words that come from the main topic.
        word_weight: Loss weight of every token that is not a topic's name.
    """

    metrics = ("accuracy", "efficiency")

    kind: Literal["topics"] = "topics"
    topics: Annotated[int, Field(ge=2, le=len(TOPICS))] = 8
    words: Annotated[int, Field(ge=2, le=12)] = 12
    shortest: Annotated[int, Field(ge=8, le=64)] = 12
    longest: Annotated[int, Field(ge=8, le=64)] = 28
    common: Annotated[float, Field(ge=0, le=0.6)] = 0.3
    purity: Annotated[float, Field(ge=0.6, le=1)] = 0.65
    word_weight: Annotated[float, Field(gt=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _some_lengths(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError(
                f"shortest: got {self.shortest}, but the longest document has {self.longest} words"
            )
        return self

    def build(self, world_seed: int) -> "Topics":
        """The world of that seed."""
        return Topics(self, world_seed)


@dataclass(frozen=True)
class TopicTable(Probe):
    """Documents cut before their topic's name.

    Attributes:
        topic: The main topic, `[prompt]`.
        length: Words, `[prompt]`.
    """

    topic: Tensor
    length: Tensor


class Topics(Task):
    """How often each word occurs, and which other topics a document of each topic borrows from."""

    name = "topics"
    description = (
        "Documents of common words and words of several topics, one of which prevails; after 'topic_is' the "
        "name of that topic follows."
    )
    notes = (
        "The order of the words tells nothing, so attention gathers evidence from all of them. Words of one "
        "topic come to have similar embeddings, or to attend to each other more than to the rest (Li, Li & "
        "Risteski 2023, arXiv 2303.04245). A word is best predicted from the probability of each topic given "
        "the words so far, which the generator knows: `efficiency` is the share that a model makes of it."
    )

    def __init__(self, settings: TopicsSettings, world_seed: int) -> None:
        self.settings, self.world_seed = settings, world_seed
        self.topic_names = tuple(TOPICS)[: settings.topics]
        topics = {name: tuple(TOPICS[name].split()[: settings.words]) for name in self.topic_names}
        special = {"special": (PAD, BOS, "topic_is"), "labels": self.topic_names, "common": COMMON}
        super().__init__(special | topics, n_ctx=settings.longest + 3)
        self.label_tokens = torch.tensor(self.classes["labels"])
        self.word_tokens = torch.arange(self.classes["common"][0], len(self.vocabulary))
        self.word_probs = self._draw_word_probs()  # [topic, vocabulary]

    def _draw_word_probs(self) -> Tensor:
        """Probability of each word in a document of each main topic."""
        settings, generator = self.settings, named_generator("topics", self.world_seed)
        n_topics = settings.topics
        common = torch.randn(len(COMMON), generator=generator).softmax(0)
        within = torch.randn(n_topics, settings.words, generator=generator).softmax(1)
        borrowed = torch.rand(n_topics, n_topics, generator=generator).fill_diagonal_(0)
        borrowed = (1 - settings.purity) * borrowed / borrowed.sum(1, keepdim=True)
        share = borrowed + settings.purity * torch.eye(n_topics)  # [main topic, topic]
        told = (share[:, :, None] * within).flatten(1)
        words = torch.cat([settings.common * common.expand(n_topics, -1), (1 - settings.common) * told], 1)
        return functional.pad(words.double(), (int(self.word_tokens[0]), 0))

    def _draw(self, n: int, generator: torch.Generator) -> TopicTable:
        """Random documents cut before their topic's name."""
        settings = self.settings
        topic = torch.randint(settings.topics, (n,), generator=generator)
        length = torch.randint(settings.shortest, settings.longest + 1, (n,), generator=generator)
        words = torch.multinomial(self.word_probs[topic], settings.longest, True, generator=generator)
        return self._cut(words, topic, length)

    def _cut(self, words: Tensor, topic: Tensor, length: Tensor) -> TopicTable:
        """BOS, the first words of each row, and 'topic_is'."""
        words = words.masked_fill(torch.arange(words.shape[1]) >= length[:, None], self.pad)
        edge = torch.ones(len(words), 1, dtype=torch.long)
        tokens = joined([edge * self.bos, words, edge * self.ids["topic_is"]], self.pad)
        return TopicTable(tokens, length + 1, self.label_tokens[topic], topic, length)

    def documents(self, n: int, generator: torch.Generator) -> Documents:
        """Random documents."""
        drawn = self._draw(n, generator)
        tokens = joined([drawn.tokens, drawn.answer[:, None]], self.pad)
        answers = torch.isin(tokens, self.label_tokens)
        weight = torch.where(answers, 1.0, self.settings.word_weight)
        return Documents(tokens, weight * (tokens != self.pad) * (tokens != self.bos), answers)

    def prompts(self, n: int, generator: torch.Generator) -> Prompts:
        """Random documents cut before their topic's name."""
        drawn = self._draw(n, generator)
        return Prompts(drawn.tokens, drawn.last + 1)

    @cached_property
    def table(self) -> TopicTable:
        """Documents whose words leave little doubt of their main topic."""
        drawn = self._draw(3 * ROWS, named_generator("topics table", self.world_seed))
        believed = self.beliefs(drawn.tokens)[torch.arange(3 * ROWS), drawn.length, drawn.topic]
        rows = (believed > SURE).nonzero()[:ROWS, 0]
        return TopicTable(**{name: column[rows] for name, column in vars(drawn).items()})

    @cached_property
    def shuffled(self) -> TopicTable:
        """The table's documents with their words in another order, which changes nothing."""
        table, generator = self.table, named_generator("topics shuffled", self.world_seed)
        words = table.tokens[:, 1:-1]
        order = torch.rand(words.shape, generator=generator)
        order = order.masked_fill(torch.arange(words.shape[1]) >= table.length[:, None], 2.0).argsort(1)
        return self._cut(words.gather(1, order), table.topic, table.length)

    def probes(self) -> Mapping[str, Probe]:
        """`table`, and `shuffled`: row by row the same words in another order."""
        return {"table": self.table, "shuffled": self.shuffled}

    def beliefs(self, tokens: Tensor) -> Tensor:
        """Probability of each main topic given the words up to each position, `[document, pos, topic]`."""
        evidence = self.word_probs.log().T[tokens]  # [document, pos, topic]
        evidence = evidence.masked_fill(~torch.isin(tokens, self.word_tokens)[..., None], 0.0)
        return evidence.cumsum(1).softmax(-1)

    def _efficiency(self, model: Transformer) -> float:
        """Share of a document's information on the next word that the model has, beyond word frequencies."""
        tokens = self._draw(ROWS // 2, named_generator("topics efficiency", self.world_seed)).tokens
        with torch.no_grad():
            logits = model(tokens[:, :-1].to(model.unembed.W_U.device)).cpu().double()
        ideal = self.beliefs(tokens[:, :-1]) @ self.word_probs  # [document, pos, vocabulary]
        frequency = self.word_probs.mean(0).expand_as(ideal)
        first, is_word = int(self.word_tokens[0]), torch.isin(tokens[:, 1:], self.word_tokens)
        target = (tokens[:, 1:] - first)[is_word]
        loss, best, base = (
            functional.cross_entropy(scores[..., first:][is_word], target).item()
            for scores in (logits, ideal.log(), frequency.log())
        )
        return min(1.0, max(0.0, (base - loss) / (base - best)))

    def evaluate(self, model: Transformer) -> dict[str, float]:
        """`accuracy` of the topics' names; `efficiency` of predicting words, 1 for the best possible."""
        return {"accuracy": accuracy(model, self.table), "efficiency": self._efficiency(model)}

    def findings(self, model: Transformer) -> Mapping[str, Finding]:
        """How alike the words of topics are to the model, and where the main topic can be read off."""
        table = self.table
        _, cache = model.run_with_cache(
            table.tokens.to(model.unembed.W_U.device), lambda name: name.endswith(("resid_pre", "resid_post"))
        )
        resid = [cache["blocks.0.hook_resid_pre"]]
        resid += [value for name, value in cache.items() if name.endswith("resid_post")]
        at_last = [stream.cpu()[torch.arange(len(table.last)), table.last] for stream in resid]
        return {
            "embedding_similarity": Finding(
                "Words of the two topics have similar embeddings (mean cosine of two different words).",
                ("topic", "other_topic"),
                self._similarity(model.embed.W_E.detach().cpu()),
            ),
            "decodable": Finding(
                "After so many layers the nearest mean at 'topic_is' tells the main topic (share right).",
                ("layers",),
                torch.stack([_nearest_mean(stream, table.topic) for stream in at_last]),
            ),
        }

    def _similarity(self, embeddings: Tensor) -> Tensor:
        """Mean cosine between different words of each two topics, `[topic, topic]`."""
        words = functional.normalize(embeddings[self.word_tokens[len(COMMON) :]], dim=1)
        shape = (self.settings.topics, self.settings.words)
        cosine = (words @ words.T).fill_diagonal_(0).view(*shape, *shape).sum((1, 3))
        pairs = torch.full_like(cosine, shape[1] ** 2).fill_diagonal_(shape[1] * (shape[1] - 1))
        return cosine / pairs


def _nearest_mean(x: Tensor, label: Tensor) -> Tensor:
    """Share of every other row whose label is that of the nearest of the other rows' means."""
    means = torch.stack([x[::2][label[::2] == kind].mean(0) for kind in sorted(set(label.tolist()))])
    return (torch.cdist(x[1::2], means).argmin(1) == label[1::2]).float().mean()
