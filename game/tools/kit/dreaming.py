"""Prompts that drive one direction of an activation as far as they can: by gradients, or token by token."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import Intervention, RequestError, Samples, Toolbox, TransformerConfig
from game.toolbox.requests import checked_prompts
from game.tools.kit.batches import batches, run
from game.tools.kit.chance import generator
from game.tools.kit.readings import checked_hook

HOT, COLD = 2.0, 0.1  # temperatures at the first and the last step
RATE = 0.1  # Adam's


@dataclass(frozen=True)
class Goal:
    """What is to become large: an activation's coordinate along a direction, at one position.

    Attributes:
        name: A hook that holds a vector at each position, or `logits`.
        direction: `[width]`.
        at: Position in the prompt.
    """

    name: str
    direction: Tensor
    at: int

    def check(self, config: TransformerConfig, length: int) -> None:
        """Nothing, if a model of that shape has it in a prompt of that length.

        Raises:
            RequestError: It has not.
        """
        if self.name != "logits":
            checked_hook(config, self.name, len(self.direction))
        elif len(self.direction) != config.d_vocab:
            raise RequestError(f"direction: got length {len(self.direction)}; logits hold {config.d_vocab}")
        if not float(self.direction.norm()) > 0:
            raise RequestError("direction: got zero; wanted a vector of some length")
        if not 0 <= self.at < length:
            raise RequestError(f"at: got {self.at}; allowed: 0 to {length - 1}")

    def values(self, found: Mapping[str, Tensor]) -> Tensor:
        """The goal at its position, `[row]`, among activations by name."""
        return found[self.name][:, self.at].double() @ self.direction.double()


@dataclass(frozen=True)
class Frame:
    """A prompt of which some tokens are free.

    Attributes:
        template: Token ids, `[pos]`.
        free: Positions that may hold any allowed token.
        allowed: Token ids, ascending.
    """

    template: Tensor
    free: tuple[int, ...]
    allowed: Tensor

    @classmethod
    def of(
        cls, config: TransformerConfig, template: Tensor, free: tuple[int, ...], without: tuple[int, ...]
    ) -> "Frame":
        """The frame, once it makes sense.

        Args:
            config: The model's shapes.
            template: `[1, pos]`.
            free: Positions; none means every position but the first.
            without: Token ids that must not be used.

        Raises:
            RequestError: No single prompt, an unknown position or token, or nothing is left to choose.
        """
        rows, length = checked_prompts(template, config, "template").shape
        if rows != 1:
            raise RequestError(f"template: got {rows} prompts; wanted 1")
        places = tuple(sorted(set(free))) or tuple(range(1, length))
        if not places or places[0] < 0 or places[-1] >= length:
            raise RequestError(f"free: got {list(free)}; allowed: positions 0 to {length - 1}, at least one")
        if any(not 0 <= token < config.d_vocab for token in without):
            raise RequestError(f"without: got {list(without)}; allowed: tokens 0 to {config.d_vocab - 1}")
        allowed = torch.tensor([token for token in range(config.d_vocab) if token not in set(without)])
        if len(allowed) < 2:
            raise RequestError(f"without: {len(allowed)} tokens are left to choose from; wanted at least 2")
        return cls(template[0], places, allowed)

    def filled(self, chosen: Tensor) -> Tensor:
        """Prompts `[row, pos]` with those tokens, `[row, free]`, at the free positions."""
        prompts = self.template.repeat(len(chosen), 1)
        prompts[:, list(self.free)] = chosen
        return prompts


def values(box: Toolbox, goal: Goal, tokens: Tensor) -> Tensor:
    """The goal's value in prompts, `[row]`. Price: rows."""
    return goal.values(run(box, tokens, [goal.name]))


def everywhere(box: Toolbox, goal: Goal, tokens: Tensor) -> Tensor:
    """The goal's coordinate at every position, `[row, pos]`. Price: rows."""
    return run(box, tokens, [goal.name])[goal.name].double() @ goal.direction.double()


