from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from edits.camouflage.base import rewritten
from edits.camouflage.folder import exact_passes
from game.api import AccessError, Intervention, RequestError
from game.toolbox.live import ModelToolbox
from game.tools import region_change as by_change
from game.tools.diff import ROUNDING
from game.tools.kit.norms import centred
from game.tools.kit.regions import hamming, read_relu_layer
from game.tools.region import estimate, region
from game.tools.region_change import region_change
from models.checkpoints import checkpoint_of
from models.transformer import Transformer
from tests.game.tools.conftest import SHAPES, Subject, close, random_model, samples_of

RELU = ("windows", "no-norm")
SAMPLES = samples_of(60, 8)
HOLDS = torch.arange(6) < SAMPLES.lengths[:, None]


@pytest.fixture(params=RELU)
def relu(request: pytest.FixtureRequest) -> Subject:
    return Subject(random_model(SHAPES[request.param], request.param))


def changed(subject: Subject, name: str, change: Callable[[Tensor], Tensor]) -> Transformer:
    model = Transformer(subject.config)
    model.load_state_dict(subject.model.state_dict())
    weight = model.get_parameter(name).detach()
    weight.copy_(change(weight))
    return model


def scrambled(subject: Subject, seed: int) -> Transformer:
    weights = rewritten(
        checkpoint_of(subject.model).weights, subject.config, exact_passes(subject.config), seed
    )
    moved = Transformer(subject.config)
    moved.load_state_dict(dict(weights))
    return moved


def against(model: Transformer, reference: Transformer) -> ModelToolbox:
    return ModelToolbox(model, league="reference", corpus=samples_of, total=1e6, reference=reference)


def test_the_map_is_exact_inside_the_region_with_the_norm_frozen(relu: Subject) -> None:
    """A step that flips no neuron moves the MLP's output by the map, up to a mean that no part sees."""
    box, layer, config = relu.box(), 1, relu.config
    mid, out, pre = (f"blocks.1.{name}" for name in ("hook_resid_mid", "hook_mlp_out", "mlp.hook_pre"))
    scale = "blocks.1.ln2.hook_scale"
    normed = config.normalization_type is not None
    names = [mid, out, pre, *([scale] if normed else [])]
    before = box.activations(SAMPLES.tokens, names)
    step = 1e-3 * torch.randn(before[mid].shape, generator=torch.Generator().manual_seed(4))
    frozen = [Intervention(scale, before[scale], "set")] if normed else []
    after = box.activations(SAMPLES.tokens, names, [Intervention(mid, step, "add"), *frozen])
    codes = before[pre] > 0
    inside = HOLDS & ((after[pre] > 0) == codes).all(-1)
    assert inside.sum() > 100
    maps = read_relu_layer(box, layer).maps(codes[inside])
    moved = centred(step.double(), config) / (before[scale].double() if normed else 1.0)
    expected = (moved[inside][:, None] @ maps)[:, 0]
    close(centred((after[out] - before[out]).double(), config)[inside], expected, 1e-5)


def test_norms_and_distances_are_those_of_the_maps_and_codes(relu: Subject) -> None:
    box = relu.box()
    found = region(box, SAMPLES, 0)
    arrays = found.arrays
    maps = read_relu_layer(box, 0).maps(arrays["codes"])
    close(arrays["norm"], maps.flatten(1).norm(dim=1))
    values = torch.linalg.svdvals(maps)
    close(arrays["concentration"], values[:, 0] ** 2 / values.square().sum(1))
    nearest = arrays["neighbour"]
    close(arrays["step"], (maps - maps[nearest]).flatten(1).norm(dim=1) / arrays["norm"])
    apart = hamming(arrays["codes"], arrays["codes"]).fill_diagonal_(1)
    close(arrays["distance"], apart.amin(1))
    close(apart[torch.arange(len(apart)), nearest], arrays["distance"])
    assert (arrays["concentration"].diff() <= 0).all()
    assert found.cost == pytest.approx(estimate(relu.config, 60, 0))


