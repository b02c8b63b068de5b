"""A run that was trained: its curves, its scores, its policies."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Actor, State, Task
from rlkit.determinism import prepared_torch
from rlkit.environments.resolve import Environment, EnvLike, find_environment
from rlkit.errors import RlkitError, UsageError
from rlkit.evaluation import cut_remark, evaluation_limits, exact_returns_of, play_many
from rlkit.options import require_count, require_typed
from rlkit.runs import checkpoints
from rlkit.runs.identity import unmarked
from rlkit.runs.progress import warn
from rlkit.runs.record import RECORD, RunFolder
from rlkit.runs.restore import entries
from rlkit.seeding import SeedStreams
from rlkit.training.kind import AGENT_RUN
from rlkit.training.playing.deployed import ActorBySeed, SingleActor
from rlkit.training.seed_trainer import join_states
from rlkit.training.specification import RunSpec, make_spec, stored_config
from rlkit.user_code import content_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.analysis.plots import Curve
    from rlkit.analysis.statistics import Interval

Array = NDArray[Any]


def load(path: str | Path, env: EnvLike | None = None) -> Run:
    """Open the folder of a run.

    Curves, scores and figures need nothing but the folder; only playing needs the environment.

    Args:
        path: the folder.
        env: the environment, where it is a class or function that its name does not lead to.

    Warns:
        RlkitWarning: a source file of the environment or agent changed since training.
    """
    if not isinstance(path, (str, Path)):
        raise UsageError(f"expected the folder of a run, got {path!r}")
    run = Run(Path(path), env=env)
    changed = changed_sources(run.record)
    if changed:
        run.told_of_source = True
        warn(
            f"the source of {run.environment_name} changed since the run {run.folder.name} was "
            f"trained ({', '.join(changed)}): its curves are those of the old source, and playing "
            "it would use the new one"
        )
    return run


def changed_sources(record: Mapping[str, Any]) -> list[str]:
    """Return the source files of a run that still exist and have another content now."""
    return [
        path
        for path, digest in record.get("sources", {}).items()
        if content_digest(path) not in (None, digest)
    ]


class Run(RunFolder):
    """The folder of an agent's run, read when it is asked for something.

    Args:
        folder: where it is.
        num_seeds: how many of its seeds to show, from the first; None = all.
        num_env_steps: up to how many steps of each seed to show; None = all.
        spec: what it was trained from, if at hand.
        environment: the resolved environment, if at hand.
        env: what names the environment, if run.json does not.
    """

    def __init__(
        self,
        folder: Path,
        *,
        num_seeds: int | None = None,
        num_env_steps: int | None = None,
        spec: RunSpec | None = None,
        environment: Environment | None = None,
        env: EnvLike | None = None,
    ) -> None:
        super().__init__(folder, AGENT_RUN, num_seeds=num_seeds)
        self._spec, self._environment, self._env = spec, environment, env
        self._num_env_steps = num_env_steps
        self.told_of_source = False  # whether the user knows that a source has changed

    def __repr__(self) -> str:
        return (
            f"Run({str(self.folder)!r}: {self.agent} on {self.environment_name}, "
            f"{len(self.seeds)} seeds, {self.status})"
        )

    def at(self, num_env_steps: int) -> Run:
        """Return the same run, with its rows and scores up to so many environment steps."""
        return Run(
            self.folder,
            num_seeds=len(self.seeds),
            num_env_steps=num_env_steps,
            spec=self._spec,
            environment=self._environment,
            env=self._env,
        )

    @property
    def agent(self) -> str:
        """The agent's name."""
        return str(self.record["agent"])

    @property
    def environment_name(self) -> str:
        """The environment's short name."""
        return str(self.record["environment"]).rsplit(":", 1)[-1]

    @property
    def num_env_steps(self) -> int:
        """Environment steps of each seed: those asked for, where the run has more."""
        trained = int(self.record["num_env_steps"])
        return trained if self._num_env_steps is None else min(self._num_env_steps, trained)

    @cached_property
    def columns(self) -> list[dict[str, Array]]:
        """Each seed's csv up to `num_env_steps`, column by column."""
        limit = _rounded_up(self.num_env_steps, int(self.record["num_envs"]))
        return [
            {name: values[columns["num_env_steps"] <= limit] for name, values in columns.items()}
            for columns in self._all_columns
        ]

    @property
    def env_steps_per_second(self) -> float:
        """Environment steps of all seeds together over the time spent on them."""
        seconds = sum(part["seconds"] for part in self.record["timing"])
        steps = sum(part["env_steps"] for part in self.record["timing"])
        return float(steps / seconds) if seconds > 0 else 0.0

    @property
    def measured(self) -> str:
        """The column that is the performance: eval_return, or train_return without evaluation."""
        return "eval_return" if self.record["evaluation_episodes"] else "train_return"

    @property
    def steps(self) -> Array:
        """Environment steps of one seed at each point of the curve, [E]."""
        return self._aligned[0]

    @property
    def curve(self) -> Array:
        """Episode return of each seed at each point, [S, E]; NaN where a seed has not come."""
        return self._aligned[1]

    @cached_property
    def _aligned(self) -> tuple[Array, Array]:
        from rlkit.analysis.statistics import align_curves

        empty = np.zeros(0)
        steps, curve = align_curves(
            [columns.get("num_env_steps", empty) for columns in self.columns],
            [columns.get(self.measured, empty) for columns in self.columns],
        )
        return steps, curve

    @property
    def scores(self) -> Array:
        """The final episode return of each seed, [S]; NaN for one that did not reach the end.

        Where a seed has been trained further than asked and has no row at that very step, the
        scores of all seeds are those of its last row before (see `score_steps`).
        """
        return self._final[0]

    @property
    def score_steps(self) -> Array:
        """The environment steps of the row of each score, [S]; NaN where there is none."""
        return self._final[1]

    @cached_property
    def _final(self) -> tuple[Array, Array]:
        scores, steps = np.full((2, len(self.seeds)), np.nan)
        ended = [s for s in range(len(self.seeds)) if self._reached(s) >= self.num_env_steps]
        # One step for all: the last at which every seed that came so far has a row.
        at = min((self.columns[s]["num_env_steps"][-1] for s in ended), default=0)
        for s in ended:
            values, rows = self.columns[s][self.measured], self.columns[s]["num_env_steps"]
            known = np.flatnonzero(np.isfinite(values) & (rows <= at))
            if len(known):
                scores[s], steps[s] = values[known[-1]], rows[known[-1]]
        return scores, steps

    def _reached(self, s: int) -> int:
        """How many steps a seed that has rows was trained for; its last row may be due."""
        rows = self._all_columns[s].get("num_env_steps", np.zeros(0))
        if not len(rows):
            return -1
        kept = checkpoints.list_checkpoints(self.folder, self.seeds[s])
        return int(max(rows[-1], kept[0][0] if kept else 0))

    @property
    def unfinished(self) -> dict[int, int]:
        """The steps of each seed that was not trained to the end, by seed."""
        steps = {seed: max(0, self._reached(s)) for s, seed in enumerate(self.seeds)}
        return {seed: done for seed, done in steps.items() if done < self.num_env_steps}

    def interval(self) -> Interval:
        """Mean of the final scores over seeds, with its 95 % interval."""
        from rlkit.analysis.statistics import mean_interval

        return interval_of(mean_interval, self.scores)

    def as_curve(self) -> Curve:
        """What a plot draws."""
        from rlkit.analysis.plots import Curve

        return Curve(self.agent, self.steps, self.curve)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the learning curve of all seeds, and save it if a path is given."""
        from rlkit.training.figures import plot_runs

        return plot_runs([self], path)

    @property
    def references(self) -> list[tuple[str, float]]:
        """The lines to compare its curve with, such as ("optimum", 0.744)."""
        if "references" in self.record:
            return [(str(label), float(value)) for label, value in self.record["references"]]
        from rlkit.training.references import references

        # They are written at the end; a run of format 1 never has them. Drawing runs no code that
        # a folder names, so only what Gymnasium itself registers is looked at here.
        if self._environment is None and self.record["environment"] not in gym.registry:
            return []
        try:
            return references(self.environment)
        except RlkitError:
            return []

    @property
    def optimum(self) -> float | None:
        """The best achievable expected return, where it is known exactly."""
        return dict(self.references).get("optimum")

    @property
    def caveats(self) -> list[str]:
        """What a reader of its results must know about the environment."""
        return [str(text) for text in self.record.get("caveats", [])]

    @property
    def environment(self) -> Environment:
        """The environment it was trained on.

        Raises:
            UsageError: it cannot be built, or has other spaces than the one of training.

        Warns:
            RlkitWarning: it is not made of what it was made of in training.
        """
        if self._environment is None:
            reference = self.record["environment"]
            if self._env is None:
                self._refuse_own_code(reference)
            environment = find_environment(
                self._env or reference, unmarked(self.record["env_args"])
            )
            self._compare(environment)
            self._environment = environment
        return self._environment

    def _compare(self, environment: Environment) -> None:
        trained, now = self.record.get("environment_details"), environment.probe.details
        if trained is None:  # a run of format 1: nothing to compare with
            return
        for space in ("observation_space", "action_space"):
            if trained[space] != now[space]:
                raise UsageError(
                    f"the run {self.folder} was trained with the {space.replace('_', ' ')} "
                    f"{trained[space]}, but {environment.reference} now has {now[space]}"
                )
        differing = [
            f"{name} {trained[name]} -> {now[name]}"
            for name in ("time_limit", "spec", "layers", "data_files")
            if trained.get(name) != now[name]
        ]
        known = not (environment.source.unidentified or self.told_of_source)
        if known and self.record["environment_source"] != environment.source.digest:
            differing.append("its source")
        if differing:
            given = "the environment given" if self._env is not None else environment.reference
            warn(
                f"{given} is not the one that the run {self.folder.name} was trained on; what "
                f"changed since: {', '.join(differing)}. What is played now is the present one"
            )

    def _refuse_own_code(self, reference: str) -> None:
        """Code that lies in the folder of a run is not run just because the run names it."""
        head, _, tail = reference.rpartition(":")
        inside = head.endswith(".py") and Path(head).resolve().is_relative_to(self.folder.resolve())
        if inside or head == "__main__" or "<" in reference or not _names_environment(head, tail):
            raise UsageError(
                f"the run {self.folder} was trained on {reference!r}, which its name does not "
                "lead to: give the environment, as in rlkit.load(path, env=MyEnv)"
            )

    @property
    def spec(self) -> RunSpec:
        """What the run was trained from."""
        if self._spec is None:
            record = self.record
            if record["agent_source"]:
                raise UsageError(
                    f"the run {self.folder} was trained by the class {record['agent']}, which is "
                    "not an agent of rlkit: get its policies from the run that train returned"
                )
            config = stored_config(record, self.folder / RECORD)
            spec = make_spec(record["agent"], record["environment"], config=config)
            self._spec = dataclasses.replace(
                spec,
                environment=self._env or record["environment"],
                env_args=unmarked(record["env_args"]),
                num_env_steps=record["num_env_steps"],
                num_envs=record["num_envs"],
                experiment_seed=record["experiment_seed"],
                evaluate_every=record["evaluate_every"],
                evaluation_episodes=record["evaluation_episodes"],
                native=record["stepped_as"] != "gymnasium",
            )
        return self._spec

    def batch_actor(self, seeds: Sequence[int], *, greedy: bool = True) -> Actor:
        """The final policies of some seeds as one actor over a grid [S, M]."""
        greedy = require_typed("greedy", greedy, bool)
        loaded = [self._final_state(seed) for seed in seeds]
        if len({steps for steps, _ in loaded}) > 1:  # their states are not of one form
            return ActorBySeed([self.batch_actor([seed], greedy=greedy) for seed in seeds])
        states = [state for _, state in loaded]
        streams = tuple(SeedStreams(self.spec.experiment_seed, seed) for seed in seeds)
        probe = self.environment.probe
        task = Task(
            probe.observation_space,
            probe.action_space,
            streams,
            self.spec.num_envs,
            self.spec.num_env_steps,
            self.environment.mdp,
        )
        agent = self.spec.build_agent(task)
        state: State = join_states(states)
        agent.load_state_dict(entries(state, "agent/"))
        actor: Actor = agent.actor(greedy=greedy)
        return actor

    def _final_state(self, seed: int) -> tuple[int, Mapping[str, Array]]:
        if seed not in self.seeds:
            raise UsageError(
                f"the run {self.folder} has the seeds 0 to {len(self.seeds) - 1}, not {seed!r}"
            )
        steps, state, problems = checkpoints.newest_checkpoint(self.folder, seed)
        if not state:
            listed = "; ".join(problems) or "there is none"
            raise RlkitError(f"seed {seed} of the run {self.folder} has no checkpoint: {listed}")
        if problems:
            warn(
                f"{'; '.join(problems)}; the policy of seed {seed} is that of {steps:,} "
                "environment steps"
            )
        elif steps > _rounded_up(self.num_env_steps, self.spec.num_envs):
            warn(
                f"the run {self.folder.name} was asked for at {self.num_env_steps:,} environment "
                f"steps, but of seed {seed} only the policy of {steps:,} is kept: that one is used"
            )
        return steps, state

    def actor(self, seed: int = 0, *, greedy: bool = True) -> SingleActor:
        """Return the final policy of one seed, for environments of one's own.

        Args:
            seed: which seed.
            greedy: the greedy policy, or the one that explores as in training.

        Raises:
            UsageError: there is no such seed.
        """
        probe = self.environment.make()
        probe.close()
        return SingleActor(
            lambda greedy: self.batch_actor([seed], greedy=greedy),
            probe.observation_space,
            probe.action_space,
            greedy=greedy,
            agent=self.agent,
        )

    def q_table(self, seed: int = 0) -> Array:
        """Return the values of all actions in all states that one seed ended with.

        Q-learning's table, or Q* of value iteration: the discounted return of taking an action and
        acting greedily afterwards.

        Args:
            seed: which seed.

        Returns:
            float64 [num_states, num_actions], a copy; both are counted from the start of their
            spaces.

        Raises:
            UsageError: there is no such seed, or the agent keeps no values of actions.
        """
        probe = self.environment.make()
        probe.close()
        states = probe.observation_space
        actor = self.batch_actor([seed])
        action_values = getattr(actor, "action_values", None)
        if action_values is None or not isinstance(states, spaces.Discrete):
            raise UsageError(
                f"the run {self.folder} is of {self.agent}, which keeps no table of action "
                "values; q-learning and value-iteration do"
            )
        return np.array(action_values(np.arange(int(states.n))[None])[0], dtype=np.float64)

    def evaluate(self, episodes: int = 1000, *, greedy: bool = True) -> dict[str, Any]:
        """Play episodes with the final policies; exact returns beside them where known.

        Returns:
            environment, agent, seeds (a list of seed, mean_return, std_return, episodes,
            exact_return), and mean, iqm and interval over seeds; of the exact returns if known.

        Warns:
            RlkitWarning: the source changed since training, or episodes were stopped.
        """
        from rlkit.analysis.statistics import iqm_interval, mean_interval

        episodes = require_count("episodes", episodes, at_least=1)
        if self.unfinished:
            steps = ", ".join(f"seed {seed}: {done:,}" for seed, done in self.unfinished.items())
            warn(
                f"the run {self.folder.name} was not trained to its {self.num_env_steps:,} "
                f"environment steps ({steps}): the policies are those of the last checkpoints"
            )
        seeds = [s for s in self.seeds if checkpoints.list_checkpoints(self.folder, s)]
        if not seeds:
            raise UsageError(f"the run {self.folder} has no checkpoint to evaluate yet")
        actor = self.batch_actor(seeds, greedy=greedy)
        environment = self.environment
        kind = self.spec.stepped_as(environment)
        exact = exact_returns_of(actor, environment, len(seeds), kind)
        streams = [SeedStreams(self.spec.experiment_seed, seed) for seed in seeds]
        longest = [self._final_state(seed)[1].get("tracker/longest_episode", 0) for seed in seeds]
        limits = evaluation_limits(environment, np.array(longest, dtype=np.int64))
        try:
            with prepared_torch():
                played = play_many(actor, environment, streams, episodes, kind=kind, limits=limits)
        finally:
            environment.settle()
        if played.cut.any():
            warn(f"{environment.reference} {cut_remark(limits)} ({int(played.cut.sum())} episodes)")
        rows = [
            {
                "seed": seed,
                "mean_return": float(played.returns[s].mean()),
                "std_return": float(played.returns[s].std()),
                "episodes": episodes,
                "exact_return": None if exact is None else float(exact.returns[s]),
            }
            for s, seed in enumerate(seeds)
        ]
        scores = played.returns.mean(axis=1) if exact is None else exact.returns
        interval = mean_interval(scores)
        return {
            "environment": self.record["environment"],
            "agent": self.agent,
            "seeds": rows,
            "mean": interval.estimate,
            "iqm": iqm_interval(scores).estimate,
            "interval": [interval.low, interval.high],
            "episodes_cut": int(played.cut.sum()),
        }


def _rounded_up(num_env_steps: int, num_envs: int) -> int:
    """Environment steps as whole steps of all environments of a seed."""
    return -(-num_env_steps // num_envs) * num_envs


def interval_of(estimate: Callable[[Array], Interval], scores: Array) -> Interval:
    """An interval of the scores that are known, which says so where there are none."""
    from rlkit.analysis.statistics import Interval

    known = scores[np.isfinite(scores)]
    if not len(known):
        return Interval(np.nan, np.nan, np.nan, 0.95, "no seed was finished")
    return estimate(known)


def _names_environment(module: str, name: str) -> bool:
    """Whether what a stored name leads to is an environment, not any function of any module."""
    if not module or module.endswith(".py"):
        return True
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return True  # the search for it explains what is missing
    return name in gym.registry or (isinstance(found, type) and issubclass(found, gym.Env))
