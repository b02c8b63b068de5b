"""The penalty of each step, recomputed from the policies by another library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlkit.agent import ActionMasks, Task, Transition
from rlkit.agents import find_agent
from rlkit.agents import reinforce as reinforce_module
from rlkit.agents.ppo import PPOConfig
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import UsageError
from rlkit.loop import interact
from rlkit.nn.reference import ReferencePolicy
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.near import solve_near
from tests.agents.reference.oracle import (
    OBSERVED,
    SPACES,
    drawn_reference,
    kl_of,
    log_prob_of,
    outputs_of,
)

S, N, T = 2, 3, 4
BETA = 0.7
IN_LOSS = {"kl_placement": "loss", "kl_estimator": "full", "standardise_advantages": False}
WHOLE: dict[str, dict[str, int]] = {  # with which T steps are an update
    "ppo": {"rollout_length": T},
    "reinforce": {"episodes_per_update": N},
}
RNG = np.random.default_rng(3)
OBS = RNG.normal(size=(T + 1, S, N, 4)).astype(np.float32)
REWARDS = RNG.normal(size=(T, S, N))


def agent_for(agent: str, name: str, reference: Any, num_seeds: int = S, **options: Any) -> Any:
    kind = find_agent(agent)
    streams = tuple(SeedStreams(0, index) for index in range(num_seeds))
    task = Task(OBSERVED, SPACES[name], streams, N, 1000, reference=reference)
    return kind(task, kind.Config(hidden_sizes=(5,), **({"kl_coef": BETA} | options)))


def play(agent: Any, *, end: bool = False, seeds: slice = slice(None)) -> tuple[Any, Any, Any]:
    """Act and learn T times; return the actions, the policy's outputs, and what was learned."""
    actions, outputs, metrics = [], [], {}
    for t in range(T):
        obs = OBS[t, seeds]
        outputs.append(agent.actor(greedy=False).outputs(obs))
        action = agent.act(obs)
        actions.append(action.copy())
        ends = np.full(obs.shape[:2], end and t == T - 1)
        after = OBS[t + 1, seeds]
        step = Transition(obs, action, REWARDS[t, seeds], ends, ends & False, after, after)
        metrics = agent.learn(step)
    return np.stack(actions), torch.stack(outputs), metrics


def expected(name: str, reference: Any, agent: Any, actions: Any, outputs: Any) -> Any:
    """k1 and KL of each step, [T, S, N]."""
    own: Any = agent.actor(greedy=False)._extra
    log_std = own[0][0].numpy() if own else None
    other, other_log_std = outputs_of(reference, OBS[:T]), reference.arrays.get("log_std")
    k1 = log_prob_of(name, outputs, log_std, actions)
    k1 = k1 - log_prob_of(name, other, other_log_std, actions)
    return k1.numpy(), kl_of(name, outputs, log_std, other, other_log_std).numpy()


