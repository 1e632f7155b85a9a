"""Looks for a head that attends, copies or helps unlike its model's other heads: cut, reversed, swapped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Toolbox
from game.auditing.asked import Asked, ask
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.peers import siblings_of
from game.auditing.tails import deviations
from game.tools.composition import composition
from game.tools.direct_attribution import direct_attribution
from game.tools.heads import KINDS, heads
from game.tools.kit.batches import gradients, run
from game.tools.kit.nodes import writers
from game.tools.kit.questions import Questions

LENGTH = 12  # random tokens that are said twice, where that many fit
_TINY = 1e-12
Scores = dict[str, Tensor]  # by name, `[layer, head]`


@dataclass(frozen=True)
class HeadScores:
    """Scores every head by what it attends to, what its matrices do and whether it helps; needs weights.

    Scores: attention to the token after an earlier occurrence (induction), to the previous and to the same
    token; sizes of OV and QK, and the share of OV's first direction; copying, that is the sign and share of
    the real parts of OV's eigenvalues between embedding and unembedding; how strongly it reads earlier heads;
    what it says to the model's own answers directly, and how their log-probability falls or rises with the
    head's size. Each is compared with the model's other heads, or, where siblings are granted, with all heads
    of that layer in theirs. A cut head has no size; a reversed one says the opposite of what its kind copies,
    and answers would be surer without it; a swapped one attends as one head does and writes as another.

    Blind to MLPs, embeddings and biases, and to heads that were exchanged for their like.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits" (copying, composition,
    direct effects); Olsson et al. 2022, "In-context Learning and Induction Heads", arXiv 2209.11895; the
    effect of a head's size: Michel, Levy and Neubig 2019, "Are Sixteen Heads Really Better than One?", arXiv
    1905.10650.

    Attributes:
        prompts: Most corpus prompts, five credits each.
        drawn: Random repeated sequences, a credit each.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 400
    drawn: int = 32

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """Deviations of each head's scores from others', and the signs of what it does."""
        if brief.league == "blackbox" or brief.corpus == "none":
            return Evidence(notes="this league or case shows no heads at work")
        try:
            own = self._scores(toolbox)
            others = [self._scores(box) for box in siblings_of(toolbox)]
            signs = self._signs(toolbox, brief)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        numbers = {name: _compared(score, [each[name] for each in others]) for name, score in own.items()}
        odd = torch.stack([each.abs() for each in numbers.values()]).mean(0)
        numbers |= signs | {"odd": odd, "size": _relative_size(own["size"])}
        places = {
            Component("attn", layer, head): {
                f"heads.{name}": float(each[layer, head]) for name, each in numbers.items()
            }
            for layer in range(brief.config.n_layers)
            for head in range(brief.config.n_heads)
        }
        whole = {f"heads.least_{name}": float(each.min()) for name, each in signs.items()}
        return Evidence(places, whole, _notes(places))

    def _scores(self, toolbox: Toolbox) -> Scores:
        """What attention and weights show of each head, `[layer, head]`."""
        config = toolbox.config
        length = min(LENGTH, (config.n_ctx - 1) // 2)
        found: Scores = {}
        if length >= 1:
            kinds = heads(toolbox, self.drawn, length).arrays["score"]
            found |= {kind: kinds[index] for index, kind in enumerate(KINDS)}
        composed = composition(toolbox, draws=2).arrays
        shape = (config.n_layers, config.n_heads)
        for way in ("q", "k", "v"):
            reads = composed[way].nan_to_num(-1.0).amax(0).view(shape)  # [layer, head], over its sources
            found[f"reads_{way}"] = torch.where(reads > -1.0, reads, 0.0)
        return found | {"copying": composed["copying"]} | _matrices(toolbox)

    def _signs(self, toolbox: Toolbox, brief: Brief) -> Scores:
        """Whether each head speaks for the model's answers, from -1 to 1, `[layer, head]`."""
        asked = ask(toolbox, brief, int(min(self.prompts, toolbox.budget.remaining / 5)))
        if asked is None:
            return {}
        best = asked.log_probs.topk(2).indices
        questions = Questions(asked.samples.tokens, asked.last, best[:, 0], best[:, 1])
        share = direct_attribution(toolbox, questions)
        return {"says": _of_heads(toolbox, share.arrays["share"]), "helps": _helps(toolbox, asked)}


def _matrices(toolbox: Toolbox) -> Scores:
    """Logarithms of the sizes of OV and QK, and of the share of OV's first direction."""
    found: dict[str, list[Tensor]] = {"size": [], "looks": [], "one_direction": []}
    for layer in range(toolbox.config.n_layers):
        W_Q, W_K, W_V, W_O = (toolbox.weight(f"blocks.{layer}.attn.W_{name}").double() for name in "QKVO")
        values = _singular_values(W_V, W_O)  # [head, index]
        found["size"].append(values.norm(dim=1).clamp(min=_TINY).log())
        found["looks"].append(_singular_values(W_Q, W_K.mT).norm(dim=1).clamp(min=_TINY).log())
        first = values[:, 0].square() / values.square().sum(1).clamp(min=_TINY)
        found["one_direction"].append(first.clamp(min=_TINY).log())
    return {name: torch.stack(each) for name, each in found.items()}


def _singular_values(left: Tensor, right: Tensor) -> Tensor:
    """Those of `left @ right`, `[head, d_head]`, by way of the small inner matrices."""
    inner = torch.linalg.qr(left).R @ torch.linalg.qr(right.mT).R.mT
    values: Tensor = torch.linalg.svdvals(inner)
    return values


def _compared(score: Tensor, siblings: Sequence[Tensor]) -> Tensor:
    """Deviations from the model's other heads, or the siblings' of the same layer, `[layer, head]`."""
    if not siblings:
        return deviations(score.flatten()).view_as(score).clamp(-6, 6)
    theirs = torch.cat(list(siblings), 1)  # [layer, head of any]
    unit = theirs.std(1, keepdim=True).clamp(min=1e-6)
    return ((score - theirs.mean(1, keepdim=True)) / unit).clamp(-6, 6)


def _relative_size(size: Tensor) -> Tensor:
    """Log-ratio of each head's size to the median's; -5 for one that was cut."""
    return (size - size.median()).clamp(-5, 5)


def _of_heads(toolbox: Toolbox, share: Tensor) -> Tensor:
    """Mean over mean size of what each head says, `[layer, head]`, from shares `[component, row]`."""
    config = toolbox.config
    rows = [index for index, node in enumerate(writers(config)) if node.head is not None]
    return _signed(share[rows].view(config.n_layers, config.n_heads, -1).movedim(-1, 0))


def _helps(toolbox: Toolbox, asked: Asked) -> Tensor:
    """Mean over mean size of the slope of log P(answer) as a head grows, `[layer, head]`."""
    config, tokens = toolbox.config, asked.samples.tokens
    hooks = [f"blocks.{layer}.attn.hook_z" for layer in range(config.n_layers)]
    cotangent = torch.zeros(*tokens.shape, config.d_vocab)
    rows = torch.arange(len(asked))
    cotangent[rows, asked.last] = -asked.log_probs.exp().float()
    cotangent[rows, asked.last, asked.answer] += 1
    slope, written = gradients(toolbox, tokens, hooks, cotangent), run(toolbox, tokens, hooks)
    rises = torch.stack(
        [
            (slope[hook].double() * written[hook].double()).sum((1, 3))  # [row, head]
            for hook in hooks
        ],
        1,
    )
    return _signed(rises)


def _signed(shares: Tensor) -> Tensor:
    """Mean over mean size of what each head adds, from `[row, layer, head]`."""
    return shares.mean(0) / shares.abs().mean(0).clamp(min=_TINY)


def _notes(places: Mapping[Component, Mapping[str, float]]) -> str:
    oddest = max(places, key=lambda component: places[component]["heads.odd"])
    return f"oddest: {oddest}, {places[oddest]['heads.odd']:.1f} deviations on average"
