"""Reward models: where the score stands, what is learned, and how well it could be learned."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.data.preferences import (
    Labels,
    Preferences,
    responses_from,
    sample_labels,
    sample_preferences,
)
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import Sequences, from_arrays, pack
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.exact.answer_key import TableScore
from rlkit.rlhf.models.gpt import GPT
from rlkit.rlhf.models.lora import add_adapters
from rlkit.rlhf.training.configs import RewardConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.rlhf.training.reward_model import (
    RewardModel,
    accuracy_by_group,
    fit_reward_model,
    measure_accuracy,
    split_held_out,
)
from rlkit.seeding import SeedStreams

STREAMS = SeedStreams(0, 0)
FLOAT32 = 1e-5  # float32 sums in another order
EOS, PAD = 6, 7
PROMPTS = [[8], [9, 10, 11], [11, 8, 8, 9, 10]]
RESPONSES = [[0, 1, EOS], [2, 3, 4, 5, 0, 1], [EOS]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scorer(ground: Any) -> RewardModel:
    return RewardModel(ground.policy(), rng())


# --- the position of the score --------------------------------------------------------------------


@pytest.mark.claim(36)
@pytest.mark.parametrize(
    "widths", [{}, {"prompt_length": 9}, {"max_new_tokens": 15}, {"prompt_length": 6}]
)
def test_the_score_is_read_at_the_last_token_however_the_batch_is_padded(
    ragged: Any, widths: dict[str, int]
) -> None:
    model = scorer(ragged)
    batch = pack(PROMPTS, RESPONSES, pad=PAD, **widths)
    found = model.score(batch)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        with torch.no_grad():  # alone, unpadded: the state of the last token
            state = model.trunk(torch.tensor([prompt + response]))[0, -1]
            expected = float(state @ model.head.weight + model.head.bias)
        assert found[row] == pytest.approx(expected, abs=FLOAT32)
        alone = model.score(batch.select(np.array([row])))
        assert found[row] == pytest.approx(float(alone[0]), abs=FLOAT32)


@pytest.mark.claim(37)
def test_scores_do_not_depend_on_the_batch_size(ragged: Any) -> None:
    model = scorer(ragged)
    (batch,) = responses_from(ragged.reference, ragged.task, rng(1), 50)
    expected = model.score(batch)
    for size in (1, 7, 512):
        np.testing.assert_allclose(model.score(batch, batch_size=size), expected, atol=FLOAT32)


@pytest.mark.claim(36)
def test_the_last_token_is_not_found_by_looking_for_padding(ragged: Any) -> None:
    """What stands in the padding does not matter, not even if it looks like tokens."""
    model = scorer(ragged)
    batch = pack(PROMPTS, RESPONSES, pad=PAD, max_new_tokens=9)
    tokens = batch.tokens.clone()
    tokens[:, 5:][~batch.response_mask] = 3
    tokens[:, :5][~batch.prompt_mask] = 9
    np.testing.assert_allclose(
        model.score(batch._replace(tokens=tokens)), model.score(batch), atol=FLOAT32
    )


@pytest.mark.claim(36)
def test_a_score_one_token_off_would_be_seen(ragged: Any) -> None:
    model = scorer(ragged)
    ended = pack([[8, 9]], [[0, 1, EOS]], pad=PAD)
    without = pack([[8, 9]], [[0, 1]], pad=PAD)
    assert abs(float(model.score(ended)[0] - model.score(without)[0])) > 0.01


@pytest.mark.claim(38)
def test_eos_is_scored_if_and_only_if_it_was_trained_on(small: Any) -> None:
    """The state that the loss reads, in training, is that of EOS; and so it is in scoring."""
    trunk = small.policy()
    read = list[torch.Tensor]()
    forward = trunk.forward

    def watched(tokens: torch.Tensor, **arguments: Any) -> torch.Tensor:
        read.append(tokens)
        return forward(tokens, **arguments)

    trunk.forward = watched  # type: ignore[method-assign]
    model = RewardModel(trunk, rng())
    pairs = sample_preferences(small.reference, small.task, small.score, rng(2), 32)
    stage = fit_reward_model(model, pairs, pairs.chosen, RewardConfig(batch_size=64), STREAMS)
    stage.update()
    kept = list[np.ndarray]()
    for tokens in (read[0], pairs.chosen.tokens):
        responses = tokens[:, 1:]
        ended = (responses == small.task.eos).any(1)
        kept.append(ended.numpy())
        # In either, what is read ends with EOS where the response ended, and is full otherwise.
        assert (responses[~ended] != small.task.pad).all()
    assert 0.2 < kept[0].mean() < 0.8  # both kinds are there
    read.clear()
    model.score(pairs.chosen)
    assert torch.equal(read[0], pairs.chosen.tokens)


@pytest.mark.claim(38)
@pytest.mark.parametrize("loss", ["pairwise", "pointwise"])
def test_training_scores_a_response_as_scoring_does_with_its_eos_and_not_without(
    small: Any, loss: Any
) -> None:
    """The first loss, by hand from scores of responses given one by one, with and without EOS."""
    model = scorer(small)
    start = copy.deepcopy(model)
    data: Preferences | Labels
    if loss == "pairwise":
        data = sample_preferences(small.reference, small.task, small.score, rng(30), 40)
        sides = [data.chosen, data.rejected]
    else:
        data = sample_labels(small.reference, small.task, small.score, rng(30), 40)
        sides = [data.sequences]
    stage = fit_reward_model(
        model, data, sides[0], RewardConfig(loss=loss, held_out=0.25, batch_size=64), STREAMS
    )
    found = stage.update()["loss"]
    left = STREAMS.generator("minibatch", 1).permutation(40)[12:]  # 30 held out, at most 3 in 10

    def expected(*, with_eos: bool) -> float:
        scores = np.stack([score_one_by_one(start, small.task, x, with_eos) for x in sides])
        logits = scores[0] - scores[1] if loss == "pairwise" else scores[0]
        label = 1.0 if isinstance(data, Preferences) else data.label.numpy()[left]
        logits = logits[left]
        return float((np.logaddexp(0, logits) - label * logits).mean())

    assert any((x.responses == small.task.eos).any() for x in sides)
    assert found == pytest.approx(expected(with_eos=True), abs=FLOAT32)
    assert abs(found - expected(with_eos=False)) > 1e-3


def score_one_by_one(
    model: RewardModel, task: Any, batch: Sequences, with_eos: bool
) -> np.ndarray[Any, Any]:
    scores = []
    for prompt, row, length in zip(batch.prompts, batch.responses, batch.lengths, strict=True):
        response = row[:length].tolist()
        if not with_eos and len(response) > 1 and response[-1] == task.eos:
            response = response[:-1]
        scores.append(model.score(pack([prompt.tolist()], [response], pad=task.pad))[0])
    return np.array(scores)


# --- learning -------------------------------------------------------------------------------------


def fitted(
    ground: Any, data: Preferences | Labels, samples: int = 4096, **options: Any
) -> tuple[RewardModel, list[dict[str, float]]]:
    model = RewardModel(ground.policy(), STREAMS.generator("init"))
    (reference_samples,) = responses_from(ground.reference, ground.task, rng(3), samples)
    stage = fit_reward_model(model, data, reference_samples, RewardConfig(**options), STREAMS)
    return model, [stage.update() for _ in range(stage.num_updates)]


@pytest.fixture(scope="module")
def learned(small: Any) -> RewardModel:
    pairs = sample_preferences(small.reference, small.task, small.score, rng(4), 2000)
    model, metrics = fitted(small, pairs, num_epochs=4)
    assert metrics[-1]["held_out_loss"] < np.log(2)
    return model


@pytest.mark.slow
@pytest.mark.claim(21)
def test_scores_have_mean_zero_and_deviation_one_under_the_reference(
    small: Any, learned: RewardModel
) -> None:
    (fresh,) = responses_from(small.reference, small.task, rng(5), 4096)
    scores = learned.score(fresh)
    # 4096 new samples beside the 4096 that set gain and bias: standard errors of 0.016 each.
    assert abs(scores.mean()) < 0.05
    assert abs(scores.std() - 1) < 0.05
    assert learned.gain != 1.0
    # And exactly, over all responses: what is left is the error of the 4096, 0.016 and 0.013.
    law, table = np.exp(small.key.reference_log_prob), small.key.tabulate(learned.score)
    mean = float((law * table).sum(1).mean())
    assert abs(mean) < 0.05
    assert abs(float((law * (table - mean) ** 2).sum(1).mean()) ** 0.5 - 1) < 0.05


def test_normalising_is_a_positive_gain_and_a_shift(small: Any, learned: RewardModel) -> None:
    (samples,) = responses_from(small.reference, small.task, rng(6), 4096)
    with torch.no_grad():
        raw = learned.eval()(samples).double().numpy()
    learned_before = (learned.gain.clone(), learned.bias.clone())
    learned.normalise(samples)
    scores = learned.score(samples)
    assert abs(scores.mean()) < 1e-6
    assert scores.std(ddof=1) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(scores, (raw - raw.mean()) / raw.std(ddof=1), atol=FLOAT32)
    learned.gain.copy_(learned_before[0])
    learned.bias.copy_(learned_before[1])


@pytest.mark.claim(21)
def test_a_shift_of_the_reward_models_head_changes_no_advantage(small: Any) -> None:
    """A reward model's zero means nothing, and after normalising it does nothing."""
    model = scorer(small)
    (samples,) = responses_from(small.reference, small.task, rng(31), 4096)
    found = []
    for shift in (0.0, 5.0):
        with torch.no_grad():
            model.head.bias.add_(shift)
        model.normalise(samples)
        agent = small.agent(score=model.score, batch_size=64, gae_lambda=0.95)
        found.append(agent.advantages(agent.collect())[0])
    assert float(model.bias.abs()) > 1.0
    # float32 numbers near 5, so an ulp of 5e-7, of which a few add up along a response
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=0)
    assert float(found[0].abs().max()) > 0.5


