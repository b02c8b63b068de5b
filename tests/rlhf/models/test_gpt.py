"""The transformer against the written-out formulas, against GPT-2 of transformers, and itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from rlkit.errors import UsageError
from rlkit.rlhf.models import gpt as transformer
from rlkit.rlhf.models.gpt import (
    GPT,
    Attention,
    FeedForward,
    GPTConfig,
    KVCache,
    attention_mask,
    sinusoidal_positions,
)
from rlkit.rlhf.models.heads import ScalarHead
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.layers import torch_seeded
from rlkit.rlhf.stages.sources import ModelSource
from rlkit.seeding import SeedStreams
from rlkit_envs.enumerable import EnumerableTask

VOCAB, ACTIONS, CONTEXT, PAD = 13, 11, 40, 12
SFT_MODEL = ModelSource()  # of `rlkit rlhf sft` without options
# float32 sums in another order: about ten layers deep, logits of order 1 to 10.
FLOAT32 = 1e-5
FLOAT64 = 1e-12


def small_config(**options: Any) -> GPTConfig:
    sizes = {"vocab_size": VOCAB, "num_actions": ACTIONS, "context_length": CONTEXT}
    return GPTConfig(**{**sizes, "width": 32, "num_heads": 4, **options})


def rough_gpt(seed: int = 0, **options: Any) -> GPT:
    """A GPT far from its flat start, so that a mistake shows in the logits."""
    rng = np.random.default_rng(seed)
    gpt = GPT(small_config(**options), rng).eval()
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.2, parameter.shape)))
    return gpt


def our_gpt2(**options: Any) -> GPT:
    settings = {"num_actions": VOCAB, "num_layers": 3, "activation": "gelu_tanh", **options}
    return GPT(small_config(**settings), np.random.default_rng(0)).eval()


def random_tokens(*shape: int, seed: int = 1, high: int = ACTIONS) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, high, shape))


@torch.no_grad()
def logits_of(model: LanguageModel, tokens: Tensor, real: Tensor | None = None) -> Tensor:
    return model.unembed(model(tokens, token_mask=real))


def left_padded(rows: list[Tensor], width: int) -> tuple[Tensor, Tensor]:
    """The rows side by side, [B, width], and what of it is not padding."""
    tokens = torch.full((len(rows), width), PAD)
    real = torch.zeros(len(rows), width, dtype=torch.bool)
    for b, row in enumerate(rows):
        tokens[b, width - len(row) :] = row
        real[b, width - len(row) :] = True
    return tokens, real


def ragged_rows(seed: int = 3) -> list[Tensor]:
    return [random_tokens(n, seed=seed + n) for n in (1, 9, 4, 12, 7)]


def largest(difference: Tensor) -> float:
    return float(difference.detach().abs().max())


# --- the formulas ---------------------------------------------------------------------------------


def written_out_attention(layer: Attention, x: np.ndarray, real: np.ndarray) -> np.ndarray:
    """softmax(q k^T / sqrt(head)) v by loops over rows, heads and queries, in float64."""
    w, b, pw, pb = (
        p.detach().numpy()
        for p in (layer.qkv.weight, layer.qkv.bias, layer.project.weight, layer.project.bias)
    )
    width, heads = x.shape[2], layer.num_heads
    size = width // heads
    out = np.empty_like(x)
    for n in range(len(x)):
        query, key, value = (
            x[n] @ w[i : i + width].T + b[i : i + width] for i in (0, width, 2 * width)
        )
        for t in range(x.shape[1]):
            seen = [s for s in range(t + 1) if real[n, s] or s == t]
            states = []
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                weights = np.exp([query[t, part] @ key[s, part] / math.sqrt(size) for s in seen])
                states.append(weights / weights.sum() @ value[seen, part])
            out[n, t] = np.concatenate(states) @ pw.T + pb
    return out


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("padding", [None, (0, 3, 6)])
def test_attention_is_the_written_out_softmax(heads: int, padding: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(0)
    layer = Attention(small_config(num_heads=heads), rng).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.3, parameter.shape)))
    x = rng.normal(size=(3, 7, 32))
    real = np.arange(7) >= np.array(padding or (0, 0, 0))[:, None]
    mask = attention_mask(
        torch.from_numpy(real) if padding else None, 0, 7, torch.tensor(0.0).double()
    )
    got = layer(torch.from_numpy(x), mask, None, 0, x.shape[1])
    np.testing.assert_allclose(
        got.detach().numpy(), written_out_attention(layer, x, real), atol=FLOAT64
    )


ACTIVATION = {
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: max(0.0, x),
}


def written_out_feed_forward(layer: FeedForward, x: np.ndarray, activation: str) -> np.ndarray:
    """f(x W1 + b1) W2 + b2 by loops over states and units, in float64."""
    w1, b1, w2, b2 = (
        p.detach().double().numpy()
        for p in (
            *(layer.expand.weight, layer.expand.bias),
            *(layer.contract.weight, layer.contract.bias),
        )
    )
    f = ACTIVATION[activation]
    out = []
    for state in x.reshape(-1, x.shape[-1]).astype(np.float64):
        inner = [f(w1[j] @ state + b1[j]) for j in range(len(b1))]
        out.append([w2[i] @ inner + b2[i] for i in range(len(b2))])
    return np.array(out).reshape(x.shape)


def rough_feed_forward(layer: FeedForward) -> np.ndarray:
    """Give a layer large weights; return states to try it on."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, 0.5, parameter.shape)))
    return rng.normal(size=(2, 3, layer.expand.in_features))


