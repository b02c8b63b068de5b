"""The final or best policies of a run's seeds: loaded from checkpoints, and evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Actor, ActorTraits, Agent
from rlkit.determinism import prepared_torch
from rlkit.environments.environment import Environment
from rlkit.errors import RlkitError, UsageError
from rlkit.evaluation import early_stop_remark, evaluation_limits, exact_returns_of, play_many
from rlkit.loop import Episodes
from rlkit.options import require_typed
from rlkit.rewards import BatchReward, OwnReward
from rlkit.runs.checkpoints import list_checkpoints, newest_checkpoint
from rlkit.runs.progress import warn
from rlkit.runs.record import read_record
from rlkit.runs.restore import entries, join_states, restore
from rlkit.seeding import SeedStreams
from rlkit.training.kind import AGENT_RUN
from rlkit.training.playing.deployed import ActorBySeed, MaskUse, SingleActor
from rlkit.training.playing.penalised import has_answer_key, penalised_rows
from rlkit.training.specification import RunSpec
from rlkit.training.watching.best import best_state

Array = NDArray[Any]
Which = Literal["final", "best"]
FINAL, BEST = get_args(Which)


def _has_nan(values: Any) -> bool:
    """Return whether an array, or one of a list of arrays, has NaN."""
    if isinstance(values, (list, tuple)):
        return any(map(_has_nan, values))
    array = np.asarray(values)
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _learned(returns: Array, kind: str) -> dict[str, float]:
    """Return the mean of a seed's returns in the reward that it was trained on, if it is known."""
    return {} if np.isnan(returns).any() else {f"mean_{kind}_return": float(returns.mean())}