@pytest.mark.claim(39)
def test_accuracy_comes_near_the_ceiling_and_does_not_exceed_it(
    small: Any, learned: RewardModel
) -> None:
    ceiling = small.key.bayes_accuracy()
    assert 0.6 < ceiling < 0.85
    pairs = sample_preferences(small.reference, small.task, small.score, rng(7), 4000)
    found = accuracy_by_group(learned, pairs)["all"]
    assert found.num_pairs == 4000
    assert ceiling - 0.05 < found.accuracy < ceiling + 2 * found.standard_error
    # Gold itself reaches the ceiling that is computed by enumeration.
    best = measure_accuracy(small.score(pairs.chosen), small.score(pairs.rejected))
    assert abs(best.accuracy - bayes_of_different_pairs(small)) < 4 * best.standard_error


def bayes_of_different_pairs(small: Any) -> float:
    """The ceiling on pairs of different responses, which are those that are drawn; by hand."""
    p, gold, total, right = np.exp(small.key.reference_log_prob), small.key.gold, 0.0, 0.0
    for q in range(len(p)):
        weight = np.outer(p[q], p[q])
        np.fill_diagonal(weight, 0.0)
        difference = gold[q][:, None] - gold[q][None]
        chance = 1 / (1 + np.exp(-np.abs(difference)))
        total += weight.sum()
        right += (weight * np.where(difference == 0, 0.5, chance)).sum()
    return float(right / total)


