"""What is sampled has the law that is recorded with it, whatever the batch looks like."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from rlkit.rlhf.data import sampling
from rlkit.rlhf.data.sampling import Samples, generate
from rlkit.rlhf.data.sequences import Sequences, response_log_probs
from rlkit.rlhf.exact import enumeration
from rlkit.rlhf.models.gpt import GPT
from rlkit.rlhf.training.configs import METHODS

FLOAT32 = 1e-5  # float32 sums in another order
NUM_SAMPLES = 100_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def recomputed(model: Any, samples: Samples, temperature: float = 1.0) -> Tensor:
    with torch.no_grad():
        log_prob, _, _ = response_log_probs(model, samples.sequences, temperature)
    return log_prob


def p_value(counts: np.ndarray, log_prob: np.ndarray) -> float:
    """Pearson's chi-square of counts [C] against probabilities; rare cells are put together."""
    probability = np.exp(log_prob)
    often = probability > 1e-3
    expected = np.append(probability[often], probability[~often].sum()) * counts.sum()
    found = np.append(counts[often], counts[~often].sum())
    some = expected > 0
    assert not found[~some].any()
    statistic = ((found - expected)[some] ** 2 / expected[some]).sum()
    return float(chi2.sf(statistic, some.sum() - 1))


def law_of_samples(small: Any, temperature: float, n: int = NUM_SAMPLES) -> float:
    """The p-value of samples against exp of their own recorded log-probability.

    Each response that occurred has its recorded log-probability; those that did not occur share
    the rest.
    """
    prompt = small.task.prompts[:1]
    samples = generate(
        small.reference, small.task, prompt.repeat(n, 0), rng(1), temperature=temperature
    )
    index = small.key.completions.index(samples.sequences.responses.numpy())
    count = len(small.key.completions.lengths)
    recorded = np.full(count, -np.inf)
    recorded[index] = samples.log_prob.double().sum(1).numpy()
    missing = recorded == -np.inf
    if missing.any():
        rest = max(1e-12, 1.0 - np.exp(recorded).sum())
        recorded[missing] = np.log(rest / missing.sum())
    return p_value(np.bincount(index, minlength=count), recorded)


@pytest.mark.long
@pytest.mark.claim(4)
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_samples_follow_the_log_probability_recorded_with_them(
    small: Any, temperature: float
) -> None:
    assert law_of_samples(small, temperature) > 1e-3  # a false alarm in 1,000 seeds


@pytest.mark.long
@pytest.mark.claim(4)
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_the_distribution_of_samples_is_the_whole_softmax(small: Any, temperature: float) -> None:
    """No filter (top-k, top-p, a least length) takes any response out of what may be sampled."""
    key, q = small.key, 1
    log_prob = enumeration.completion_log_probs(
        small.reference, small.task.prompts, key.completions, temperature
    )[q]
    prompts = small.task.prompts[q : q + 1].repeat(NUM_SAMPLES, 0)
    samples = generate(small.reference, small.task, prompts, rng(2), temperature=temperature)
    index = key.completions.index(samples.sequences.responses.numpy())
    counts = np.bincount(index, minlength=len(log_prob))
    assert p_value(counts, log_prob) > 1e-3
    recorded = samples.log_prob.double().sum(1).numpy()
    np.testing.assert_allclose(recorded, log_prob[index], atol=FLOAT32)


