import pytest
import torch

from game.api import Intervention, RequestError
from game.tools import attribution_patching as patching
from game.tools import edge_attribution as edges
from game.tools import gradient_input as gradient
from game.tools import head_attribution as by_head
from game.tools import integrated_gradients as integrated
from game.tools import path_patch as paths
from game.tools.attribution_patching import attribution_patching
from game.tools.direct_attribution import direct_attribution
from game.tools.edge_attribution import edge_attribution
from game.tools.gradient_input import gradient_input
from game.tools.head_attribution import head_attribution
from game.tools.integrated_gradients import integrated_gradients
from game.tools.kit.nodes import readers, run_written, varying_writers, writers
from game.tools.kit.questions import Contrast, Questions
from game.tools.path_patch import path_patch
from tests.game.tools.conftest import Subject, close


def test_integrated_gradients_are_complete(subject: Subject, asked: Questions) -> None:
    found = integrated_gradients(subject.box(), asked, steps=300)
    arrays = found.arrays
    scale = arrays["difference"].abs().max()
    assert (arrays["error"].abs() < 0.01 * scale + 1e-4).all()
    assert scale > 0.1
    assert found.cost == integrated.estimate(subject.config, 4, 300)
    behind = torch.arange(6) > asked.at[:, None]
    assert arrays["share"][behind].abs().max() < 1e-6


def test_a_neutral_token_says_nothing_where_it_stands_itself(subject: Subject, asked: Questions) -> None:
    token = int(asked.tokens[0, 2])
    found = integrated_gradients(subject.box(30), asked, 8, token)
    same = asked.tokens == token
    assert found.arrays["share"][same].abs().max() < 1e-6
    assert found.cost == integrated.estimate(subject.config, 4, 8, token)
    with pytest.raises(RequestError, match="steps: got 0; allowed: at least 1"):
        integrated_gradients(subject.box(), asked, 0)


def test_gradient_times_input_is_the_slope_of_growing_embeddings(subject: Subject, asked: Questions) -> None:
    box, step = subject.box(), 1e-2
    found = gradient_input(box, asked)

    def grown(by: float) -> torch.Tensor:
        return asked.margin(
            box.logits(asked.tokens, [Intervention("hook_embed", torch.tensor(1 + by), "scale")])
        )

    close(found.arrays["share"].sum(1), (grown(step) - grown(-step)) / (2 * step), 2e-2)
    assert found.cost == gradient.estimate(subject.config, 4)


def test_attribution_patching_is_the_gradient_along_the_difference(subject: Subject, pairs: Contrast) -> None:
    box = subject.box()
    found = attribution_patching(box, pairs)
    arrays = found.arrays
    cotangent = pairs.asked(pairs.corrupt).cotangent(subject.config.d_vocab)
    for layer in range(subject.config.n_layers):
        name = f"blocks.{layer}.attn.hook_z"
        clean, corrupt = (box.activations(tokens, [name])[name] for tokens in (pairs.clean, pairs.corrupt))
        slope = box.vjp(pairs.corrupt, [name], {"logits": cotangent})[name]
        close(arrays["head"][layer], ((clean - corrupt) * slope).sum(-1).mean(0))
        close(arrays["attn"][layer], arrays["head"][layer].sum(1))
    assert found.cost == patching.estimate(subject.config, 4)


def test_attribution_patching_agrees_with_patching_behind_the_last_nonlinearity(
    shaped: object, pairs: Contrast
) -> None:
    """Without norms, the last MLP's neurons act linearly on the logits."""
    from game.tools.patch import patch

    box = shaped("no-norm").box()  # type: ignore[operator]
    found = attribution_patching(box, pairs).arrays["neuron"][-1]
    patched = patch(box, pairs, "neuron").arrays
    close(found, (patched["metric"][-1] - patched["corrupt"]).mean(-1))


def test_the_edges_of_a_writer_add_up_to_its_attribution_patching(subject: Subject, pairs: Contrast) -> None:
    box, config = subject.box(), subject.config
    found = edge_attribution(box, pairs)
    cotangent = pairs.asked(pairs.corrupt).cotangent(config.d_vocab)
    clean, _ = run_written(box, pairs.clean)
    corrupt, _ = run_written(box, pairs.corrupt)
    hooks = {
        node.name: "hook_embed"
        if node.layer is None
        else f"blocks.{node.layer}.hook_mlp_out"
        if node.name.endswith("mlp")
        else f"blocks.{node.layer}.hook_attn_out"
        for node in writers(config)
    }
    slopes = box.vjp(pairs.corrupt, sorted(set(hooks.values())), {"logits": cotangent})
    for index, node in enumerate(writers(config)):
        expected = ((clean - corrupt)[index] * slopes[hooks[node.name]]).sum((1, 2)).mean()
        close(found.arrays["by_source"][index], expected)
    assert found.cost == pytest.approx(edges.estimate(config, 4))