@pytest.mark.parametrize("activation", sorted(ACTIVATION))
def test_the_feed_forward_layer_is_the_written_out_formula(activation: str) -> None:
    config = small_config(activation=activation)
    layer = FeedForward(config, np.random.default_rng(0)).double()
    x = rough_feed_forward(layer)
    assert layer.expand.weight.shape == (4 * 32, 32)
    got = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, written_out_feed_forward(layer, x, activation), atol=FLOAT64)
    for other in set(ACTIVATION) - {activation}:  # the test can tell them apart
        assert np.abs(got - written_out_feed_forward(layer, x, other)).max() > 1e-4


def test_fine_tuning_has_the_feed_forward_layer_that_is_tested_by_default() -> None:
    assert SFT_MODEL.activation == small_config().activation == "gelu"
    model = SFT_MODEL.build(EnumerableTask(), SeedStreams(0, 0))
    layer = model.get_submodule("blocks.0.feed_forward").double()
    assert isinstance(layer, FeedForward)
    x = rough_feed_forward(layer)
    got = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, written_out_feed_forward(layer, x, "gelu"), atol=FLOAT64)


def test_another_activation_is_another_model_and_the_default_keeps_the_name_of_its_run() -> None:
    assert "activation" not in SFT_MODEL.identity()
    source = ModelSource(activation="relu")
    assert source.identity()["activation"] == "relu"
    layer = source.build(EnumerableTask(), SeedStreams(0, 0)).get_submodule("blocks.0.feed_forward")
    x = rough_feed_forward(layer.double())
    got = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, written_out_feed_forward(layer, x, "relu"), atol=FLOAT64)


def test_sinusoidal_positions_are_the_formula_of_the_paper() -> None:
    table = sinusoidal_positions(30, 16)
    for t in range(30):
        for i in range(8):
            angle = t / 10000 ** (2 * i / 16)
            expected = (math.sin(angle), math.cos(angle))
            got = table[t, 2 * i : 2 * i + 2].tolist()
            assert got == pytest.approx(expected, abs=1e-7)  # float32 numbers up to 1


