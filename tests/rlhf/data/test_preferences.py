"""All comparisons of several responses to a prompt: drawn, kept together, learned from at once."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.data.preferences import (
    Comparisons,
    Preferences,
    responses_from,
    sample_comparisons,
    sample_preferences,
)
from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.training.configs import RewardConfig
from rlkit.rlhf.training.reward_model import RewardModel, fit_reward_model, split_held_out
from rlkit.seeding import SeedStreams

STREAMS = SeedStreams(0, 0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def compared(small: Any) -> Comparisons:
    return sample_comparisons(small.reference, small.task, small.score, rng(1), 3000, 4)


@pytest.mark.slow
def test_responses_to_a_prompt_stand_together_and_differ(small: Any, compared: Comparisons) -> None:
    assert len(compared) == 3000
    assert compared.num_responses == 4
    assert compared.first_wins.shape == (3000, 6)
    tokens = compared.sequences.tokens.view(3000, 4, -1)
    width = small.task.prompt_length
    assert (tokens[:, :1, :width] == tokens[:, :, :width]).all()
    for i, j in itertools.combinations(range(4), 2):
        assert (tokens[:, i] != tokens[:, j]).any(1).all()


def test_every_comparison_follows_the_difference_of_gold(small: Any, compared: Comparisons) -> None:
    """The first of each two wins as often as its gold says; each of the six pairs by itself."""
    gold = np.asarray(small.score(compared.sequences)).reshape(3000, 4)
    for column, (i, j) in enumerate(itertools.combinations(range(4), 2)):
        chance = 1 / (1 + np.exp(gold[:, j] - gold[:, i]))
        won = compared.first_wins[:, column].numpy()
        for half in (gold[:, i] > gold[:, j], gold[:, i] < gold[:, j]):
            error = math.sqrt((chance * (1 - chance))[half].sum()) / half.sum()
            assert abs(won[half].mean() - chance[half].mean()) < 4 * error


def test_labels_of_a_prompt_are_drawn_independently(small: Any) -> None:
    """A judge who flips coins is as often inconsistent as coins: 2 of 8 outcomes are a circle."""
    coins = sample_comparisons(small.reference, small.task, small.score, rng(2), 4000, 3, scale=0.0)
    first, second, third = coins.first_wins.T  # (0, 1), (0, 2), (1, 2)
    circle = (first == third) & (first != second)
    assert abs(float(circle.double().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 4000)


def test_chosen_and_rejected_are_what_the_labels_say(compared: Comparisons) -> None:
    some = compared.select(np.array([5, 0, 17]))
    values = torch.arange(12.0)
    chosen, rejected = some.chosen_and_rejected(values)
    for g in range(3):
        for column, (i, j) in enumerate(itertools.combinations(range(4), 2)):
            best, worst = (i, j) if some.first_wins[g, column] else (j, i)
            assert (chosen[g, column], rejected[g, column]) == (4 * g + best, 4 * g + worst)


@pytest.mark.parametrize("index", [slice(2, 5), np.array([7, 1, 1]), torch.tensor([0])])
def test_selected_prompts_keep_their_responses_and_labels(
    compared: Comparisons, index: Any
) -> None:
    tokens = compared.sequences.tokens.view(3000, 4, -1)[index]
    some = compared.select(index)
    assert torch.equal(some.sequences.tokens, tokens.flatten(0, 1))
    assert torch.equal(some.first_wins, compared.first_wins[index])


def test_two_responses_to_a_prompt_are_a_preference(small: Any) -> None:
    both = sample_comparisons(small.reference, small.task, small.score, rng(3), 200, 2)
    pairs = sample_preferences(small.reference, small.task, small.score, rng(3), 200)
    for k in range(200):
        two = both.sequences.tokens[2 * k : 2 * k + 2]
        chosen, rejected = (0, 1) if both.first_wins[k, 0] else (1, 0)
        assert torch.equal(pairs.chosen.tokens[k], two[chosen])
        assert torch.equal(pairs.rejected.tokens[k], two[rejected])


def test_a_model_without_so_many_different_responses_is_rejected(small: Any) -> None:
    class Sure(type(small.reference)):  # type: ignore[misc]
        def unembed(self, hidden: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = super().unembed(hidden)
            return torch.full_like(logits, -1e9).index_fill(-1, torch.tensor([0]), 0.0)

    sure = copy.deepcopy(small.reference)
    sure.__class__ = Sure
    with pytest.raises(UsageError, match="of 210 prompts only 0 got 3 different responses"):
        sample_comparisons(sure, small.task, small.score, rng(), 10, 3)


# --- learning -------------------------------------------------------------------------------------


def first_step(small: Any, data: Any, **options: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss and the gradient of the first minibatch, which is all that is not held out."""
    model = RewardModel(small.policy(), rng(4))
    config = RewardConfig(batch_size=10**6, max_gradient_norm=1e9, **options)
    stage = fit_reward_model(model, data, data_samples(small), config, STREAMS)
    loss = stage.update()["loss"]
    return loss, gradient_of(model)


