"""The parameters of all seeds as one matrix."""

from __future__ import annotations

import numpy as np
import torch

from rlkit.nn.parameters import Parameters
from tests.nn.support import all_losses, draw, network


def test_parameters_hold_each_seeds_arrays_in_order() -> None:
    seeds = [network(seed, (3, 4, 2)) for seed in range(5)]
    parameters = Parameters(seeds)
    for name in ("policy", "extra", "value"):
        for i, view in enumerate(parameters[name]):
            expected = np.stack([seed[name][i] for seed in seeds]).astype(np.float32)
            assert view.detach().numpy().tobytes() == expected.tobytes()
    flat = np.concatenate([a.ravel() for arrays in seeds[3].values() for a in arrays])
    assert parameters.matrix[3].numpy().tobytes() == flat.astype(np.float32).tobytes()


def test_parameters_of_seeds_that_are_drawn_one_by_one_are_those_of_a_list() -> None:
    seeds = [network(seed, (3, 4, 2)) for seed in range(3)]
    one_by_one = Parameters(seed for seed in seeds)
    assert torch.equal(one_by_one.matrix, Parameters(seeds).matrix)
    assert [v.shape for v in one_by_one["policy"]] == [v.shape for v in Parameters(seeds)["policy"]]


def test_a_row_shares_the_memory_of_all_and_touches_only_its_own() -> None:
    parameters = Parameters([network(seed, (3, 4, 2)) for seed in range(3)])
    before = parameters.matrix.clone()
    row = parameters.row(1)
    row.matrix += 1.0
    assert torch.equal(parameters.matrix[1], before[1] + 1.0)
    assert torch.equal(parameters.matrix[[0, 2]], before[[0, 2]])
    assert torch.equal(row["policy"][0][0], parameters["policy"][0][1])
    parameters.matrix[1] = before[1]
    assert torch.equal(row.matrix[0], before[1])
    assert torch.equal(row["value"][0][0], parameters["value"][0][1])


def test_detached_copies_do_not_follow_later_updates() -> None:
    parameters = Parameters([network(0, (3, 4, 2))])
    copies = parameters.detached()
    before = [v.clone() for views in copies.values() for v in views]
    parameters.matrix += 1.0
    after = [v for views in copies.values() for v in views]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_finite_names_the_seeds_with_infinite_or_nan_parameters() -> None:
    parameters = Parameters([network(seed, (2, 2)) for seed in range(4)])
    parameters.matrix[1, 3], parameters.matrix[2, 0] = float("nan"), float("inf")
    assert parameters.finite().tolist() == [True, False, False, True]


def test_the_gradient_of_a_seed_is_that_of_its_own_loss_in_the_order_of_the_matrix() -> None:
    parameters = Parameters([network(seed, (3, 4, 2)) for seed in range(3)])
    parameters.matrix.copy_(draw(0, *parameters.matrix.shape) * 0.5)
    x = draw(1, 3, 6, 3)
    gradient = parameters.gradient(all_losses(parameters, x))
    rng = np.random.default_rng(0)
    for s, p in zip(
        rng.integers(3, size=12), rng.integers(gradient.shape[1], size=12), strict=True
    ):
        kept, step, values = parameters.matrix[s, p].item(), 1e-2, []
        for sign in (1, -1):
            parameters.matrix[s, p] = kept + sign * step
            values.append(all_losses(parameters, x).detach().numpy().astype(float))
        parameters.matrix[s, p] = kept
        slope = (values[0] - values[1]) / (2 * step)
        # float32 losses of order 1 over a step of 1e-2, and the third derivative
        np.testing.assert_allclose(gradient[s, p].item(), slope[s], rtol=1e-2, atol=1e-4)
        assert (np.delete(slope, s) == 0).all()
