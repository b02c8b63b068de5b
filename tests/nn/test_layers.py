"""Networks, optimisers and clipping with a seed axis."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlkit.nn import layers as networks
from rlkit.nn.layers import init_mlp, linear, mlp, orthogonal, xavier_uniform
from rlkit.nn.optimisers import Adam, clip_gradient_norm
from rlkit.nn.parameters import Parameters
from tests.nn.support import all_losses, draw, network

# --- layers ---------------------------------------------------------------------------------------

SHAPES = [(1, 1, 1, 1), (3, 5, 4, 2), (2, 7, 1, 3), (2, 7, 3, 1), (4, 1, 6, 5), (5, 9, 1, 1)]


@pytest.mark.parametrize(("seeds", "batch", "num_in", "num_out"), SHAPES)
def test_linear_is_the_written_out_formula(
    seeds: int, batch: int, num_in: int, num_out: int
) -> None:
    x, w = draw(0, seeds, batch, num_in), draw(1, seeds, num_in, num_out)
    b = draw(2, seeds, num_out)
    expected = np.zeros((seeds, batch, num_out))
    for s, i, j in np.ndindex(seeds, batch, num_out):
        expected[s, i, j] = b[s, j].item() + sum(
            x[s, i, k].item() * w[s, k, j].item() for k in range(num_in)
        )
    # float32 with at most 6 products of order 1
    np.testing.assert_allclose(linear(x, w, b).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("seeds", "batch", "num_in", "num_out"), SHAPES)
def test_linear_has_the_gradient_of_finite_differences(
    seeds: int, batch: int, num_in: int, num_out: int
) -> None:
    tensors = [
        draw(0, seeds, batch, num_in).double().requires_grad_(),
        draw(1, seeds, num_in, num_out).double().requires_grad_(),
        draw(2, seeds, num_out).double().requires_grad_(),
    ]
    assert torch.autograd.gradcheck(linear, tensors)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (1, 5, 1), (3, 4, 4, 2)])
def test_mlp_is_torchs_sequential_for_each_seed(activation: str, sizes: tuple[int, ...]) -> None:
    layers = [
        draw(10 * i + part, 3, *((a, b) if part == 0 else (b,)))
        for i, (a, b) in enumerate(itertools.pairwise(sizes))
        for part in (0, 1)
    ]
    x = draw(5, 3, 6, sizes[0])
    act = torch.nn.Tanh if activation == "tanh" else torch.nn.ReLU
    for s in range(3):
        modules: list[torch.nn.Module] = []
        for weight, bias in zip(layers[::2], layers[1::2], strict=True):
            module = torch.nn.Linear(weight.shape[1], weight.shape[2])
            module.weight.data, module.bias.data = weight[s].T.clone(), bias[s].clone()
            modules += [module, act()]
        expected = torch.nn.Sequential(*modules[:-1])(x[s])
        actual = mlp(x, layers, activation=activation)[s]
        # float32: another order of at most 6 sums a layer
        np.testing.assert_allclose(actual.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_mlp_leaves_its_input_as_it_was() -> None:
    x = draw(0, 2, 3, 4)
    before = x.clone()
    mlp(x, [draw(1, 2, 4, 5), draw(2, 2, 5), draw(3, 2, 5, 2), draw(4, 2, 2)], activation="relu")
    assert torch.equal(x, before)


INDEXED = [(1, 1, 1, 1), (3, 5, 4, 2), (2, 300, 16, 64), (2, 7, 3, 1), (4, 6, 1, 5), (5, 9, 90, 3)]


@pytest.mark.parametrize(("seeds", "batch", "num_in", "num_out"), INDEXED)
def test_an_index_is_the_product_with_its_unit_vector(
    seeds: int, batch: int, num_in: int, num_out: int
) -> None:
    index = torch.from_numpy(np.random.default_rng(0).integers(num_in, size=(seeds, batch)))
    weight, bias = draw(1, seeds, num_in, num_out), draw(2, seeds, num_out)
    direction = draw(3, seeds, batch, num_out)
    weight.requires_grad_(), bias.requires_grad_()
    output = linear(index, weight, bias)
    gradients = torch.autograd.grad(output, [weight, bias], direction)

    unit = np.eye(num_in)[index.numpy()]  # in double precision, seed by seed
    w, b, d = (x.detach().numpy().astype(np.float64) for x in (weight, bias, direction))
    for s in range(seeds):
        # A product with a unit vector adds zeros only: one rounding, that of adding the bias.
        np.testing.assert_array_equal(
            output[s].detach().numpy(), (unit[s] @ w[s] + b[s]).astype(np.float32)
        )
        # float32 sums of up to 300 terms of order 1, most of them far fewer
        np.testing.assert_allclose(gradients[0][s], unit[s].T @ d[s], rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(gradients[1][s], d[s].sum(0), rtol=1e-5, atol=2e-5)
        unseen = np.setdiff1d(np.arange(num_in), index[s])
        assert not gradients[0][s][unseen].any()


def test_indices_may_be_used_first_in_inference_mode_and_then_be_learned_from() -> None:
    networks._seed_column.cache_clear()
    index, weight, bias = torch.tensor([[1, 0], [2, 2]]), draw(0, 2, 3, 4), draw(1, 2, 4)
    with torch.inference_mode():
        expected = linear(index, weight, bias).clone()
    weight.requires_grad_()
    output = linear(index, weight, bias)
    assert torch.equal(output, expected)
    output.sum().backward()
    assert weight.grad is not None
    assert weight.grad[1].sum(1).tolist() == [0, 0, 8]


# --- initialisation -------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_in", "num_out"), [(4, 4), (6, 3), (3, 6), (1, 5), (5, 1), (1, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns_times_the_gain(
    num_in: int, num_out: int
) -> None:
    w = orthogonal(np.random.default_rng(0), num_in, num_out, 1.7)
    gram = w.T @ w if num_in >= num_out else w @ w.T
    np.testing.assert_allclose(gram, 1.7**2 * np.eye(min(num_in, num_out)), atol=1e-12)
    assert w.shape == (num_in, num_out)


def test_orthogonal_has_no_preferred_sign_or_direction() -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([orthogonal(rng, 3, 3, 1.0) for _ in range(4000)])
    # Of a Haar matrix each entry has mean 0 and variance 1/3: a mean of 4000 has a standard
    # deviation of 0.0091, and its square (variance 4/45) one of 0.0047; 5 of each.
    assert np.abs(draws.mean(axis=0)).max() < 0.046
    assert np.abs((draws**2).mean(axis=0) - 1 / 3).max() < 0.024


def test_orthogonal_without_the_fixed_signs_has_a_preferred_sign() -> None:
    rng = np.random.default_rng(0)
    naive = [np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(4000)]
    assert np.abs(np.mean(naive, axis=0)).max() > 0.1


def test_xavier_is_uniform_up_to_its_bound() -> None:
    w = xavier_uniform(np.random.default_rng(0), 300, 200, 2.0)
    bound = 2.0 * np.sqrt(6.0 / 500)
    assert np.abs(w).max() <= bound
    # The maximum of 60000 is within a few 60000ths of the bound; the variance has a relative
    # standard deviation of sqrt(4/5 / 60000) = 0.0037; 5 of them.
    assert np.abs(w).max() > 0.999 * bound
    np.testing.assert_allclose(w.var(), bound**2 / 3, rtol=0.019)


def test_init_mlp_gives_the_last_layer_its_own_gain_and_zero_biases() -> None:
    arrays = init_mlp(
        np.random.default_rng(0), (4, 8, 8, 2), init="orthogonal", hidden_gain=2.0, output_gain=0.01
    )
    assert [a.shape for a in arrays] == [(4, 8), (8,), (8, 8), (8,), (8, 2), (2,)]
    gains = [np.linalg.norm(w, 2) for w in arrays[::2]]
    np.testing.assert_allclose(gains, [2.0, 2.0, 0.01], rtol=1e-12)
    assert not any(bias.any() for bias in arrays[1::2])


# --- the seeds never touch ------------------------------------------------------------------------


def train_bytes(
    indices: list[int], sizes: tuple[int, ...], batch: int, activation: str, discrete: bool
) -> list[tuple[bytes, ...]]:
    """Losses, gradients and parameters of each seed over three clipped steps of Adam."""
    parameters = Parameters([network(index, sizes) for index in indices])
    parameters.matrix += torch.stack([draw(index, parameters.matrix.shape[1]) for index in indices])
    adam = Adam(parameters.matrix)
    x = torch.stack([draw(1000 + index, batch, sizes[0]) for index in indices])
    if discrete:
        x = x.abs().sum(-1).mul(1e4).long() % sizes[0]
    record = []
    for _ in range(3):
        losses = all_losses(parameters, x)
        gradient = parameters.gradient(losses)
        record.append(losses.detach().numpy().copy())
        # A gradient that underflowed is 0 of either sign; no optimiser here can tell them apart,
        # as the parameters below show. Adding 0 takes the sign away.
        record.append(gradient.numpy() + np.float32(0.0))
        clip_gradient_norm(gradient, 0.5)
        adam.step(parameters.matrix, gradient, 0.01)
        record.append(parameters.matrix.numpy().copy())
    return [tuple(part[s].tobytes() for part in record) for s in range(len(indices))]


def first_difference(
    num_seeds: int, sizes: tuple[int, ...], batch: int, activation: str, discrete: bool = False
) -> str | None:
    together = train_bytes(list(range(num_seeds)), sizes, batch, activation, discrete)
    for s in {0, num_seeds // 2, num_seeds - 1}:
        if train_bytes([s], sizes, batch, activation, discrete)[0] != together[s]:
            kind = "indices" if discrete else "vectors"
            return f"seed {s} of {num_seeds}, widths {sizes}, batch {batch}, {activation}, {kind}"
    return None


WIDTHS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 33, 64])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 37),
    st.lists(WIDTHS, min_size=2, max_size=4),
    st.sampled_from([1, 2, 3, 7, 8, 15, 32, 65, 256]),
    st.sampled_from(["tanh", "relu"]),
    st.booleans(),
)
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch(
    num_seeds: int, sizes: list[int], batch: int, activation: str, discrete: bool
) -> None:
    assert first_difference(num_seeds, tuple(sizes), batch, activation, discrete) is None


@pytest.mark.parametrize("num_seeds", [2, 5, 10, 37])
@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (1, 16, 1), (3, 1, 1, 5), (48, 5)])
@pytest.mark.parametrize("batch", [1, 8, 33])
def test_a_seed_gets_the_same_bytes_in_the_shapes_of_the_agents(
    num_seeds: int, sizes: tuple[int, ...], batch: int
) -> None:
    assert first_difference(num_seeds, sizes, batch, "tanh") is None


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [5, 37])
@pytest.mark.parametrize("sizes", [(16, 64, 64, 4), (16, 4), (500, 64, 6), (48, 1), (1, 16, 1)])
@pytest.mark.parametrize("batch", [1, 33, 256])
def test_a_seed_gets_the_same_bytes_where_observations_are_indices(
    num_seeds: int, sizes: tuple[int, ...], batch: int
) -> None:
    assert first_difference(num_seeds, sizes, batch, "tanh", discrete=True) is None


def test_adding_the_decisions_of_a_row_in_another_order_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reordered(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if x.is_floating_point() or len(x) == 1:
            return linear(x, weight, bias)
        return linear(x.flip(1), weight, bias).flip(1)

    monkeypatch.setattr(networks, "linear", reordered)
    assert first_difference(5, (16, 64, 4), 256, "tanh", discrete=True) is not None


def test_a_plain_batched_product_would_not_give_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.baddbmm(bias.unsqueeze(1), x, weight)

    monkeypatch.setattr(networks, "linear", plain)
    shapes = [
        (num_seeds, sizes, batch, "tanh")
        for num_seeds in (2, 5, 10)
        for sizes in ((4, 64, 1), (1, 64, 2), (17, 33, 1), (1, 13, 1), (64, 1))
        for batch in (1, 7, 33, 256)
    ]
    if all(first_difference(*shape) is None for shape in shapes):
        pytest.skip("the matrix products of this machine treat a width of 1 like any other")
