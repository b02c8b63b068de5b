"""REINFORCE: exact gradients, which episodes count, and what it learns."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from scipy import stats
from torch import Tensor

from rlkit.agent import Task, Transition
from rlkit.agents.reinforce import Reinforce, ReinforceConfig
from rlkit.environments.batch_env import BatchEnv
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import Diverged, UsageError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from tests.faulty_envs import Drifting


def streams(num_seeds: int) -> tuple[SeedStreams, ...]:
    return tuple(SeedStreams(0, index) for index in range(num_seeds))


def agent_for(env: BatchEnv, num_env_steps: int = 10**6, **options: Any) -> Reinforce:
    task = Task(
        env.observation_space,
        env.action_space,
        streams(env.num_seeds),
        env.num_envs,
        num_env_steps,
    )
    return Reinforce(task, ReinforceConfig(**options))


def bandit(rewards: Any) -> TabularMDP:
    """State s and action a earn rewards[s][a], and that is all."""
    table = [[[(1.0, s, float(r), True)] for r in row] for s, row in enumerate(rewards)]
    start = np.full(len(rewards), 1 / len(rewards))
    return TabularMDP.from_successors(table, initial_distribution=start)


# --- the gradient ---------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "optimiser": "sgd",
    "learning_rate": 1.0,
    "baseline": False,
    "standardise_advantages": False,
    "hidden_sizes": (),
    "max_gradient_norm": 1e9,
}


def one_update(
    agent: Reinforce, env: BatchEnv, num_steps: int = 1, **state: float
) -> tuple[Any, list[Transition]]:
    """The change of the policy's parameters from 0 (or from where the agent was), and the data."""
    start = agent.state_dict()
    for name, value in state.items():
        start[name] = np.full_like(start[name], value)
    agent.load_state_dict(start)
    transitions = [t for t, _ in interact(agent, env, num_steps)]
    return np.asarray(agent.state_dict()["policy"]) - np.asarray(start["policy"]), transitions


@pytest.mark.slow
def test_the_update_of_a_two_armed_bandit_is_the_exact_gradient_on_average() -> None:
    env = TabularBatchEnv(bandit([[1.0, 0.0]]), streams(3), 4000)
    agent = agent_for(env, episodes_per_update=4000, **PLAIN)
    change, transitions = one_update(agent, env, policy=0.0)
    # From theta = 0: dE[r]/dtheta_a = sum_b pi_b r_b (1[a=b] - pi_a) = (1/4, -1/4), for the weight
    # of the only state and for the bias alike.
    np.testing.assert_allclose(change, [[0.25, -0.25, 0.25, -0.25]] * 3, atol=5 * 0.25 / 4000**0.5)
    # Given the arms that were drawn: the share of arm 0 times its score (1/2, -1/2).
    share = (transitions[0].action == 0).mean(axis=1)[:, None]
    np.testing.assert_allclose(change, share * [[0.5, -0.5, 0.5, -0.5]], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, 0.5, -7.0])
def test_a_baseline_is_subtracted_and_leaves_the_average_gradient(value: float) -> None:
    env = TabularBatchEnv(bandit([[1.0, 0.0]]), streams(3), 4000)
    agent = agent_for(env, episodes_per_update=4000, **PLAIN | {"baseline": True})
    start = agent.state_dict()
    start["baseline"] = np.zeros_like(start["baseline"])
    start["baseline"][:, -1] = value  # its bias: the same b for all
    agent.load_state_dict(start)
    change, transitions = one_update(agent, env, policy=0.0)
    share = (transitions[0].action == 0).mean(axis=1)[:, None]
    sample = share * (1 - value) * 0.5 + (1 - share) * (0 - value) * -0.5
    np.testing.assert_allclose(change, sample * [[1, -1, 1, -1]], rtol=1e-5, atol=1e-5)
    # By enumeration over both arms, the expectation of the above is 1/4 whatever the baseline.
    assert (0.5 * (1 - value) * 0.5 + 0.5 * (0 - value) * -0.5) == pytest.approx(0.25)