def test_sinusoidal_positions_are_not_parameters_and_move_the_logits() -> None:
    gpt = rough_gpt(positions="sinusoidal")
    assert "position_table" not in dict(gpt.named_parameters())
    assert "position_table" not in gpt.state_dict()
    logits = logits_of(gpt, torch.full((1, 6), 3))
    assert largest(logits[0, 1:] - logits[0, :1]) > 1e-3


# --- the last states alone ---


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("last", [1, 5, 12])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_last_states_alone_are_those_of_the_whole(
    num_layers: int, last: int, padded: bool
) -> None:
    gpt = our_gpt2(num_layers=num_layers)
    tokens = random_tokens(5, 12, high=VOCAB)
    real = torch.arange(12) >= torch.tensor([0, 11, 3, 7, 1])[:, None] if padded else None
    with torch.no_grad():
        whole, part = gpt(tokens, token_mask=real), gpt(tokens, token_mask=real, num_last=last)
        cache = gpt.new_cache(5, 12)
        gpt(
            tokens[:, :4], token_mask=None if real is None else real[:, :4], cache=cache, num_last=1
        )
        later = gpt(tokens[:, 4:], token_mask=real, cache=cache, num_last=min(last, 8))
    assert part.shape == (5, last, 32)
    seen = torch.ones(5, 12, dtype=torch.bool) if real is None else real
    assert largest((part - whole[:, -last:])[seen[:, -last:]]) < FLOAT32
    kept = later.shape[1]
    assert largest((later - whole[:, -kept:])[seen[:, -kept:]]) < FLOAT32


# --- padding and batches --------------------------------------------------------------------------


def padding_gap(gpt: GPT, extra: int = 0) -> float:
    """How far a left-padded batch is from its rows one by one."""
    rows = ragged_rows()
    tokens, real = left_padded(rows, 12 + extra)
    batch = logits_of(gpt, tokens, real)
    alone = [logits_of(gpt, row[None])[0] for row in rows]
    return max(largest(b[-len(a) :] - a) for a, b in zip(alone, batch, strict=True))


@pytest.mark.trap("T82")
@pytest.mark.claim(9)
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("extra", [0, 5])
def test_left_padding_of_any_width_changes_no_logit(positions: str, extra: int) -> None:
    assert padding_gap(rough_gpt(positions=positions), extra) < FLOAT32


WRONG_POSITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "not shifted": lambda real: torch.arange(real.shape[1]).expand(real.shape),
    "one late": lambda real: (real.cumsum(1) - 2).clamp(min=0),
    "one early": lambda real: real.cumsum(1),
}


@pytest.mark.claim(9)
@pytest.mark.parametrize("mutant", WRONG_POSITIONS)
def test_wrong_positions_under_left_padding_are_noticed(
    mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformer, "token_positions", WRONG_POSITIONS[mutant])
    assert padding_gap(rough_gpt()) > 0.1


def test_attention_to_padding_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "attention_mask", lambda *_: None)
    assert padding_gap(rough_gpt()) > 0.1


@pytest.mark.trap("T82")
def test_right_padding_changes_no_logit() -> None:
    gpt, row = rough_gpt(), random_tokens(1, 9)
    padded = F.pad(row, (0, 6), value=PAD)
    assert largest(logits_of(gpt, padded)[:, :9] - logits_of(gpt, row)) < FLOAT32


@pytest.mark.claim(10)
def test_log_probs_of_a_sequence_do_not_depend_on_the_batch() -> None:
    gpt = rough_gpt()
    tokens = random_tokens(200, 9)
    together = logits_of(gpt, tokens).log_softmax(-1)
    alone = torch.cat([logits_of(gpt, row[None]) for row in tokens[:20]]).log_softmax(-1)
    assert largest(together[:20] - alone) < FLOAT32


def test_values_in_the_padding_do_not_matter() -> None:
    gpt = rough_gpt()
    tokens, real = left_padded(ragged_rows(), 12)
    other = tokens.masked_fill(~real, 0)
    assert torch.equal(logits_of(gpt, tokens, real)[real], logits_of(gpt, other, real)[real])


