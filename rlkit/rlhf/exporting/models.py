"""Trained policies and reward models as models of transformers, with equal logits."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch

from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.gpt import GPT
from rlkit.rlhf.models.gpt2_weights import gpt2_model
from rlkit.rlhf.models.huggingface.classifier import SCORE_OFFSET
from rlkit.rlhf.models.huggingface.folder import import_optional, silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.training.reward_model import RewardModel


class Classifier(NamedTuple):
    """A sequence classifier with one label."""

    model: Any  # of transformers
    offset: float  # a reward model's score is the logit plus this constant


def causal_model(policy: LanguageModel, codec: TextCodec, *, rows: int | None = None) -> Any:
    """Return a policy without adapters as a causal language model of transformers.

    Args:
        policy: one of a folder is changed in place.
        codec: of its tokens.
        rows: ids of the model in the folder; a row that was added for padding is removed, because
            its tokenizer does not have it.
    """
    if isinstance(policy, GPT):
        return gpt2_model(policy, eos=codec.eos, pad=codec.pad)
    assert isinstance(policy, HuggingFaceModel)
    model = policy.model
    if rows is not None and rows < len(model.get_input_embeddings().weight):
        with silenced_transformers():
            model.resize_token_embeddings(rows, mean_resizing=False)
    return model


def classifier(reward: RewardModel, codec: TextCodec) -> Classifier:
    """Return a reward model without adapters as a sequence classifier of transformers.

    Its one logit is the score without a constant, because its last layer has no bias.

    Raises:
        UsageError: transformers has no sequence classifier of this family.
    """
    causal = causal_model(reward.trunk, codec)
    auto = import_optional("transformers").AutoModelForSequenceClassification
    config = copy.deepcopy(causal.config)
    config.num_labels = 1
    # The score is read from the last token that is not padding.
    config.get_text_config().pad_token_id = codec.pad
    gain, bias = float(reward.gain), float(reward.bias)
    offset = gain * float(reward.head.bias) + bias
    setattr(config, SCORE_OFFSET, offset)
    with silenced_transformers():
        try:
            model = auto.from_config(config).eval()
        except ValueError as error:
            raise UsageError(
                f"transformers has no sequence classifier of the type {config.model_type!r}, so "
                "this reward model cannot be exported; use it with rlkit.rlhf.score"
            ) from error
    model.base_model.load_state_dict(causal.base_model.state_dict())
    with torch.no_grad():
        model.score.weight.copy_(gain * reward.head.weight.detach().unsqueeze(0))
    return Classifier(model, offset)


def generation_options(
    policy: LanguageModel, task: LanguageTask, num_rows: int, temperature: float
) -> dict[str, Any]:
    """Return the options by which `generate` samples from the distribution that was trained.

    Ids that the policy never chooses, such as padding, are suppressed.

    Args:
        policy: the policy.
        task: of its texts.
        num_rows: ids that the exported model has logits for.
        temperature: of its training.
    """
    unchosen = [i for i in range(num_rows) if i >= policy.num_actions or i == task.pad]
    return {
        "do_sample": True,
        "temperature": temperature,
        "top_k": 0,
        "top_p": 1.0,
        "max_new_tokens": task.max_new_tokens,
        "eos_token_id": task.eos,
        "pad_token_id": task.pad if task.pad < num_rows else task.eos,
        **({"suppress_tokens": unchosen} if unchosen else {}),
    }