def test_the_average_score_is_0() -> None:
    env = TabularBatchEnv(bandit([[3.0, 3.0]]), streams(3), 4000)
    agent = agent_for(env, episodes_per_update=4000, **PLAIN)
    change, _ = one_update(agent, env, policy=0.0)
    # Equal rewards have no gradient; a score of 1/2 times 3 over 4000 draws, 5 standard errors.
    assert np.abs(change).max() < 5 * 1.5 / 4000**0.5


def test_standardised_equal_returns_do_not_move_the_policy() -> None:
    env = TabularBatchEnv(bandit([[3.3, 3.3]]), streams(3), 100)
    agent = agent_for(env, episodes_per_update=100, **PLAIN | {"standardise_advantages": True})
    change, _ = one_update(agent, env)
    assert np.abs(change).max() < 1e-6


@pytest.mark.trap("T34")
def test_rewards_before_an_action_do_not_count_for_it() -> None:
    # Action in state 0 earns 5 or 0, action in state 1 nothing: its gradient must be 0.
    table = [
        [[(1.0, 1, 5.0, False)], [(1.0, 1, 0.0, False)]],
        [[(1.0, 1, 0.0, True)], [(1.0, 1, 0.0, True)]],
    ]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0])
    env = TabularBatchEnv(mdp, streams(2), 50)
    agent = agent_for(env, episodes_per_update=50, **PLAIN)
    change, _ = one_update(agent, env, 2, policy=0.0)
    weights = change[:, :4].reshape(2, 2, 2)  # [S, state, action]
    assert (weights[:, 1] == 0).all()
    assert (np.abs(weights[:, 0]) > 0.1).all()


# --- one update against an independent slow twin --------------------------------------------------


class Mixed(Drifting):
    """Terminates now and then; with a time limit around it, episodes end in both ways."""

    def step(self, action: Any) -> Any:
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, bool(self.x > 0.9), truncated, info


def mixed(num_seeds: int = 2, num_envs: int = 2) -> GymBatchEnv:
    return GymBatchEnv(lambda: TimeLimit(Mixed(10**9), 5), streams(num_seeds), num_envs)


def batches(
    transitions: list[Transition], s: int, quota: int
) -> list[tuple[int, list[tuple[int, int, int]]]]:
    """(time of the update, its episodes (environment, first, last)), by the rule in words.

    A batch is the first `quota` episodes of each environment that begin after the update before.
    """
    num_envs = transitions[0].reward.shape[1]
    episodes: list[list[tuple[int, int]]] = [[] for _ in range(num_envs)]
    for n in range(num_envs):
        begin = 0
        for t, transition in enumerate(transitions):
            if transition.terminated[s, n] or transition.truncated[s, n]:
                episodes[n].append((begin, t))
                begin = t + 1
    result, after = [], 0
    while True:
        fresh = [[e for e in one if e[0] >= after][:quota] for one in episodes]
        if any(len(one) < quota for one in fresh):
            return result
        chosen = [(n, *e) for n, one in enumerate(fresh) for e in one]
        time = max(end for _, _, end in chosen)
        result.append((time, chosen))
        after = time + 1


def module(row: Any, sizes: tuple[int, ...]) -> Any:
    start, modules = 0, []
    for i, (num_in, num_out) in enumerate(itertools.pairwise(sizes)):
        layer = torch.nn.Linear(num_in, num_out)
        weight = row[start : start + num_in * num_out].reshape(num_in, num_out)
        start += num_in * num_out
        layer.weight.data = torch.from_numpy(weight.T.copy())
        layer.bias.data = torch.from_numpy(row[start : start + num_out].copy())
        start += num_out
        modules += [layer] if i == len(sizes) - 2 else [layer, torch.nn.Tanh()]
    assert start == len(row)
    return torch.nn.Sequential(*modules)


