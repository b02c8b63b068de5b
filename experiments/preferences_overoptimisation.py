"""When does optimising a learned reward stop helping on FrozenLake, exactly?

    python -m experiments.preferences_overoptimisation

A reference policy, the optimal one with half of its actions at random, walks over the lake. Tables
of rewards are learned from few and from many preferences between segments of its walks. For each of
them the exact optimum near that policy is computed for rising distances: soft value iteration on
the learned reward, for falling penalties of the divergence. Return, learned return and divergence
of each optimum are exact. Both returns are in standard deviations of the reference's episodes, as
in the figure for language.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

import rlkit
from experiments.labelled_episodes import FixedPolicy, label, record
from experiments.report import arguments
from rlkit.agents.preferences.preference_ppo import PreferencePPOConfig
from rlkit.agents.preferences.reward_model import RewardEnsemble
from rlkit.agents.preferences.segments import Recorder
from rlkit.agents.preferences.store import stacked
from rlkit.analysis.figure import save_figure
from rlkit.analysis.intervals import standard_error
from rlkit.analysis.overoptimisation import seeds_figure
from rlkit.environments.resolve import find_environment
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.soft import divergence, soft_value_iteration
from rlkit.tabular.reading.model import mdp_from_env
from rlkit.tabular.returns import return_under_limit

Array = NDArray[Any]

ENVIRONMENT = "FrozenLake-v1"
PREFERENCES = (100, 500, 2_500)
RATIONALITY = 3.0  # a segment that reaches the goal wins against one that does not in 95 of 100
KL_COEFS = np.logspace(2.0, -1.5, 29)  # in units of the learned reward
DISCOUNT = 0.99
STEPS, ENVS, LENGTH = 2_000, 8, 25  # recorded steps of each environment; steps of a segment


def lake() -> tuple[TabularMDP, Array]:
    """Return the model of the lake and the reference policy, [states, actions]."""
    mdp = mdp_from_env(find_environment(ENVIRONMENT, {}).make)
    best = rlkit.solve(mdp, discount=DISCOUNT).policy
    return mdp, 0.5 * np.eye(mdp.num_actions)[best] + 0.5 / mdp.num_actions


def learned_rewards(recorder: Recorder, streams: Sequence[SeedStreams], count: int) -> Array:
    """Return the rewards that each seed learned from `count` preferences, [S, states, actions]."""
    known = stacked(label(recorder, streams, count, length=LENGTH, rationality=RATIONALITY))
    options = PreferencePPOConfig(reward_hidden_sizes=()).reward_options  # a table
    ensemble = RewardEnsemble(spaces.Discrete(16), spaces.Discrete(4), len(streams), options)
    ensemble.fit(streams, count, known.pairs, known.preferred)
    states, actions = (np.tile(index.ravel(), (len(streams), 1)) for index in np.indices((16, 4)))
    return ensemble(states, actions).reshape(-1, 16, 4).astype(np.float64)


def with_reward(mdp: TabularMDP, reward: Array) -> TabularMDP:
    """Return the model with the reward [states, actions] in place of its own."""
    return dataclasses.replace(mdp, reward=np.repeat(reward.ravel(), np.diff(mdp.row_start)))


def moments(mdp: TabularMDP, policy: Array, limit: int) -> tuple[float, float]:
    """Return mean and standard deviation of the return of an episode, exactly.

    With G = R + G', E[G^2] = E[R^2 + 2 R G' + G'^2]; R is a function of state and action here.
    """
    chain = mdp.continuation
    reward = mdp.expected_reward
    first, second = np.zeros(mdp.num_states), np.zeros(mdp.num_states)
    for _ in range(limit):
        then, squared = ((chain @ x).reshape(reward.shape) for x in (first, second))
        first = (policy * (reward + then)).sum(axis=1)
        second = (policy * (reward**2 + 2 * reward * then + squared)).sum(axis=1)
    start = mdp.initial_distribution
    mean, square = float(start @ first), float(start @ second)
    return mean, float(np.sqrt(max(square - mean**2, 0.0)))


def frontier(mdp: TabularMDP, reference: Array, reward: Array) -> dict[str, list[float]]:
    """Return divergence, proxy and gold of the optimum of a learned reward for each penalty."""
    limit = mdp.time_limit
    assert limit is not None
    learned = with_reward(mdp, reward)
    proxy_mean, proxy_std = moments(learned, reference, limit)
    gold_mean = float(return_under_limit(mdp, reference)[0])
    gold_std = np.sqrt(gold_mean * (1.0 - gold_mean))  # the return is 0 or 1
    rows: dict[str, list[float]] = {"kl": [], "proxy": [], "gold": [], "return": []}
    for kl_coef in KL_COEFS:
        plan = soft_value_iteration(
            learned, reference, kl_coef=float(kl_coef), discount=DISCOUNT, tolerance=1e-3
        )
        kl = np.tile(divergence(plan.policy, reference)[:, None], (1, mdp.num_actions))
        returns = [
            float(return_under_limit(model, plan.policy)[0])
            for model in (with_reward(mdp, kl), learned, mdp)
        ]
        rows["kl"].append(returns[0])
        rows["proxy"].append((returns[1] - proxy_mean) / proxy_std)
        rows["gold"].append((returns[2] - gold_mean) / gold_std)
        rows["return"].append(returns[2])
    return rows


def main() -> None:
    question = "When does optimising a learned reward stop helping?"
    args = arguments(question, seeds=20, out="results/preferences").parse_args()
    streams = tuple(SeedStreams(0, seed) for seed in range(args.seeds))
    mdp, reference = lake()
    policy = FixedPolicy(lambda obs: reference[obs], streams)
    recorder = record(policy, ENVIRONMENT, streams, ENVS, STEPS, kind="tabular")
    panels, summary = {}, {}
    for count in PREFERENCES:
        rewards = learned_rewards(recorder, streams, count)
        each = [frontier(mdp, reference, own) for own in rewards]
        rows = {name: np.stack([own[name] for own in each], axis=1) for name in each[0]}
        panels[f"{count:,} preferences"] = rows
        mean = {name: values.mean(axis=1) for name, values in rows.items()}
        best = int(mean["return"].argmax())
        summary[count] = {
            "best_return": float(mean["return"][best]),
            "kl_there": float(mean["kl"][best]),
            "final_return": float(mean["return"][-1]),
            "final_standard_error": standard_error(rows["return"][-1]),
            "final_kl": float(mean["kl"][-1]),
            "seeds_worse_than_the_reference": int((rows["gold"][-1] < 0).sum()),
        }
        print(count, {name: round(value, 4) for name, value in summary[count].items()})
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    title = f"{ENVIRONMENT}: optima of learned rewards, mean of {args.seeds} seeds ± standard error"
    save_figure(seeds_figure(panels, title=title), out / "overoptimisation.png")
    (out / "overoptimisation.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(out / "overoptimisation.png")


if __name__ == "__main__":
    main()
