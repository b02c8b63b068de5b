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


class NStepSarsa(Textbook):
    """Keeps whole episodes and sums every return anew."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.episodes: list[list[Step]] = [[] for _ in range(self.num_envs)]

    def update(self, n: int, tau: int, after: float) -> None:
        """Update step tau of the episode by its rewards from there on."""
        episode, gamma = self.episodes[n], self.option("discount", 0.99)
        rewards = [step.reward for step in episode[tau:]]
        target = sum(gamma**i * r for i, r in enumerate(rewards)) + gamma ** len(rewards) * after
        self.move(n, episode[tau].obs, episode[tau].action, target)

    def learn_one(self, n: int, step: Step) -> None:
        episode, length = self.episodes[n], self.option("return_steps", 4)
        if len(episode) >= length:
            self.update(n, len(episode) - length, self.q[step.obs, step.action])
        episode.append(step)
        if step.terminated or step.truncated:
            for tau in range(max(0, len(episode) - length), len(episode)):
                gamma = self.option("discount", 0.99)
                self.update(n, tau, self.value(step, "mean") / gamma)
            episode.clear()


class MonteCarlo(Textbook):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.episodes: list[list[Step]] = [[] for _ in range(self.num_envs)]

    def learn_one(self, n: int, step: Step) -> None:
        episode, gamma = self.episodes[n], self.option("discount", 0.99)
        episode.append(step)
        if not (step.terminated or step.truncated):
            return
        after = self.value(step, "mean") / gamma
        for t in range(len(episode) - 1, -1, -1):
            pair = (episode[t].obs, episode[t].action)
            earlier = [(one.obs, one.action) for one in episode[:t]]
            if self.option("visit", "first") == "first" and pair in earlier:
                continue
            left = episode[t:]
            total = sum(gamma**i * one.reward for i, one in enumerate(left))
            self.move(n, *pair, total + gamma ** len(left) * after)
        episode.clear()


class DoubleQLearning(Textbook):
    """The coins, numbers in [0, 1) of each environment, are given before each step."""

    coins: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.both = [Textbook(*args), Textbook(*args)]

    def learn_one(self, n: int, step: Step) -> None:
        one, other = self.both if self.coins[n] < 0.5 else self.both[::-1]
        one.time = self.time
        best = int(np.argmax(one.q[step.next_obs]))
        future = self.option("discount", 0.99) * other.q[step.next_obs, best]
        one.move(n, step.obs, step.action, step.reward + future * (not step.terminated))
        self.q = (one.q + other.q) / 2


class DynaQ(Textbook):
    """The draws, [3 planning steps, N], are given before each step."""

    draws: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.model: dict[int, dict[int, list[Step]]] = {}

    def learn_one(self, n: int, step: Step) -> None:
        s, a = step.obs, step.action
        self.move(n, s, a, step.reward + self.value(step, "best"))
        self.model.setdefault(s, {}).setdefault(a, []).append(step)
        for state, action, outcome in self.draws[:, n].reshape(-1, 3):
            s = list(self.model)[int(state * len(self.model))]
            a = list(self.model[s])[int(action * len(self.model[s]))]
            seen, size = self.model[s][a], self.option("model_memory", 1)
            kept = range(max(0, len(seen) - size), len(seen))
            known = seen[sorted(kept, key=lambda i: i % size)[int(outcome * len(kept))]]
            target = known.reward + self.value(known, "best")
            self.q[s, a] += self.alpha()[s, a] * (target - self.q[s, a])