def flat(model: Any) -> Any:
    parts = []
    for layer in model:
        if isinstance(layer, torch.nn.Linear):
            parts += [layer.weight.data.T.reshape(-1), layer.bias.data]
    return torch.cat(parts).numpy()


def slow_reinforce(
    state: Any, transitions: list[Transition], s: int, config: ReinforceConfig, quota: int
) -> tuple[Any, Any, list[int]]:
    """All updates of one seed, written out with torch.nn and torch.optim."""
    policy = module(state["policy"][s], (2, *config.hidden_sizes, 3))
    critic = module(state["baseline"][s], (2, *config.hidden_sizes, 1))
    adam = torch.optim.Adam if config.decay == "l2" else torch.optim.AdamW
    kind = adam if config.optimiser == "adam" else torch.optim.SGD
    decay = config.weight_decay
    optimiser = kind(policy.parameters(), lr=config.learning_rate, weight_decay=decay)
    critic_optimiser = adam(
        critic.parameters(), lr=config.baseline_learning_rate, weight_decay=decay
    )
    times = []
    for time, episodes in batches(transitions, s, quota):
        times.append(time)
        obs, actions, returns = [], [], []
        for n, begin, end in episodes:
            last = transitions[end]
            g = 0.0
            if config.baseline and not last.terminated[s, n]:
                with torch.no_grad():
                    g = critic(torch.from_numpy(last.next_obs[s, n]))[0].item()
            for t in reversed(range(begin, end + 1)):
                g = float(transitions[t].reward[s, n]) + config.discount * g
                obs.append(torch.from_numpy(transitions[t].obs[s, n]))
                actions.append(int(transitions[t].action[s, n]))
                returns.append(g)
        x, target = torch.stack(obs), torch.tensor(returns)
        with torch.no_grad():
            advantage = target - critic(x)[:, 0] if config.baseline else target
        if config.standardise_advantages:
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        now = torch.distributions.Categorical(logits=policy(x))
        loss: Tensor = -(now.log_prob(torch.tensor(actions)) * advantage).mean()
        loss = loss - config.entropy_coef * now.entropy().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), config.max_gradient_norm)
        optimiser.step()
        for _ in range(config.baseline_steps if config.baseline else 0):
            critic_optimiser.zero_grad()
            ((critic(x)[:, 0] - target) ** 2 / 2).mean().backward()
            critic_optimiser.step()
    return flat(policy), flat(critic), times