@pytest.mark.trap("T84")
def test_sampling_at_another_temperature_than_recorded_is_noticed(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = sampling.categorical_sample
    monkeypatch.setattr(sampling, "categorical_sample", lambda x, u: right(x / 0.7, u))
    assert law_of_samples(small, 1.0, 20_000) < 1e-10


@pytest.mark.claim(5)
def test_a_filter_on_what_may_be_sampled_is_noticed(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = sampling.categorical_sample

    def top_3(logits: Tensor, uniform: Tensor) -> Tensor:
        least = logits.topk(3).values[:, -1:]
        return right(logits.masked_fill(logits < least, -torch.inf), uniform)

    monkeypatch.setattr(sampling, "categorical_sample", top_3)
    assert law_of_samples(small, 1.0, 20_000) < 1e-10


@pytest.mark.claim(5)
@pytest.mark.parametrize(
    "option", ["top_k", "top_p", "min_p", "repetition_penalty", "bad_words", "min_new_tokens"]
)
def test_options_that_would_change_the_distribution_do_not_exist(option: str) -> None:
    assert option not in inspect.signature(generate).parameters
    for config in METHODS.values():
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{option}'"):
            config(**{option: 1})


@pytest.mark.claim(4)
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_recorded_log_probabilities_are_those_of_a_full_forward_pass(
    ragged: Any, temperature: float
) -> None:
    """By the cache, with ragged padding on the left and rows that end at different times."""
    prompts = ragged.task.sample_prompts(rng(3), 200)
    samples = generate(ragged.reference, ragged.task, prompts, rng(4), temperature=temperature)
    assert len(set(samples.sequences.lengths.tolist())) > 3
    assert not samples.sequences.prompt_mask.all()
    difference = samples.log_prob - recomputed(ragged.reference, samples, temperature)
    assert float(difference.abs().max()) < FLOAT32


def test_responses_do_not_depend_on_how_the_prompts_are_chunked_or_padded(ragged: Any) -> None:
    """The same uniforms give the same responses and, up to rounding, the same log-probabilities."""
    task = ragged.task
    prompts = task.sample_prompts(rng(5), 12)
    uniforms = rng(6).random((task.max_new_tokens, 12))

    class Given:
        def __init__(self, columns: slice) -> None:
            self.columns = columns

        def random(self, shape: tuple[int, int]) -> np.ndarray:
            assert shape == (task.max_new_tokens, len(prompts[self.columns]))
            return uniforms[:, self.columns].copy()

    whole = generate(ragged.reference, task, prompts, Given(slice(None)))  # type: ignore[arg-type]
    for start in range(0, 12, 3):
        rows = slice(start, start + 3)
        part = generate(ragged.reference, task, prompts[rows], Given(rows))  # type: ignore[arg-type]
        assert torch.equal(part.sequences.tokens, whole.sequences.tokens[rows])
        torch.testing.assert_close(part.log_prob, whole.log_prob[rows], atol=FLOAT32, rtol=0)
    wide = np.concatenate([np.full((12, 4), task.pad), prompts], axis=1)
    wider = type("Wider", (type(task),), {"prompt_length": 9})()
    padded = generate(ragged.reference, wider, wide, Given(slice(None)))  # type: ignore[arg-type]
    assert torch.equal(padded.sequences.responses, whole.sequences.responses)
    torch.testing.assert_close(padded.log_prob, whole.log_prob, atol=FLOAT32, rtol=0)


class Biased(GPT):
    """A model whose EOS has another logit."""

    bias = 0.0

    def unembed(self, hidden: Tensor) -> Tensor:
        logits = super().unembed(hidden)
        shift = torch.zeros(self.num_actions)
        shift[6] = self.bias
        return logits + shift


def biased(ragged: Any, bias: float) -> Biased:
    model = Biased(ragged.reference.config, rng())
    model.load_state_dict(ragged.reference.state_dict())
    model.bias = bias
    return model


@pytest.mark.claim(7)
def test_the_length_limit_forces_no_token(ragged: Any) -> None:
    """A response that is cut keeps the token that was sampled last, with its own probability."""
    model, task = biased(ragged, -40.0), ragged.task
    samples = generate(model, task, task.sample_prompts(rng(7), 50), rng(8))
    assert samples.truncated.all()
    assert samples.sequences.response_mask.all()
    assert not (samples.sequences.responses == task.eos).any()
    difference = samples.log_prob - recomputed(model, samples)
    assert float(difference.abs().max()) < FLOAT32


@pytest.mark.claim(1)
def test_truncation_is_recorded_and_not_inferred_from_the_width(ragged: Any) -> None:
    task = ragged.task
    samples = generate(ragged.reference, task, task.sample_prompts(rng(9), 300), rng(10))
    lengths = samples.sequences.lengths
    last = samples.sequences.responses.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
    ended = last == task.eos
    assert torch.equal(samples.truncated, ~ended)
    full = lengths == task.max_new_tokens
    assert (ended & full).any()  # EOS in the last place: as long as the batch is wide, and ended
    assert samples.truncated.any()
    # EOS stands nowhere else, and padding stands after it.
    assert (samples.sequences.responses == task.eos).sum() == ended.sum()
    assert (samples.sequences.responses[~samples.sequences.response_mask] == task.pad).all()


@pytest.mark.claim(12)
@pytest.mark.parametrize(("bias", "steps"), [(60.0, 1), (-40.0, 6)])
def test_sampling_stops_when_all_have_ended(
    ragged: Any, monkeypatch: pytest.MonkeyPatch, bias: float, steps: int
) -> None:
    model, task = biased(ragged, bias), ragged.task
    calls = []
    forward = GPT.forward

    def counted(self: GPT, tokens: Tensor, **arguments: Any) -> Tensor:
        calls.append(tokens.shape[1])
        return forward(self, tokens, **arguments)

    monkeypatch.setattr(Biased, "forward", counted)
    samples = generate(model, task, task.sample_prompts(rng(11), 5), rng(12))
    assert calls == [5] + [1] * (steps - 1)  # the prompt once, then each token once
    assert samples.sequences.responses.shape == (5, task.max_new_tokens)
    assert samples.sequences.lengths.tolist() == [steps] * 5


def test_stopping_early_takes_as_many_random_numbers_as_continuing(ragged: Any) -> None:
    """So what is drawn next does not depend on when the slowest row ended."""
    states = []
    for bias in (60.0, -40.0):
        generator = rng(13)
        generate(biased(ragged, bias), ragged.task, ragged.task.sample_prompts(rng(), 5), generator)
        states.append(generator.bit_generator.state)
    assert states[0] == states[1]


@pytest.mark.trap("T36")
@pytest.mark.claim(11)
def test_dropout_is_off_while_sampling(small: Any) -> None:
    config = type(small.reference.config)(**{**vars(small.reference.config), "dropout": 0.5})
    model = GPT(config, rng())
    model.load_state_dict(small.reference.state_dict())
    model.train()
    prompts = small.task.sample_prompts(rng(14), 20)
    ours = generate(model, small.task, prompts, rng(15))
    theirs = generate(small.reference, small.task, prompts, rng(15))
    assert torch.equal(ours.log_prob, theirs.log_prob)
    assert not model.training


def test_without_randomness_the_likeliest_token_is_taken(ragged: Any) -> None:
    task, model = ragged.task, ragged.reference
    prompts = task.sample_prompts(rng(16), 10)
    samples = generate(model, task, prompts, None)
    with torch.no_grad():
        for row, prompt in enumerate(prompts):
            ids = prompt[prompt != task.pad].tolist()
            for token in samples.sequences.responses[row, : samples.sequences.lengths[row]]:
                law = model.unembed(model(torch.tensor([ids]))[0, -1])
                assert int(law.argmax()) == int(token)
                ids.append(int(token))


def test_the_same_generator_gives_the_same_samples_and_no_global_one_is_used(small: Any) -> None:
    prompts = small.task.sample_prompts(rng(17), 30)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = generate(small.reference, small.task, prompts, rng(18))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = generate(small.reference, small.task, prompts, rng(18))
    other = generate(small.reference, small.task, prompts, rng(19))
    assert torch.equal(first.sequences.tokens, second.sequences.tokens)
    assert torch.equal(first.log_prob, second.log_prob)
    assert not torch.equal(first.sequences.tokens, other.sequences.tokens)


def test_samples_are_copies_that_later_sampling_leaves_alone(small: Any) -> None:
    prompts = small.task.sample_prompts(rng(20), 8)
    samples = generate(small.reference, small.task, prompts, rng(21))
    kept = Sequences(*(part.clone() for part in samples.sequences))
    generate(small.reference, small.task, prompts, rng(22))
    for ours, before in zip(samples.sequences, kept, strict=True):
        assert torch.equal(ours, before)


def test_a_limit_of_memory_samples_in_parts_what_is_sampled_at_once(ragged: Any) -> None:
    model, task = copy.deepcopy(ragged.reference), ragged.task
    prompts = task.sample_prompts(rng(3), 50)
    rows: list[int] = []
    original = model.new_cache

    def counted(batch_size: int, max_length: int) -> Any:
        rows.append(batch_size)
        return original(batch_size, max_length)

    model.new_cache = counted
    whole = generate(model, task, prompts, rng(4))
    assert rows == [50]
    rows.clear()
    model.memory_gb = 7.5e-9 * model.sizes.row_bytes(11)
    parts = generate(model, task, prompts, rng(4))
    assert rows == [7, 7, 7, 7, 7, 7, 7, 1]
    assert all(torch.equal(a, b) for a, b in zip(parts.sequences, whole.sequences, strict=True))
    assert torch.equal(parts.truncated, whole.truncated)
    torch.testing.assert_close(parts.log_prob, whole.log_prob, atol=FLOAT32, rtol=0)
