"""Comparing a policy with its reference: by samples, held to what is exactly known."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import RlkitWarning
from rlkit.rlhf.data.preferences import demonstrations_of
from rlkit.rlhf.data.sequences import pack
from rlkit.rlhf.evaluation.evaluate import (
    diversity,
    ended_fraction,
    evaluate_policy,
    overlap,
    response_ids,
    sample_all,
    sequence_log_probs,
)
from rlkit.rlhf.evaluation.text_metrics import mean_cosine_similarity
from rlkit.rlhf.training.configs import SFTConfig
from rlkit.rlhf.training.fine_tuning import supervised_fine_tuning
from rlkit.seeding import SeedStreams

FLOAT32 = 1e-5  # float32 sums in another order
N = 4096


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def other(small: Any) -> Any:
    """A policy unlike the reference: fine-tuned a little on its own best responses."""
    samples, _ = sample_all(
        small.reference, small.task, small.task.sample_prompts(rng(), 500), rng(1)
    )
    best = samples.select(np.flatnonzero(small.score(samples) > 1.0))
    policy = small.policy()
    config = SFTConfig(num_epochs=2, batch_size=16, learning_rate=2e-3)
    stage = supervised_fine_tuning(policy, best, config, SeedStreams(0, 0))
    for _ in range(stage.num_updates):
        stage.update()
    return policy


@pytest.fixture(scope="module")
def report(small: Any, other: Any) -> dict[str, Any]:
    return evaluate_policy(
        other,
        small.reference,
        small.task,
        rng(2),
        scores={"gold": small.score},
        demonstrations=demonstrations_of(small.task, rng(3), 1000),
        num_samples=N,
    )


def test_kl_and_score_are_the_exact_ones_within_their_standard_errors(
    small: Any, other: Any, report: dict[str, Any]
) -> None:
    found = small.key.values(small.key.log_probs(other), small.key.gold, 0.3)
    assert found.kl > 0.1
    assert abs(report["kl"] - found.kl) < 4 * report["kl_standard_error"]
    gold = report["scores"]["gold"]
    assert abs(gold["policy"]["mean"] - found.gold) < 4 * gold["policy"]["standard_error"]
    assert abs(gold["reference"]["mean"]) < 4 / N**0.5


def test_the_win_rate_is_the_exact_one_within_its_standard_error(
    small: Any, other: Any, report: dict[str, Any]
) -> None:
    p, q = (np.exp(small.key.log_probs(model)) for model in (other, small.reference))
    gold, expected = small.key.gold, 0.0
    for row in range(len(gold)):
        difference = gold[row][:, None] - gold[row][None]
        won = (difference > 1e-9) + 0.5 * (np.abs(difference) <= 1e-9)
        expected += float(p[row] @ won @ q[row]) / len(gold)
    found = report["scores"]["gold"]
    assert expected > 0.55
    assert abs(found["win_rate"] - expected) < 4 * found["win_rate_standard_error"]


@pytest.mark.claim(49)
def test_perplexity_of_samples_and_of_demonstrations_is_the_exponential_of_their_loss(
    small: Any, other: Any, report: dict[str, Any]
) -> None:
    shown = demonstrations_of(small.task, rng(3), 1000)
    index = small.key.completions.index(shown.responses.numpy())
    rows = small.task.prompt_index(shown.prompts.numpy())
    tokens = int(shown.response_mask.sum())
    found = report["perplexity"]
    for name, model in (
        ("of_demonstrations", other),
        ("of_demonstrations_under_reference", small.reference),
    ):
        total = -small.key.log_probs(model)[rows, index].sum()
        assert found[name] == pytest.approx(math.exp(total / tokens), rel=1e-5)
    assert found["of_demonstrations"] > found["of_demonstrations_under_reference"]  # it forgets
    assert 1.0 < found["of_samples_under_reference"] < small.task.num_actions


@pytest.mark.claim(49)
def test_the_perplexity_of_samples_is_that_of_the_policys_distribution_under_the_reference(
    small: Any, other: Any, report: dict[str, Any]
) -> None:
    """exp(E[-log pi_ref(y)] / E[tokens]), exactly, against a ratio of means of 4,096 samples."""
    weights = np.exp(small.key.log_probs(other)) / small.task.num_prompts
    loss, lengths = -small.key.reference_log_prob, small.key.completions.lengths
    ratio = float((weights * loss).sum() / (weights * lengths).sum())
    # The error of a ratio of means is that of the mean of what is left of the numerator.
    left = loss - ratio * lengths
    error = math.sqrt(float((weights * left**2).sum()) / N) / float((weights * lengths).sum())
    found = math.log(report["perplexity"]["of_samples_under_reference"])
    assert abs(found - ratio) < 4 * error
    # The policy's own perplexity of its samples is another number.
    own = -small.key.log_probs(other)
    assert abs(float((weights * own).sum() / (weights * lengths).sum()) - ratio) > 8 * error


def test_lengths_and_ends_are_those_of_the_responses(
    small: Any, other: Any, report: dict[str, Any]
) -> None:
    weights = np.exp(small.key.log_probs(other))
    lengths, ended = small.key.completions.lengths, small.key.completions.ended
    mean = float((weights * lengths).sum(1).mean())
    deviation = math.sqrt(float((weights * lengths**2).sum(1).mean()) - mean**2)
    assert abs(report["length"] - mean) < 4 * deviation / N**0.5
    for model, name in ((other, "ended"), (small.reference, "reference_ended")):
        share = float((np.exp(small.key.log_probs(model)) * ended).sum(1).mean())
        assert abs(report[name] - share) < 4 * math.sqrt(share * (1 - share) / N)
    assert abs(report["ended"] - report["reference_ended"]) > 8 * math.sqrt(0.25 / N)


def test_the_cosine_of_responses_is_that_of_the_reference_for_both(small: Any, other: Any) -> None:
    found = evaluate_policy(other, small.reference, small.task, rng(15), scores={}, num_samples=64)
    again = rng(15)
    prompts = small.task.sample_prompts(again, 64)
    for model, name in ((other, "diversity"), (small.reference, "reference_diversity")):
        samples, _ = sample_all(model, small.task, prompts, again)
        embeddings = []
        for tokens, length in zip(samples.tokens, samples.lengths.tolist(), strict=True):
            with torch.no_grad():  # the states in which the response's tokens were chosen, alone
                state = small.reference(tokens[None, : samples.prompt_length + length - 1])
            embeddings.append(state[0, -length:].double().mean(0).numpy())
        expected = mean_cosine_similarity(embeddings)
        assert found[name]["mean_cosine"] == pytest.approx(expected, abs=FLOAT32)
        assert diversity(other, samples)["mean_cosine"] != pytest.approx(expected, abs=1e-3)


def test_a_policy_compared_with_itself_has_no_kl_and_wins_half(small: Any) -> None:
    found = evaluate_policy(
        small.reference, small.reference, small.task, rng(4), scores={"gold": small.score}
    )
    assert abs(found["kl"]) < FLOAT32
    gold = found["scores"]["gold"]
    assert abs(gold["win_rate"] - 0.5) < 4 * gold["win_rate_standard_error"]
    assert "overlap" not in found


def test_sampling_and_scoring_agree_in_every_chunk(ragged: Any) -> None:
    prompts = ragged.task.sample_prompts(rng(5), 600)  # more than one chunk of 512
    sequences, log_prob = sample_all(ragged.reference, ragged.task, prompts, rng(6), 0.8)
    assert len(sequences.tokens) == 600
    np.testing.assert_array_equal(sequences.prompts.numpy(), prompts)
    again = sequence_log_probs(ragged.reference, sequences, 0.8)
    np.testing.assert_allclose(again, log_prob, atol=FLOAT32)


def test_scoring_at_another_temperature_gives_another_kl(small: Any) -> None:
    prompts = small.task.sample_prompts(rng(7), 1000)
    sequences, log_prob = sample_all(small.reference, small.task, prompts, rng(8), 0.7)
    wrong = log_prob - sequence_log_probs(small.reference, sequences, 1.0)
    assert wrong.mean() > 5 * wrong.std() / 1000**0.5


def test_ends_words_and_overlap_by_hand() -> None:
    batch = pack([[8], [8]], [[0, 1, 6], [2, 3, 4]], pad=7)
    assert ended_fraction(batch, 6) == 0.5
    assert response_ids(batch) == [[0, 1, 6], [2, 3, 4]]
    same = overlap(batch, batch)
    assert list(same) == ["bleu", "rouge_1", "rouge_2", "rouge_l"]
    assert same["rouge_1"] == same["rouge_2"] == same["rouge_l"] == 1.0
    other = pack([[8], [8]], [[0, 1, 6], [5, 5, 5]], pad=7)
    assert overlap(batch, other)["rouge_1"] == 0.5


def test_overlap_of_texts_is_that_of_their_words_without_special_tokens() -> None:
    words = {0: "c", 1: "a", 2: "t", 3: " ", 4: "o", 5: "n"}
    ours, theirs = ([[0, 1, 2, 3, 4, 5, 6]], [[0, 1, 2, 3, 5, 4, 6]])  # "cat on", "cat no", EOS

    def decode(ids: Sequence[int]) -> str:
        return "".join(words[i] for i in ids if i != 6)

    left, right = (pack([[8]], ids, pad=7) for ids in (ours, theirs))
    assert overlap(left, right, decode)["rouge_1"] == 0.5
    assert overlap(left, right)["rouge_1"] == 1.0  # of the same characters
    assert overlap(left, left, decode)["rouge_2"] == 1.0


def test_without_the_extra_metrics_the_overlap_alone_is_omitted_with_a_note(
    small: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report() -> dict[str, Any]:
        shown = demonstrations_of(small.task, rng(16), 20)
        options = {"scores": {"gold": small.score}, "demonstrations": shown, "num_samples": 20}
        return evaluate_policy(other, small.reference, small.task, rng(17), **options)

    complete = report()
    assert 0 < complete.pop("overlap")["rouge_1"] < 1
    assert 0 < complete.pop("reference_overlap")["rouge_1"] < 1
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    with pytest.warns(RlkitWarning, match=r'omitted.*pip install "rlkit\[metrics\]"'):
        assert report() == complete


def test_responses_that_are_all_the_same_have_no_diversity(ragged: Any) -> None:
    batch = pack([[8]] * 4, [[0, 1, 6]] * 4, pad=7)
    found = diversity(ragged.reference, batch)
    assert found["distinct_responses"] == 0.25
    assert found["mean_cosine"] == pytest.approx(1.0, abs=1e-6)
    assert found["distinct_1"] == pytest.approx(3 / 12)
    varied, _ = sample_all(
        ragged.reference, ragged.task, ragged.task.sample_prompts(rng(9), 64), rng(10)
    )
    assert diversity(ragged.reference, varied)["mean_cosine"] < 0.95


def test_evaluation_is_reproducible_and_trains_nothing(small: Any, other: Any) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    weights = [p.clone() for p in other.parameters()]
    found = [
        evaluate_policy(
            other,
            small.reference,
            small.task,
            rng(11),
            scores={"gold": small.score},
            num_samples=64,
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, w) for p, w in zip(other.parameters(), weights, strict=True))
