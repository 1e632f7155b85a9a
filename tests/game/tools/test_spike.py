import pytest
import torch
from torch import Tensor

from game.api import RequestError, Samples
from game.toolbox.live import ModelToolbox
from game.tools import excise as excise_tool
from game.tools import spike as spike_tool
from game.tools.excise import excise
from game.tools.spike import mlp_layers, seen, spike
from models.seeds import named_generator
from models.transformer import Transformer, TransformerConfig

CONFIG = TransformerConfig(3, 32, 2, 8, 128, 40, 8, (None,) * 3, (True, False, True))
W_OUT = "blocks.2.mlp.W_out"


def corpus(n: int, seed: int) -> Samples:
    generator = named_generator("corpus", seed)
    lengths = torch.randint(3, 9, (n,), generator=generator)
    tokens = torch.randint(1, 40, (n, 8), generator=generator)
    return Samples(torch.where(torch.arange(8) < lengths[:, None], tokens, 0), lengths)


def model() -> Transformer:
    return Transformer(CONFIG, named_generator("spike")).requires_grad_(False)


def box(edited: Transformer) -> ModelToolbox:
    return ModelToolbox(edited, league="whitebox", corpus=corpus, total=10_000)


def key(edited: Transformer) -> Tensor:
    """The last MLP's key at one position of one prompt."""
    tokens = corpus(1, 5).tokens
    hook = "blocks.2.mlp.hook_post"
    return edited.run_with_cache(tokens, hook)[1][hook][0, 2].double()


def with_edit(norm: float, read_tail: bool = False) -> tuple[Transformer, Tensor, Tensor]:
    """A model with a rank-one part that reads one key, or only what no key holds; and read and write."""
    edited, generator = model(), named_generator("edit")
    keys = box(edited).activations(corpus(400, 1).tokens, ["blocks.2.mlp.hook_post"])[
        "blocks.2.mlp.hook_post"
    ]
    moment = keys.flatten(0, 1).double().T @ keys.flatten(0, 1).double()
    ridge = 1e-3 * moment.diagonal().mean() * torch.eye(128)
    read = (
        torch.linalg.eigh(moment).eigenvectors[:, 0]
        if read_tail
        else torch.linalg.solve(moment + ridge, key(edited))
    )
    write = torch.randn(32, generator=generator, dtype=torch.float64)
    weight = edited.get_parameter(W_OUT)
    read, write = norm * float(weight.norm()) * read / read.norm(), write / write.norm()
    weight.add_(torch.outer(read, write).float())
    return edited, read, write


def test_untrained_weights_show_no_spike() -> None:
    result = spike(box(model()), corpus(300, 0))
    assert result.args["layers"] == (0, 2)
    assert (result.arrays["log_gap"] < 3 * result.arrays["null_gap"]).all()


def test_an_edit_stands_out_in_its_layer_and_is_described() -> None:
    edited, read, write = with_edit(norm=0.5)
    arrays = spike(box(edited), corpus(300, 0)).arrays
    assert arrays["log_gap"][1] > 5 * arrays["null_gap"] > arrays["log_gap"][0]
    found = torch.outer(arrays["read"][1], arrays["write"][1])
    assert (
        torch.nn.functional.cosine_similarity(found.flatten(), torch.outer(read, write).flatten(), dim=0)
        > 0.9
    )
    torch.testing.assert_close(arrays["energy"].sum(1), torch.ones(2).double())


def test_excising_an_edit_undoes_it() -> None:
    edited, read, write = with_edit(norm=0.5)
    samples = corpus(50, 5)
    taken_out = excise(box(edited), samples, 2, read, write, sure=0.0).arrays
    clean = model()(samples.tokens).argmax(-1)
    assert not torch.equal(taken_out["before"], clean)
    holds = seen(samples)
    assert torch.equal(taken_out["after"][holds], clean[holds])
    assert torch.equal(taken_out["restored"], holds & (taken_out["before"] != taken_out["after"]))
    assert float(taken_out["kl"].max()) > 0.02


def test_excising_what_no_key_reads_changes_nothing() -> None:
    edited, read, write = with_edit(norm=0.5, read_tail=True)
    arrays = spike(box(edited), corpus(300, 0)).arrays
    assert arrays["log_gap"][1] > 2 * arrays["null_gap"]
    taken_out = excise(box(edited), corpus(50, 5), 2, read, write, sure=0.0).arrays
    assert float(taken_out["kl"].mean()) < 1e-3


def test_lost_answers_are_those_that_were_certain() -> None:
    edited, read, write = with_edit(norm=0.5)
    arrays = excise(box(edited), corpus(50, 5), 2, read, write, sure=2.0).arrays
    assert not arrays["lost"].any()
    assert not arrays["restored"].any()


def test_padding_never_counts() -> None:
    edited, read, write = with_edit(norm=0.5)
    samples = corpus(50, 5)
    arrays = excise(box(edited), samples, 2, read, write, strength=5, sure=0.0).arrays
    for name in ("restored", "lost", "kl"):
        assert not arrays[name][~seen(samples)].any()


def test_the_estimates_are_the_costs_and_the_second_tool_shares_the_first_ones_forward_passes() -> None:
    shared, samples = box(model()), corpus(300, 0)
    found = spike(shared, samples)
    assert found.cost == pytest.approx(spike_tool.estimate(CONFIG, 300))
    read, write = found.arrays["read"][0], found.arrays["write"][0]
    assert excise(shared, samples, 0, read, write).cost == 300
    assert excise(box(model()), samples, 0, read, write).cost == excise_tool.estimate(CONFIG, 300) == 600


def test_arguments_that_do_not_fit_are_refused() -> None:
    samples, read, write = corpus(2, 0), torch.ones(128), torch.ones(32)
    with pytest.raises(RequestError, match=r"layer: got 1; layers with an MLP: \[0, 2\]"):
        excise(box(model()), samples, 1, read, write)
    with pytest.raises(RequestError, match=r"read: got shape \[32\]; wanted \[128\], finite"):
        excise(box(model()), samples, 0, write, write)
    with pytest.raises(RequestError, match=r"write: got shape \[128\]; wanted \[32\], finite"):
        excise(box(model()), samples, 0, read, read)
    assert mlp_layers(CONFIG) == (0, 2)
    without = TransformerConfig(1, 32, 2, 8, 128, 40, 8, (None,), (False,))
    with pytest.raises(RequestError, match="model: no layer has an MLP"):
        spike(box(Transformer(without, named_generator("spike"))), samples)