def corpus_values(box: Toolbox, goal: Goal, samples: Samples) -> Tensor:
    """The largest value that each sample reaches at any of its tokens, `[sample]`. Price: samples."""
    holds = torch.arange(samples.tokens.shape[1]) < samples.lengths[:, None]
    return everywhere(box, goal, samples.tokens).masked_fill(~holds, -torch.inf).amax(1)


@dataclass(frozen=True)
class Soft:
    """What gradients found.

    Attributes:
        values: Value of the final mixtures of tokens, `[restart]`.
        tokens: The likeliest token at each free position, `[restart, free]`.
    """

    values: Tensor
    tokens: Tensor


def soft_search(
    box: Toolbox, goal: Goal, frame: Frame, W_E: Tensor, steps: int, restarts: int, seed: int
) -> Soft:
    """Adam on the logits of token mixtures, with Gumbel noise and falling temperature.

    Each step puts `softmax((theta + gumbel) / T) W_E` in the place of the embeddings at the free positions.
    Price: restarts (3 steps + 1).

    Source: Gumbel-softmax, Jang et al. 2016, arXiv 1611.01144; on text models: Poerner et al. 2018,
    "Interpretable textual neuron representations"; Guo et al. 2021, arXiv 2104.13733.
    """
    source, rows = generator(seed), frame.template.repeat(restarts, 1)
    theta = 0.1 * torch.randn(restarts, len(frame.free), len(frame.allowed), generator=source)
    theta.requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=RATE)
    embeddings = W_E[frame.allowed]
    for step in range(steps):
        temperature = HOT * (COLD / HOT) ** (step / max(1, steps - 1))
        noise = -torch.empty_like(theta).exponential_(generator=source).log()
        with torch.enable_grad():
            mixed = ((theta + noise) / temperature).softmax(-1) @ embeddings
        gradient = _gradient(box, goal, frame, rows, mixed.detach())
        optimizer.zero_grad()
        torch.autograd.backward(mixed, -gradient)
        optimizer.step()
    final = theta.detach()
    soft = _soft_values(box, goal, frame, rows, (final / COLD).softmax(-1) @ embeddings)
    return Soft(soft, frame.allowed[final.argmax(-1)])


def _placed(frame: Frame, embedded: Tensor) -> Intervention:
    """Those embeddings, `[row, free, d_model]`, at the free positions."""
    return Intervention("hook_embed", embedded, positions=frame.free)


def _gradient(box: Toolbox, goal: Goal, frame: Frame, rows: Tensor, embedded: Tensor) -> Tensor:
    """Gradient of the goal with respect to the embeddings at the free positions, `[row, free, d_model]`."""
    parts = []
    for chosen in batches(box, len(rows)):
        cotangent = torch.zeros(len(chosen), rows.shape[1], len(goal.direction))
        cotangent[:, goal.at] = goal.direction.float()
        cut = [_placed(frame, embedded[chosen])]
        found = box.vjp(rows[chosen], ["hook_embed"], {goal.name: cotangent}, cut)["hook_embed"]
        parts.append(found[:, list(frame.free)])
    return torch.cat(parts)


def _soft_values(box: Toolbox, goal: Goal, frame: Frame, rows: Tensor, embedded: Tensor) -> Tensor:
    return goal.values(run(box, rows, [goal.name], lambda chosen: [_placed(frame, embedded[chosen])]))


def coordinate_search(
    box: Toolbox, goal: Goal, frame: Frame, start: Tensor, sweeps: int
) -> tuple[Tensor, float, int]:
    """Where changing one token at a time leads: tokens `[free]`, their value, and the sweeps taken.

    Every allowed token is tried at each free position in turn; the best one stays. Ends when a whole sweep
    changes nothing. Price: sweeps x free x tokens at most.
    """
    best = start.clone()
    value = float(values(box, goal, frame.filled(best[None]))[0])
    for sweep in range(1, sweeps + 1):
        before = best.clone()
        for index in range(len(frame.free)):
            tried = best.repeat(len(frame.allowed), 1)
            tried[:, index] = frame.allowed
            found = values(box, goal, frame.filled(tried))
            if float(found.max()) > value:
                best, value = tried[int(found.argmax())], float(found.max())
        if torch.equal(best, before):
            return best, value, sweep
    return best, value, sweeps
