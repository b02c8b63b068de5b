"""PPO by TRL 1.12, the last release that had it. Runs in an environment of its own."""

from __future__ import annotations

from experiments.benchmarks.trl.job import (
    ADAM_EPSILON,
    BATCH_SIZE,
    CLIP_EPSILON,
    DISCOUNT,
    GAE_LAMBDA,
    KL_COEF,
    LEARNING_RATE,
    NUM_EPOCHS,
    NUM_MINIBATCHES,
    Gold,
    clock,
    make_task,
    read_job,
    write_result,
)

started = clock()

import copy  # noqa: E402
from importlib.metadata import version  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import (  # noqa: E402
    AutoTokenizer,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer  # noqa: E402

import_seconds = clock() - started

if TYPE_CHECKING:
    from rlkit.rlhf.data.task import GoldTask


class GoldReward(torch.nn.Module):
    """The gold reward in the place of a reward model: TRL reads a score for every token."""

    base_model_prefix = "backbone"

    def __init__(self, task: GoldTask, gold: Gold) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))  # TRL wants a parameter
        self.score = torch.nn.Identity()
        self._task, self._gold = task, gold

    def backbone(self, input_ids: Any, attention_mask: Any, **_: Any) -> SimpleNamespace:
        # TRL puts 0, which is a token, where there is padding.
        tokens = torch.where(attention_mask.bool(), input_ids, self._task.pad).numpy()
        start = self._task.prompt_length
        scores = torch.from_numpy(self._gold(tokens[:, :start], tokens[:, start:])).float()
        return SimpleNamespace(hidden_states=[scores[:, None, None].repeat(1, tokens.shape[1], 1)])


class Watch(TrainerCallback):
    """The time after each update, and the divergence that TRL reports."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.logged_kl = float("nan")

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.times.append(clock())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(clock())

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        self.logged_kl = float(logs.get("objective/kl", self.logged_kl))


def main() -> None:
    torch.set_num_threads(1)
    job, folder = read_job()
    task = make_task(job.task)
    prompts = task.sample_prompts(
        np.random.default_rng(job.seed), BATCH_SIZE * min(job.num_updates, 100)
    )
    dataset = Dataset.from_dict({"input_ids": [p[p != task.pad].tolist() for p in prompts]})
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    policy = GPT2LMHeadModel.from_pretrained(job.model)
    value = GPT2ForSequenceClassification.from_pretrained(job.model, num_labels=1)
    torch.nn.init.zeros_(value.score.weight)  # the critic starts at zero, as the other side's does
    gold, watch = Gold(task, job), Watch()
    arguments = PPOConfig(
        output_dir=str(folder / "trainer"),
        seed=job.seed,
        per_device_train_batch_size=BATCH_SIZE,
        gradient_accumulation_steps=1,
        num_mini_batches=NUM_MINIBATCHES,
        num_ppo_epochs=NUM_EPOCHS,
        total_episodes=BATCH_SIZE * job.num_updates,
        local_rollout_forward_batch_size=BATCH_SIZE,
        response_length=task.max_new_tokens,
        stop_token="eos",
        temperature=1.0,
        kl_coef=KL_COEF,
        kl_estimator="k1",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="linear",
        optim="adamw_torch",
        adam_epsilon=ADAM_EPSILON,
        cliprange=CLIP_EPSILON,
        gamma=DISCOUNT,
        lam=GAE_LAMBDA,
        whiten_rewards=False,
        num_sample_generations=0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = PPOTrainer(
        arguments,
        processing_class=tokenizer,
        model=policy,
        ref_model=copy.deepcopy(policy),
        reward_model=GoldReward(task, gold),
        value_model=value,
        train_dataset=dataset,
        eval_dataset=dataset.select(range(8)),
        callbacks=[watch],
    )
    trainer.train()
    policy.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    write_result(
        folder,
        import_seconds=import_seconds,
        times=watch.times,
        logged_kl=watch.logged_kl,
        gold=gold,
        versions={name: version(name) for name in ("torch", "transformers", "trl")},
    )


if __name__ == "__main__":
    main()
