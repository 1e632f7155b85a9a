"""Finds the attention layer or MLP where some answers jump in, further than any other answer does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from game.api import AccessError, Brief, BudgetExceededError, Component, Report, Toolbox, TransformerConfig
from game.auditing.asked import Asked, ask, inside
from game.auditing.belief import Fit
from game.auditing.evidence import Evidence
from game.auditing.tails import bounded_log, lead, reach, spread
from game.tools.kit.norms import centred
from game.tools.kit.readout import Readout, read_readout


@dataclass(frozen=True)
class LensJump:
    """Reads prompts' streams with the logit lens and looks for the largest jumps; needs weights.

    An edited fact is put in by one matrix, a learned one by many: log P(answer), read off the stream at the
    last token, rises or falls by more where the edit was written than it does there for other answers. Rises
    and falls are compared with those of other prompts at the same place, prompts about the same thing taken
    together; an attention layer's number goes to all of its heads. The same lens reads every bias: one that
    was pushed towards a word says that word before all others.

    Blind to edits whose value is only fetched to the last token by a later layer, for the jump then is that
    layer's, as in models that look facts up at the subject; and to edits that every prompt feels alike.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; Belrose et al. 2023, "Eliciting Latent
    Predictions from Transformers with the Tuned Lens", arXiv 2303.08112, section 5 (an input's trajectory
    through the layers tells whether it is anomalous).

    Attributes:
        prompts: Most corpus prompts, one credit each.
    """

    yardstick: ClassVar[bool] = False
    prompts: int = 2000

    def audit(self, toolbox: Toolbox, brief: Brief) -> Report:
        return Fit.beside(__file__).believed(brief, self.read(toolbox, brief))

    def read(self, toolbox: Toolbox, brief: Brief) -> Evidence:
        """How far the largest rise and fall at each place lie from the bulk there: log-ratios."""
        if brief.league == "blackbox":
            return Evidence(notes="this league shows no activations")
        try:
            asked = ask(toolbox, brief, self.prompts, inside(brief.config))
            if asked is None:
                return Evidence(notes="too few credits to look, or nothing to ask")
            readout = read_readout(toolbox)
            biases = _biases(toolbox, asked, readout)
        except (AccessError, BudgetExceededError) as refused:
            return Evidence(notes=str(refused))
        rises = _rises(asked, readout)
        places = {c: numbers for name, rise in rises.items() for c, numbers in _of_place(brief, name, rise)}
        for component, numbers in biases.items():
            places[component] = {**places.get(component, {}), **numbers}
        largest = torch.stack([*rises.values()])  # [place, group]
        whole = {
            "jump.largest_reach": reach(largest.amax(0)),
            "jump.largest_lead": lead(largest.amax(0)),
            "jump.fall_reach": reach(-largest.amin(0)),
        }
        return Evidence(places, whole, f"{len(asked)} prompts read at {len(rises)} places")


def _rises(asked: Asked, readout: Readout) -> dict[str, Tensor]:
    """By hook, how much what it adds raises log P(answer), means over each thing asked about, nats."""
    stream = asked.at("blocks.0.hook_resid_pre", asked.last)
    before, found = _told(asked, readout, stream), {}
    for name in added(readout.config):
        stream = stream + asked.at(name, asked.last)
        after = _told(asked, readout, stream)
        found[name], before = asked.by_group(after - before), after
    return found


def _told(asked: Asked, readout: Readout, stream: Tensor) -> Tensor:
    """Log P(answer) as the lens reads it, `[prompt]`."""
    return readout.logits(stream).log_softmax(-1).gather(1, asked.answer[:, None])[:, 0]


def added(config: TransformerConfig) -> list[str]:
    """Hooks of what attention and MLPs add to the stream, in the order in which they do."""
    return [name for name in inside(config) if name.endswith("_out")]


def _of_place(brief: Brief, name: str, rise: Tensor) -> Iterator[tuple[Component, dict[str, float]]]:
    kind = "mlp" if "mlp" in name else "attn"
    numbers = {
        f"jump.{kind}_rise": reach(rise),
        f"jump.{kind}_lead": lead(rise),
        f"jump.{kind}_fall": reach(-rise),
        f"jump.{kind}_spread": spread(rise),
    }
    for component in written_by(brief.config, name):
        yield component, numbers


def written_by(config: TransformerConfig, name: str) -> list[Component]:
    """The components that write what passes such a hook: an MLP, or all heads of a layer."""
    layer = int(name.split(".")[1])
    if "mlp" in name:
        return [Component("mlp", layer)]
    return [Component("attn", layer, head) for head in range(config.n_heads)]


def _biases(toolbox: Toolbox, asked: Asked, readout: Readout) -> dict[Component, dict[str, float]]:
    """How far the word that each bias says lies before all others, and how large the bias is."""
    found = {}
    for name in added(readout.config):
        layer, kind = name.split(".")[1], "mlp" if "mlp" in name else "attn"
        bias = toolbox.weight(f"blocks.{layer}.{'mlp.b_out' if kind == 'mlp' else 'attn.b_O'}").double()
        words = centred(bias, readout.config) * readout.gain @ readout.W_U  # [d_vocab]
        component = Component("mlp" if kind == "mlp" else "attn.bias", int(layer))
        written = float(asked.at(name, asked.last).norm(dim=-1).mean())
        found[component] = {
            f"jump.{kind}_bias_says": reach(words),
            f"jump.{kind}_bias_lead": lead(words),
            f"jump.{kind}_bias_size": bounded_log(float(bias.norm()), written),
        }
    return found
