"""Turns transitions and metrics into the rows of each seed's curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import State, Transition
from rlkit.agents.compiled import Totals
from rlkit.errors import UsageError
from rlkit.spelling import closest

Array = NDArray[Any]

COUNTS = ("num_env_steps", "num_episodes", "num_gradient_steps")
OWN_RETURN = "own_return"
EVALUATION = ("eval_return", "eval_std")


class Tracker:
    """Counts and averages over what happened since the last row, for each seed.

    Args:
        num_seeds: S.
        num_envs: N.
        metrics: the names that the agent's `learn` may return.
        last_values: those of them of which a row has the last value, not the mean.
        own_reward: whether the agent learns from a reward of the user's own, whose returns are then
            a column beside those of the environment.
    """

    def __init__(
        self,
        num_seeds: int,
        num_envs: int,
        metrics: Sequence[str],
        *,
        last_values: Sequence[str] = (),
        own_reward: bool = False,
    ) -> None:
        self._metrics, self._last_values = tuple(metrics), frozenset(last_values)
        own = (OWN_RETURN,) if own_reward else ()
        self.columns = (*COUNTS, "train_return", "train_length", *own, *EVALUATION, *metrics)
        # The returns in the user's own reward, of running episodes, if there is one.
        self._own_return = np.zeros((num_seeds, num_envs)) if own_reward else None
        self.num_env_steps = 0
        self._num_episodes = np.zeros(num_seeds, dtype=np.int64)
        self._num_gradient_steps = np.zeros(num_seeds, dtype=np.int64)
        self._episode_return = np.zeros((num_seeds, num_envs))
        self._episode_length = np.zeros((num_seeds, num_envs), dtype=np.int64)
        self.longest_episode = np.zeros(num_seeds, dtype=np.int64)  # in steps, of those that ended
        self.learned = np.zeros(num_seeds, dtype=bool)  # whether there was any update
        self._start_row(num_seeds)

    def _start_row(self, num_seeds: int) -> None:
        # Of the episodes that ended since the last row: number, sum of returns, sum of lengths.
        self._episodes = np.zeros((num_seeds, 3))
        self._own_returns = np.zeros(num_seeds)  # sum of those that ended
        self._sums = np.zeros((num_seeds, len(self._metrics)))
        self._numbers = np.zeros((num_seeds, len(self._metrics)), dtype=np.int64)

    def add_reward(self, reward: Array) -> None:
        """Add the user's own reward [S, N] of the step that `observe` adds next."""
        assert self._own_return is not None
        self._own_return += reward

    def observe(self, transition: Transition, metrics: Mapping[str, Array]) -> None:
        """Add one step of the loop."""
        self.num_env_steps += transition.reward.shape[1]
        self._episode_return += transition.reward
        self._episode_length += 1
        is_last = transition.terminated | transition.truncated
        if is_last.any():
            ended = is_last.sum(axis=1)
            self._num_episodes += ended
            self._episodes[:, 0] += ended
            self._episodes[:, 1] += np.where(is_last, self._episode_return, 0.0).sum(axis=1)
            lengths = np.where(is_last, self._episode_length, 0)
            self._episodes[:, 2] += lengths.sum(axis=1)
            np.maximum(self.longest_episode, lengths.max(axis=1), out=self.longest_episode)
            if self._own_return is not None:
                self._own_returns += np.where(is_last, self._own_return, 0.0).sum(axis=1)
                self._own_return[is_last] = 0.0
            self._episode_return[is_last] = 0.0
            self._episode_length[is_last] = 0
        if metrics:
            self._observe_metrics(metrics)

    def _observe_metrics(self, metrics: Mapping[str, Array]) -> None:
        # An agent that counts its updates has learned where it made one: other metrics may come
        # without, such as those of the reward that a policy is yet to be trained on.
        num_updates = metrics.get("num_gradient_steps")
        if num_updates is not None:
            self.learned |= np.asarray(num_updates) > 0
        for name, values in metrics.items():
            if name == "num_gradient_steps":
                self._num_gradient_steps += values
                continue
            if name not in self._metrics:
                raise UsageError(
                    f"the agent's learn returned the metric {name!r}, which is not in its class "
                    f"attribute `metrics` = {self._metrics}.{closest(name, self._metrics)}"
                )
            column = self._metrics.index(name)
            measured = ~np.isnan(values)  # NaN: this seed made no update just now
            if name in self._last_values:  # forget the earlier ones
                self._sums[measured, column] = self._numbers[measured, column] = 0
            self._sums[:, column] += np.where(measured, values, 0.0)
            self._numbers[:, column] += measured
            if num_updates is None:
                self.learned |= measured

    def rows(self, evaluation: Mapping[str, Array], *, reset: bool) -> list[dict[str, Any]]:
        """Return one row per seed; with `reset` the averages start again."""
        # Lists: an array gives its numbers one by one more slowly, and they take longer to write.
        num_episodes, num_updates = self._num_episodes.tolist(), self._num_gradient_steps.tolist()
        sums, numbers = self._sums.tolist(), self._numbers.tolist()
        evaluated = {name: np.asarray(values).tolist() for name, values in evaluation.items()}
        rows = []
        for s, (number, returns, lengths) in enumerate(self._episodes.tolist()):
            row: dict[str, Any] = {
                "num_env_steps": self.num_env_steps,
                "num_episodes": num_episodes[s],
                "num_gradient_steps": num_updates[s],
                "train_return": returns / number if number else None,
                "train_length": lengths / number if number else None,
            }
            if self._own_return is not None:
                row[OWN_RETURN] = float(self._own_returns[s]) / number if number else None
            row |= {name: values[s] for name, values in evaluated.items()}
            for name, total, count in zip(self._metrics, sums[s], numbers[s], strict=True):
                row[name] = total / count if count else None
            rows.append(row)
        if reset:
            self._start_row(len(rows))
        return rows

    def count(self, num_env_steps: int) -> None:
        """Add steps that a compiled loop took, whose other totals it changed itself."""
        self.num_env_steps += num_env_steps

    def totals(self, s: int) -> Totals:
        """Return what a compiled loop counts and adds up for one seed: views of its entries."""
        return Totals(
            num_episodes=self._num_episodes[s : s + 1],
            episode_return=self._episode_return[s],
            episode_length=self._episode_length[s],
            longest_episode=self.longest_episode[s : s + 1],
            learned=self.learned[s : s + 1],
            episodes=self._episodes[s],
            sums=self._sums[s],
            numbers=self._numbers[s],
        )

    def returns(self) -> Array:
        """Return the sums of rewards so far, per seed: of running and of ended episodes."""
        return np.concatenate([self._episode_return, self._episodes[:, 1:2]], axis=1)

    def state_dict(self) -> State:
        num_seeds = len(self._episodes)
        own: State = {}
        if self._own_return is not None:
            own = {"own_return": self._own_return.copy(), "own_returns": self._own_returns.copy()}
        return {
            "num_env_steps": np.full(num_seeds, self.num_env_steps),
            "num_episodes": self._num_episodes.copy(),
            "num_gradient_steps": self._num_gradient_steps.copy(),
            "episode_return": self._episode_return.copy(),
            "episode_length": self._episode_length.copy(),
            "longest_episode": self.longest_episode.copy(),
            "learned": self.learned.copy(),
            "episodes": self._episodes.copy(),
            "sums": self._sums.copy(),
            "numbers": self._numbers.copy(),
            **own,
        }

    def load_state_dict(self, state: State) -> None:
        self.num_env_steps = int(state["num_env_steps"][0])
        self._num_episodes = np.array(state["num_episodes"])
        self._num_gradient_steps = np.array(state["num_gradient_steps"])
        self._episode_return = np.array(state["episode_return"])
        self._episode_length = np.array(state["episode_length"])
        self.longest_episode = np.array(state["longest_episode"])
        self.learned = np.array(state["learned"])
        self._episodes = np.array(state["episodes"])
        self._sums = np.array(state["sums"])
        self._numbers = np.array(state["numbers"])
        if self._own_return is not None:
            self._own_return = np.array(state["own_return"])
            self._own_returns = np.array(state["own_returns"])