@pytest.mark.claim(40)
def test_exchanging_chosen_and_rejected_turns_every_accuracy_round(
    small: Any, learned: RewardModel
) -> None:
    pairs = sample_preferences(small.reference, small.task, small.score, rng(8), 300)
    swapped = Preferences(pairs.rejected, pairs.chosen, pairs.margin)
    ours, theirs = (accuracy_by_group(learned, x) for x in (pairs, swapped))
    other = {"chosen is longer": "chosen is shorter", "chosen is shorter": "chosen is longer"}
    for name, found in ours.items():
        turned = theirs[other.get(name, name)]
        assert turned.num_pairs == found.num_pairs
        assert turned.accuracy == pytest.approx(1.0 - found.accuracy)
    lengths = ("chosen is longer", "equally long", "chosen is shorter")
    assert sum(ours[name].num_pairs for name in lengths) == 300


def test_equal_scores_are_half_right() -> None:
    found = measure_accuracy(np.array([1.0, 2.0, 3.0, 1.0]), np.array([1.0, 1.0, 4.0, 1.0]))
    assert found.accuracy == 0.5  # 1/2, 1, 0, 1/2
    assert found.standard_error == pytest.approx(np.sqrt(1 / 6) / 2)
    nothing = measure_accuracy(np.ones(2), np.zeros(2), np.zeros(2, dtype=bool))
    assert nothing.num_pairs == 0
    assert np.isnan(nothing.accuracy)


