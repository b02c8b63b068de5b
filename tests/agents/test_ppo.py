"""PPO: what one update computes, and what it learns where the answer is known."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from rlkit.agent import Task, Transition
from rlkit.agents import ppo as ppo_module
from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.environments.batch_env import BatchEnv
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import Diverged
from rlkit.loop import interact
from rlkit.nn.layers import mlp
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from tests.faulty_envs import Counter, Drifting, Recorder


def streams(num_seeds: int) -> tuple[SeedStreams, ...]:
    return tuple(SeedStreams(0, index) for index in range(num_seeds))


def agent_for(
    env: BatchEnv, num_env_steps: int = 10**6, kind: type[PPO] = PPO, **options: Any
) -> PPO:
    task = Task(
        env.observation_space,
        env.action_space,
        streams(env.num_seeds),
        env.num_envs,
        num_env_steps,
    )
    return kind(task, PPOConfig(**options))


def values_of(agent: PPO, obs: Any) -> Any:
    with torch.no_grad():
        features = agent._features(np.asarray(obs))
        value = agent._parameters["value"]
        return mlp(features, value, activation=agent._config.activation).squeeze(-1).numpy()


BOX_ACTIONS = spaces.Box(-0.5, 0.5, (2,), np.float32)


def drifting(num_seeds: int = 2, num_envs: int = 3, **options: Any) -> GymBatchEnv:
    return GymBatchEnv(lambda: TimeLimit(Drifting(7, **options), 5), streams(num_seeds), num_envs)


class Spy:
    """Sees what PPO hands to its update."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[dict[str, Any]] = []
        self.original = ppo_module.ppo_update
        monkeypatch.setattr(ppo_module, "ppo_update", self)

    def __call__(
        self, batch: Any, objective: Any, epochs: Any, *, evaluate: Any, descend: Any
    ) -> Any:
        epochs = [list(epoch) for epoch in epochs]
        with torch.no_grad():
            first = epochs[0][0]
            part = batch if first is None else batch.select(first)
            ratio = torch.exp(evaluate(part.inputs)[0] - part.behaviour_log_prob)
        call = {"batch": batch, "objective": objective, "epochs": epochs, "first_ratio": ratio}
        self.calls.append(call)
        return self.original(batch, objective, epochs, evaluate=evaluate, descend=descend)


# --- one update against an independent slow twin --------------------------------------------------


def network(agent_state: Any, s: int, sizes: tuple[int, ...], start: int) -> tuple[Any, int]:
    """A torch.nn network from a row of parameters: weight [in, out], then bias, layer by layer."""
    row, modules = agent_state["parameters"][s], []
    for i, (num_in, num_out) in enumerate(itertools.pairwise(sizes)):
        layer = torch.nn.Linear(num_in, num_out)
        weight = row[start : start + num_in * num_out].reshape(num_in, num_out)
        start += num_in * num_out
        layer.weight.data = torch.from_numpy(weight.T.copy())
        layer.bias.data = torch.from_numpy(row[start : start + num_out].copy())
        start += num_out
        modules += [layer] if i == len(sizes) - 2 else [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*modules), start


def flat(model: Any) -> list[Any]:
    parts = []
    for layer in model:
        if isinstance(layer, torch.nn.Linear):
            parts += [layer.weight.data.T.reshape(-1), layer.bias.data]
    return [part.numpy() for part in parts]