def test_a_row_of_padding_alone_gives_finite_states_and_gradients() -> None:
    gpt = rough_gpt()
    tokens = torch.full((2, 5), PAD)
    hidden = gpt(tokens, token_mask=torch.zeros(2, 5, dtype=torch.bool))
    gpt.unembed(hidden).square().sum().backward()
    assert hidden.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gpt.parameters())


@pytest.mark.claim(37)
@pytest.mark.parametrize("init", ["zero", "reward"])
def test_score_is_the_same_padded_left_or_right_and_in_any_batch(init: Any) -> None:
    gpt, head = rough_gpt(), ScalarHead(32, init, np.random.default_rng(4))
    with torch.no_grad():
        head.bias.add_(0.5)
    rows = ragged_rows()
    tokens, real = left_padded(rows, 12)
    with torch.no_grad():
        left = head(gpt(tokens, token_mask=real))[:, -1]
        alone = torch.stack([head(gpt(row[None]))[0, -1] for row in rows])
        right_tokens = torch.stack([F.pad(row, (0, 12 - len(row)), value=PAD) for row in rows])
        last = torch.tensor([len(row) - 1 for row in rows])
        right = head(gpt(right_tokens))[torch.arange(len(rows)), last]
    assert largest(left - right) < FLOAT32
    assert largest(left - alone) < FLOAT32
    assert (largest(alone - 0.5) > 0.1) == (init == "reward")


# --- causality ------------------------------------------------------------------------------------


def future_gap(gpt: GPT) -> float:
    """How far the logits of the first tokens move when later tokens change."""
    tokens = random_tokens(4, 10)
    changed = tokens.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % ACTIONS
    return largest((logits_of(gpt, tokens) - logits_of(gpt, changed))[:, :6])


def test_no_token_looks_to_its_right() -> None:
    assert future_gap(rough_gpt()) == 0.0


def test_a_missing_causal_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    attend: Callable[..., Tensor] = F.scaled_dot_product_attention
    monkeypatch.setattr(
        transformer.F,
        "scaled_dot_product_attention",
        lambda *args, is_causal, **options: attend(*args, **options),
    )
    assert future_gap(rough_gpt()) > 0.1


# --- the cache ------------------------------------------------------------------------------------


def cache_gap(gpt: GPT, chunks: tuple[int, ...], *, padded: bool = True) -> float:
    """How far log-probs by the cache are from those of one forward over everything.

    Prompts of 1 to 8 tokens, responses of 1 to 12; a row that has ended goes on as padding.
    """
    tokens = random_tokens(6, 20)
    real = torch.arange(20) >= torch.tensor([0, 7, 3, 0, 5, 1])[:, None] * int(padded)
    ended = torch.arange(20) >= 8 + torch.tensor([12, 1, 5, 3, 12, 9])[:, None]
    tokens = tokens.masked_fill(~real | ended, PAD)
    whole = logits_of(gpt, tokens, real if padded else None).log_softmax(-1)
    cache = gpt.new_cache(6, 20)
    parts = []
    with torch.no_grad():
        for chunk in chunks:
            columns = slice(cache.length, cache.length + chunk)
            seen = real[:, : columns.stop] if padded else None
            hidden = gpt(tokens[:, columns], token_mask=seen, cache=cache)
            parts.append(gpt.unembed(hidden).log_softmax(-1))
    assert cache.length == 20
    return largest((torch.cat(parts, 1) - whole)[real & ~ended])


TOKEN_BY_TOKEN = (8, *[1] * 12)


@pytest.mark.claim(8)
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("chunks", [TOKEN_BY_TOKEN, (1,) * 20, (3, 5, 8, 4), (20,)])
def test_cache_gives_the_log_probs_of_the_full_forward(
    chunks: tuple[int, ...], positions: str, padded: bool
) -> None:
    assert cache_gap(rough_gpt(positions=positions), chunks, padded=padded) < FLOAT32