def test_groups_by_a_known_margin_are_its_terciles(small: Any, learned: RewardModel) -> None:
    pairs = sample_preferences(small.reference, small.task, small.score, rng(9), 3000)
    margin = np.asarray(small.score(pairs.chosen)) - np.asarray(small.score(pairs.rejected))
    groups = accuracy_by_group(learned, pairs, np.abs(margin))
    sizes = [groups[f"{name} margin"].num_pairs for name in ("small", "middle", "large")]
    assert sum(sizes) == 3000
    assert groups["large margin"].accuracy > groups["small margin"].accuracy + 0.1


@pytest.mark.claim(35)
@pytest.mark.long
def test_labels_of_single_responses_recover_gold(small: Any) -> None:
    labels = sample_labels(small.reference, small.task, small.score, rng(10), 20_000)
    model, _ = fitted(
        small, labels, loss="pointwise", num_epochs=4, batch_size=64, learning_rate=3e-3
    )
    table, law = small.key.tabulate(model.score), small.key.reference_log_prob
    assert exact.correlation(law, table, small.key.gold) > 0.95
    # sigmoid(raw) is the probability of a label, so raw has gold's own scale and zero.
    raw = (table - float(model.bias)) / float(model.gain)
    assert exact.expectation(law, (raw - small.key.gold) ** 2).mean() < 0.1


@pytest.mark.claim(35)
@pytest.mark.torture
@pytest.mark.parametrize(
    # The least correlation, and the largest square of what is left of gold's variance of 1.
    ("kind", "learning_rate", "least", "error"),
    [("shares", 2e-3, 0.95, 0.1), ("yes or no", 1e-3, 0.85, 0.3)],
)
def test_labels_of_demonstrations_recover_gold_and_the_rarity_of_acceptance(
    language: Any, kind: str, learning_rate: float, least: float, error: float
) -> None:
    """20,000 demonstrations, each accepted with probability sigmoid(gold - 1).

    A label is that probability, as the share of many judges would be, or one judge's yes or no,
    from which the same network learns less. Of the 78,124 responses of the whole language most are
    never shown. They are weighted by the process that wrote the demonstrations, in closed form.
    """
    task, key, draw = language.task, language.key, rng(10)
    distribution = demonstrators_log_prob(language)
    gold = exact.scale_under(distribution, key.gold).apply(key.gold)
    shown = from_arrays(*task.demonstrations(draw, 20_000), pad=task.pad)
    label = 1 / (1 + np.exp(1.0 - TableScore(key, gold)(shown)))
    if kind == "yes or no":
        label = (draw.random(20_000) < label).astype(float)
    model, _ = fitted(
        language,
        Labels(shown, torch.from_numpy(label).float()),
        loss="pointwise",
        batch_size=256,
        learning_rate=learning_rate,
    )
    raw = (key.tabulate(model.score) - float(model.bias)) / float(model.gain)
    assert exact.correlation(distribution, raw, gold) > least
    # Its zero and scale are known too: raw is gold less 1.
    assert float(exact.expectation(distribution, raw - gold).mean()) == pytest.approx(-1.0, abs=0.1)
    assert float(exact.expectation(distribution, (raw - gold + 1.0) ** 2).mean()) < error


def demonstrators_log_prob(language: Any) -> np.ndarray[Any, Any]:
    """log-probability of every response [Q, C] under the process that wrote the demonstrations."""
    responses = language.key.completions.responses
    rows = [
        language.task.generator_log_prob(np.tile(prompt, (len(responses), 1)), responses)
        for prompt in language.task.prompts
    ]
    return np.stack(rows)


