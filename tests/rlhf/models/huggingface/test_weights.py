"""How the weights of a folder are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.folder import silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel

transformers = pytest.importorskip("transformers")

from tests.rlhf.models.huggingface.small_models import PAD  # noqa: E402


def test_gpt2_has_the_fused_gelu_of_torch(folders: Any) -> None:
    slow = transformers.activations.NewGELUActivation
    fused = HuggingFaceModel(folders["gpt2"])
    assert not any(isinstance(module, slow) for module in fused.modules())
    activation = fused.model.transformer.h[0].mlp.act
    x = torch.linspace(-6, 6, 1001, dtype=torch.float64)
    torch.testing.assert_close(activation(x), slow()(x), rtol=0, atol=1e-12)


def test_a_model_that_scales_its_logits_is_rejected(folder: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CohereConfig(
        vocab_size=9, intermediate_size=16, logit_scale=0.5, **sizes, pad_token_id=PAD
    )
    with silenced_transformers():
        transformers.CohereForCausalLM(config).save_pretrained(folder)
    with pytest.raises(UsageError, match="more to its logits than one linear layer"):
        HuggingFaceModel(folder)


def test_weights_that_are_no_numbers_are_rejected_by_name(folder: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    file = folder / "model.safetensors"
    weights = safetensors.load_file(file)
    weights["transformer.h.0.mlp.c_fc.weight"][0, 0] = float("nan")
    safetensors.save_file(weights, file, {"format": "pt"})
    with pytest.raises(UsageError, match=r"the weights transformer\.h\.0\.mlp\.c_fc\.weight hold"):
        HuggingFaceModel(folder)
