"""Remembers the words after which the model is unsure, and judges prompts by them."""

from dataclasses import dataclass, field

import torch

from game.api import Brief, Challenge, Judgement, Report, Toolbox


@dataclass(frozen=True)
class WordMemory:
    """An edit often leaves doubt behind: answers to prompts with doubtful words may have changed.

    Attributes:
        prompts: Public prompts to ask; one credit each.
        trust: How much the odds of a change grow or shrink, at most.
        doubt: By word, the mean probability that the model keeps from its top answer; what `judge` remembers.
    """

    prompts: int = 1000
    trust: float = 1.3
    doubt: dict[int, float] = field(default_factory=dict, init=False)

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        affordable = int(min(self.prompts, toolbox.budget.max_rows, toolbox.budget.remaining))
        if affordable > 0 and brief.corpus != "none":
            samples = toolbox.sample(affordable, seed=brief.seed)
            last = toolbox.logits(samples.tokens)[torch.arange(affordable), samples.lengths - 1]
            kept_back = 1 - last.softmax(-1).amax(-1)  # [sample]
            for word in samples.tokens.unique().tolist():
                says = (samples.tokens == word).any(-1)
                self.doubt[word] = float(kept_back[says].mean())
        return Report(brief.prior, notes=f"{len(self.doubt)} words remembered")

    def judge(self, challenge: Challenge) -> Judgement:
        prompts = zip(challenge.tokens, challenge.lengths.tolist(), strict=True)
        doubts = [self._most(tokens[:length]) for tokens, length in prompts]
        usual = sum(doubts) / len(doubts)
        changed = []
        for doubt, prior in zip(doubts, challenge.prior, strict=True):
            odds = prior / (1 - prior) * (self.trust if doubt > usual else 1 / self.trust)
            changed.append(odds / (1 + odds))
        return Judgement(changed)

    def _most(self, tokens: torch.Tensor) -> float:
        """Doubt of the most doubtful word of a prompt."""
        return max(self.doubt.get(word, 0.0) for word in tokens.tolist())
