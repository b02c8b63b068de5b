"""The policy that both sides start from, and what a policy is worth afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import response_log_probs
from rlkit.rlhf.data.task import GoldTask, LanguageTask
from rlkit.rlhf.exact.answer_key import AnswerKey, is_enumerable
from rlkit.rlhf.models.huggingface.folder import silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel

NUM_DEMONSTRATIONS = 8192
NUM_EPOCHS = 6
SFT_BATCH_SIZE = 64
SFT_LEARNING_RATE = 3e-3
NUM_SAMPLES = 4096  # of each policy, where responses cannot be listed


def save_start(task: LanguageTask, seed: int, folder: Path) -> None:
    """Fine-tune a small GPT-2 on demonstrations and save it with a tokenizer of the task's names.

    This is plain transformers and torch, over all tokens, so that neither side made the start. Each
    seed has its own: how far PPO comes depends on the start as much as on anything else.
    """
    words = WordLevel({name: i for i, name in enumerate(task.token_names)}, unk_token="<unk>")
    splitter = Tokenizer(words)
    splitter.pre_tokenizer = WhitespaceSplit()
    names = {"eos_token": task.token_names[task.eos], "pad_token": task.token_names[task.pad]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, padding_side="left", **names)
    config = GPT2Config(
        **{"vocab_size": task.vocab_size, "n_embd": 64, "n_layer": 2, "n_head": 2},
        **{"n_positions": task.prompt_length + task.max_new_tokens},
        **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        **{"bos_token_id": None, "eos_token_id": task.eos, "pad_token_id": task.pad},
    )
    rng = np.random.default_rng(seed)
    prompts, responses = task.demonstrations(rng, NUM_DEMONSTRATIONS)
    tokens = torch.from_numpy(np.concatenate([prompts, responses], axis=1))
    targets = tokens.masked_fill(tokens == task.pad, -100)
    targets[:, : task.prompt_length] = -100  # prompts are given, not learned
    real = tokens != task.pad
    real[:, task.prompt_length :] = True  # padding on the right needs no mask
    positions = (real.cumsum(1) - 1).clamp(min=0)
    torch.manual_seed(seed)  # transformers draws initial weights from torch's own generator
    model = GPT2LMHeadModel(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=SFT_LEARNING_RATE)
    steps = NUM_EPOCHS * NUM_DEMONSTRATIONS // SFT_BATCH_SIZE
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
    for _ in range(NUM_EPOCHS):
        for index in rng.permutation(NUM_DEMONSTRATIONS).reshape(-1, SFT_BATCH_SIZE):
            logits = model(
                input_ids=tokens[index], attention_mask=real[index], position_ids=positions[index]
            ).logits
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[index, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            falling.step()
    with silenced_transformers():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Judge:
    """What policies are worth: exactly where responses can be listed, else from samples."""

    def __init__(self, task: GoldTask, start: Path, kl_coef: float) -> None:
        self.task, self._kl_coef = task, kl_coef
        self._reference = self._load(start)
        self._key: AnswerKey | None = None
        if is_enumerable(task):
            self._key = AnswerKey(task, self._reference)
            self.gain, self.bias = self._key.scale.gain, self._key.scale.bias
        else:
            _, gold = self._sample(self._reference)
            self.gain = 1 / float(gold.std())
            self.bias = -float(gold.mean()) * self.gain

    def _load(self, folder: Path) -> HuggingFaceModel:
        return HuggingFaceModel(folder, num_actions=self.task.num_actions)

    def _sample(self, policy: HuggingFaceModel) -> tuple[Any, Any]:
        task, rng = self.task, np.random.default_rng(12345)
        sequences = generate(policy, task, task.sample_prompts(rng, NUM_SAMPLES), rng).sequences
        return sequences, task.gold(sequences.prompts.numpy(), sequences.responses.numpy())

    def optimum_kl(self) -> float | None:
        """The divergence of the best policy."""
        if self._key is None:
            return None
        best = exact_optimum(self._key, self._kl_coef)
        return self._key.values(best, self._key.gold, self._kl_coef).kl

    @torch.no_grad()
    def values(self, folder: Path) -> dict[str, float]:
        """Divergence in nats, gold and objective; the gap to the optimum if it is known."""
        policy = self._load(folder)
        if self._key is not None:
            found = self._key.values(self._key.log_probs(policy), self._key.gold, self._kl_coef)
            return {name: getattr(found, name) for name in ("kl", "gold", "objective", "gap")}
        sequences, raw = self._sample(policy)
        models = (policy, self._reference)
        own, theirs = (response_log_probs(model, sequences)[0].sum(1) for model in models)
        kl, gold = float((own - theirs).mean()), self.gain * float(raw.mean()) + self.bias
        error = float((own - theirs).std()) / NUM_SAMPLES**0.5
        objective = gold - self._kl_coef * kl
        return {"kl": kl, "kl_standard_error": error, "gold": gold, "objective": objective}


def exact_optimum(key: AnswerKey, kl_coef: float) -> Any:
    """log pi* of every response."""
    from rlkit.rlhf.exact import optimum as exact

    return exact.optimum(key.reference_log_prob, key.gold, kl_coef).log_prob
