"""The parts of a model as nodes of a graph: what writes into the residual stream, and what reads it.

Writers are `embed`, `pos_embed`, `blocks.0.attn.2` (one head), `blocks.0.attn.bias` (b_O) and `blocks.0.mlp`;
their outputs add up to the stream. Readers are `blocks.0.attn.2.q`, `.k` and `.v`, `blocks.0.mlp` and
`logits`. A writer reaches every reader that comes later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from game.api import RequestError, Toolbox, TransformerConfig
from game.tools.kit.batches import Changes, nothing_changed, run


@dataclass(frozen=True)
class Node:
    """A writer or a reader.

    Attributes:
        name: As in the module's docstring.
        stage: When it comes: -1 the embeddings, 2 l attention of layer l, 2 l + 1 its MLP, last the logits.
        layer: Its layer, if it has one.
        head: Its head, if it is one.
        letter: `q`, `k` or `v`, for the reader of a head.
    """

    name: str
    stage: int
    layer: int | None = None
    head: int | None = None
    letter: str | None = None


def writers(config: TransformerConfig) -> tuple[Node, ...]:
    """Everything that writes into the residual stream, in the order of the forward pass."""
    nodes = [Node("embed", -1), Node("pos_embed", -1)]
    for layer in range(config.n_layers):
        attn = f"blocks.{layer}.attn"
        nodes += [Node(f"{attn}.{head}", 2 * layer, layer, head) for head in range(config.n_heads)]
        nodes.append(Node(f"{attn}.bias", 2 * layer, layer))
        if config.mlp[layer]:
            nodes.append(Node(f"blocks.{layer}.mlp", 2 * layer + 1, layer))
    return tuple(nodes)


def varying_writers(config: TransformerConfig) -> tuple[Node, ...]:
    """The writers whose output depends on which tokens a prompt has: all but positions and biases."""
    return tuple(
        node for node in writers(config) if node.name != "pos_embed" and not node.name.endswith(".bias")
    )


def readers(config: TransformerConfig) -> tuple[Node, ...]:
    """Everything that reads the residual stream, in the order of the forward pass."""
    nodes: list[Node] = []
    for layer in range(config.n_layers):
        nodes += [
            Node(f"blocks.{layer}.attn.{head}.{letter}", 2 * layer, layer, head, letter)
            for head in range(config.n_heads)
            for letter in "qkv"
        ]
        if config.mlp[layer]:
            nodes.append(Node(f"blocks.{layer}.mlp", 2 * layer + 1, layer))
    return (*nodes, Node("logits", 2 * config.n_layers))


def chosen(kind: str, names: Sequence[str] | None, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes of those names, or all of them.

    Raises:
        RequestError: A name is unknown, or the list is empty.
    """
    by_name = {node.name: node for node in nodes}
    if names is None:
        return tuple(nodes)
    if not names:
        raise RequestError(f"{kind}: got none, wanted at least 1, such as {nodes[0].name}")
    for name in names:
        if name not in by_name:
            raise RequestError(f'{kind}: unknown "{name}"; allowed: {", ".join(by_name)}')
    return tuple(by_name[name] for name in names)


def reaches(sources: Sequence[Node], targets: Sequence[Node]) -> Tensor:
    """Which sources come before which targets, `[source, target]`, boolean."""
    before = torch.tensor([node.stage for node in sources])
    after = torch.tensor([node.stage for node in targets])
    return before[:, None] < after


def output_names(config: TransformerConfig) -> tuple[str, ...]:
    """The hooks in which `written` finds what every writer writes."""
    names = ["hook_embed", "hook_pos_embed"]
    for layer in range(config.n_layers):
        names += [f"blocks.{layer}.attn.hook_result", f"blocks.{layer}.hook_attn_out"]
        names += [f"blocks.{layer}.hook_mlp_out"] * config.mlp[layer]
    return tuple(names)


def written(config: TransformerConfig, found: Mapping[str, Tensor]) -> Tensor:
    """What every writer writes, float64, `[writer, row, pos, d_model]`, given the hooks of `output_names`."""
    parts = [found["hook_embed"][None], found["hook_pos_embed"][None]]
    for layer in range(config.n_layers):
        results = found[f"blocks.{layer}.attn.hook_result"].movedim(2, 0)  # [head, row, pos, d_model]
        bias = found[f"blocks.{layer}.hook_attn_out"] - results.sum(0)
        parts += [results, bias[None]]
        if config.mlp[layer]:
            parts.append(found[f"blocks.{layer}.hook_mlp_out"][None])
    return torch.cat(parts).double()


def run_written(
    box: Toolbox, tokens: Tensor, names: Sequence[str] = (), changes: Changes = nothing_changed
) -> tuple[Tensor, dict[str, Tensor]]:
    """What every writer writes, `[writer, row, pos, d_model]`, and further activations of the same runs."""
    found = run(box, tokens, [*output_names(box.config), *names], changes)
    return written(box.config, found), found
