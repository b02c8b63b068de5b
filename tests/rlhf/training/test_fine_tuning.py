"""Supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.rlhf.data.preferences import demonstrations_of
from rlkit.rlhf.data.sequences import Sequences, pack
from rlkit.rlhf.evaluation.text_metrics import perplexity
from rlkit.rlhf.models.gpt import GPT, GPTConfig
from rlkit.rlhf.models.layers import torch_seeded
from rlkit.rlhf.models.lora import add_adapters
from rlkit.rlhf.training.configs import SFTConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.rlhf.training.fine_tuning import negative_log_likelihood, supervised_fine_tuning
from rlkit.seeding import SeedStreams

STREAMS = SeedStreams(0, 0)
CONFIG = SFTConfig(num_epochs=3, batch_size=16, learning_rate=1e-2)


def gpt_for(task: Any, **options: Any) -> GPT:
    config = GPTConfig(
        vocab_size=task.vocab_size, num_actions=task.num_actions, context_length=16,
        **{"width": 16, "num_layers": 1, **options},
    )  # fmt: skip
    return GPT(config, STREAMS.generator("init"))


def demonstrations(task: Any, n: int = 40) -> Sequences:
    return demonstrations_of(task, np.random.default_rng(0), n)


def test_the_loss_is_the_mean_over_response_tokens_with_eos_and_without_prompt(small: Any) -> None:
    task = small.task
    prompt = task.prompts[0].tolist()
    responses = [[0, task.eos], [1, 2, 1, 0]]
    batch = pack([prompt, prompt], responses, pad=task.pad)
    gpt = gpt_for(task)
    stage = supervised_fine_tuning(gpt, batch, CONFIG, STREAMS)
    losses = []
    with torch.no_grad():
        for response in responses:
            for t, token in enumerate(response):
                state = gpt(torch.tensor([prompt + response[:t]]))[0, -1]
                losses.append(-float(gpt.unembed(state).log_softmax(0)[token]))
    assert len(losses) == 6
    assert stage.update()["loss"] == pytest.approx(np.mean(losses), abs=1e-5)


def test_fine_tuning_reaches_the_entropy_of_what_it_imitates(language: Any) -> None:
    """Held-out loss against that of the process that wrote the demonstrations."""
    held_out = demonstrations_of(language.task, np.random.default_rng(1), 4096)
    nll, tokens = negative_log_likelihood(language.reference, held_out)
    parts = (held_out.prompts.numpy(), held_out.responses.numpy())
    log_prob = language.task.generator_log_prob(*parts)
    excess = (nll + log_prob.sum()) / tokens
    # Not below it by chance: the standard error of a difference of so many tokens is about 0.002.
    assert -0.006 < excess < 0.03


def test_perplexity_of_a_model_that_knows_nothing_is_the_number_of_actions(small: Any) -> None:
    gpt = gpt_for(small.task, tied=True)
    torch.nn.init.zeros_(gpt.embedding)  # so all logits are 0
    nll, tokens = negative_log_likelihood(gpt, demonstrations(small.task))
    assert perplexity(nll, tokens) == pytest.approx(small.task.num_actions, rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_perplexity_is_the_same_in_any_batch_and_with_any_padding(
    ragged: Any, batch_size: int
) -> None:
    task = ragged.task
    rng = np.random.default_rng(2)
    prompts = [rng.integers(8, 12, rng.integers(1, 6)).tolist() for _ in range(20)]
    responses = [[*rng.integers(0, 6, rng.integers(1, 5)).tolist(), task.eos] for _ in range(20)]
    tight = pack(prompts, responses, pad=task.pad)
    wide = pack(prompts, responses, pad=task.pad, prompt_length=9, max_new_tokens=12)
    expected = negative_log_likelihood(ragged.reference, tight)
    nll, tokens = negative_log_likelihood(ragged.reference, wide, batch_size=batch_size)
    assert tokens == expected[1] == sum(map(len, responses))
    assert nll == pytest.approx(expected[0], rel=1e-5)


def test_measuring_is_without_dropout_and_leaves_the_mode_alone(small: Any) -> None:
    gpt = gpt_for(small.task, dropout=0.5).train()
    first = negative_log_likelihood(gpt, demonstrations(small.task))
    assert first == negative_log_likelihood(gpt, demonstrations(small.task))
    assert gpt.training


def adapted(task: Any) -> GPT:
    gpt = gpt_for(task)
    add_adapters(gpt, rank=2, alpha=4.0, rng=np.random.default_rng(3))
    return gpt


MODELS: dict[str, Callable[[Any], GPT]] = {
    "plain": gpt_for,
    "dropout": lambda task: gpt_for(task, dropout=0.3),
    "adapters": adapted,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("at", [2, 3, 5])  # within an epoch, and on the edge of one
def test_stopping_and_continuing_gives_the_same_bits(
    small: Any, tmp_path: Any, kind: str, at: int
) -> None:
    def stage() -> ExampleTrainer:
        return supervised_fine_tuning(
            MODELS[kind](small.task), demonstrations(small.task), CONFIG, STREAMS
        )

    whole, first, second = stage(), stage(), stage()
    curve = [whole.update() for _ in range(9)]
    begun = [first.update() for _ in range(at)]
    np.savez(tmp_path / "state.npz", **first.state_dict())
    first.update()  # what was saved is a copy
    torch.manual_seed(99)  # dropout must not depend on where the global generator stands
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        second.load_state_dict(state)
    assert begun + [second.update() for _ in range(9 - at)] == curve
    ours, theirs = second.state_dict(), whole.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_dropout_is_seeded_by_the_seeds_own_integer_of_each_update(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def noted(seed: int) -> Any:
        seeds.append(seed)
        return torch_seeded(seed)

    monkeypatch.setattr("rlkit.rlhf.training.example_trainer.torch_seeded", noted)
    gpt = gpt_for(small.task, dropout=0.3)
    stage = supervised_fine_tuning(gpt, demonstrations(small.task), CONFIG, SeedStreams(0, 0))
    for _ in range(2):
        stage.update()
    # Written out, because stored runs were trained with them.
    assert seeds == [2874630548581212094, 7035072249148854321]


def test_the_same_seed_gives_the_same_curve_and_no_global_generator_moves(small: Any) -> None:
    curves = []
    for torch_seed, index in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(torch_seed)
        before = torch.get_rng_state()
        gpt = gpt_for(small.task, dropout=0.3)
        stage = supervised_fine_tuning(
            gpt, demonstrations(small.task), CONFIG, SeedStreams(0, index)
        )
        curves.append([stage.update() for _ in range(4)])
        assert torch.equal(torch.get_rng_state(), before)
    assert curves[0] == curves[1] != curves[2]
