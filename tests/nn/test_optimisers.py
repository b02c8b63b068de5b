"""Optimisers with a seed axis, against their formulas and torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from rlkit.agents.ppo import PPOConfig
from rlkit.agents.reinforce import ReinforceConfig
from rlkit.errors import UsageError
from rlkit.nn.optimisers import Adam, GradientDescent, clip_gradient_norm, make_optimiser
from tests.nn.support import draw

Decay = Literal["l2", "decoupled"]
DECAYS: tuple[Decay, ...] = ("l2", "decoupled")

# --- clipping -------------------------------------------------------------------------------------


@pytest.mark.trap("T33")
def test_clipping_brings_the_joint_norm_of_each_seed_to_the_bound_and_keeps_directions() -> None:
    gradient = draw(0, 5, 40) * torch.tensor([[100.0], [0.01], [1.0], [0.0], [0.1]])
    before = gradient.clone()
    norms = clip_gradient_norm(gradient, 0.5)
    after = torch.linalg.vector_norm(gradient.double(), dim=1)
    np.testing.assert_allclose(norms, np.linalg.norm(before.double().numpy(), axis=1), rtol=1e-6)
    assert (after <= 0.5 + 1e-6).all()
    for s in range(5):
        if norms[s] <= 0.5:
            assert torch.equal(gradient[s], before[s])
        else:
            # 1e-6 in the denominator of the factor, and float32
            np.testing.assert_allclose(after[s], 0.5, rtol=1e-5)
            np.testing.assert_allclose(
                gradient[s] / after[s], before[s] / norms[s], rtol=1e-5, atol=1e-7
            )


def test_clipping_agrees_with_torch() -> None:
    gradient = draw(1, 1, 30) * 7
    parameter = torch.nn.Parameter(torch.zeros(30))
    parameter.grad = gradient[0].clone()
    norm = torch.nn.utils.clip_grad_norm_([parameter], 0.5)
    mine = clip_gradient_norm(gradient, 0.5)
    np.testing.assert_allclose(mine[0], norm, rtol=1e-6)
    np.testing.assert_allclose(gradient[0], parameter.grad, rtol=1e-6)


# --- optimisers -----------------------------------------------------------------------------------


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate() -> None:
    # With bias correction m/(1-b1) = g and sqrt(v/(1-b2)) = |g|: the step is rate * g/(|g| + eps).
    g = torch.tensor([[3.0, -0.02, 1e-5, 0.0]])
    for eps in (1e-8, 1e-5):
        theta = torch.zeros(1, 4)
        Adam(theta, eps=eps).step(theta, g, 0.01)
        np.testing.assert_allclose(theta, -0.01 * g / (g.abs() + eps), rtol=1e-5)


@pytest.mark.trap("T87")
@pytest.mark.parametrize("eps", [1e-8, 1e-5, 1e-2])
def test_adam_is_torchs_adam(eps: float) -> None:
    theta = draw(0, 3, 20)
    parameter = torch.nn.Parameter(theta.clone())
    optimiser, theirs = Adam(theta, eps=eps), torch.optim.Adam([parameter], lr=1.0, eps=eps)
    for k in range(50):
        gradient = draw(k + 1, 3, 20) * 10.0 ** (k % 5 - 3)
        rate = 0.1 / (k + 1)
        optimiser.step(theta, gradient.clone(), rate)
        theirs.param_groups[0]["lr"] = rate
        parameter.grad = gradient.clone()
        theirs.step()
    # Sum of 50 steps of up to 0.1, in float32 with another order of operations
    np.testing.assert_allclose(theta, parameter.detach(), rtol=1e-5, atol=1e-6)


def test_adam_without_bias_correction_would_fail_the_comparison() -> None:
    theta, g = torch.zeros(1, 4), draw(0, 1, 4)
    Adam(theta).step(theta, g, 0.01)
    m, v = 0.1 * g, 0.001 * g**2
    assert (theta + 0.01 * m / (v.sqrt() + 1e-8)).abs().max() > 1e-3


def test_gradient_descent_is_its_formula() -> None:
    theta, gradient = draw(0, 3, 5), draw(1, 3, 5)
    expected = theta.numpy() - np.float32(0.1) * gradient.numpy()
    GradientDescent().step(theta, gradient, 0.1)
    np.testing.assert_allclose(theta, expected, rtol=1e-6, atol=1e-7)


def test_optimisers_are_made_by_name() -> None:
    assert isinstance(make_optimiser("adam", torch.zeros(1, 1)), Adam)
    assert isinstance(make_optimiser("sgd", torch.zeros(1, 1)), GradientDescent)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("listed", [[0], [1, 3], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.3}, {"weight_decay": 0.3, "decay": "decoupled"}]
)
def test_updating_some_seeds_equals_a_full_update_there_and_leaves_the_others(
    name: str, listed: list[int], options: dict[str, Any]
) -> None:
    def prepared() -> tuple[Tensor, Any]:
        theta = draw(0, 5, 33)
        optimiser = make_optimiser(name, theta, **options)
        for k in range(3):
            optimiser.step(theta, draw(k + 1, 5, 33), 0.1)
        return theta, optimiser

    theta, optimiser = prepared()
    before = {"theta": theta.numpy().copy(), **optimiser.state_dict()}
    seeds = np.array(listed)
    optimiser.step(theta, draw(9, 5, 33), 0.1, seeds=seeds)
    some = {"theta": theta.numpy().copy(), **optimiser.state_dict()}
    theta, optimiser = prepared()
    optimiser.step(theta, draw(9, 5, 33), 0.1)
    full = {"theta": theta.numpy().copy(), **optimiser.state_dict()}
    others = np.setdiff1d(np.arange(5), seeds)
    for key in before:
        assert some[key][seeds].tobytes() == full[key][seeds].tobytes(), key
        assert some[key][others].tobytes() == before[key][others].tobytes(), key


@pytest.mark.trap("T61")
def test_adam_continues_from_its_state_and_needs_every_entry_of_it() -> None:
    gradients = [draw(k, 2, 9) for k in range(6)]

    def run(change: Callable[[dict[str, Any]], None] | None) -> bytes:
        theta = draw(50, 2, 9)
        first = Adam(theta)
        for gradient in gradients[:3]:
            first.step(theta, gradient, 0.1)
        optimiser = first
        if change is not None:
            state = first.state_dict()
            change(state)
            optimiser = Adam(theta)
            optimiser.load_state_dict(state)
        for gradient in gradients[3:]:
            optimiser.step(theta, gradient, 0.1)
        return theta.numpy().tobytes()

    assert run(lambda state: None) == run(None)
    for name in ("adam_m", "adam_v", "adam_num_steps"):
        assert run(lambda state, name=name: state[name].fill(0)) != run(None), name


# --- weight decay ---------------------------------------------------------------------------------


def test_one_step_of_adam_distinguishes_the_two_kinds() -> None:
    # The first step of Adam is the rate times the sign of what it is given. With L2 that includes
    # the decay, so a parameter far from 0 moves towards 0 even against its own gradient.
    theta, gradient = torch.tensor([[10.0, -10.0, 1.0]]), torch.tensor([[-0.5, 0.5, 1.0]])
    moved = {}
    for decay in DECAYS:
        matrix = theta.clone()
        Adam(matrix, weight_decay=0.1, decay=decay).step(matrix, gradient, 0.01)
        moved[decay] = (matrix - theta)[0].tolist()
    assert moved["l2"] == pytest.approx([-0.01, 0.01, -0.01], rel=1e-4)
    assert moved["decoupled"] == pytest.approx([0.0, 0.0, -0.011], rel=1e-4, abs=2e-6)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("weight_decay", [1e-3, 0.3])
def test_decay_is_that_of_torchs_adam_or_adamw_for_each_seed(
    decay: Decay, weight_decay: float
) -> None:
    theta = draw(0, 3, 20)
    optimiser = Adam(theta, weight_decay=weight_decay, decay=decay)
    kind = torch.optim.Adam if decay == "l2" else torch.optim.AdamW
    theirs = [torch.nn.Parameter(row.clone()) for row in theta]
    oracles = [kind([row], lr=1.0, weight_decay=weight_decay) for row in theirs]
    for k in range(50):
        gradient, rate = draw(k + 1, 3, 20) * 10.0 ** (k % 5 - 3), 0.1 / (k + 1)
        optimiser.step(theta, gradient.clone(), rate)
        for s, oracle in enumerate(oracles):
            oracle.param_groups[0]["lr"] = rate
            theirs[s].grad = gradient[s].clone()
            oracle.step()
    for s, row in enumerate(theirs):
        # Sum of 50 steps of up to 0.1, in float32 with another order of operations
        np.testing.assert_allclose(theta[s], row.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", DECAYS)
def test_gradient_descent_with_decay_ends_in_ridge_regression(decay: Decay) -> None:
    # |Xw - y|^2 / 2n + lambda |w|^2 / 2 is least at w = (X'X/n + lambda I)^-1 X'y/n.
    rng, strength, n = np.random.default_rng(0), 0.3, 40
    x, y = rng.standard_normal((3, n, 4)), rng.standard_normal((3, n))
    w = torch.zeros(3, 4)
    optimiser = make_optimiser("sgd", w, weight_decay=strength, decay=decay)
    inputs, targets = torch.from_numpy(x).float(), torch.from_numpy(y).float()
    for _ in range(400):
        errors = torch.einsum("snd,sd->sn", inputs, w) - targets
        optimiser.step(w, torch.einsum("snd,sn->sd", inputs, errors) / n, 0.3)
    for s in range(3):
        normal = x[s].T @ x[s] / n
        ridge = np.linalg.solve(normal + strength * np.eye(4), x[s].T @ y[s] / n)
        np.testing.assert_allclose(w[s], ridge, rtol=0, atol=1e-6)  # float32
        assert np.abs(np.linalg.solve(normal, x[s].T @ y[s] / n) - ridge).max() > 0.01


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("decay", DECAYS)
def test_a_decay_of_0_changes_no_byte(name: str, decay: Decay) -> None:
    def run(**options: Any) -> bytes:
        theta = draw(0, 3, 17)
        optimiser = make_optimiser(name, theta, **options)
        for k in range(5):
            optimiser.step(theta, draw(k + 1, 3, 17), 0.1)
        return theta.numpy().tobytes()

    assert run(weight_decay=0.0, decay=decay) == run()
    assert run(weight_decay=0.01, decay=decay) != run()


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("size", [1, 7, 33, 1001])
def test_decay_gives_a_seed_the_same_bytes_alone_and_in_a_batch(
    name: str, decay: Decay, size: int
) -> None:
    theta, gradients = draw(0, 5, size), [draw(k, 5, size) for k in (1, 2, 3)]

    def run(rows: slice) -> Tensor:
        matrix = theta[rows].clone()
        optimiser = make_optimiser(name, matrix, weight_decay=0.3, decay=decay)
        for gradient in gradients:
            optimiser.step(matrix, gradient[rows].clone(), 0.1)
        return matrix

    together = run(slice(0, 5))
    for s in range(5):
        assert torch.equal(run(slice(s, s + 1))[0], together[s])


@pytest.mark.parametrize("config", [PPOConfig, ReinforceConfig])
def test_a_kind_of_decay_without_decay_is_rejected(config: Any) -> None:
    with pytest.raises(UsageError, match="'decoupled' has no effect while weight_decay is 0"):
        config(decay="decoupled")
    assert config(decay="l2", weight_decay=0.0) == config()
    assert config(decay="decoupled", weight_decay=0.1).decay == "decoupled"
    with pytest.raises(UsageError, match="weight_decay"):
        config(weight_decay=-0.1)
