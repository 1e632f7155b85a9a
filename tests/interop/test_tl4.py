import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.interop import export, from_tl_state_dict, transformer_bridge
from models.transformer import Transformer
from tests.interop import parity
from tests.interop.peers import disturb, peer, random_checkpoint, some_tokens

transformer_lens = peer("transformer_lens", "transformer-lens", "4.")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

CHECKPOINT = random_checkpoint()
MISBEHAVING = ("attn.hook_attn_scores", "hook_resid_mid", "attn.hook_result")  # in 4.3's native models
NAMES = [name for name in CHECKPOINT.config.hook_names() if not name.endswith(MISBEHAVING)]


@pytest.fixture(scope="module")
def ours() -> Transformer:
    return CHECKPOINT.model().eval()


@pytest.fixture(scope="module")
def theirs() -> Any:
    return transformer_bridge(CHECKPOINT)


@pytest.mark.parametrize("norm", ["LN", "RMS", None])
@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize("mlp", [(True, True, True), (True, False, False), (False, False, False)])
def test_an_exported_model_has_the_same_logits(norm: str | None, act: str, mlp: Any) -> None:
    checkpoint = random_checkpoint(normalization_type=norm, act_fn=act, mlp=mlp, window=(None, 10, None))
    parity.assert_same_logits(checkpoint.model(), transformer_bridge(checkpoint))


@pytest.mark.parametrize("name", NAMES)
def test_hook_points_hold_the_same(ours: Transformer, theirs: Any, name: str) -> None:
    parity.assert_same_activation(ours, theirs, name)


@pytest.mark.parametrize("name", NAMES)
def test_interventions_do_the_same(ours: Transformer, theirs: Any, name: str) -> None:
    parity.assert_same_effect(ours, theirs, name)


def test_known_failure_its_scores_are_the_pattern_and_ignore_edits(ours: Transformer, theirs: Any) -> None:
    """When this fails, TransformerLens is mended: move the name to the others and amend our docs."""
    name = "blocks.1.attn.hook_attn_scores"
    _, cache = theirs.run_with_cache(some_tokens())
    _, own = ours.run_with_cache(some_tokens())
    torch.testing.assert_close(cache[name], own["blocks.1.attn.hook_pattern"], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        edited = theirs.run_with_hooks(some_tokens(), fwd_hooks=[(name, disturb)])
        assert torch.equal(edited, theirs(some_tokens()))


def test_known_failure_an_edit_of_its_resid_mid_skips_the_skip_path(ours: Transformer, theirs: Any) -> None:
    """When this fails, TransformerLens is mended: move the name to the others and amend our docs."""
    name = "blocks.1.hook_resid_mid"
    parity.assert_same_activation(ours, theirs, name)
    with torch.no_grad():
        own = ours.run_with_hooks(some_tokens(), [(name, disturb)])
        other = theirs.run_with_hooks(some_tokens(), fwd_hooks=[(name, disturb)])
    assert (own - other).abs().max() > 1e-2


def test_known_failure_it_has_no_results_of_heads(theirs: Any) -> None:
    """When this fails, TransformerLens is mended: move the name to the others and amend our docs."""
    with pytest.raises(NotImplementedError, match="Per-head result computation is unavailable"):
        theirs.set_use_attn_result(True)


@pytest.mark.parametrize("patch", parity.PATCHES)
def test_its_patching_runs_on_our_model(ours: Transformer, theirs: Any, patch: str) -> None:
    parity.assert_same_patching(ours, theirs, transformer_lens, patch)


def test_its_cache_decomposes_our_residual_stream(ours: Transformer, theirs: Any) -> None:
    parity.assert_same_cache_methods(ours, theirs, transformer_lens)


def test_our_model_is_its_structural_model(ours: Transformer) -> None:
    protocol = transformer_lens.model_protocol
    assert isinstance(ours, protocol.TransformerLensModel)
    members = [name for name in vars(protocol.TransformerLensModelWithWeights) if not name.startswith("_")]
    assert "accumulated_bias" in members
    assert [name for name in members if not hasattr(ours, name)] == []


def test_the_readme_of_an_export_loads_it(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(mlp=(True, False, True))
    export(checkpoint, "tl4", tmp_path / "out")
    code = (
        (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    )
    code += f"\nprint(model(__import__('torch').tensor({some_tokens().tolist()})).tolist())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path / "out", capture_output=True, text=True, check=True,
    )  # fmt: skip
    logits = torch.tensor(json.loads(done.stdout.strip().splitlines()[-1]))
    torch.testing.assert_close(logits, checkpoint.model()(some_tokens()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["LN", "RMS", None])
def test_its_own_parameters_and_config_come_back_as_the_same_bytes(norm: str | None) -> None:
    checkpoint = random_checkpoint(normalization_type=norm)
    model = transformer_bridge(checkpoint)
    assert from_tl_state_dict(model.tl_parameters(), model.cfg.to_dict()).hash == checkpoint.hash