@dataclass(frozen=True)
class Policies:
    """The policies that the seeds of a run ended with, or the best of each by its evaluations.

    Args:
        folder: of the run.
        seeds: those that there are.
        num_env_steps: at which the policies are requested.
        spec: what the run was trained from.
        environment: what it was trained on.
        own_reward: of the user's own, that it was trained on, where that can be computed.
        which: "final", or "best" of each seed.
    """

    folder: Path
    seeds: Sequence[int]
    num_env_steps: int
    spec: RunSpec
    environment: Environment
    own_reward: OwnReward | None = None
    which: Which = FINAL

    def batch_actor(self, seeds: Sequence[int], *, greedy: bool = True) -> Actor:
        """Return the policies of some seeds as one actor over a grid [S, M]."""
        with prepared_torch():
            return self._batch_actor(seeds, greedy=greedy)

    def _batch_actor(self, seeds: Sequence[int], *, greedy: bool) -> Actor:
        greedy = require_typed("greedy", greedy, bool)
        loaded = [self.stored_state(seed) for seed in seeds]
        if len({steps for steps, _ in loaded}) > 1:  # their states are not of one form
            return ActorBySeed([self.batch_actor([seed], greedy=greedy) for seed in seeds])
        streams = tuple(SeedStreams(self.spec.experiment_seed, seed) for seed in seeds)
        task = self.spec.task(self.environment, streams, self.environment.mdp)
        agent = self.spec.build_agent(task)
        self._restore(agent, [state for _, state in loaded], seeds)
        actor: Actor = agent.actor(greedy=greedy)
        return actor

    def _restore(
        self, agent: Agent, states: Sequence[Mapping[str, Array]], seeds: Sequence[int]
    ) -> None:
        """Load the states of seeds, every entry of which must be there, fit, and be no NaN."""
        which = f"seed {seeds[0]}" if len(seeds) == 1 else f"the seeds {list(seeds)}"
        what = f"the agent of {which} from the checkpoints in {self.folder}"
        fresh = {name for name, value in agent.state_dict().items() if _has_nan(value)}
        for seed, state in zip(seeds, states, strict=True):
            for name, value in entries(state, "agent/").items():
                if _has_nan(value) and name not in fresh:
                    raise RlkitError(
                        f"the checkpoint of seed {seed} in {self.folder} has NaN in "
                        f"'agent/{name}', so its policy cannot be played; expected finite numbers. "
                        f"Train the seed again with another seed or smaller steps"
                    )
        restore(agent, entries(join_states(states), "agent/"), what, exact=False)

    def stored_state(self, seed: int) -> tuple[int, Mapping[str, Array]]:
        """Return the steps and the state of a seed: of its newest sound checkpoint, or the best.

        Warns:
            RlkitWarning: it is not the state that was requested.
        """
        if seed not in self.seeds:
            raise UsageError(
                f"the run {self.folder} has the seeds 0 to {len(self.seeds) - 1}, not {seed!r}"
            )
        if self.which == BEST:
            return self._best_state(seed)
        steps, state, problems = newest_checkpoint(self.folder, seed)
        if not state:
            listed = "; ".join(problems) or self._why_none(seed)
            raise RlkitError(f"seed {seed} of the run {self.folder} has no checkpoint: {listed}")
        if problems:
            warn(
                f"{'; '.join(problems)}; the policy of seed {seed} is that of {steps:,} "
                "environment steps"
            )
        elif steps > self.spec.whole_steps(self.num_env_steps):
            warn(
                f"the run {self.folder.name} was requested at {self.num_env_steps:,} environment "
                f"steps, but seed {seed} has only its policy at {steps:,}: that one is used"
            )
        return steps, state

    def _best_state(self, seed: int) -> tuple[int, Mapping[str, Array]]:
        if not self.spec.keep_best:
            raise UsageError(
                f"the run {self.folder} was trained without keep_best=True (--keep-best), so its "
                "best policies are not there; train again with it, or take the final ones"
            )
        if not list_checkpoints(self.folder, seed):
            raise RlkitError(
                f"seed {seed} of the run {self.folder} has no best policy: {self._why_none(seed)}"
            )
        try:
            return best_state(self.folder, seed)
        except ValueError as error:
            raise RlkitError(
                f"the best policy of seed {seed} of {self.folder} cannot be read: {error}"
            ) from error

    def _why_none(self, seed: int) -> str:
        failure = read_record(self.folder, AGENT_RUN)["failures"].get(str(seed))
        return "it was not trained yet" if failure is None else f"it failed: {failure['message']}"

    def _trained_for(self, seed: int) -> int:
        return max((steps for steps, _ in list_checkpoints(self.folder, seed)), default=0)

    def agent_state(self, seed: int) -> dict[str, Array]:
        """Return the state of one seed's agent."""
        _, state = self.stored_state(seed)
        return {name: np.array(value) for name, value in entries(state, "agent/").items()}

    def actor(self, seed: int, *, greedy: bool) -> SingleActor:
        """Return the policy of one seed, for environments outside rlkit."""
        probe = self.environment.make()
        probe.close()
        return SingleActor(
            lambda greedy: self.batch_actor([seed], greedy=greedy),
            probe.observation_space,
            probe.action_space,
            greedy=greedy,
            agent=self.spec.agent_name,
            bins=self.environment.bins,
            actions=self.environment.action_view,
            masks=self._masks,
        )

    @property
    def _masks(self) -> MaskUse:
        if self.spec.action_masks:
            return "required"
        return "optional" if self.spec.traits.takes_action_masks else "none"

    def q_table(self, seed: int) -> Array:
        """Return the values of all actions in all states, float64 [num_states, num_actions]."""
        states = self.environment.observation_space
        actor = self.batch_actor([seed])
        action_values = ActorTraits.of(actor).action_values
        if action_values is None or not isinstance(states, spaces.Discrete):
            raise UsageError(
                f"the run {self.folder} is of {self.spec.agent_name}, which keeps no table of "
                "action values; q-learning and value-iteration do"
            )
        return np.array(action_values(np.arange(int(states.n))[None])[0], dtype=np.float64)

    def evaluate(self, seeds: Sequence[int], episodes: int, *, greedy: bool) -> dict[str, Any]:
        """Play episodes; return a row per seed, and estimates over seeds of the mean return."""
        with prepared_torch():
            return self._evaluate(seeds, episodes, greedy=greedy)

    def _evaluate(self, seeds: Sequence[int], episodes: int, *, greedy: bool) -> dict[str, Any]:
        from rlkit.analysis.statistics import iqm_interval, mean_interval

        actor, environment = self.batch_actor(seeds, greedy=greedy), self.environment
        kind = self.spec.stepped_as(environment)
        exact = exact_returns_of(actor, environment, len(seeds), kind)
        streams = [SeedStreams(self.spec.experiment_seed, seed) for seed in seeds]
        longest = [self.stored_state(seed)[1].get("tracker/longest_episode", 0) for seed in seeds]
        limits = evaluation_limits(environment, np.array(longest, dtype=np.int64))
        own = None
        if self.own_reward is not None:
            own = BatchReward(self.own_reward, environment, seeds)
        known = own if own is not None and not own.has_state else None
        options: dict[str, Any] = {"kind": kind, "limits": limits, "reward": known}
        # The best was chosen by the episodes of the evaluations, which would flatter it.
        chosen_by = self.spec.evaluation_episodes if self.which == BEST else 0
        try:
            played = play_many(actor, environment, streams, chosen_by + episodes, **options)
        finally:
            environment.settle()
        played = Episodes(*(column[:, chosen_by:] for column in played))
        if played.stopped_early.any():
            num_stopped = int(played.stopped_early.sum())
            remark = early_stop_remark(limits)
            warn(f"{environment.reference} {remark} ({num_stopped} episodes)")
        steps = [self.stored_state(seed)[0] for seed in seeds]
        target = self.spec.whole_steps(self.num_env_steps)
        rows: list[dict[str, Any]] = [
            {
                "seed": seed,
                "env_steps": steps[s],
                "mean_return": float(played.returns[s].mean()),
                "std_return": float(played.returns[s].std()),
                "episodes": episodes,
                "exact_return": None if exact is None else float(exact.returns[s]),
                **_learned(played.learned_returns[s], "own" if known else "learned"),
            }
            for s, seed in enumerate(seeds)
        ]
        if has_answer_key(self.spec, environment):
            coefficients = [float(self.stored_state(seed)[1]["agent/kl_coef"]) for seed in seeds]
            near = self.batch_actor(seeds, greedy=False)
            for row, answers in zip(
                rows, penalised_rows(near, self.spec, environment, coefficients), strict=True
            ):
                row |= answers
        scores = played.returns.mean(axis=1) if exact is None else exact.returns
        # A policy that was not trained to the end is no sample of those that were.
        trained = steps if self.which == FINAL else [self._trained_for(seed) for seed in seeds]
        at_end = [s for s in range(len(seeds)) if trained[s] >= target] or list(range(len(seeds)))
        scores = scores[at_end]
        interval = mean_interval(scores)
        return {
            "seeds": rows,
            "env_steps": target,
            **({} if self.which == FINAL else {"which": self.which}),
            "mean_over": [seeds[s] for s in at_end],
            "mean": interval.estimate,
            "iqm": iqm_interval(scores).estimate,
            "interval": [interval.low, interval.high],
            "episodes_cut": int(played.stopped_early.sum()),
        }