def test_a_pair_scored_alone_loses_what_the_formula_says(small: Any) -> None:
    pairs = sample_preferences(small.reference, small.task, small.score, rng(11), 3)
    pairs = dataclasses.replace(pairs, margin=torch.tensor([0.0, 0.5, 1.0]))
    model = scorer(small)
    options = {"held_out": 0.4, "batch_size": 8, "label_smoothing": 0.1}
    start = copy.deepcopy(model)
    stage = fit_reward_model(model, pairs, pairs.chosen, RewardConfig(**options), STREAMS)
    found = stage.update()["loss"]
    left = STREAMS.generator("minibatch", 1).permutation(3)[1:]
    d = start.score(pairs.chosen) - start.score(pairs.rejected) - pairs.margin.numpy()
    losses = 0.9 * np.log1p(np.exp(-d)) + 0.1 * np.log1p(np.exp(d))
    assert found == pytest.approx(losses[left].mean(), abs=FLOAT32)


@pytest.mark.slow
def test_held_out_examples_are_never_trained_on(small: Any) -> None:
    pairs = sample_preferences(small.reference, small.task, small.score, rng(12), 40)
    pairs = dataclasses.replace(pairs, margin=torch.arange(40.0))  # so that pairs can be told apart
    seen = set[float]()
    stage = fit_reward_model(
        scorer(small), pairs, pairs.chosen, RewardConfig(held_out=0.4), STREAMS
    )
    own = stage._loss

    class Seen(Preferences):
        def select(self, index: Any) -> Preferences:
            found = Preferences.select(self, index)
            seen.update(found.margin.tolist())
            return found

    assert stage._num_examples == 24
    closure = dict(zip(own.__code__.co_freevars, own.__closure__ or (), strict=True))
    training = closure["training"].cell_contents
    closure["training"].cell_contents = Seen(training.chosen, training.rejected, training.margin)
    for _ in range(stage.num_updates):
        stage.update()
    assert len(seen) == 24


def judged(counts: list[int], *, labels: bool = False) -> Preferences | Labels:
    """A file in which the i-th preference stands counts[i] times."""
    rows: list[dict[str, Any]] = []
    for i, count in enumerate(counts):
        prompt, text = f"p{i % 3}", f"r{i}"
        if labels:  # of which some disagree
            rows += [{"prompt": prompt, "response": text, "label": k % 2} for k in range(count)]
        else:
            rows += [{"prompt": prompt, "chosen": text, "rejected": f"{text} not"}] * count
    return TextTask.from_files(preferences=rows, tokenizer="word").preferences()


def tokens_of(data: Preferences | Labels) -> list[tuple[int, ...]]:
    parts = [data.sequences] if isinstance(data, Labels) else [data.chosen, data.rejected]
    return list(map(tuple, torch.cat([part.tokens for part in parts], dim=1).tolist()))


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("counts", [[1] * 30 + [2] * 20 + [3] * 10, [3] * 10, [40] + [1] * 20])
def test_copies_in_a_file_are_held_out_together_or_trained_on_together(
    labels: bool, counts: list[int]
) -> None:
    data, config = judged(counts, labels=labels), RewardConfig()
    count, chosen = config.num_held_out(len(data)), set[frozenset[tuple[int, ...]]]()
    for seed in range(20):
        held_out, training = split_held_out(data, config, SeedStreams(0, seed))
        assert len(training) == len(data) - count
        assert count - max(c for c in counts if c <= count) < len(held_out) <= count
        kept = set(tokens_of(held_out))
        assert not kept & set(tokens_of(training))
        chosen.add(frozenset(kept))
    assert len(chosen) > 10  # another part for another seed


def test_without_copies_the_split_is_a_permutation_cut_in_two(small: Any) -> None:
    drawn = sample_labels(small.reference, small.task, small.score, rng(20), 300)
    assert len(set(tokens_of(drawn))) < 300  # equal ones that were drawn are no copies
    for data in (judged([1] * 50), judged([1] * 50, labels=True), drawn):
        config, streams = RewardConfig(), SeedStreams(0, 1)
        order = streams.generator("minibatch", 1).permutation(len(data))
        count = config.num_held_out(len(data))
        for part, index in zip(
            split_held_out(data, config, streams), (order[:count], order[count:]), strict=True
        ):
            assert tokens_of(part) == tokens_of(data.select(index))