def slow_ppo(
    state: Any, transitions: list[Transition], s: int, config: PPOConfig, discrete: bool
) -> Any:
    """One update of one seed, written out from the paper with torch.nn and torch.optim."""
    num_steps, num_envs = len(transitions), transitions[0].reward.shape[1]
    num_obs, num_outputs = 2, 3 if discrete else 2
    policy, start = network(state, s, (num_obs, *config.hidden_sizes, num_outputs), 0)
    extra = [] if discrete else [torch.nn.Parameter(torch.zeros(num_outputs))]
    critic, end = network(state, s, (num_obs, *config.hidden_sizes, 1), start + 2 * len(extra))
    assert end == state["parameters"].shape[1]
    parameters = [*policy.parameters(), *extra, *critic.parameters()]
    kind = torch.optim.Adam if config.decay == "l2" else torch.optim.AdamW
    optimiser = kind(
        parameters, lr=config.learning_rate, eps=1e-5, weight_decay=config.weight_decay
    )

    def tensor(name: str) -> Tensor:
        array = np.stack([getattr(t, name)[s] for t in transitions])  # [T, N, ...]
        return torch.from_numpy(array.astype(np.float32))

    obs, actions, next_obs = tensor("obs"), tensor("action"), tensor("next_obs")

    def distribution(x: Tensor) -> Any:
        if discrete:
            return torch.distributions.Categorical(logits=policy(x))
        normal = torch.distributions.Normal(policy(x), extra[0].exp())
        return torch.distributions.Independent(normal, 1)

    with torch.no_grad():
        old_log_prob = distribution(obs).log_prob(actions)
        old_values, next_values = critic(obs)[..., 0], critic(next_obs)[..., 0]
    advantages = torch.zeros(num_steps, num_envs)
    for n in range(num_envs):
        trace = 0.0
        for t in reversed(range(num_steps)):
            terminated = bool(transitions[t].terminated[s, n])
            last = terminated or bool(transitions[t].truncated[s, n])
            bootstrap = 0.0 if terminated else config.discount * next_values[t, n].item()
            delta = float(transitions[t].reward[s, n]) + bootstrap - old_values[t, n].item()
            trace = delta + (0.0 if last else config.discount * config.gae_lambda * trace)
            advantages[t, n] = trace
    targets = advantages + old_values

    def rows(x: Tensor) -> Tensor:
        return x.reshape(num_steps * num_envs, *x.shape[2:])

    obs, actions, old_log_prob = rows(obs), rows(actions), rows(old_log_prob)
    advantages, targets, old_values = rows(advantages), rows(targets), rows(old_values)
    shuffler = SeedStreams(0, s).generator("minibatch")
    for _ in range(config.num_epochs):
        order = shuffler.permutation(num_steps * num_envs)
        for first in range(0, len(order), config.minibatch_size):
            index = torch.from_numpy(order[first : first + config.minibatch_size])
            a = advantages[index]
            if config.standardise_advantages and len(index) > 1:
                a = (a - a.mean()) / (a.std() + 1e-8)
            now = distribution(obs[index])
            ratio = torch.exp(now.log_prob(actions[index]) - old_log_prob[index])
            eps = config.clip_epsilon
            surrogate = torch.minimum(ratio * a, torch.clamp(ratio, 1 - eps, 1 + eps) * a)
            value = critic(obs[index])[..., 0]
            errors = (value - targets[index]) ** 2
            if config.value_clip is not None:
                c = config.value_clip
                near = old_values[index] + torch.clamp(value - old_values[index], -c, c)
                errors = torch.maximum(errors, (near - targets[index]) ** 2)
            loss = -surrogate.mean() + config.value_coef * errors.mean() / 2
            loss = loss - config.entropy_coef * now.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm)
            optimiser.step()
    return np.concatenate([*flat(policy), *(p.data.numpy() for p in extra), *flat(critic)])