def test_a_path_into_the_logits_is_the_change_of_direct_attribution(
    subject: Subject, pairs: Contrast
) -> None:
    box, config = subject.box(), subject.config
    arrays = path_patch(box, pairs, targets=("logits",)).arrays
    names = [node.name for node in writers(config)]
    clean, _ = run_written(box, pairs.clean)
    corrupt, _ = run_written(box, pairs.corrupt)
    for row, node in enumerate(varying_writers(config)):
        index, last = names.index(node.name), f"blocks.{config.n_layers - 1}.hook_resid_post"
        changes = [Intervention(last, (corrupt - clean)[index].float(), "add")]
        if config.normalization_type is not None:
            scale = box.activations(pairs.clean, ["ln_final.hook_scale"])["ln_final.hook_scale"]
            changes.append(Intervention("ln_final.hook_scale", scale))
        after = pairs.metric(box.logits(pairs.clean, changes), torch.arange(4))
        close(arrays["effect_of"][row, 0], after - arrays["margin"])


def test_a_connection_cut_by_hand_has_the_same_effect(subject: Subject, pairs: Contrast) -> None:
    """All of an earlier stream's readers told at once: the sum of a head's inputs from the embedding."""
    config, box = subject.config, subject.box()
    head = config.n_heads - 1
    arrays = path_patch(box, pairs, ("embed",), (f"blocks.0.attn.{head}.v",)).arrays
    clean, corrupt = (
        box.activations(tokens, ["hook_embed", "blocks.0.hook_resid_pre", "blocks.0.attn.hook_v"])
        for tokens in (pairs.clean, pairs.corrupt)
    )
    stream = clean["blocks.0.hook_resid_pre"]
    told = stream + corrupt["hook_embed"] - clean["hook_embed"]
    changes = [Intervention("blocks.0.hook_resid_pre", told)]
    if config.normalization_type is not None:
        name = "blocks.0.ln1.hook_scale"
        changes.append(Intervention(name, box.activations(pairs.clean, [name])[name]))
    value = box.activations(pairs.clean, ["blocks.0.attn.hook_v"], changes)["blocks.0.attn.hook_v"]
    mask = (torch.arange(config.n_heads) == head)[:, None]
    after = box.logits(pairs.clean, [Intervention("blocks.0.attn.hook_v", value, mask=mask)])
    close(arrays["effect_of"][0, 0], pairs.metric(after, torch.arange(4)) - arrays["margin"])


def test_a_source_that_comes_later_has_no_path(subject: Subject, pairs: Contrast) -> None:
    found = path_patch(subject.box(64), pairs)
    effect, config = found.arrays["effect"], subject.config
    for row, source in enumerate(varying_writers(config)):
        for column, target in enumerate(readers(config)):
            assert bool(effect[row, column].isnan()) == (source.stage >= target.stage)
    assert found.cost == pytest.approx(paths.estimate(config, 4))
    with pytest.raises(RequestError, match="targets: none of them comes after any of the sources"):
        path_patch(subject.box(), pairs, ("blocks.0.attn.0",), ("blocks.0.attn.0.q",))
    with pytest.raises(
        RequestError, match=r'sources: unknown "blocks\.9\.mlp"; allowed: embed, blocks.0.attn.0'
    ):
        path_patch(subject.box(), pairs, ("blocks.9.mlp",))
    with pytest.raises(RequestError, match="sources: got none"):
        path_patch(subject.box(), pairs, ())


def test_a_heads_keys_add_up_to_its_direct_attribution(subject: Subject, asked: Questions) -> None:
    config, found = subject.config, head_attribution(subject.box(), asked)
    share = direct_attribution(subject.box(), asked).arrays["share"]
    for index, node in enumerate(writers(config)):
        if node.layer is not None and node.head is not None:
            close(found.arrays["head"][node.layer, :, node.head], share[index])
        elif node.name.endswith("bias"):
            assert node.layer is not None
            close(found.arrays["bias"][node.layer], share[index])
    close(found.arrays["pattern"].sum(-1), torch.ones(config.n_layers, 4, config.n_heads, 6))
    assert found.cost == pytest.approx(by_head.estimate(config, 4))
    with pytest.raises(RequestError, match=r"layers: got \(9,\); allowed: different ones from 0 to"):
        head_attribution(subject.box(), asked, (9,))