def test_a_pair_and_the_same_the_other_way_round_are_on_one_side() -> None:
    rows = [
        {"prompt": "p", "chosen": f"a{k} {word}", "rejected": f"a{k} {other}"}
        for k in range(40)
        for word, other in (("b", "c"), ("c", "b"))
    ]
    data = TextTask.from_files(preferences=rows, tokenizer="word").preferences()
    for seed in range(5):
        sides = [
            {frozenset(pair) for pair in zip(*parts, strict=True)}
            for side in split_held_out(data, RewardConfig(), SeedStreams(0, seed))
            if isinstance(side, Preferences)
            for parts in [[map(tuple, x.tokens.tolist()) for x in (side.chosen, side.rejected)]]
        ]
        assert len(sides[0]) >= 11  # 24 pairs, whole but for one at the border
        assert not sides[0] & sides[1]


def test_a_file_of_nothing_but_copies_is_rejected() -> None:
    with pytest.raises(UsageError, match="3 of 10 preferences must be held out, but each occurs"):
        split_held_out(judged([5, 5]), RewardConfig(), STREAMS)


def test_enough_are_held_out_is_meant_in_pairs() -> None:
    config = RewardConfig(num_pairs=3000, responses_per_prompt=8)
    assert config.num_held_out(config.num_examples) == 11  # of 108 prompts, 308 pairs
    assert config.num_held_out(10) == 2  # 56 pairs


@pytest.mark.parametrize(
    ("num_pairs", "held_out", "expected"),
    [(3000, 0.1, 300), (100, 0.1, 30), (100, 0.4, 40), (20, 0.1, 6), (2, 0.1, 1), (10, 0.99, 9)],
)
def test_of_few_pairs_enough_are_held_out_to_choose_an_epoch(
    num_pairs: int, held_out: float, expected: int
) -> None:
    assert RewardConfig(held_out=held_out).num_held_out(num_pairs) == expected


@pytest.mark.parametrize(("num_training", "num_epochs"), [(2700, 6), (70, 125), (1, 250)])
def test_few_pairs_are_passed_over_more_often(num_training: int, num_epochs: int) -> None:
    config = RewardConfig(num_epochs=6, min_updates=250, batch_size=64)
    assert config.passes(num_training).num_epochs == num_epochs


# --- preferences ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_preferences_follow_the_difference_of_gold(small: Any) -> None:
    """Among the pairs of each size of difference, the better one wins as often as it should."""
    pairs = sample_preferences(small.reference, small.task, small.score, rng(13), 20_000, scale=1.5)
    difference = np.asarray(small.score(pairs.chosen)) - np.asarray(small.score(pairs.rejected))
    edges = np.quantile(np.abs(difference), [0, 0.25, 0.5, 0.75, 1.0])
    edges[0] = 1e-9
    for low, high in itertools.pairwise(edges):
        size = np.abs(difference)
        inside = (size > low) & (size <= high)
        expected = (1 / (1 + np.exp(-1.5 * size[inside]))).mean()
        won = (difference[inside] > 0).mean()
        assert abs(won - expected) < 4 * 0.5 / np.sqrt(inside.sum())
    assert torch.equal(pairs.chosen.prompts, pairs.rejected.prompts)
    same = (pairs.chosen.tokens == pairs.rejected.tokens).all(1)
    assert not same.any()


def test_labels_follow_gold(small: Any) -> None:
    labels = sample_labels(small.reference, small.task, small.score, rng(14), 20_000)
    gold = np.asarray(small.score(labels.sequences))
    chance = 1 / (1 + np.exp(-gold))
    for part in (gold < 0, gold >= 0):
        error = 0.5 / np.sqrt(part.sum())
        assert abs(labels.label.numpy()[part].mean() - chance[part].mean()) < 4 * error


def test_accuracies_leave_labels_aside_that_are_neither_right_nor_wrong(small: Any) -> None:
    labels = sample_labels(small.reference, small.task, small.score, rng(15), 400)
    undecided = rng(16).random(400) < 0.6
    label = torch.where(torch.from_numpy(undecided), 0.5, labels.label)
    data = Labels(labels.sequences, label)
    config = RewardConfig(loss="pointwise", patience=5, batch_size=400, min_updates=1, num_epochs=1)
    streams = SeedStreams(0, 0)
    model = RewardModel(small.policy(), streams.generator("init"))
    samples = labels.sequences
    trainer = fit_reward_model(model, data, samples, config, streams)
    _, training = split_held_out(data, config, streams)
    assert isinstance(training, Labels)
    before = (model.raw_scores(training.sequences) > 0).numpy()
    metrics = trainer.update()
    certain = training.label.numpy() != 0.5
    agree = before == (training.label.numpy() > 0.5)
    assert metrics["accuracy"] == pytest.approx(agree[certain].mean(), abs=1e-6)
    assert agree[~certain].mean() != pytest.approx(agree[certain].mean(), abs=0.02)
    nothing = Labels(labels.sequences, torch.full((400,), 0.5))
    trainer = fit_reward_model(model, nothing, samples, config, streams)
    assert not {"accuracy", "held_out_accuracy"} & set(trainer.update())