def gradient_of(model: RewardModel) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def data_samples(small: Any) -> Sequences:
    return responses_from(small.reference, small.task, rng(5), 64)[0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_all_comparisons_by_loops(
    small: Any, compared: Comparisons, smoothing: float
) -> None:
    data = compared.select(slice(20))
    config = RewardConfig(responses_per_prompt=4, label_smoothing=smoothing)
    _, training = split_held_out(data, config, STREAMS)
    assert isinstance(training, Comparisons)
    model = RewardModel(small.policy(), rng(4)).eval()
    losses = []
    for g in range(len(training)):
        rows = training.sequences.select(slice(4 * g, 4 * g + 4))
        scores = [float(model(rows.select(slice(k, k + 1))).detach()) for k in range(4)]
        for column, (i, j) in enumerate(itertools.combinations(range(4), 2)):
            ahead = (
                scores[i] - scores[j] if training.first_wins[g, column] else (scores[j] - scores[i])
            )
            right, wrong = math.log1p(math.exp(-ahead)), math.log1p(math.exp(ahead))
            losses.append((1 - smoothing) * right + smoothing * wrong)
    loss, _ = first_step(small, data, responses_per_prompt=4, label_smoothing=smoothing)
    assert loss == pytest.approx(np.mean(losses), abs=1e-5)  # float32 scores


def test_the_held_out_loss_is_that_of_all_comparisons_by_loops(
    small: Any, compared: Comparisons
) -> None:
    data, config = compared.select(slice(40)), RewardConfig(responses_per_prompt=4)
    held_out, _ = split_held_out(data, config, STREAMS)
    assert isinstance(held_out, Comparisons)
    model = RewardModel(small.policy(), rng(4))
    how = RewardConfig(responses_per_prompt=4, batch_size=10**6)
    found = fit_reward_model(model, data, data_samples(small), how, STREAMS).update()
    ahead = []
    for g in range(len(held_out)):
        rows = held_out.sequences.select(slice(4 * g, 4 * g + 4))
        scores = model(rows).tolist()
        for column, (i, j) in enumerate(itertools.combinations(range(4), 2)):
            sign = 1 if held_out.first_wins[g, column] else -1
            ahead.append(sign * (scores[i] - scores[j]))
    scales = np.logspace(-2, 1, 3001)[:, None]
    best = np.logaddexp(0, -scales * np.array(ahead)).mean(1).min()
    # The scale is looked for on a coarser grid, near a minimum that is flat.
    assert found["held_out_loss"] == pytest.approx(best, abs=1e-4)


def test_one_forward_pass_a_response_gives_the_gradient_of_the_pairs(
    small: Any, compared: Comparisons
) -> None:
    """The same comparisons written out as pairs, six forward passes where there were two."""
    data = compared.select(slice(20))
    held_out, training = split_held_out(data, RewardConfig(responses_per_prompt=4), STREAMS)
    assert isinstance(training, Comparisons)
    loss, gradient = first_step(small, data, responses_per_prompt=4)

    model = RewardModel(small.policy(), rng(4))
    rows = torch.arange(4 * len(training))
    chosen, rejected = training.chosen_and_rejected(rows)
    pairs = Preferences(
        training.sequences.select(chosen.flatten()),
        training.sequences.select(rejected.flatten()),
        torch.zeros(chosen.numel()),
    )
    logits = model(pairs.chosen) - model(pairs.rejected)
    written_out = torch.nn.functional.softplus(-logits).mean()
    written_out.backward()
    assert loss == pytest.approx(float(written_out.detach()), abs=1e-5)
    # float32 sums over other numbers of rows
    torch.testing.assert_close(gradient, gradient_of(model), atol=1e-5, rtol=1e-3)
    assert len(held_out) + len(training) == 20


def test_no_response_is_both_held_out_and_trained_on(compared: Comparisons) -> None:
    numbered = Comparisons(
        Sequences(
            torch.arange(12_000)[:, None],
            torch.ones(12_000, 0, dtype=torch.bool),
            torch.ones(12_000, 1, dtype=torch.bool),
        ),
        compared.first_wins,
    )
    config = RewardConfig(responses_per_prompt=4)
    held_out, training = split_held_out(numbered, config, STREAMS)
    sides = [
        set(side.sequences.tokens.flatten().tolist())
        for side in (held_out, training)
        if isinstance(side, Comparisons)
    ]
    assert len(sides[0]) == 1200
    assert len(sides[0] | sides[1]) == 12_000
    assert not sides[0] & sides[1]


@pytest.mark.long
def test_more_comparisons_of_as_many_responses_teach_more(small: Any) -> None:
    """Of 480 responses: 240 pairs, or all 1680 pairs of 60 times 8."""
    found = []
    for responses in (2, 8):
        config = RewardConfig(
            num_pairs=480 * (responses - 1) // 2,
            responses_per_prompt=responses,
            batch_size=16 * (responses - 1),
            min_updates=100,
        )
        agreements = []
        for seed in range(3):
            data: Any = sample_comparisons(
                small.reference, small.task, small.score, rng(seed), config.num_examples, responses
            )
            model = RewardModel(small.policy(), rng(seed))
            stage = fit_reward_model(model, data, data_samples(small), config, STREAMS)
            for _ in range(stage.num_updates):
                stage.update()
            table = small.key.tabulate(model.score)
            law = small.key.reference_log_prob
            agreements.append(exact.pair_accuracy(law, table, small.key.gold, math.inf))
        found.append(np.mean(agreements))
    assert found[1] > found[0] + 0.03


# --- options --------------------------------------------------------------------------------------


def test_pairs_and_minibatches_are_rounded_to_whole_prompts() -> None:
    config = RewardConfig(num_pairs=100, responses_per_prompt=5, batch_size=64, min_updates=1)
    assert config.pairs_per_example == 10
    assert config.num_examples == 10
    assert config.passes(9).batch_size == 6
    assert RewardConfig(num_pairs=101, responses_per_prompt=5).num_examples == 11
    assert RewardConfig(responses_per_prompt=8, batch_size=1).passes(9).batch_size == 1
    pairs = RewardConfig(num_pairs=101, batch_size=7)
    assert (pairs.num_examples, pairs.passes(90).batch_size) == (101, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"responses_per_prompt": 1}, "responses_per_prompt"),
        ({"responses_per_prompt": 4, "loss": "pointwise"}, "labels of single responses"),
        ({"responses_per_prompt": 8, "num_pairs": 28}, "more than 28 with 8 responses"),
    ],
)
def test_options_that_give_no_comparisons_are_rejected(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        RewardConfig(**options)


def test_a_file_is_learned_from_pair_by_pair(tmp_path: Any) -> None:
    lines = [f'{{"prompt": "p", "chosen": "a{k}", "rejected": "b{k}"}}\n' for k in range(9)]
    pairs, texts = tmp_path / "pairs.jsonl", tmp_path / "texts.jsonl"
    pairs.write_text("".join(lines))
    texts.write_text('{"prompt": "p", "response": "a"}\n')
    model = rlhf.ModelSource(width=8, num_layers=1)
    how = {"out": tmp_path / "runs", "num_epochs": 1}
    sft = rlhf.sft(demonstrations=texts, preferences=pairs, model=model, **how)
    with pytest.raises(UsageError, match="a file is learned from pair by pair"):
        rlhf.reward(sft, responses_per_prompt=3, **how)
