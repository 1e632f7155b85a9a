import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoints import Checkpoint
from models.interop import export, from_tl_state_dict, hooked_transformer, tl_fields
from models.transformer import Transformer
from tests.interop import parity
from tests.interop.peers import peer, random_checkpoint, some_tokens

transformer_lens = peer("transformer_lens", "transformer-lens", "3.")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs: this whole version is deprecated

CHECKPOINT = random_checkpoint()
NAMES = CHECKPOINT.config.hook_names()


@pytest.fixture(scope="module")
def ours() -> Transformer:
    return CHECKPOINT.model().eval()


@pytest.fixture(scope="module")
def theirs() -> Any:
    model = hooked_transformer(CHECKPOINT)
    model.set_use_attn_result(True)
    return model


@pytest.mark.parametrize("norm", ["LN", "RMS", None])
@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize("window", [(None, None, None), (2, None, 2), (3, 10, 3), (1, 1, 1)])
@pytest.mark.parametrize("mlp", [(True, True, True), (True, False, False), (False, False, False)])
def test_an_exported_model_has_the_same_logits(norm: str | None, act: str, window: Any, mlp: Any) -> None:
    checkpoint = random_checkpoint(normalization_type=norm, act_fn=act, window=window, mlp=mlp)
    parity.assert_same_logits(checkpoint.model(), hooked_transformer(checkpoint))


@pytest.mark.parametrize("name", NAMES)
def test_every_hook_point_holds_the_same(ours: Transformer, theirs: Any, name: str) -> None:
    parity.assert_same_activation(ours, theirs, name)


@pytest.mark.parametrize("name", NAMES)
def test_every_intervention_does_the_same(ours: Transformer, theirs: Any, name: str) -> None:
    parity.assert_same_effect(ours, theirs, name)


@pytest.mark.parametrize("patch", [*parity.PATCHES, "get_act_patch_resid_mid"])
def test_its_patching_runs_on_our_model(ours: Transformer, theirs: Any, patch: str) -> None:
    parity.assert_same_patching(ours, theirs, transformer_lens, patch)


def test_its_cache_decomposes_our_residual_stream(ours: Transformer, theirs: Any) -> None:
    parity.assert_same_cache_methods(ours, theirs, transformer_lens)


def test_the_readme_of_an_export_loads_it(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(window=(2, None, 2), mlp=(True, False, True))
    export(checkpoint, "tl3", tmp_path / "out")
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


def test_its_own_state_dict_and_config_come_back_as_the_same_bytes() -> None:
    for window in ((None, None, None), (2, None, 2)):
        checkpoint = random_checkpoint(window=window)
        model = hooked_transformer(checkpoint)
        assert any(name.endswith(".mask") for name in model.state_dict())
        assert from_tl_state_dict(model.state_dict(), model.cfg.to_dict()).hash == checkpoint.hash


@pytest.mark.parametrize("kind", ["LN", "RMS"])
def test_a_model_with_folded_norms_comes_back_with_the_same_logits(kind: str) -> None:
    checkpoint = random_checkpoint(normalization_type=kind)
    model = hooked_transformer(checkpoint)
    model.process_weights_(fold_ln=True, center_writing_weights=kind == "LN", center_unembed=True)
    assert model.cfg.normalization_type == f"{kind}Pre"
    folded = from_tl_state_dict(model.state_dict(), model.cfg.to_dict())
    assert folded.config.normalization_type == kind
    parity.assert_same_logits(folded.model(), model)


@pytest.mark.parametrize("attn_only", [False, True])
def test_a_model_born_there_comes_here(attn_only: bool) -> None:
    fields = tl_fields(random_checkpoint(act_fn="gelu").config) | {"attn_only": attn_only, "seed": 1}
    model = transformer_lens.HookedTransformer(
        transformer_lens.HookedTransformerConfig(**fields, device="cpu")
    )
    imported: Checkpoint = from_tl_state_dict(model.state_dict(), model.cfg.to_dict())
    assert imported.config.attn_only == attn_only
    parity.assert_same_logits(imported.model(), model)
