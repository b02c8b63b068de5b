"""The learners of tables as the books state them: one seed, slow, without a line of rlkit's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Step(NamedTuple):
    """One step of one environment."""

    obs: int
    action: int
    reward: float
    terminated: bool
    truncated: bool
    next_obs: int


class Textbook:
    """A table of one seed; `learn` takes the steps of its N environments.

    The next action is unknown when a step is made, so methods that need it keep the step.
    """

    def __init__(self, options: dict[str, Any], shape: tuple[int, int], num_envs: int) -> None:
        self.options, self.num_envs, self.time = options, num_envs, 0
        self.q = np.full(shape, options.get("initial_value", 0.0))
        self.visits = np.zeros(shape)
        self.traces = np.zeros((num_envs, *shape))

    def option(self, name: str, default: Any) -> Any:
        return self.options.get(name, default)

    def linear(self, name: str, start: float, end: float) -> float:
        """Return an option that changes linearly with the environment steps."""
        start = self.option(f"{name}_start", start)
        end = self.option(f"{name}_end", end)
        share = self.time / self.option(f"{name}_steps", 100_000)
        return start + (end - start) * min(1.0, share)

    def alpha(self) -> Any:
        """Return the step size of every pair, [states, actions]."""
        constant = self.option("step_size", None)
        if constant is None:
            return np.maximum(self.visits, 1.0) ** -self.option("step_size_power", 0.6)
        end = self.option("step_size_end", None) or constant
        share = min(1.0, self.time / self.option("step_size_steps", 100_000))
        return np.full_like(self.q, constant + (end - constant) * share)

    def policy(self, s: int) -> Any:
        """Return the probabilities of the actions of training; ties share those of the best."""
        values = self.q[s]
        if self.option("exploration", "epsilon-greedy") == "boltzmann":
            weights = np.exp((values - values.max()) / self.linear("temperature", 1.0, 0.01))
            return weights / weights.sum()
        epsilon = self.linear("epsilon", 1.0, 0.05)
        best = values == values.max()
        return epsilon / len(values) + (1 - epsilon) * best / best.sum()

    def value(self, step: Step, kind: str) -> float:
        """Return gamma times the value after a step, 0 where it terminated."""
        if step.terminated:
            return 0.0
        values = self.q[step.next_obs]
        mean = self.policy(step.next_obs) @ values
        return float(self.option("discount", 0.99) * (values.max() if kind == "best" else mean))

    def move(self, n: int, s: int, a: int, target: float) -> None:
        """Move the table towards a target, along the traces of environment n."""
        decay = self.option("discount", 0.99) * self.option("trace_decay", 0.0)
        error = target - self.q[s, a]
        self.traces[n] *= decay
        replacing = self.option("traces", "replacing") == "replacing"
        self.traces[n, s, a] = 1.0 if replacing else self.traces[n, s, a] + 1.0
        self.visits[s, a] += 1
        self.q += self.alpha() * self.traces[n] * error

    def learn(self, steps: list[Step]) -> None:
        for n, step in enumerate(steps):
            self.learn_one(n, step)
            if step.terminated or step.truncated:
                self.traces[n] = 0.0
        self.time += len(steps)

    def learn_one(self, n: int, step: Step) -> None:
        raise NotImplementedError


class QLearning(Textbook):
    """Watkins's Q(lambda): traces are cut before an action that is not greedy."""

    def learn_one(self, n: int, step: Step) -> None:
        s, a = step.obs, step.action
        if self.q[s, a] < self.q[s].max():
            self.traces[n] = 0.0
        self.move(n, s, a, step.reward + self.value(step, "best"))


class ExpectedSarsa(Textbook):
    def learn_one(self, n: int, step: Step) -> None:
        self.move(n, step.obs, step.action, step.reward + self.value(step, "mean"))


class Sarsa(Textbook):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.before: dict[int, Step] = {}

    def learn_one(self, n: int, step: Step) -> None:
        if n in self.before:
            last = self.before.pop(n)
            after = self.option("discount", 0.99) * self.q[step.obs, step.action]
            self.move(n, last.obs, last.action, last.reward + after)
        if step.terminated or step.truncated:
            self.move(n, step.obs, step.action, step.reward + self.value(step, "mean"))
        else:
            self.before[n] = step