def test_every_token_lies_on_the_piece_of_its_code(relu: Subject) -> None:
    box = relu.box()
    arrays = region(box, SAMPLES, 0).arrays
    on = (box.activations(SAMPLES.tokens, ["blocks.0.mlp.hook_pre"])["blocks.0.mlp.hook_pre"] > 0).long()
    assert torch.equal(arrays["codes"][arrays["piece"][HOLDS]], on[HOLDS])
    assert (arrays["piece"][~HOLDS] == -1).all()
    assert torch.equal(arrays["count"], torch.bincount(arrays["piece"][HOLDS]))
    first = arrays["piece"][arrays["sample"], arrays["pos"]]
    assert torch.equal(first, torch.arange(len(first)))


@pytest.mark.parametrize("seed", range(2))
def test_no_exact_rewriting_changes_what_is_told(relu: Subject, seed: int) -> None:
    plain = region(relu.box(), SAMPLES, 0).arrays
    moved = region(Subject(scrambled(relu, seed)).box(), SAMPLES, 0).arrays
    for name in ("norm", "concentration", "coherence", "distance"):
        close(moved[name].sort().values, plain[name].sort().values, 1e-4)


def test_a_rank_one_addition_to_the_writes_is_the_direction_of_the_first_piece(relu: Subject) -> None:
    generator = torch.Generator().manual_seed(5)
    size, d_model = relu.config.d_mlp, relu.config.d_model
    write = centred(torch.randn(d_model, generator=generator), relu.config)
    edit = torch.outer(torch.rand(size, generator=generator), write)
    model = changed(relu, "blocks.0.mlp.W_out", lambda weight: weight + 3 * edit)
    plain, found = (region(each.box(), SAMPLES, 0) for each in (relu, Subject(model)))
    assert found.summary[0].stands_out
    assert found.summary[0].value > plain.summary[0].value
    assert float(found.arrays["direction"][0] @ write.double() / write.norm()) ** 2 > 0.9
    pieces = (torch.unique(each.arrays["codes"], dim=0) for each in (found, plain))
    assert torch.equal(*pieces)  # the same ones, in another order


def test_an_edit_of_the_writes_keeps_codes_and_one_of_the_reads_does_not(relu: Subject) -> None:
    generator = torch.Generator().manual_seed(6)
    reference = scrambled(relu, 3)

    def louder(weight: Tensor) -> Tensor:
        vectors = [torch.randn(n, generator=generator) for n in weight.shape]
        return weight + 0.5 * torch.outer(*vectors)

    written, read = (
        region_change(against(changed(relu, f"blocks.0.mlp.{name}", louder), reference), SAMPLES, 0)
        for name in ("W_out", "W_in")
    )
    # largest change of a map, share of codes changed, change of reads, change of writes
    assert [each.stands_out for each in written.summary] == [True, False, False, True]
    assert [each.stands_out for each in read.summary][:3] == [True, True, True]
    assert written.cost == pytest.approx(by_change.estimate(relu.config, 60, 0))


@pytest.mark.parametrize("seed", range(3))
def test_a_reference_in_other_coordinates_changes_nothing(relu: Subject, seed: int) -> None:
    found = region_change(against(relu.model, scrambled(relu, seed)), SAMPLES, 1)
    assert [each.stands_out for each in found.summary] == [False] * 4
    assert found.arrays["write_change"].max() < ROUNDING
    assert not found.arrays["flips"][HOLDS].any()
    assert found.arrays["flips"][~HOLDS].isnan().all()


def test_what_has_no_regions_is_refused_for_nothing(relu: Subject) -> None:
    box, layers = relu.box(), [l for l, has in enumerate(relu.config.mlp) if has]
    with pytest.raises(
        RequestError, match=rf"layer: got 7; layers with an MLP: \[{layers[0]}, {layers[1]}\]"
    ):
        region(box, SAMPLES, 7)
    with pytest.raises(AccessError, match="reference: not granted by the whitebox league"):
        region_change(box, SAMPLES, 0)
    with pytest.raises(RequestError, match='other: got "base"; allowed: reference, sibling'):
        region_change(box, SAMPLES, 0, "base")  # type: ignore[arg-type]
    gelu = Subject(random_model(replace(relu.config, act_fn="gelu"), "gelu")).box()
    with pytest.raises(
        RequestError, match="model: its neurons are gelu; wanted relu, which alone has regions"
    ):
        region(gelu, SAMPLES, 0)
    assert box.budget.spent == gelu.budget.spent == 0
