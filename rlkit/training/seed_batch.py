"""Seeds that are trained together: their environments, agent, counts and files."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import AgentTraits, State, Transition
from rlkit.agents.compiled import compiled_loop
from rlkit.determinism import apart
from rlkit.environments.environment import Environment
from rlkit.environments.stepping.pool import Pool
from rlkit.environments.views.viewed_env import ViewedBatchEnv, copies_in
from rlkit.errors import Diverged, RlkitError
from rlkit.evaluation import Evaluator, evaluation_limits
from rlkit.files import Saver, for_each
from rlkit.loop import PlayStopped, asking
from rlkit.rewards import BatchReward
from rlkit.runs import checkpoints, curves
from rlkit.runs.reports import Reports, Stopped
from rlkit.runs.restore import Stateful, entries, join_states, restore
from rlkit.seeding import SeedStreams
from rlkit.training.specification import RunSpec, on_grid
from rlkit.training.tracker import EVALUATION, Tracker
from rlkit.training.watching.best import BestStates

Array = NDArray[Any]

# Rows may follow one another within milliseconds, and forcing files to the disk takes longer.
SECONDS_BETWEEN_SAVES = 1.0
SECONDS_BETWEEN_FLUSHES = 0.2
LONG_REPLAY = 100_000  # steps of an episode


class SeedBatch:
    """Seeds that are trained together: their environments, agent, counts and files."""

    def __init__(
        self,
        spec: RunSpec,
        environment: Environment,
        folder: Path,
        seeds: Sequence[int],
        reports: Reports,
    ) -> None:
        self._spec, self._environment, self._folder = spec, environment, folder
        self._seeds, self._reports = seeds, reports
        self.target = spec.whole_steps(spec.num_env_steps)
        kind = spec.stepped_as(environment)
        streams = tuple(SeedStreams(spec.experiment_seed, seed) for seed in seeds)
        self._curves: list[curves.CurveFile] = []
        self._long = False  # whether a long episode was reported
        self._remarked = False  # whether partial episodes were reported
        self._saved_at = self._flushed_at = -math.inf  # so that the first row is saved
        self._pause = SECONDS_BETWEEN_SAVES
        self._saved_steps = 0
        self._saver = Saver()
        self._best = BestStates(folder, seeds) if spec.keep_best else None
        self._pool: Pool | None = None
        if spec.env_workers and kind == "gymnasium":
            self._pool = Pool(environment, spec.env_workers, spec.env_timeout, reports.stop)
        make_copies = None if self._pool is None else self._pool.copies
        self._evaluator = Evaluator(
            environment, streams, spec.evaluation_episodes, kind=kind, make_copies=make_copies
        )
        try:
            self.env = environment.grid(streams, spec.num_envs, kind=kind, make_copies=make_copies)
            self._task = spec.task(self.env, streams, environment.mdp)
            self.agent = spec.build_agent(self._task)
            traits = AgentTraits.of(self.agent)
            self._metrics, own = traits.metrics, spec.own_reward
            self.tracker = Tracker(
                *(len(seeds), spec.num_envs, self._metrics),
                last_values=traits.last_value_metrics,
                own_reward=own is not None,
            )
            self._reward = (
                None
                if own is None
                else BatchReward(own, environment, seeds, lambda: self.tracker.num_env_steps)
            )
        except BaseException:
            self.close()
            raise
        self.compiled = (
            compiled_loop(self.agent, self.env, self.tracker.totals, self.tracker.count)
            if spec.compiled and self._reward is None
            else None
        )
        parts = (("agent/", self.agent), ("env/", self.env), ("tracker/", self.tracker))
        self._parts: tuple[tuple[str, Stateful], ...] = parts
        if self._reward is not None and self._reward.has_state:
            self._parts += (("reward/", self._reward),)

    @property
    def reward(self) -> Callable[[Transition], Array] | None:
        """The reward to learn from in place of the environment's; the tracker adds it up."""
        own = self._reward
        if own is None:
            return None

        def counted(transition: Transition) -> Array:
            reward = own(transition)
            self.tracker.add_reward(reward)
            return reward

        return counted

    def start(self) -> Array:
        """Begin at step 0; return the first observations."""
        obs = self.env.reset()
        self._open_curves([0] * len(self._seeds))
        self.write_rows(obs)
        return obs

    def take_up(self, states: Sequence[Mapping[str, Array]]) -> Array:
        """Continue from the checkpoints of the seeds; return what to act on next."""
        state = join_states(states)
        try:
            with asking(self.env, self._reports.stop):  # playing a long episode again takes time
                for prefix, part in self._parts:
                    what = f"the {prefix[:-1]} from the checkpoints in {self._folder}"
                    own = entries(state, prefix)
                    if part is self.env:
                        apart(restore, part, own, what, exact=False)
                    else:
                        restore(part, own, what, exact=False)
        except PlayStopped:
            raise Stopped("stopped while the running episodes were played again") from None
        obs = np.asarray(state["obs"])
        copies = copies_in(self.env)
        if copies is not None and not copies.exact_resume:
            self._reports.irreproducible(
                f"{self._environment.reference} is not determined by its seed and the actions: "
                "the run continues, but is not reproducible"
            )
            obs = self.env.obs if isinstance(self.env, ViewedBatchEnv) else copies.obs
        lengths = [int(one["curve_bytes"]) for one in states]
        self._open_curves(lengths)
        if self._best is not None:
            for s, rows in enumerate(self._rows_so_far(lengths)):
                known = rows.get(EVALUATION[0], np.zeros(0))
                self._best.take_up(s, self.tracker.num_env_steps, known)
        at_end = self.tracker.num_env_steps == self.target
        if states[0].get(checkpoints.ROW_PENDING, False) and (self.on_grid or at_end):
            self.write_rows(obs)
        return obs

    def _open_curves(self, lengths: Sequence[int]) -> None:
        for seed, num_bytes in zip(self._seeds, lengths, strict=True):
            path = curves.curve_path(self._folder, seed)
            expected = checkpoints.begin_from(self._folder, seed, num_bytes)
            self._curves.append(curves.CurveFile(path, self.tracker.columns, num_bytes, expected))

    def _rows_so_far(self, lengths: Sequence[int]) -> Iterator[dict[str, Array]]:
        """Return the columns of each seed's csv, up to a number of bytes."""
        for seed, num_bytes in zip(self._seeds, lengths, strict=True):
            path = curves.curve_path(self._folder, seed)
            yield curves.parse_curve(path.read_bytes()[:num_bytes], path)

    @property
    def on_grid(self) -> bool:
        """Whether the last step reached a multiple of `evaluate_every`."""
        spec = self._spec
        return bool(on_grid(self.tracker.num_env_steps, spec.num_envs, spec.evaluate_every))

    @property
    def steps_to_row(self) -> int:
        """Steps of each environment until a row is due, at most to the end of the run."""
        steps, every = self.tracker.num_env_steps, self._spec.evaluate_every
        due = min((steps // every + 1) * every, self.target)
        return -(-(due - steps) // self._spec.num_envs)

    def write_rows(self, obs: Array) -> None:
        """Evaluate, write one row per seed and save if a checkpoint is due.

        Raises:
            Diverged: the numbers of one seed are no longer finite.
        """
        self._require_finite()
        evaluation: dict[str, Array] = {}
        if self._spec.evaluation_episodes:
            limits = evaluation_limits(self._environment, self.tracker.longest_episode)
            try:
                values = self._evaluator(
                    self.agent.actor(), limits=limits, seeds=self._seeds, stop=self._reports.stop
                )
            except PlayStopped:
                if self.tracker.num_env_steps:
                    self.save(obs, row_pending=True)
                    self._saver.wait()
                raise self.stopped() from None
            evaluation = dict(zip(EVALUATION, values, strict=True))
            self._report_partial_episodes()
        # Off the grid the averages continue, so that a longer run has the same rows.
        rows = self.tracker.rows(evaluation, reset=self.on_grid)
        for curve, row in zip(self._curves, rows, strict=True):
            curve.append(row)
        if self._best is not None:
            sums = [curve.sums for curve in self._curves]
            scores, steps = evaluation[EVALUATION[0]], self.tracker.num_env_steps
            self._best.add(steps, scores, lambda: self._state_of("agent/", "tracker/"), sums)
        if self._reports.watch is not None:
            self._hand_over(rows, obs)
        if self._due:
            self.save(obs)
        elif time.monotonic() - self._flushed_at >= SECONDS_BETWEEN_FLUSHES:
            self._flush()
        self._reports.progress(self._seeds, self.tracker.num_env_steps)

    def _flush(self) -> None:
        for curve in self._curves:
            curve.flush()
        self._flushed_at = time.monotonic()

    def _hand_over(self, rows: Sequence[Mapping[str, Any]], obs: Array) -> None:
        """Hand rows to the watch; where that fails, save first."""
        watch = self._reports.watch
        assert watch is not None
        columns = {
            name: np.array([_number(row.get(name)) for row in rows])
            for name in self.tracker.columns
        }
        try:
            watch.add(self._seeds, self.tracker.num_env_steps, columns)
        except RlkitError:
            self.require_saved(obs)
            raise

    def ends_here(self, obs: Array) -> bool:
        """Return whether the watch ends the run at this evaluation, after waiting for all seeds.

        Raises:
            Stopped: the process is to stop; everything is saved.
        """
        watch, steps = self._reports.watch, self.tracker.num_env_steps
        if watch is None or not (watch.decides and self.on_grid and steps):
            return False
        ends = watch.verdict(steps)
        if ends is None:
            self.require_saved(obs)
            raise self.stopped()
        if ends:
            self.require_saved(obs)
            if self._evaluator.remark is not None:
                self._reports.caveat(
                    f"{self._environment.reference} {self._evaluator.remark}. This is so in the "
                    f"final row, at {steps:,} steps"
                )
        return ends

    def _require_finite(self) -> None:
        """Require finite numbers in the agents of rlkit, and finite returns."""
        parts: list[tuple[str, Any]] = [("the return of an episode", self.tracker.returns())]
        if isinstance(self._spec.agent, str):  # a user's may begin with infinity
            parts += [(f"its state {name!r}", v) for name, v in self.agent.state_dict().items()]
        for what, values in parts:
            if isinstance(values, np.ndarray) and _is_finite(values):
                continue  # of all seeds at once; a list may hold arrays of several lengths
            for seed, own in zip(self._seeds, values, strict=True):
                if not _is_finite(own):
                    raise Diverged(
                        seed,
                        f"{self._spec.agent_name} at step {self.tracker.num_env_steps:,}: {what} "
                        "is no longer finite; make the rewards smaller, or the step size or "
                        "learning rate",
                    )

    @property
    def _due(self) -> bool:
        """Whether to save after this row: some time after the last checkpoint, and at the end."""
        steps, every = self.tracker.num_env_steps, self._spec.evaluate_every
        if not steps:
            return False
        # As many as are kept, so that the files of a finished run do not depend on the time.
        last_two = self.target <= (steps // every + 1) * every
        return last_two or time.monotonic() - self._saved_at >= self._pause

    def _report_partial_episodes(self) -> None:
        """Report once that returns are of partial episodes; for the final row as a caveat."""
        if self._evaluator.remark is None:
            return
        steps = self.tracker.num_env_steps
        text = f"{self._environment.reference} {self._evaluator.remark}"
        if steps == self.target:
            self._reports.caveat(f"{text}. This is so in the final row, at {steps:,} steps")
        elif not self._remarked:
            self._remarked = True
            self._reports.note(f"{text}. This is so in the row at {steps:,} steps, if not later")

    def save(self, obs: Array, *, row_pending: bool = False) -> None:
        """Begin to write a checkpoint of each seed; with `row_pending` its row is not yet written.

        What it holds is copied at once. Training continues while the disk is waited for.
        """
        self._note_replay()
        self._flush()
        state: State = {"obs": obs}
        state["curve_bytes"] = np.array([curve.num_bytes for curve in self._curves])
        state[checkpoints.ROW_PENDING] = np.full(len(self._seeds), row_pending)
        state |= self._state_of(*(prefix for prefix, _ in self._parts))
        steps = self.tracker.num_env_steps
        of_seeds = [
            ({name: np.array(value[s]) for name, value in state.items()}, curve.sums.now())
            for s, curve in enumerate(self._curves)
        ]

        write_best = None if self._best is None else self._best.take()

        def save_seed(s: int) -> float:
            began = time.thread_time()
            own, lines = of_seeds[s]
            self._curves[s].sync()
            if write_best is not None:
                write_best(s, lines)
            checkpoints.save_checkpoint(self._folder, self._seeds[s], steps, own, lines=lines)
            return time.thread_time() - began

        def save_all() -> None:
            began = time.monotonic()
            worked = sum(for_each(range(len(self._seeds)), save_seed))
            self._pause = SECONDS_BETWEEN_SAVES * _pause_after(time.monotonic() - began, worked)

        self._saver.start(save_all)
        self._saved_at, self._saved_steps = time.monotonic(), steps

    def _state_of(self, *prefixes: str) -> State:
        """Return the state of some parts of all seeds."""
        return {
            prefix + name: value
            for prefix, part in self._parts
            if prefix in prefixes
            for name, value in part.state_dict().items()
        }

    def _note_replay(self) -> None:
        """Note once that an episode is so long that resuming it takes time and its file room."""
        copies = copies_in(self.env)
        if self._long or copies is None or copies.longest_replay <= LONG_REPLAY:
            return
        self._long = True
        self._reports.note(
            f"an episode of {self._environment.reference} has run for {copies.longest_replay:,} "
            "steps: checkpoints hold all of its actions, and resuming plays them again. Wrap it in "
            "gymnasium.wrappers.TimeLimit so that episodes end, or give it `get_state` and "
            "`set_state`"
        )

    def require_saved(self, obs: Array) -> None:
        """Save unless that was done at this step, and wait until it is on the disk."""
        if self._saved_steps != self.tracker.num_env_steps:
            self.save(obs)
        self._saver.wait()

    def stopped(self) -> Stopped:
        """Return the error that states how many steps were done."""
        return Stopped(f"stopped at {self.tracker.num_env_steps:,} environment steps per seed")

    def report_missing_updates(self) -> None:
        """Report the seeds for which a learning agent made no update."""
        idle = [
            seed
            for seed, learned in zip(self._seeds, self.tracker.learned, strict=True)
            if not learned
        ]
        if not idle or not self._metrics:
            return
        needs = self._spec.traits.why_no_update(self._task, self._spec.config)
        why = f": {needs}" if needs else ""
        which = "any seed" if len(idle) == len(self._seeds) else f"the seeds {idle}"
        self._reports.note(
            f"{self._spec.agent_name} made no update of {which} in "
            f"{self.tracker.num_env_steps:,} environment steps{why}"
        )

    def close(self) -> None:
        """Write the last rows and close the environments; failures hide no earlier error."""
        with contextlib.suppress(RlkitError):
            self._flush()
        self._saver.close()
        parts = (self._evaluator, getattr(self, "env", None), self._pool)
        for part in parts:
            if part is None:
                continue
            try:
                apart(part.close)
            except Exception as error:
                self._reports.note(f"closing {self._environment.reference} raised {error!r}")


def _pause_after(waited: float, worked: float) -> float:
    """Return how long to wait before the next save, in `SECONDS_BETWEEN_SAVES`.

    On a slow disk at most a tenth of the time is spent on saving. With many seeds it takes half a
    percent of a processor, unless they would wait for ten of these pauses.

    Args:
        waited: seconds that the last save took.
        worked: seconds of a processor among them.
    """
    return max(1.0, 9 * waited, min(10.0, 200 * worked))


def _is_finite(values: Any) -> bool:
    """Return whether values are no floating-point numbers, or all finite."""
    numbers = np.asarray(values)
    return numbers.dtype.kind != "f" or bool(np.isfinite(numbers).all())


def _number(value: float | int | None) -> float:
    return math.nan if value is None else float(value)