def test_cache_differs_from_the_full_forward_by_rounding_only() -> None:
    assert cache_gap(rough_gpt().double(), TOKEN_BY_TOKEN) < FLOAT64


def test_a_cache_that_writes_one_place_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    append = KVCache.append

    def one_off(self: KVCache, layer: int, keys_and_values: Tensor) -> Tensor:
        if self.length == 0:
            return append(self, layer, keys_and_values)
        self.length -= 1
        append(self, layer, keys_and_values)
        self.length += 1
        return self._layers[layer][:, : self.length]

    monkeypatch.setattr(KVCache, "append", one_off)
    assert cache_gap(rough_gpt(), TOKEN_BY_TOKEN, padded=False) > 0.1


def test_cache_is_allocated_once_and_filled_in_place() -> None:
    gpt = rough_gpt()
    cache = gpt.new_cache(2, 10)
    places = [layer.data_ptr() for layer in cache._layers]
    with torch.no_grad():
        for token in random_tokens(10, 2, 1):
            gpt(token, cache=cache)
    assert [layer.data_ptr() for layer in cache._layers] == places
    assert cache._layers[0].shape == (2, 10, 2, 4, 8)


def test_misuse_of_the_cache_is_rejected() -> None:
    gpt = rough_gpt()
    two, real = random_tokens(2, 4), torch.ones(2, 4, dtype=torch.bool)
    cache = gpt.new_cache(2, 5)
    with pytest.raises(UsageError, match="no_grad"):
        gpt(two, cache=cache)
    with torch.no_grad():
        with pytest.raises(UsageError, match=r"2 rows .* got 3 rows"):
            gpt(random_tokens(3, 4), cache=cache)
        with pytest.raises(UsageError, match=r"token_mask of shape \(2, 4\).*got \(2, 3\)"):
            gpt(two, token_mask=real[:, 1:], cache=cache)
        gpt(two, token_mask=real, cache=cache)
        with pytest.raises(UsageError, match="pass token_mask again"):
            gpt(two[:, :1], cache=cache)
        with pytest.raises(UsageError, match="at most 5 tokens; got 2 rows that would have 8"):
            gpt(two, token_mask=torch.ones(2, 8, dtype=torch.bool), cache=cache)


def test_sequences_beyond_the_context_are_rejected_with_both_lengths() -> None:
    gpt = rough_gpt(context_length=6)
    with pytest.raises(ValueError, match=r"7 tokens.*context_length of 6"):
        gpt(random_tokens(2, 7))
    with pytest.raises(ValueError, match=r"9 tokens.*context_length of 6"):
        gpt.new_cache(2, 9)
    assert gpt(random_tokens(2, 6)).shape == (2, 6, 32)


# --- dropout --------------------------------------------------------------------------------------


def check_dropout(p: float) -> None:
    """What goes into the first block, with dropout against without it."""
    gpt, without, tokens = rough_gpt(dropout=p), rough_gpt(), random_tokens(64, 40)
    entered: list[Tensor] = []
    for model in (gpt, without):
        model.blocks[0].register_forward_pre_hook(lambda _, args: entered.append(args[0].detach()))
    with torch_seeded(0):
        logits_of(gpt.train(), tokens)
        logits_of(gpt.eval(), tokens)
        logits_of(without, tokens)
    dropped, evaluated, whole = entered
    assert torch.equal(evaluated, whole)
    zero = dropped == 0
    count = zero.numel()
    assert abs(float(zero.double().mean()) - p) < 4 * math.sqrt(p * (1 - p) / count)
    by_token = zero.double().mean(2)  # elements are dropped, not whole tokens
    assert float(by_token.std()) < 1.3 * math.sqrt(p * (1 - p) / zero.shape[2])
    # One rounding of 1 / (1 - p), and one of the product.
    torch.testing.assert_close(dropped[~zero], whole[~zero] / (1 - p), rtol=3e-7, atol=0)
    # The mean of x m / (1 - p), with m = 1 in a share 1 - p, has the variance x^2 p / (1 - p).
    error = math.sqrt(float(whole.double().square().sum()) * p / (1 - p)) / count
    assert abs(float(dropped.double().mean() - whole.double().mean())) < 4 * error


