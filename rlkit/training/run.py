"""A trained run: its curves, its scores, its policies."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor
from rlkit.analysis.learning_curves import Curve
from rlkit.determinism import own_settings
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import EnvLike
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.errors import RlkitError, UsageError
from rlkit.nn.reference import ReferencePolicy
from rlkit.options import require_count, require_seconds, require_typed
from rlkit.rewards import OwnReward
from rlkit.runs.checkpoints import list_checkpoints
from rlkit.runs.identity import unmarked
from rlkit.runs.integrity.trust import require_from_here
from rlkit.runs.latest import named_folder
from rlkit.runs.progress import warn
from rlkit.runs.record import RECORD, STOPPED, RunFolder, target_of
from rlkit.training.kind import AGENT_RUN
from rlkit.training.playing.agent import AgentLike, stored_agent, stored_agent_config
from rlkit.training.playing.copies import COPIES, Origin, stored_copy
from rlkit.training.playing.deployed import SingleActor
from rlkit.training.playing.environment import (
    changed_sources,
    code_named_by,
    found_again,
    stored_binning,
    stored_environment,
)
from rlkit.training.playing.policies import BEST, FINAL, Policies, Which
from rlkit.training.specification import (
    RunSpec,
    make_spec,
    on_grid,
    whole_steps,
)
from rlkit.training.watching.rules import StopRules

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.analysis.statistics import Interval

Array = NDArray[Any]


def load(
    path: str | Path,
    env: EnvLike | None = None,
    *,
    agent: AgentLike | None = None,
    trust: bool = False,
) -> Run:
    """Open the folder of a run.

    Curves, scores and figures need only the folder; playing needs the environment as well.

    Args:
        path: the folder, or the name that the run was given; `latest` is the newest run in `runs/`,
            `latest:ppo` that of ppo.
        env: the environment, if it is a class or function that cannot be opened by its name.
        agent: your own agent, a class or "path/to/file.py:Class", if run.json does not name it or
            it is no longer there.
        trust: run the code that the run names although it was not trained on this machine from
            the present source.

    Warns:
        RlkitWarning: a source file of the environment or agent changed since training.
    """
    if not isinstance(path, (str, Path)):
        raise UsageError(f"expected the folder of a run, got {path!r}")
    folder = named_folder(path, "agent")
    run = Run(folder, env=env, agent=agent, trust=require_typed("trust", trust, bool))
    changed = changed_sources(run.record)
    if changed:
        run.source_known = True
        warn(
            f"the source of {run.environment_name} changed since the run {run.folder.name} was "
            f"trained ({', '.join(changed)}): its curves are those of the old source, and its "
            "policies can be played in that"
        )
    return run


class Run(RunFolder):
    """The folder of an agent's run, each part of which is read when it is first used.

    Args:
        folder: where it is.
        num_seeds: how many of its seeds to show, from the first; None = all.
        num_env_steps: how many steps of each seed to show; None = all.
        spec: the specification, if known.
        environment: the resolved environment, if known.
        env: the environment, if run.json does not name it.
        agent: the user's agent, if run.json does not name it.
        trust: whether to run the code that run.json names, whoever made the run.
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
        agent: AgentLike | None = None,
        trust: bool = False,
    ) -> None:
        super().__init__(folder, AGENT_RUN, num_seeds=num_seeds)
        self._spec, self._environment, self._env = spec, environment, env
        self._agent, self._trust = agent, trust
        self._num_env_steps = num_env_steps
        self.source_known = False  # whether the user was warned that a source changed

    def __repr__(self) -> str:
        return (
            f"Run({str(self.folder)!r}: {self.agent} on {self.environment_name}, "
            f"{len(self.seeds)} seeds, {self.status})"
        )

    def at(self, num_env_steps: int) -> Run:
        """Return the same run with its rows and scores up to a number of environment steps."""
        return Run(
            self.folder,
            num_seeds=len(self.seeds),
            num_env_steps=num_env_steps,
            spec=self._spec,
            environment=self._environment,
            env=self._env,
            agent=self._agent,
            trust=self._trust,
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
        """Environment steps of each seed: at most the number requested, less if it was stopped."""
        trained = target_of(self.record, AGENT_RUN)
        return trained if self._num_env_steps is None else min(self._num_env_steps, trained)

    @property
    def stopped(self) -> str | None:
        """The rule or callback that ended the run before its target, and why; None if none did."""
        stopped = self.record.get(STOPPED)
        return None if stopped is None else f"{stopped['by']}: {stopped['reason']}"

    @cached_property
    def columns(self) -> list[dict[str, Array]]:
        """Each seed's csv up to `num_env_steps`, column by column."""
        limit = whole_steps(self.num_env_steps, int(self.record["num_envs"]))
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
        """The column of performance: eval_return, or train_return without evaluation."""
        return "eval_return" if self.record["evaluation_episodes"] else "train_return"

    @property
    def steps(self) -> Array:
        """Environment steps of one seed at each point of the curve, [E]."""
        return self._aligned[0]

    @property
    def curve(self) -> Array:
        """Episode return of each seed at each point, [S, E]; NaN where a seed has no row yet."""
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
    def regret(self) -> Array:
        """The regret of each seed at each point of the curve, [S, E].

        It is the exact optimum - `curve`; in a bandit, the sum of optimum - return over the
        episodes of training until then.

        Raises:
            UsageError: the optimum is not known.
        """
        from rlkit.analysis.regret import cumulative_regret, regret
        from rlkit.analysis.statistics import align_curves

        optimum = self.optimum
        if optimum is None:
            raise UsageError(
                f"regret needs the exact optimum of {self.environment_name}, which is not known: "
                "it publishes no transition table P that it follows, or has no finite optimum"
            )
        if not self.is_bandit:
            return regret(self.curve, optimum)
        width, every = int(self.record["num_envs"]), int(self.record["evaluate_every"])
        steps, lost = [], []
        for rows in self.columns:
            steps.append(rows.get("num_env_steps", np.zeros(0)))
            anew = on_grid(steps[-1], width, every)
            number, mean = (rows.get(n, np.zeros(0)) for n in ("num_episodes", "train_return"))
            lost.append(cumulative_regret(number, mean, anew, optimum))
        return align_curves(steps, lost)[1]

    @property
    def is_bandit(self) -> bool:
        """Whether the environment has a single observation, so that an episode is some pulls."""
        space = str(self.record.get("environment_details", {}).get("observation_space", ""))
        return space == "Discrete(1)" or space.startswith("Discrete(1,")

    @property
    def scores(self) -> Array:
        """The final episode return of each seed, [S]; NaN for one that did not reach the end.

        If a seed was trained further than requested and has no row at exactly that step, the
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
        # One step for all: the last at which every seed that got there has a row.
        at = min((self.columns[s]["num_env_steps"][-1] for s in ended), default=0)
        for s in ended:
            values, rows = self.columns[s][self.measured], self.columns[s]["num_env_steps"]
            known = np.flatnonzero(np.isfinite(values) & (rows <= at))
            if len(known):
                scores[s], steps[s] = values[known[-1]], rows[known[-1]]
        return scores, steps

    def _reached(self, s: int) -> int:
        """Return the steps that a seed was trained for; its last row may not be written yet."""
        rows = self._all_columns[s].get("num_env_steps", np.zeros(0))
        if not len(rows):
            return -1
        kept = list_checkpoints(self.folder, self.seeds[s])
        return int(max(rows[-1], kept[0][0] if kept else 0))

    @property
    def unfinished(self) -> dict[int, int]:
        """The steps of each seed that was not trained to the end, by seed."""
        steps = {seed: max(0, self._reached(s)) for s, seed in enumerate(self.seeds)}
        return {seed: done for seed, done in steps.items() if done < self.num_env_steps}

    def interval(self) -> Interval:
        """Return the mean of the final scores over seeds, with its 95 % interval."""
        from rlkit.analysis.statistics import mean_interval

        return interval_of(mean_interval, self.scores)

    def as_curve(self, *, regret: bool = False) -> Curve:
        """Return the curve, or that of the regret, for a plot."""
        return Curve(self.agent, self.steps, self.regret if regret else self.curve)

    def plot(self, path: str | Path | None = None, *, regret: bool = False) -> Figure:
        """Draw the learning curve or the regret of all seeds; save it if a path is given."""
        from rlkit.training.figures import plot_runs

        return plot_runs([self], path, regret=regret)

    @property
    def references(self) -> list[tuple[str, float]]:
        """The lines to compare its curve with, such as ("optimum", 0.744)."""
        if "references" in self.record:
            return [(str(label), float(value)) for label, value in self.record["references"]]
        from rlkit.training.references import references

        # They are written at the end; a run of format 1 never has them. Drawing must not run code
        # that a folder names, so only environments registered by Gymnasium are opened.
        named = self.record["environment"]
        if self._environment is None and (named not in gym.registry or code_named_by(named)):
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
        """Sentences that a reader of the results must know."""
        stored = [str(text) for text in self.record.get("caveats", [])]
        return [*stored, *([self.amid_schedule] if self.amid_schedule else [])]

    @cached_property
    def amid_schedule(self) -> str:
        """Say so where it is shown at fewer steps than a schedule of its agent spans; else ""."""
        shown, spanned = self.num_env_steps, int(self.record["num_env_steps"])
        if self._num_env_steps is None or shown >= spanned:
            return ""
        with contextlib.suppress(RlkitError):  # code that is not there, or is not to be run
            if self.spec.spans_run:
                return (
                    f"{self.folder.name} is shown at {shown:,} steps, amid a schedule that spans "
                    f"{spanned:,}: one trained for {shown:,} steps ends differently"
                )
        return ""

    @property
    def environment(self) -> Environment:
        """The environment it was trained on.

        Raises:
            UsageError: it cannot be built, or has other spaces than the one of training.

        Warns:
            RlkitWarning: it has changed since training.
        """
        if self._environment is None:
            with own_settings():
                self._environment = stored_environment(
                    self.folder,
                    self.record,
                    self._env,
                    source_known=self.source_known,
                    trust=self._trust,
                    numbered_actions=None
                    if self._spec is None
                    else self._spec.traits.needs_discrete_actions,
                )
        return self._environment

    @property
    def spec(self) -> RunSpec:
        """The specification that the run was trained from."""
        if self._spec is None:
            record = self.record
            agent = stored_agent(self.folder, record, self._agent, trust=self._trust)
            config = stored_agent_config(agent, record, self.folder / RECORD)
            reward = record.get("reward", {}).get("name")
            spec = make_spec(agent, record["environment"], config=config)
            origins: dict[str, Any] = {name: self._origin(name) for name in COPIES}
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
                binning=stored_binning(record),
                rescale_actions=record.get("rescale_actions", False),
                action_masks=record.get("action_masks", False),
                reward=None if reward is None else found_again(record, reward),
                **origins,
                stop=StopRules(**record["stop"]) if "stop" in record else None,
                keep_best=record.get("keep_best", False),
            )
        return self._spec

    @property
    def reference(self) -> ReferencePolicy | None:
        """The policy that the run was kept near, if there is one and its copy is sound.

        Warns:
            RlkitWarning: the copy is missing or damaged.
        """
        policy = self._origin("reference")
        return policy if isinstance(policy, ReferencePolicy) else None

    def _origin(self, name: str) -> Origin | None:
        """Return what the run was trained from, by a name of `COPIES`, if its copy is sound.

        Warns:
            RlkitWarning: the copy is missing or damaged.
        """
        try:
            return stored_copy(self.folder, self.record, name)
        except RlkitError as error:
            warn(str(error))
            return None

    @property
    def _own_reward(self) -> OwnReward | None:
        """The user's own reward that the run was trained on, if it can be computed.

        Warns:
            RlkitWarning: it cannot.
        """
        if "reward" not in self.record:
            return None
        name = self.record["reward"]["name"]
        try:
            if not self._trust and isinstance(self.spec.reward, str):
                require_from_here(self.folder, self.record, f"the reward function {name}")
            own = self.spec.own_reward
            source = self.record["reward"]["source"]  # "" where it could not be identified
            if own is not None and source not in ("", own.source.digest):
                raise UsageError(f"the reward function {name} changed since training")
        except UsageError as error:
            warn(f"returns in the reward that the run was trained on are not shown: {error}")
            return None
        return own

    def _policies(self, which: Which = FINAL) -> Policies:
        if which not in (FINAL, BEST):
            raise UsageError(
                f'option which (--which): expected "{FINAL}" or "{BEST}", got {which!r:.80}'
            )
        return Policies(
            *(self.folder, self.seeds, self.num_env_steps, self.spec, self.environment), which=which
        )

    def batch_actor(
        self, seeds: Sequence[int], *, greedy: bool = True, which: Which = FINAL
    ) -> Actor:
        """Return the policies of some seeds as one actor over a grid [S, M]; see `actor`."""
        return self._policies(which).batch_actor(seeds, greedy=greedy)

    def actor(self, seed: int = 0, *, greedy: bool = True, which: Which = FINAL) -> SingleActor:
        """Return the policy of one seed, for use outside rlkit.

        Args:
            seed: which seed.
            greedy: the greedy policy, or the exploring policy of training.
            which: "final", or "best": that of the seed's best evaluation, the earliest if several
                are equal, of a run trained with `keep_best`. The best of many noisy evaluations
                promises more than the policy keeps.

        Raises:
            UsageError: there is no such seed, or the best policies were not kept.
        """
        return self._policies(which).actor(seed, greedy=greedy)

    def agent_state(self, seed: int = 0, *, which: Which = FINAL) -> dict[str, Array]:
        """Return the `state_dict` of one seed's agent, without the seed axis.

        Args:
            seed: which seed.
            which: what the agent ended with, or its "best"; see `actor`.

        Raises:
            UsageError: there is no such seed, or the best policies were not kept.
        """
        return self._policies(which).agent_state(seed)

    def q_table(self, seed: int = 0) -> Array:
        """Return the final values of all actions in all states of one seed.

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
        return self._policies().q_table(seed)

    def evaluate(
        self,
        episodes: int = 1000,
        *,
        greedy: bool = True,
        which: Which = FINAL,
        env_timeout: float = ENV_TIMEOUT,
    ) -> dict[str, Any]:
        """Play episodes with the policies, and compute exact returns where possible.

        Args:
            episodes: per seed, >= 1.
            greedy: whether the greedy policies act, not the exploring ones.
            which: the "final" policies or the "best" (see `actor`), which play other episodes than
                those they were chosen by.
            env_timeout: seconds that a constructor, reset or step of the environment may take.

        Returns:
            environment, agent, seeds (a list of seed, env_steps of its policy, mean_return,
            std_return, episodes, exact_return; in another reward that it was trained on,
            mean_learned_return or mean_own_return), env_steps that were requested, missing (why the
            other seeds have no policy, by seed), and mean, iqm and interval over the seeds in
            mean_over: those that were trained to the end, or all if none was. They are of the
            exact returns if known.

        Warns:
            RlkitWarning: the source changed since training, or episodes were stopped.
        """
        episodes = require_count("episodes", episodes, at_least=1)
        if self.unfinished:
            steps = ", ".join(f"seed {seed}: {done:,}" for seed, done in self.unfinished.items())
            silent = (
                "; it is being trained, or the process that did ended without a word"
                if self.status == "running"
                else ""
            )
            warn(
                f"the run {self.folder.name} was not trained to its {self.num_env_steps:,} "
                f"environment steps ({steps}{silent}): the policies are those of the "
                f"{'best evaluations until then' if which == BEST else 'last checkpoints'}, and "
                "the mean is over the seeds that were, if any"
            )
        seeds = [s for s in self.seeds if list_checkpoints(self.folder, s)]
        if not seeds:
            raise UsageError(f"the run {self.folder} has no checkpoint to evaluate yet")
        with watched(require_seconds("env_timeout", env_timeout)):
            policies = dataclasses.replace(self._policies(which), own_reward=self._own_reward)
            report = policies.evaluate(seeds, episodes, greedy=greedy)
        missing = {
            str(seed): self.failures.get(seed, "it was not trained yet")
            for seed in self.seeds
            if seed not in seeds
        }
        return {
            "environment": self.record["environment"],
            "agent": self.agent,
            "missing": missing,
            **report,
        }


def interval_of(estimate: Callable[[Array], Interval], scores: Array) -> Interval:
    """Return an interval of the known scores, with a note if there are none."""
    from rlkit.analysis.statistics import Interval

    known = scores[np.isfinite(scores)]
    if not len(known):
        return Interval(np.nan, np.nan, np.nan, 0.95, "no seed was finished")
    return estimate(known)