@pytest.mark.parametrize("name", SPACES)
def test_ppo_learns_from_rewards_less_beta_times_the_log_ratio(name: str) -> None:
    reference = drawn_reference(name, normalised=True)
    agent = agent_for("ppo", name, reference, rollout_length=T + 1)
    actions, outputs, _ = play(agent)
    k1, kl = expected(name, reference, agent, actions, outputs)
    state = agent.state_dict()
    time_major = {key: np.swapaxes(state[f"rollout_{key}"], 0, 1) for key in ("rewards", "kl")}
    np.testing.assert_allclose(time_major["rewards"], REWARDS - BETA * k1, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(time_major["kl"], kl, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SPACES)
def test_reinforce_learns_from_rewards_less_beta_times_the_log_ratio(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[Any] = []
    original = reinforce_module.monte_carlo_returns

    def spy(rewards: Any, *others: Any, **options: Any) -> Any:
        learned.append(rewards.numpy().copy())
        return original(rewards, *others, **options)

    monkeypatch.setattr(reinforce_module, "monte_carlo_returns", spy)
    reference = drawn_reference(name, normalised=True)
    agent = agent_for("reinforce", name, reference, episodes_per_update=N)
    before = agent_for("reinforce", name, reference, episodes_per_update=N)
    actions, outputs, metrics = play(agent, end=True)
    k1, kl = expected(name, reference, before, actions, outputs)
    for s in range(S):  # [T, episodes], one in each environment
        target = (REWARDS - BETA * k1)[:, s]
        np.testing.assert_allclose(learned[s], target, rtol=1e-4, atol=1e-4)
        assert metrics["kl"][s] == pytest.approx(kl[:, s].mean(), rel=1e-4)
        assert metrics["kl_coef"][s] == BETA


@pytest.mark.parametrize("estimator", ["full", "k2"])
@pytest.mark.parametrize("name", ["categorical", "mixed"])
def test_in_the_loss_the_divergence_is_a_term_and_rewards_stay(name: str, estimator: str) -> None:
    reference = drawn_reference(name)
    options = {**IN_LOSS, "kl_estimator": estimator, "rollout_length": T + 1}
    agent = agent_for("ppo", name, reference, **options)
    actions, outputs, _ = play(agent)
    k1, kl = expected(name, reference, agent, actions, outputs)
    np.testing.assert_array_equal(agent._rollout["rewards"][:T].numpy(), REWARDS.astype("float32"))
    inputs = tuple(agent._rollout[key][1] for key in ("features", "actions", "reference"))
    terms = agent._evaluate(inputs)[3]
    target = kl[1] if estimator == "full" else 0.5 * k1[1] ** 2
    np.testing.assert_allclose(terms.detach().numpy(), BETA * target, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(terms.sum(), agent._parameters["policy"][0])
    assert gradient.any()


@pytest.mark.parametrize("agent", ["ppo", "reinforce"])
def test_masked_actions_have_no_part_in_the_divergence(agent: str) -> None:
    kind, reference = find_agent(agent), drawn_reference("categorical")
    streams = tuple(SeedStreams(0, index) for index in range(S))
    task = Task(OBSERVED, SPACES["categorical"], streams, N, 1000, action_masks=True,
                reference=reference)  # fmt: skip
    options = {"hidden_sizes": (5,), "kl_coef": BETA, **IN_LOSS, **WHOLE[agent]}
    learner: Any = kind(task, kind.Config(**options))
    policy = np.exp(learner.actor(greedy=False).outputs(OBS[0]).numpy()[..., :2])
    other = np.exp(outputs_of(reference, OBS[:T]).numpy()[..., :2])  # of the first two actions
    p, q = (x / x.sum(-1, keepdims=True) for x in (policy, other))
    masks = np.ones((S, N, 3), dtype=bool)
    masks[..., 2] = False
    around = ActionMasks(masks, masks)
    metrics: Any = {}
    for t in range(T):
        action = learner.act(OBS[t], masks)
        assert (action < 2).all()
        ends = np.full((S, N), t == T - 1)
        step = Transition(OBS[t], action, REWARDS[t], ends, ends & False, OBS[t + 1], OBS[t + 1])
        metrics = learner.learn(step, around)
        assert all(np.isfinite(np.asarray(x, dtype=float)).all() for n, v in
                   learner.state_dict().items() if n.startswith("rollout") for x in v)  # fmt: skip
    expected_kl = (p * np.log(p / q)).sum(-1).mean((0, 2))  # the policy is nearly uniform
    np.testing.assert_allclose(metrics["kl"], expected_kl, rtol=0.05)
    assert np.isfinite(metrics["policy_loss"]).all()


def test_the_term_of_the_loss_reaches_the_updates_of_both_agents() -> None:
    for agent, length in WHOLE.items():
        moved = []
        for beta in (0.0, 5.0):
            options = {**IN_LOSS, "kl_coef": beta, **length}
            learner = agent_for(agent, "categorical", drawn_reference("categorical"), **options)
            _, _, metrics = play(learner, end=True)
            moved.append(learner.state_dict()["parameters" if agent == "ppo" else "policy"])
            if agent == "ppo":
                assert (metrics["penalty"] > 0).all() == (beta > 0)
        assert not np.array_equal(*moved)


def test_a_coefficient_of_zero_measures_and_changes_no_byte() -> None:
    plain = agent_for("ppo", "categorical", None, kl_coef=None, rollout_length=T)
    measured = agent_for("ppo", "categorical", drawn_reference("categorical"), kl_coef=0.0,
                         rollout_length=T)  # fmt: skip
    (_, _, without), (_, _, beside) = play(plain), play(measured)
    assert beside.keys() - without.keys() == {"kl", "kl_coef"}
    assert (beside["kl"] > 0).all()
    states = plain.state_dict(), measured.state_dict()
    assert states[1].keys() - states[0].keys() == {"kl_coef", "rollout_kl"}
    assert all(states[0][key].tobytes() == states[1][key].tobytes() for key in states[0])


def test_a_seeds_bytes_do_not_depend_on_the_seeds_beside_it() -> None:
    reference = drawn_reference("mixed", normalised=True)
    for agent, length in WHOLE.items():
        options = {"kl_target": 0.5, **length}
        both = agent_for(agent, "mixed", reference, **options)
        alone = agent_for(agent, "mixed", reference, 1, **options)
        play(both, end=True)
        play(alone, end=True, seeds=slice(0, 1))
        for key, value in alone.state_dict().items():
            assert np.asarray(value[0]).tobytes() == np.asarray(both.state_dict()[key][0]).tobytes()


@pytest.mark.parametrize("agent", ["ppo", "reinforce"])
def test_the_coefficient_of_each_seed_follows_its_own_kl(agent: str) -> None:
    for target, sign in ((1e-3, 1), (1e3, -1)):
        options = {"kl_target": target, "kl_horizon": 60, **WHOLE[agent]}
        learner = agent_for(agent, "categorical", drawn_reference("categorical"), **options)
        _, _, metrics = play(learner, end=True)
        assert (metrics["kl_coef"] == BETA).all()
        # clip(KL / target - 1, -0.2, 0.2) * steps / horizon
        np.testing.assert_allclose(
            learner.state_dict()["kl_coef"], BETA * (1 + sign * 0.2 * T * N / 60), rtol=1e-12
        )
    again = agent_for(agent, "categorical", drawn_reference("categorical"), **options)
    again.load_state_dict(learner.state_dict())
    assert (again.state_dict()["kl_coef"] == learner.state_dict()["kl_coef"]).all()


def test_a_policy_can_be_rebuilt_for_playing_without_its_reference() -> None:
    learner = agent_for("ppo", "mixed", drawn_reference("mixed"), rollout_length=T)
    play(learner)
    again = agent_for("ppo", "mixed", None, rollout_length=T)
    again.load_state_dict(learner.state_dict())
    greedy = [one.actor().act(OBS[0]) for one in (learner, again)]
    np.testing.assert_array_equal(*greedy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_coef": -0.1}, "kl_coef"),
        ({"kl_coef": 0.1, "kl_target": 0.0}, "kl_target"),
        ({"kl_target": 0.1}, "without kl_coef.*--kl-coef 0.1"),
        ({"kl_coef": 0.0, "kl_target": 0.1}, "above 0 with a target"),
        ({"kl_coef": 0.1, "kl_horizon": 0}, "kl_horizon"),
        ({"kl_coef": 0.1, **IN_LOSS, "kl_estimator": "k1"}, "k1 in the loss is rejected"),
        (
            {"kl_coef": 0.1, **IN_LOSS, "standardise_advantages": True},
            "--no-standardise-advantages",
        ),
        ({"kl_coef": 0.1, **IN_LOSS, "scale_rewards": True}, "--no-scale-rewards"),
        ({"kl_coef": 0.1, "kl_estimator": "full"}, "full in the reward is rejected"),
        ({"kl_coef": 0.1, "kl_estimator": "k3"}, "kl_estimator"),
    ],
)
def test_options_that_mean_nothing_are_rejected(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PPOConfig(**options)


# Four actions that end the episode with the rewards 0 to 3, uniform reference, beta = 1:
# pi* is proportional to exp(reward).
CLOSED_FORM = (0.032059, 0.087144, 0.236883, 0.643914)


@pytest.mark.parametrize(
    ("agent", "options"),
    [
        ("ppo", {"rollout_length": 8, "minibatch_size": 512, "learning_rate": 0.05}),
        ("ppo", {"rollout_length": 8, "minibatch_size": 512, "learning_rate": 0.05, **IN_LOSS}),
        ("reinforce", {"episodes_per_update": 256, "learning_rate": 0.1}),
    ],
    ids=["ppo", "ppo-loss", "reinforce"],
)  # fmt: skip
def test_the_policy_approaches_the_closed_form(agent: str, options: dict[str, Any]) -> None:
    table = [[[(1.0, 0, float(reward), True)] for reward in range(4)]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0], time_limit=1)
    streams = (SeedStreams(0, 0),)
    env = TabularBatchEnv(mdp, streams, 64)
    uniform = ReferencePolicy("uniform")
    task = Task(env.observation_space, env.action_space, streams, 64, 20_480, reference=uniform)
    kind = find_agent(agent)
    # Each state learns by itself; a falling rate leaves little noise at the end.
    shared = {"hidden_sizes": (), "kl_coef": 1.0, "learning_rate_schedule": "linear"}
    learner = kind(task, kind.Config(**shared, **options))
    for _ in interact(learner, env, 320):
        pass
    actor: Any = learner.actor(greedy=False)
    reached = actor.probabilities(np.zeros((1, 1), dtype=int))[0, 0]
    np.testing.assert_allclose(reached, CLOSED_FORM, atol=0.03)
    assert np.abs(reached - 0.25).max() > 0.2  # not where it began
    policy = solve_near(mdp, np.full((1, 4), 0.25), kl_coef=1.0, discount=0.9, limit=1).plan.policy
    np.testing.assert_allclose(policy[0], CLOSED_FORM, atol=1e-6)