@pytest.mark.parametrize("p", [0.1, 0.3, 0.8])
def test_dropout_zeroes_a_share_and_rescales_the_others_so_that_the_mean_stays(p: float) -> None:
    check_dropout(p)


WRONG_DROPOUTS: dict[str, Callable[[Tensor, float, bool], Tensor]] = {
    "no rescaling": lambda x, p, training: DROPOUT(x, p, training) * (1 - p if training else 1),
    "p for 1 - p": lambda x, p, training: DROPOUT(x, 1 - p if p else 0.0, training),
    "in evaluation too": lambda x, p, training: DROPOUT(x, p, True),
    "whole tokens": lambda x, p, training: x * DROPOUT(torch.ones_like(x[..., :1]), p, training),
}
DROPOUT = F.dropout


@pytest.mark.parametrize("mistake", WRONG_DROPOUTS)
def test_a_wrong_dropout_is_noticed(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "dropout", WRONG_DROPOUTS[mistake])
    with pytest.raises(AssertionError):
        check_dropout(0.3)


def test_dropout_is_off_in_evaluation_mode() -> None:
    with_dropout, without = rough_gpt(dropout=0.3), rough_gpt()
    tokens = random_tokens(3, 9)
    expected = logits_of(without, tokens)
    assert torch.equal(logits_of(with_dropout, tokens), expected)
    assert torch.equal(logits_of(with_dropout, tokens), expected)
    assert largest(logits_of(with_dropout.train(), tokens) - expected) > 0.1
    assert torch.equal(logits_of(without.train(), tokens), expected)


def test_dropout_is_determined_by_the_seed_and_leaves_the_global_generator_alone() -> None:
    gpt, tokens = rough_gpt(dropout=0.3).train(), random_tokens(3, 9)
    before = torch.get_rng_state()
    results = []
    for seed in (1, 1, 2):
        with torch_seeded(seed):
            results.append(logits_of(gpt, tokens))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


# --- the kernel of attention ----------------------------------------------------------------------


def long_gpt(dropout: float) -> GPT:
    """A model for long sequences in training mode, whose weights are not tiny."""
    config = small_config(context_length=512, num_heads=2, dropout=dropout, init_std=0.2)
    return GPT(config, np.random.default_rng(0)).train()


def tokens_of_length(length: int) -> torch.Tensor:
    return torch.arange(4 * length).view(4, length) % 8


@pytest.mark.filterwarnings("ignore")  # torch says why it does not take the fused kernel
def test_attention_runs_in_the_fused_kernel_unless_there_is_dropout() -> None:
    tokens = tokens_of_length(32)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert long_gpt(0.0)(tokens).isfinite().all()
        with pytest.raises(RuntimeError, match="kernel"):
            long_gpt(0.1)(tokens)
        assert long_gpt(0.1).eval()(tokens).isfinite().all()