def test_decoupled_decay_without_adam_is_rejected() -> None:
    plain: dict[str, Any] = {"optimiser": "sgd", "weight_decay": 0.1}
    with pytest.raises(
        UsageError, match=r"decay \(--decay\): 'decoupled' has no effect of its own"
    ):
        Reinforce.Config(**plain, decay="decoupled", baseline=False)
    assert Reinforce.Config(**plain, baseline=False).decay == "l2"
    assert Reinforce.Config(**plain, decay="decoupled").baseline  # which Adam trains


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_envs", "options"),
    [
        (1, {}),
        (2, {}),
        (2, {"entropy_coef": 0.2, "discount": 0.7, "baseline_steps": 3}),
        (2, {"baseline": False, "standardise_advantages": False, "optimiser": "sgd"}),
        (4, {"hidden_sizes": (5, 7), "max_gradient_norm": 0.05}),
        (1, {"weight_decay": 0.1}),
        (1, {"weight_decay": 2.0, "decay": "decoupled"}),
        (1, {"weight_decay": 0.5, "optimiser": "sgd"}),
    ],
    ids=["one", "two", "entropy", "textbook", "four", "l2", "decoupled", "sgd-l2"],
)
def test_every_update_equals_an_independent_slow_one(
    num_envs: int, options: dict[str, Any]
) -> None:
    env = mixed(2, num_envs)
    settings = {"episodes_per_update": 4, "hidden_sizes": (6,), "learning_rate": 2e-3} | options
    agent = agent_for(env, **settings)
    before = agent.state_dict()
    pairs = list(interact(agent, env, 60))
    transitions = [transition for transition, _ in pairs]
    assert any(t.terminated.any() for t in transitions)
    assert any(t.truncated.any() for t in transitions)
    after = agent.state_dict()
    for s in range(2):
        policy, critic, times = slow_reinforce(before, transitions, s, agent._config, 4 // num_envs)
        assert len(times) >= 3
        assert times == [t for t, (_, m) in enumerate(pairs) if m and m["num_gradient_steps"][s]]
        # Up to 15 updates of 2e-3 and 150 of the baseline of 5e-3: rounding of 1e-7 in a gradient
        # over its size, which Adam divides by, moves a parameter by about 1e-6 each time.
        np.testing.assert_allclose(after["policy"][s], policy, rtol=0, atol=3e-5)
        if agent._config.baseline:
            np.testing.assert_allclose(after["baseline"][s], critic, rtol=0, atol=3e-4)
        assert np.abs(after["policy"][s] - before["policy"][s]).max() > 1e-3


# --- which episodes count -------------------------------------------------------------------------


def two_lengths() -> TabularMDP:
    """Episodes of 1 or of 10 steps, evenly, with reward 1 a step: the mean length is 5.5."""
    table = [[[(1.0, min(s + 1, 9), 1.0, s == 9)]] * 2 for s in range(10)]
    start = np.zeros(10)
    start[0] = start[9] = 0.5
    return TabularMDP.from_successors(table, initial_distribution=start)


@pytest.mark.slow
def test_a_batch_does_not_prefer_short_episodes() -> None:
    env = TabularBatchEnv(two_lengths(), streams(20), 8)
    agent = agent_for(env, episodes_per_update=8, **PLAIN | {"learning_rate": 1e-6})
    sizes = []
    for _, metrics in interact(agent, env, 400):
        if metrics:
            sizes.append(metrics["batch_size"])
    lengths = np.concatenate([size[~np.isnan(size)] for size in sizes]) / 8
    # The mean of 8 lengths of deviation 4.5, and 5 standard errors of their mean.
    assert lengths.size > 400
    assert abs(lengths.mean() - 5.5) < 5 * 4.5 / np.sqrt(8 * lengths.size)


def test_the_first_episodes_to_end_would_be_the_short_ones() -> None:
    env = TabularBatchEnv(two_lengths(), streams(20), 8)
    env.reset()
    elapsed = np.zeros((20, 8), dtype=int)
    finished: list[list[int]] = [[] for _ in range(20)]
    means = []
    for _ in range(400):
        step = env.step(np.zeros((20, 8), dtype=int))
        elapsed += 1
        for s, n in np.argwhere(step.terminated):
            if elapsed[s, n] > 0:
                finished[s].append(int(elapsed[s, n]))
            if len(finished[s]) == 8:
                means.append(np.mean(finished[s]))
                finished[s] = []
                elapsed[s] = -(10**6)  # what runs now is of the old policy and is left out
        elapsed[step.terminated] = 0
    assert len(means) > 400
    assert np.mean(means) < 4.5  # more than 15 % below the truth of 5.5


def test_all_environments_give_the_same_number_of_episodes() -> None:
    env = mixed(1, 3)
    agent = agent_for(env, episodes_per_update=6, hidden_sizes=(4,))
    transitions, sizes = [], []
    for transition, metrics in interact(agent, env, 80):
        transitions.append(transition)
        if metrics:
            sizes.append(int(metrics["batch_size"][0]))
    expected = [
        sum(end - begin + 1 for _, begin, end in episodes)
        for _, episodes in batches(transitions, 0, 2)
    ]
    assert sizes == expected


@pytest.mark.slow
def test_the_past_that_is_kept_does_not_grow() -> None:
    env = mixed(3, 2)
    agent = agent_for(env, episodes_per_update=4, hidden_sizes=(4,))
    longest = 0
    for _ in interact(agent, env, 400):
        longest = max(longest, len(agent._episodes._history))
    # Two episodes of at most 5 steps in each environment, and those that are waited for.
    assert longest <= 4 * 5


# --- schedules and failures -----------------------------------------------------------------------


def test_a_linear_learning_rate_falls_with_the_environment_steps() -> None:
    env = mixed(2, 2)
    agent = agent_for(
        env,
        200,
        episodes_per_update=4,
        learning_rate=0.01,
        learning_rate_schedule="linear",
        hidden_sizes=(4,),
        baseline=False,
    )
    seen = []
    for t, (_, metrics) in enumerate(interact(agent, env, 100), start=1):
        if metrics:
            rate = metrics["learning_rate"]
            seen.append(rate[~np.isnan(rate)][0])
            np.testing.assert_allclose(seen[-1], 0.01 * (1 - 2 * (t - 1) / 200), rtol=1e-12)
    assert seen == sorted(seen, reverse=True)
    assert len(seen) > 10


def test_a_seed_without_an_update_has_no_metrics_and_the_others_have() -> None:
    env = mixed(4, 1)
    agent = agent_for(env, episodes_per_update=3, hidden_sizes=(4,))
    updates = np.zeros(4, dtype=int)
    for _, metrics in interact(agent, env, 60):
        if metrics:
            updated = metrics["num_gradient_steps"] > 0
            updates += updated
            for name in agent.metrics:
                assert (np.isfinite(metrics[name]) == updated).all(), name
    assert len(set(updates.tolist())) > 1


def test_divergence_is_an_error_that_names_the_seed() -> None:
    env = mixed(3, 1)
    agent = agent_for(env, episodes_per_update=1, hidden_sizes=(4,))
    state = agent.state_dict()
    state["baseline"][1, -1] = np.inf
    agent.load_state_dict(state)
    with pytest.raises(Diverged, match="seed 1: REINFORCE diverged"):
        for _ in interact(agent, env, 30):
            pass


# --- probes ---------------------------------------------------------------------------------------


def learn(mdp: TabularMDP, num_steps: int, num_envs: int = 4, **options: Any) -> Reinforce:
    env = TabularBatchEnv(mdp, streams(3), num_envs)
    settings = {"hidden_sizes": (16,), "learning_rate": 2e-2, "baseline_learning_rate": 2e-2}
    agent = agent_for(env, **(settings | options))
    for _ in interact(agent, env, num_steps):
        pass
    return agent


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [True, False])
def test_probe_the_better_action_is_found_for_each_observation(baseline: bool) -> None:
    mdp = bandit([[0.0, 1.0], [1.0, 0.0], [-1.0, -2.0]])
    agent = learn(mdp, 600, 4, episodes_per_update=16, baseline=baseline)
    probabilities = agent.actor(greedy=False).probabilities(np.tile(np.arange(3), (3, 1)))
    assert (probabilities[:, np.arange(3), [1, 0, 0]] > 0.9).all()


