import pytest
import torch

from models.components import Component, component_entries, component_of
from models.transformer import TransformerConfig

CONFIG = TransformerConfig(
    n_layers=2,
    d_model=4,
    n_heads=2,
    d_head=2,
    d_mlp=4,
    d_vocab=6,
    n_ctx=5,
    window=(2, None),
    mlp=(True, False),
)
NAMES = (
    "embed", "pos_embed", "blocks.0.ln1", "blocks.0.attn.0", "blocks.0.attn.1", "blocks.0.attn.bias",
    "blocks.0.ln2", "blocks.0.mlp", "blocks.1.ln1", "blocks.1.attn.0", "blocks.1.attn.1",
    "blocks.1.attn.bias", "ln_final", "unembed",
)  # fmt: skip


def test_every_parameter_entry_belongs_to_exactly_one_component() -> None:
    owners = {name: torch.zeros(shape) for name, shape in CONFIG.weight_shapes().items()}
    for owned in component_entries(CONFIG).values():
        for entries in owned:
            weight = owners[entries.tensor]
            (weight if entries.head is None else weight[entries.head]).add_(1)
    assert all((count == 1).all() for count in owners.values())


def test_components_come_in_the_order_of_the_forward_pass() -> None:
    assert tuple(map(str, component_entries(CONFIG))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_name_and_component_are_inverse(name: str) -> None:
    assert str(Component.parse(name)) == name


@pytest.mark.parametrize(
    "name", ["", "blocks.0", "blocks.0.attn", "blocks.0.mlp.1", "blocks.x.mlp", "embed.W_E"]
)
def test_text_that_names_no_component_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not one of embed, pos_embed, blocks\.L\.ln1"):
        Component.parse(name)


def test_a_head_needs_a_head_and_a_layer_part_a_layer() -> None:
    with pytest.raises(ValueError, match="a layer and a head belong to heads"):
        Component("attn", 1)
    with pytest.raises(ValueError, match="unknown component part"):
        Component("mpl", 1)


def test_the_output_bias_is_its_own_component_and_other_biases_are_the_heads() -> None:
    assert str(component_of("blocks.1.attn.b_O")) == "blocks.1.attn.bias"
    assert str(component_of("blocks.1.attn.b_Q", 1)) == "blocks.1.attn.1"