def bytes_kept_for_the_gradient(gpt: GPT, length: int) -> int:
    """Of all tensors that a forward pass keeps for its backward pass, each memory once."""
    memories: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        memories[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        gpt(tokens_of_length(length)).sum().backward()
    return sum(memories.values())


def test_the_memory_of_attention_grows_with_the_length_and_with_dropout_with_its_square() -> None:
    def growth(dropout: float) -> float:
        small, large = (bytes_kept_for_the_gradient(long_gpt(dropout), n) for n in (256, 512))
        return large / small

    assert growth(0.0) < 2.05
    assert growth(0.1) > 2.5


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"tied": False, "positions": "sinusoidal"}])
def test_initial_weights_are_determined_by_the_generator(options: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    first, same, other = (
        torch.nn.utils.parameters_to_vector(
            GPT(small_config(**options), np.random.default_rng(seed)).parameters()
        )
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", [{}, {"init_std": 0.08}])
def test_initial_weights_have_the_scale_of_gpt2_or_the_given_one(options: dict[str, Any]) -> None:
    sizes = small_config(width=128, num_layers=8, tied=False, **options)
    gpt = GPT(sizes, np.random.default_rng(0))
    ordinary = options.get("init_std", 0.02)
    for name, parameter in gpt.named_parameters():
        if "norm" in name or "bias" in name:
            constant = 1.0 if name.endswith("norm.weight") else 0.0
            assert (parameter == constant).all(), name
            continue
        residual = "project" in name or "contract" in name
        std = ordinary / 4 if residual else ordinary  # / sqrt(2 * 8)
        # Five standard errors of the standard deviation of n normal numbers.
        error = 5 / math.sqrt(2 * parameter.numel())
        assert float(parameter.detach().std()) == pytest.approx(std, rel=error), name


def test_number_of_parameters_is_that_of_a_count_by_hand() -> None:
    def count(**options: Any) -> int:
        gpt = GPT(small_config(width=64, num_layers=2, **options), np.random.default_rng(0))
        return sum(p.numel() for p in gpt.parameters())

    layer = 12 * 64 * 64 + 13 * 64  # 3 + 1 + 4 + 4 matrices; 9 biases, 4 vectors of the norms
    body = 2 * layer + 2 * 64
    assert count() == body + (13 + 40 + 11) * 64
    assert count(tied=True) == body + (13 + 40) * 64
    assert count(tied=True, positions="sinusoidal") == body + 13 * 64


def test_tied_logits_are_products_with_the_embedding_in_place() -> None:
    gpt = rough_gpt(tied=True)
    hidden = torch.from_numpy(np.random.default_rng(2).normal(size=(4, 32))).float()
    expected = hidden.numpy() @ gpt.embedding.detach().numpy()[:ACTIONS].T
    np.testing.assert_allclose(gpt.unembed(hidden).detach(), expected, atol=FLOAT32)
    with torch.no_grad():
        gpt.embedding.mul_(2)
    np.testing.assert_allclose(gpt.unembed(hidden).detach(), 2 * expected, atol=2 * FLOAT32)
    # Both uses of the embedding send it gradients: ids never read get them from the logits.
    gpt.unembed(gpt(torch.zeros(1, 2, dtype=torch.int64))).logsumexp(-1).sum().backward()
    assert gpt.embedding.grad is not None
    assert (gpt.embedding.grad[:ACTIONS].abs().sum(1) > 0).all()
    assert (gpt.embedding.grad[ACTIONS:] == 0).all()


def test_untied_logits_have_weights_of_their_own() -> None:
    gpt, tokens = rough_gpt(tied=False), random_tokens(2, 5)
    assert gpt.unembedding.shape == (ACTIONS, 32)
    with torch.no_grad():
        hidden = gpt(tokens)
        before = gpt.unembed(hidden)
        gpt.embedding.mul_(2)
    assert torch.equal(gpt.unembed(hidden), before)


def test_only_actions_have_logits() -> None:
    assert logits_of(rough_gpt(), random_tokens(2, 5, high=VOCAB)).shape == (2, 5, ACTIONS)


def test_unusable_sizes_are_rejected() -> None:
    for options, message in (
        ({"width": 30}, "multiple of num_heads = 4"),
        ({"width": 33, "num_heads": 1, "positions": "sinusoidal"}, "even number"),
        ({"num_actions": 14}, "at most vocab_size = 13"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"init_std": 0.0}, "init_std"),
        ({"activation": "tanh"}, "activation"),
    ):
        with pytest.raises(UsageError, match=message):
            small_config(**options)
    with pytest.raises(UsageError, match="'zero' or 'reward'"):
        ScalarHead(4, "one", np.random.default_rng(0))  # type: ignore[arg-type]