@pytest.mark.long
def test_probe_a_reward_two_steps_later_is_found() -> None:
    # The first action decides which of two states follows; only one of them pays.
    table = [
        [[(1.0, 1, 0.0, False)], [(1.0, 2, 0.0, False)]],
        [[(1.0, 1, 0.0, True)], [(1.0, 1, 0.0, True)]],
        [[(1.0, 2, 1.0, True)], [(1.0, 2, 1.0, True)]],
    ]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0, 0.0])
    agent = learn(mdp, 400)
    probabilities = agent.actor(greedy=False).probabilities(np.zeros((3, 1), dtype=int))
    assert (probabilities[:, 0, 1] > 0.95).all()


@pytest.mark.long
def test_probe_the_baseline_is_the_value_also_behind_a_time_limit() -> None:
    # Reward 1 for ever at discount 0.8 is worth 5; the episodes are cut after 4 steps.
    table = [[[(1.0, (s + 1) % 4, 1.0, False)]] * 2 for s in range(4)]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0, 0.0, 0.0], time_limit=4)
    agent = learn(mdp, 800, discount=0.8)
    values = agent.actor().value(np.tile(np.arange(4), (3, 1)))
    np.testing.assert_allclose(values, 5.0, atol=0.3)


def test_initial_actions_are_nearly_uniform() -> None:
    env = TabularBatchEnv(bandit([[0.0, 0.0, 0.0]]), streams(3), 400)
    agent = agent_for(env, episodes_per_update=400)
    actions = agent.act(env.reset())
    assert stats.chisquare(np.bincount(actions.ravel(), minlength=3)).pvalue > 1e-3  # fixed seeds


