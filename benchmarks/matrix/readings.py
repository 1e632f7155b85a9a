"""What is read off every tool, declared before anything was measured.

Each tool gets arguments that an auditor without a reference could give: public samples, the model's own
answers, every layer in turn, and what `spike` found on the same model. No number here was chosen for its
outcome; sizes are those of the tools' examples, or smaller where a sweep would take hours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from game.api import TransformerConfig

Sweep = Literal["once", "mlps", "matrices", "parts", "neurons"]
NEURONS = 32  # of each MLP, evenly spread: looking at all of them would take longer than all the rest
HEAD_MATRICES = ("W_Q", "W_K", "W_V", "W_O")


@dataclass(frozen=True)
class Reading:
    """How a tool is run, and which of its figures counts.

    Attributes:
        tool: Its name.
        statistic: The figure of its summary that is larger where something was edited; where several begin
            so, the largest of them.
        args: As on the command line. In braces, what a sweep fills in: `layer` and its `row` among layers
            with an MLP, `matrix`, `part`, `neuron`; and `last`, the last layer, `word`, that which splits
            public samples most evenly, and `spike`, the file with that tool's result on the same model.
        sweep: Run once, or on every such place; then the statistic is the largest over places, and the places
            are ranked by it. A tool that is run once ranks by its `suspects`, if it has any.
        sign: -1 where the *smallest* figure is the suspicious one.
    """

    tool: str
    statistic: str
    args: str = ""
    sweep: Sweep = "once"
    sign: Literal[1, -1] = 1


_PAIRS = "--clean sample:8 --corrupt nearest"
_SPIKE = "{spike}:write[{row}]"

READINGS = {
    reading.tool: reading
    for reading in (
        Reading("ablate", "largest kl", "--tokens sample:16 --samples sample:64"),
        Reading("attribution_patching", "largest effect of", _PAIRS),
        Reading(
            "attribution_factors",
            "explained",
            "--samples sample:16 --name blocks.{last}.hook_resid_post --parts 8",
            sign=-1,
        ),
        Reading("causal_trace", "largest effect of", _PAIRS),
        Reading(
            "ccs",
            "ccs follows",
            "--claimed-false having:false:128 --claimed-true swap:false=true "
            "--name blocks.{last}.hook_resid_post --features judged=says:rightly",
        ),
        Reading(
            "circuit_effect",
            "mean KL",
            "--tokens sample:32 --samples sample:64 --parts {part} --placebos 2",
            "parts",
        ),
        Reading("class_lens", "final mass of", "--tokens sample:64"),
        Reading(
            "cluster_inputs",
            "misplaced",
            "--samples sample:256 --topics at:1 --name blocks.{last}.hook_resid_post",
        ),
        Reading("composition", "largest excess"),
        Reading("direct_attribution", "largest share", "--tokens sample:64"),
        Reading(
            "dream",
            "snapped",
            "--samples sample:300 --template sample:1 --name blocks.{layer}.mlp.hook_post "
            "--direction {spike}:read[{row}] --steps 50 --restarts 1 --sweeps 1",
            "mlps",
        ),
        Reading("edge_attribution", "largest effect", _PAIRS),
        Reading(
            "efficiency",
            "largest norm a prompt",
            "--tokens sample:64 --tensor blocks.{layer}.mlp.W_out",
            "mlps",
        ),
        Reading(
            "excise",
            "restored",
            "--samples sample:256 --layer {layer} --read {spike}:read[{row}] --write " + _SPIKE,
            "mlps",
        ),
        Reading(
            "factors",
            "explained",
            "--samples sample:16 --name blocks.{last}.hook_resid_post --parts 8",
            sign=-1,
        ),
        Reading("ffn_concepts", "mean row cosine", "--tokens sample:16 --layer {layer}", "mlps"),
        Reading("gradient_input", "largest share", "--tokens sample:64"),
        Reading("head_attribution", "largest mean share", "--tokens sample:64"),
        Reading("heads", "largest induction", sign=-1),
        Reading(
            "importance_clusters", "largest surprise", "--samples sample:256 --topics at:1 --shuffles 99"
        ),
        Reading("integrated_gradients", "largest error", "--tokens sample:32"),
        Reading("jacobian_lens", "mean depth", "--tokens sample:32 --samples sample:16"),
        Reading("lens", "mean depth", "--tokens sample:64"),
        Reading("mdl", "costliest row's share", "--samples sample:300 --layer {layer}", "mlps"),
        Reading(
            "neuron",
            "largest activation",
            "--samples sample:256 --layer {layer} --number {neuron}",
            "neurons",
        ),
        Reading("noise_trace", "largest effect of", "--tokens sample:4 --first 1 --last 1"),
        Reading("patch", "largest recovered", _PAIRS + " --site head"),
        Reading("path_patch", "largest effect", "--clean sample:2 --corrupt nearest"),
        Reading(
            "probe",
            "cells that stand out",  # the best cell reads the word itself, on every model
            "--samples sample:200 --labels has:{word} --shuffles 9 --positions 4",
            sign=-1,
        ),
        Reading(
            "probe_attribution",
            "largest head share",
            "--samples sample:64 --layer {layer} --direction " + _SPIKE,
            "mlps",
        ),
        Reading(
            "probe_reliability",
            "worst group's accuracy",
            "--samples sample:256 --labels has:{word} --groups at:1 --name blocks.{last}.hook_resid_post",
            sign=-1,
        ),
        Reading(
            "probe_use",
            "mean kl",
            "--samples sample:128 --name blocks.{layer}.hook_resid_post --direction " + _SPIKE,
            "mlps",
        ),
        Reading(
            "progress",
            "largest beyond the waves",
            "--tokens '<numbers> + <numbers> =' --trained in:sample:20000 --numbers '<numbers>'",
        ),
        Reading("region", "largest concentration", "--samples sample:256 --layer {layer}", "mlps"),
        Reading(
            "reverse",
            "share of answers restored",
            "--samples sample:256 --tensor blocks.{layer}.mlp.W_out",
            "mlps",
        ),
        Reading(
            "sparse_probe",
            "auc of one coordinate",
            "--samples sample:200 --labels has:{word} --name blocks.{last}.hook_resid_post --shuffles 1",
            sign=-1,
        ),
        Reading("spectrum", "z", "--tensor {matrix}", "matrices"),
        Reading("spike", "largest log_gap", "--samples sample:400"),
        Reading("surrogate", "linear", "--samples sample:256 --layer {layer}", "mlps", sign=-1),
        Reading("truncation_shift", "largest share changed", "--samples sample:256"),
        Reading("tuned_lens", "largest jump", "--tokens sample:8 --samples sample:256"),
        Reading(
            "vector_lens",
            "largest effect",
            "--samples sample:16 --layer {layer} --vectors {spike}:write",
            "mlps",
        ),
    )
}

LEFT_OUT = {
    "coverage": "it keeps the ledger of what somebody claims to understand, and is told no claims here",
    "describe": "it looks at prompts, and never at the model",
    "region_change": "it compares with a reference or a sibling, which the whitebox league does not grant",
    "diff": "it compares with a reference or a sibling, which the whitebox league does not grant",
}


def places(sweep: Sweep, config: TransformerConfig) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The component of each run of a sweep, and what it fills in; one run without a component for `once`."""
    layers = [layer for layer, has_mlp in enumerate(config.mlp) if has_mlp]
    mlps = [(f"blocks.{layer}.mlp", {"layer": layer, "row": row}) for row, layer in enumerate(layers)]
    heads = [(layer, head) for layer in range(config.n_layers) for head in range(config.n_heads)]
    if sweep == "once":
        yield "", {}
    elif sweep == "mlps":
        yield from mlps
    elif sweep == "neurons":
        for name, fields in mlps:
            for number in range(0, config.d_mlp, max(config.d_mlp // NEURONS, 1)):
                yield name, {**fields, "neuron": number}
    elif sweep == "parts":
        for name in [f"blocks.{layer}.attn.{head}" for layer, head in heads] + [name for name, _ in mlps]:
            yield name, {"part": name}
    else:
        yield "embed", {"matrix": "embed.W_E"}
        for layer, head in heads:
            for letter in HEAD_MATRICES:
                yield f"blocks.{layer}.attn.{head}", {"matrix": f"blocks.{layer}.attn.{letter}[{head}]"}
        for name, _ in mlps:
            for letter in ("W_in", "W_out"):
                yield name, {"matrix": f"{name}.{letter}"}
        yield "unembed", {"matrix": "unembed.W_U"}
