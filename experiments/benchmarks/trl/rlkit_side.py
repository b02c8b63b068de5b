"""PPO by rlkit: the weights of the same Hugging Face model, in rlkit's own transformer."""

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

from importlib.metadata import version  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from rlkit.determinism import prepared_torch  # noqa: E402
from rlkit.rlhf.data.sequences import Sequences  # noqa: E402
from rlkit.rlhf.models.gpt import GPT, GPTConfig  # noqa: E402
from rlkit.rlhf.models.gpt2_weights import gpt2_state, load_gpt2_weights  # noqa: E402
from rlkit.rlhf.training.configs import PPOConfig  # noqa: E402
from rlkit.rlhf.training.policy import KLPenalisedPolicy  # noqa: E402
from rlkit.seeding import SeedStreams  # noqa: E402

import_seconds = clock() - started


def converted(theirs: transformers.GPT2LMHeadModel, num_actions: int) -> GPT:
    """The same model as ours: same architecture, same weights, same logits."""
    sizes = theirs.config
    config = GPTConfig(
        vocab_size=sizes.vocab_size,
        num_actions=num_actions,
        context_length=sizes.n_positions,
        width=sizes.n_embd,
        num_layers=sizes.n_layer,
        num_heads=sizes.n_head,
        tied=True,
        activation="gelu_tanh",
    )
    gpt = GPT(config, np.random.default_rng(0))
    load_gpt2_weights(gpt, theirs.state_dict())
    return gpt


def main() -> None:
    torch.set_num_threads(1)
    job, folder = read_job()
    task = make_task(job.task)
    gold = Gold(task, job)

    def score(sequences: Sequences) -> np.ndarray:
        return gold(sequences.prompts.numpy(), sequences.responses.numpy())

    config = PPOConfig(
        num_updates=job.num_updates,
        batch_size=BATCH_SIZE,
        num_epochs=NUM_EPOCHS,
        minibatch_size=BATCH_SIZE // NUM_MINIBATCHES,
        learning_rate=LEARNING_RATE,
        final_learning_rate=1 / job.num_updates,
        clip_epsilon=CLIP_EPSILON,
        kl_coef=KL_COEF,
        kl_estimator="k1",
        discount=DISCOUNT,
        gae_lambda=GAE_LAMBDA,
    )
    theirs = transformers.GPT2LMHeadModel.from_pretrained(job.model)
    policy, reference = (converted(theirs, task.num_actions) for _ in range(2))
    agent = KLPenalisedPolicy(policy, reference, score, task, config, SeedStreams(job.seed, 0))
    update = agent.token_update
    assert update.critic is not None
    for descent in (update.policy, update.critic):
        assert descent.optimiser.defaults["eps"] == ADAM_EPSILON
    times, metrics = [clock()], {}
    with prepared_torch():  # as every run does it
        for _ in range(job.num_updates):
            metrics = agent.update()
            times.append(clock())
    theirs.load_state_dict(gpt2_state(policy), strict=False)
    theirs.save_pretrained(folder / "policy")
    transformers.AutoTokenizer.from_pretrained(job.model).save_pretrained(folder / "policy")
    write_result(
        folder,
        import_seconds=import_seconds,
        times=times,
        logged_kl=metrics["kl"],
        gold=gold,
        versions={name: version(name) for name in ("torch", "transformers", "rlkit")},
    )


if __name__ == "__main__":
    main()