# --- the linear baseline --------------------------------------------------------------------------


def test_the_linear_baseline_of_an_update_was_fitted_to_the_batches_before() -> None:
    mdp = bandit([[1.0, 1.0], [3.0, 3.0]])  # the return is 1 or 3, whatever is done
    env = TabularBatchEnv(mdp, streams(2), 1)
    agent = agent_for(env, **(PLAIN | {"baseline": "linear", "episodes_per_update": 40}))
    losses = [m for _, m in interact(agent, env, 120) if m]
    for update in losses[1:]:
        # Fitted exactly, but for the ridge: no advantage is left, so nothing is learned from it.
        assert (update["baseline_loss"] < 1e-6).all()
        assert (update["gradient_norm"] < 1e-4).all()
    assert (losses[0]["baseline_loss"] > 0.5).all()  # 0 before the first fit
    assert (losses[0]["gradient_norm"] > 0.01).all()


def test_the_linear_baseline_knows_the_time_of_a_decision() -> None:
    # One state, reward 1 per step, cut after 30 steps: only the time tells how much is left.
    rows = [[[(1.0, 0, 1.0, False)]]]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[1.0], time_limit=30)
    env = TabularBatchEnv(mdp, streams(1), 1)
    options = PLAIN | {"baseline": "linear", "episodes_per_update": 4, "discount": 0.9}
    agent = agent_for(env, **options)
    losses = [m["baseline_loss"][0] for _, m in interact(agent, env, 30 * 4 * 12) if m]
    assert losses[-1] < 0.02 * losses[0]
    # At the cut, the return is completed by the baseline of the state at time 30.
    values = agent._baseline_values(0, np.zeros(31, int), torch.arange(31)).numpy()
    assert values[0] > values[25] > 0


@pytest.mark.parametrize("baseline", ["linear", True, False])
def test_a_baseline_is_stored_as_it_was_given(baseline: Any) -> None:
    assert ReinforceConfig(baseline=baseline).baseline == baseline
    with pytest.raises(UsageError, match=r"option baseline .*'linear'"):
        ReinforceConfig(baseline="quadratic")  # type: ignore[arg-type]


def test_a_cut_return_is_completed_by_the_linear_baseline_one_step_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [[[(1.0, 0, 1.0, False)]]]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[1.0], time_limit=3)
    options = PLAIN | {"baseline": "linear", "episodes_per_update": 1, "discount": 0.5}
    agent = agent_for(TabularBatchEnv(mdp, streams(1), 1), **options)
    assert agent._linear is not None
    agent._linear.weights[0, 1] = 100.0  # of t / 100, so b(s, t) = t
    fitted: list[Tensor] = []
    monkeypatch.setattr(agent._linear, "fit", lambda s, obs, times, returns: fitted.append(returns))
    monkeypatch.setattr(agent, "_improve_policy", lambda *_: {})
    for _ in interact(agent, TabularBatchEnv(mdp, streams(1), 1), 3):
        pass
    last = 1 + 0.5 * 3  # b at time 3, not at time 2
    assert fitted[0].tolist() == [1 + 0.5 * (1 + 0.5 * last), 1 + 0.5 * last, last]