@pytest.mark.slow
@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"value_clip": 0.05, "entropy_coef": 0.1, "value_coef": 2.0, "discount": 0.8},
        {"standardise_advantages": False, "max_gradient_norm": 0.05, "gae_lambda": 0.0},
        {"minibatch_size": 13, "gae_lambda": 1.0, "hidden_sizes": (5, 7), "clip_epsilon": 0.02},
        {"weight_decay": 0.3},
        {"weight_decay": 5.0, "decay": "decoupled"},
    ],
    ids=["defaults", "value-clip", "plain", "uneven", "l2", "decoupled"],
)
def test_a_whole_update_equals_an_independent_slow_one(
    discrete: bool, options: dict[str, Any]
) -> None:
    settings = {"rollout_length": 16, "minibatch_size": 12, "hidden_sizes": (6,)} | options
    settings |= {"learning_rate": 1e-3, "num_epochs": 3}
    env = drifting(action_space=None if discrete else BOX_ACTIONS)
    agent = agent_for(env, **settings)
    before = agent.state_dict()
    transitions = [transition for transition, _ in interact(agent, env, 16)]
    assert any(t.truncated.any() for t in transitions)
    after = agent.state_dict()["parameters"]
    for s in range(2):
        expected = slow_ppo(before, transitions, s, agent._config, discrete)
        # A dozen steps of Adam of 1e-3 each: rounding of 1e-7 in a gradient moves a parameter by
        # 1e-3 times its share of the gradient, and only near-zero gradients (eps 1e-5) feel it.
        np.testing.assert_allclose(after[s], expected, rtol=0, atol=1e-5)
        assert np.abs(after[s] - before["parameters"][s]).max() > 1e-3


# --- parts of the update --------------------------------------------------------------------------


@pytest.mark.trap("T27")
def test_the_first_ratio_is_1_and_actions_are_scored_as_sampled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spy = Spy(monkeypatch)
    made = Recorder(lambda: Counter(5, action_space=BOX_ACTIONS))
    env = GymBatchEnv(made, streams(2), 3)
    agent = agent_for(env, rollout_length=16, minibatch_size=10)
    transitions = [t for t, _ in interact(agent, env, 16)]
    # A product of 96 rows rounds otherwise than one of 10: a few units of 1e-7.
    assert (spy.calls[0]["first_ratio"] - 1).abs().max() < 1e-5
    raw = np.stack([t.action for t in transitions])
    received = np.stack([np.stack(single.actions) for single in made.made], axis=1)
    assert np.abs(raw).max() > 0.5
    assert np.abs(received).max() == 0.5
    assert received.reshape(raw.shape).tobytes() == np.clip(raw, -0.5, 0.5).tobytes()
    stored = spy.calls[0]["batch"].inputs[1].reshape(2, 16, 3, 2).transpose(0, 1)
    assert stored.numpy().tobytes() == raw.tobytes()
    # The first policy is a standard normal around almost 0.
    log_prob = (-0.5 * raw**2 - 0.5 * np.log(2 * np.pi)).sum(-1)
    old = spy.calls[0]["batch"].behaviour_log_prob.reshape(2, 16, 3).transpose(0, 1)
    assert np.abs(old.numpy() - log_prob).max() < 0.2