def test_a_model_that_always_says_the_same_gives_no_pairs(ragged: Any) -> None:
    class Certain(GPT):
        def unembed(self, hidden: torch.Tensor) -> torch.Tensor:
            logits = super().unembed(hidden) * 0
            logits[..., EOS] = 100.0
            return logits

    model = Certain(ragged.reference.config, rng())
    with pytest.raises(UsageError, match="repeats itself too often"):
        sample_preferences(model, ragged.task, lambda s: np.zeros(len(s.tokens)), rng(), 10)


# --- state ----------------------------------------------------------------------------------------


def stage_of(small: Any, kind: str) -> ExampleTrainer:
    trunk = small.policy()
    if kind == "adapters":
        add_adapters(trunk, rank=2, alpha=4.0, rng=rng(15))
    if kind == "dropout":
        config = type(trunk.config)(**{**vars(trunk.config), "dropout": 0.3})
        trunk = GPT(config, rng())
        trunk.load_state_dict(small.reference.state_dict())
    model = RewardModel(trunk, rng(16))
    data: Preferences | Labels
    loss: Any = "pointwise" if kind == "pointwise" else "pairwise"
    if kind == "pointwise":
        data = sample_labels(small.reference, small.task, small.score, rng(17), 60)
    else:
        data = sample_preferences(small.reference, small.task, small.score, rng(17), 60)
    (samples,) = responses_from(small.reference, small.task, rng(18), 100)
    options = {"num_epochs": 3, "min_updates": 1, "batch_size": 18, "learning_rate": 1e-2}
    config = RewardConfig(loss=loss, **options)
    return fit_reward_model(model, data, samples, config, STREAMS)


@pytest.mark.slow
@pytest.mark.claim(51)
@pytest.mark.parametrize("kind", ["pairwise", "pointwise", "adapters", "dropout"])
@pytest.mark.parametrize("at", [2, 6])  # within the first epoch, and at the end of the second
def test_stopping_and_continuing_gives_the_same_bits(
    small: Any, tmp_path: Any, kind: str, at: int
) -> None:
    whole, first, second = (stage_of(small, kind) for _ in range(3))
    assert whole.num_updates == 9
    curve = [whole.update() for _ in range(9)]
    begun = [first.update() for _ in range(at)]
    np.savez(tmp_path / "state.npz", **first.state_dict())
    first.update()
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        second.load_state_dict(state)
    assert begun + [second.update() for _ in range(9 - at)] == curve
    ours, theirs = second.state_dict(), whole.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert ours["module/gain"] != 1.0


def test_a_table_scores_as_the_model_that_filled_it(small: Any) -> None:
    model = scorer(small)
    (samples,) = responses_from(small.reference, small.task, rng(19), 200)
    table = TableScore(small.key, small.key.tabulate(model.score))
    np.testing.assert_allclose(table(samples), model.score(samples), atol=FLOAT32)
    rolled = Sequences(*(part.roll(1, 0) for part in samples))
    np.testing.assert_allclose(table(rolled), np.roll(table(samples), 1), atol=0)


def test_scores_in_parts_are_those_of_all(ragged: Any) -> None:
    rng = np.random.default_rng(0)
    model = RewardModel(ragged.policy(), rng)
    prompts = ragged.task.sample_prompts(rng, 20)
    samples = generate(ragged.reference, ragged.task, prompts, rng).sequences
    sizes: list[int] = []
    whole = model.score(samples)
    model.trunk.memory_gb = 6.5e-9 * model.trunk.sizes.row_bytes(11)
    model.trunk.register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
    np.testing.assert_allclose(model.score(samples), whole, atol=1e-5)
    assert sizes == [6, 6, 6, 2]