@pytest.mark.trap("T32", "F53")
@pytest.mark.parametrize("minibatch_size", [1, 7, 12, 47, 48, 49, 1000])
def test_each_decision_is_used_once_an_epoch(
    minibatch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    env = drifting()
    agent = agent_for(env, rollout_length=16, minibatch_size=minibatch_size, hidden_sizes=(4,))
    metrics = [m for _, m in interact(agent, env, 16)][-1]
    epochs = spy.calls[0]["epochs"]
    assert len(epochs) == 4
    assert (metrics["num_gradient_steps"] == 4 * -(-48 // min(minibatch_size, 48))).all()
    assert all(np.isfinite(value).all() for value in metrics.values())
    orders = set()
    for epoch in epochs:
        if minibatch_size >= 48:
            assert epoch == [None]
            continue
        assert all(part.shape[1] == minibatch_size for part in epoch[:-1])
        for s in range(2):
            order = torch.cat([part[s] for part in epoch])
            assert sorted(order.tolist()) == list(range(48))
            orders.add(tuple(order.tolist()))
    assert len(orders) == (0 if minibatch_size >= 48 else 8)  # each seed and epoch its own


@pytest.mark.trap("T25", "F53")
def test_a_minibatch_of_one_is_not_standardised() -> None:
    results = []
    for standardise in (True, False):
        env = drifting()
        agent = agent_for(
            env, rollout_length=8, minibatch_size=1, standardise_advantages=standardise
        )
        for _ in interact(agent, env, 8):
            pass
        results.append(agent.state_dict()["parameters"])
    assert np.isfinite(results[0]).all()
    assert results[0].tobytes() == results[1].tobytes()


@pytest.mark.trap("T30")
@pytest.mark.parametrize(
    ("num_env_steps", "length", "num_envs"), [(480, 16, 3), (500, 16, 3), (207, 13, 8), (40, 16, 3)]
)
def test_linear_schedules_fall_evenly_and_the_last_update_still_learns(
    num_env_steps: int, length: int, num_envs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    env = drifting(num_envs=num_envs)
    agent = agent_for(
        env,
        num_env_steps,
        rollout_length=length,
        learning_rate=0.01,
        learning_rate_schedule="linear",
        clip_schedule="linear",
        hidden_sizes=(4,),
    )
    # Whole steps of all environments, as a run takes them.
    num_steps = -(-num_env_steps // num_envs)
    rates = [m["learning_rate"] for _, m in interact(agent, env, num_steps) if m]
    total = num_steps // length
    assert len(rates) == total
    for k, rate in enumerate(rates):
        np.testing.assert_allclose(rate, 0.01 * (1 - k / total), rtol=1e-12)
        epsilon = spy.calls[k]["objective"].clip_epsilon
        np.testing.assert_allclose(epsilon, 0.2 * (1 - k / total), rtol=1e-12)
    assert all((rate > 0).all() for rate in rates)


def test_without_schedules_rates_are_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    env = drifting()
    agent = agent_for(env, 48, rollout_length=8, learning_rate=0.02, hidden_sizes=(4,))
    rates = [m["learning_rate"] for _, m in interact(agent, env, 32) if m]
    assert all((rate == 0.02).all() for rate in rates)
    assert {call["objective"].clip_epsilon for call in spy.calls} == {0.2}


@pytest.mark.trap("T8")
def test_final_observations_are_normalised_like_all_others() -> None:
    env = drifting()
    agent = agent_for(env, rollout_length=16, normalise_observations=True)
    stored, expected = [], []
    for t, (transition, _) in enumerate(interact(agent, env, 15)):
        expected.append(agent._features(transition.next_obs).numpy())
        stored.append(agent.state_dict()["rollout_next_features"][:, t])
        assert stored[-1].tobytes() == expected[-1].tobytes()
    # By hand at the last step: the moments of all observations that were acted on.
    count, size = agent.state_dict()["features"][:, 0], 2
    state = agent.state_dict()["features"]
    assert (count == 15 * 3).all()
    mean, variance = state[:, 1 : 1 + size], state[:, 1 + size :] / count[:, None]
    z = (transition.next_obs - mean[:, None]) / np.sqrt(variance[:, None] + 1e-8)
    np.testing.assert_allclose(stored[-1], np.clip(z, -10, 10), rtol=1e-5, atol=1e-6)


@pytest.mark.trap("T47")
def test_scaled_rewards_are_learned_from_and_raw_ones_are_handed_on() -> None:
    env = drifting()
    agent = agent_for(env, rollout_length=16, scale_rewards=True, discount=0.9)
    raw = [t.reward for t, _ in interact(agent, env, 15)]
    plain_env = drifting()
    plain = agent_for(plain_env, rollout_length=16)
    assert (
        np.stack(raw).tobytes()
        == np.stack([t.reward for t, _ in interact(plain, plain_env, 15)]).tobytes()
    )
    stored = agent.state_dict()["rollout_rewards"]
    assert not np.allclose(stored, np.stack(raw, axis=1))
    assert agent._scaler is not None
    assert agent._scaler._discount == 0.9  # of the agent, not one of its own


def test_steps_after_the_end_of_an_episode_change_no_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(corrupt: bool) -> bytes:
        env = drifting()
        agent = agent_for(env, rollout_length=8)
        obs = env.reset()
        for _ in range(16):
            action = agent.act(obs)
            transition = Transition(obs=obs, action=action, **env.step(action)._asdict())
            obs = transition.following_obs
            if corrupt:
                transition = transition._replace(following_obs=np.full_like(obs, np.nan))
            agent.learn(transition)
        return agent.state_dict()["parameters"].tobytes()

    assert run(True) == run(False)


def test_explained_variance_is_one_minus_the_unexplained_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spy = Spy(monkeypatch)
    env = drifting()
    agent = agent_for(env, rollout_length=16)
    metrics = [m for _, m in interact(agent, env, 16)][-1]
    batch = spy.calls[0]["batch"]
    targets, values = batch.value_targets.double().numpy(), batch.behaviour_values.double().numpy()
    expected = 1 - (targets - values).var(axis=1) / targets.var(axis=1)
    np.testing.assert_allclose(metrics["explained_variance"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.trap("F55")
def test_divergence_is_an_error_that_names_seed_and_update() -> None:
    env = drifting(3)
    agent = agent_for(env, rollout_length=8, learning_rate=1e-3)
    state = agent.state_dict()
    state["parameters"][1, -1] = np.inf
    agent.load_state_dict(state)
    with pytest.raises(Diverged, match="seed 1: PPO diverged at update 1") as caught:
        for _ in interact(agent, env, 8):
            pass
    assert caught.value.seed == 1
    finite = np.isfinite(agent.state_dict()["parameters"]).all(axis=1)
    assert finite.tolist() == [True, False, True]


# --- probes: environments whose answer is known ---------------------------------------------------

QUICK: dict[str, Any] = {
    "rollout_length": 16,
    "minibatch_size": 32,
    "learning_rate": 1e-2,
    "hidden_sizes": (16,),
    "discount": 0.5,
}


def learn(mdp: TabularMDP, num_steps: int, kind: type[PPO] = PPO, **options: Any) -> PPO:
    env = TabularBatchEnv(mdp, streams(3), 4)
    agent = agent_for(env, kind=kind, **(QUICK | options))
    for _ in interact(agent, env, num_steps):
        pass
    return agent


def episodes_of_one_step(rewards: Any) -> TabularMDP:
    """State s and action a earn rewards[s][a], and that is all."""
    table = [[[(1.0, s, float(r), True)] for r in row] for s, row in enumerate(rewards)]
    num_states = len(rewards)
    return TabularMDP.from_successors(
        table, initial_distribution=np.full(num_states, 1 / num_states)
    )


def all_states(mdp: TabularMDP) -> Any:
    return np.tile(np.arange(mdp.num_states), (3, 1))


@pytest.mark.slow
def test_probe_a_constant_reward_is_the_value() -> None:
    mdp = episodes_of_one_step([[1.0]])
    values = values_of(learn(mdp, 400), all_states(mdp))
    np.testing.assert_allclose(values, 1.0, atol=0.05)


@pytest.mark.slow
def test_probe_the_value_follows_the_observation() -> None:
    mdp = episodes_of_one_step([[1.0], [-1.0]])
    values = values_of(learn(mdp, 400), all_states(mdp))
    np.testing.assert_allclose(values, [[1.0, -1.0]] * 3, atol=0.05)


@pytest.mark.slow
def test_probe_the_value_is_discounted_over_two_steps() -> None:
    table = [[[(1.0, 1, 0.0, False)]], [[(1.0, 1, 1.0, True)]]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0])
    values = values_of(learn(mdp, 600), all_states(mdp))
    np.testing.assert_allclose(values, [[0.5, 1.0]] * 3, atol=0.05)
    # With lambda = 0 the reward at the end reaches the first state through the second's value.
    values = values_of(learn(mdp, 600, gae_lambda=0.0), all_states(mdp))
    np.testing.assert_allclose(values, [[0.5, 1.0]] * 3, atol=0.05)


@pytest.mark.slow
def test_probe_the_better_action_is_found() -> None:
    mdp = episodes_of_one_step([[0.0, 1.0, 0.5]])
    probabilities = learn(mdp, 400).actor(greedy=False).probabilities(all_states(mdp))
    assert (probabilities[..., 1] > 0.95).all()


@pytest.mark.slow
def test_probe_the_better_action_is_found_for_each_observation() -> None:
    mdp = episodes_of_one_step([[0.0, 1.0], [1.0, 0.0], [-1.0, -2.0]])
    agent = learn(mdp, 800)
    probabilities = agent.actor(greedy=False).probabilities(all_states(mdp))
    best = np.array([1, 0, 0])
    assert (probabilities[:, np.arange(3), best] > 0.95).all()
    assert (agent.actor().act(all_states(mdp)) == best).all()


class Target(Counter):
    """One step; the reward is minus the squared distance of the action from (0.5, -0.3)."""

    def step(self, action: Any) -> Any:
        obs, _, _, _, info = super().step(action)
        return obs, -float(((action - [0.5, -0.3]) ** 2).sum()), True, False, info


@pytest.mark.slow
def test_probe_a_continuous_action_is_found() -> None:
    box = spaces.Box(-2.0, 2.0, (2,), np.float32)
    env = GymBatchEnv(lambda: Target(action_space=box), streams(3), 8)
    agent = agent_for(env, **(QUICK | {"rollout_length": 8, "normalise_observations": True}))
    for _ in interact(agent, env, 640):
        pass
    obs = np.zeros((3, 1, 2), dtype=np.float32)
    # The policy still explores: 80 updates leave the mean within a tenth or so.
    np.testing.assert_allclose(agent.actor().act(obs)[:, 0], [[0.5, -0.3]] * 3, atol=0.2)


def endless(limit: int) -> TabularMDP:
    """Four states in a ring, reward 1 for ever: the value is 1 / (1 - discount) = 5."""
    table = [[[(1.0, (s + 1) % 4, 1.0, False)]] for s in range(4)]
    start = [1.0, 0.0, 0.0, 0.0]
    return TabularMDP.from_successors(table, initial_distribution=start, time_limit=limit)


class TreatsCutsAsEnds(PPO):
    def learn(self, transition: Transition) -> Any:
        done = transition.terminated | transition.truncated
        return super().learn(transition._replace(terminated=done))


@pytest.mark.trap("T1")
@pytest.mark.long
def test_probe_a_time_limit_does_not_change_the_value() -> None:
    mdp = endless(4)
    values = values_of(learn(mdp, 800, discount=0.8), all_states(mdp))
    np.testing.assert_allclose(values, 5.0, atol=0.25)
    wrong = values_of(learn(mdp, 800, TreatsCutsAsEnds, discount=0.8), all_states(mdp))
    # The mistake would give 1 + 0.8 + 0.64 + 0.512 = 2.952 in the first state and 1 in the last.
    np.testing.assert_allclose(wrong[:, [0, 3]], [[2.952, 1.0]] * 3, atol=0.25)


@pytest.mark.trap("F54")
def test_constant_advantages_move_the_critic_and_not_the_policy() -> None:
    mdp = episodes_of_one_step([[3.3, 3.3]])
    env = TabularBatchEnv(mdp, streams(3), 4)
    agent = agent_for(env, **QUICK)
    before = agent.actor(greedy=False).probabilities(all_states(mdp))
    values = values_of(agent, all_states(mdp))
    for _ in interact(agent, env, 160):
        pass
    after = agent.actor(greedy=False).probabilities(all_states(mdp))
    assert np.abs(after - before).max() < 1e-3
    assert np.abs(values_of(agent, all_states(mdp)) - values).min() > 0.1


@pytest.mark.long
def test_ppo_balances_the_pole_far_better_than_chance() -> None:
    from rlkit.environments.resolve import find_environment
    from rlkit.evaluation import Evaluator

    environment = find_environment("CartPole-v1")
    env = environment.grid(streams(3), 8, kind="native")
    agent = agent_for(env, 16_384, learning_rate=1e-3, rollout_length=32, num_epochs=10)
    for _ in interact(agent, env, 16_384 // 8):
        pass
    evaluator = Evaluator(environment, streams(3), 20, kind="native")
    # Acting at random balances it for 22 steps.
    assert (evaluator(agent.actor()).mean > 80).all()
