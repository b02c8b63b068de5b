"""`rlkit.doctor`: look at an environment before hours are spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from rlkit.diagnosis.advice import choose_steps
from rlkit.diagnosis.examination import Examination, examine
from rlkit.diagnosis.findings import Fault, Findings, by_severity
from rlkit.diagnosis.learnability import Learnability, try_learning
from rlkit.diagnosis.processes.helper import HelperProcess, Unfindable, helper_process
from rlkit.diagnosis.report import Report
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import EnvLike, locate
from rlkit.environments.stepping.watchdog import watched
from rlkit.options import require_seconds, require_typed
from rlkit.training.specification import require_env_args

SECONDS, TIMEOUT = 20.0, 10.0
_EXAMINATION = 8.0  # seconds, at most
_PATIENCE = 6  # times its seconds that an examination may take, with slow constructors


def doctor(
    environment: EnvLike,
    *,
    env_args: Mapping[str, Any] | None = None,
    seconds: float = SECONDS,
    probe: bool = True,
    env_timeout: float = TIMEOUT,
) -> Report:
    """Look at an environment for some seconds and report what is wrong, why, and what to do.

    The environment runs in processes of its own where that is possible: where other processes can
    find it by its name. Otherwise it runs in this process.

    Args:
        environment: a Gymnasium id, "module:Id", "path/to/file.py:Class", a `gymnasium.Env` class
            or a function that returns an environment.
        env_args: keyword arguments of the environment.
        seconds: for the learnability probe, a short training of an agent; looking at the
            environment before it takes less.
        probe: whether to make the learnability probe.
        env_timeout: seconds that a constructor, reset or step of the environment may take.

    Returns:
        the report: `print` it, or read its `findings`, `errors` and `command`.

    Raises:
        UsageError: an argument cannot be used, or there is no such environment.
    """
    seconds = require_seconds("seconds", seconds)
    timeout = require_seconds("env_timeout", env_timeout)
    arguments = require_env_args(env_args)
    with watched(timeout):  # a function of num_envs is called
        located = locate(environment, arguments)
    session = _Session(located, seconds, timeout, require_typed("probe", probe, bool))
    examination, learned = session.run()
    plan = examination.plan
    findings = tuple(by_severity(list(session.findings)))
    command = ""
    if plan is not None:
        steps = choose_steps(plan, *((learned.steps, learned.learned) if learned else (0, None)))
        if isinstance(environment, str):
            command = plan.as_command(environment, arguments, steps)
        else:
            name = getattr(environment, "__name__", "env")
            command = plan.as_call(name if name.isidentifier() else "env", arguments, steps)
    return Report(located.reference, findings, examination.facts, learned, command)


class _Session:
    """One visit: in processes of its own where that is possible, otherwise in this one."""

    def __init__(
        self, environment: Environment, seconds: float, timeout: float, probe: bool
    ) -> None:
        self._environment, self._seconds, self._timeout = environment, seconds, timeout
        self._probe = probe
        self._looking = min(seconds, _EXAMINATION)
        self.findings = Findings()

    def run(self) -> tuple[Examination, Learnability | None]:
        """Examine, compare with another process, and let an agent learn."""
        with ExitStack() as stack:
            helpers: list[HelperProcess] = []
            try:
                for hash_seed in (1, 2):
                    helpers.append(
                        stack.enter_context(helper_process(self._environment, hash_seed))
                    )
                examination = self._examine(helpers[0])
            except Unfindable:
                helpers.clear()
                examination = examine(
                    self._environment, seconds=self._looking, timeout=self._timeout
                )
                for one in examination.findings:
                    self.findings.add(one.code, one.seen)
            if helpers:
                self._compare(helpers[1], examination)
            return examination, self._learn(helpers[0] if helpers else None, examination)

    def _examine(self, helper: HelperProcess) -> Examination:
        options = {"seconds": self._looking, "timeout": self._timeout}
        try:
            result: Examination = helper.ask(
                "examine",
                options,
                timeout=self._timeout,
                seconds=_PATIENCE * (self._looking + self._timeout),
                tell=lambda one: self.findings.add(one.code, one.seen),
            )
        except Fault as fault:
            self.findings.take(fault)
            return Examination(list(self.findings))
        return result

    def _compare(self, helper: HelperProcess, examination: Examination) -> None:
        """Let another process play an episode again."""
        trace = examination.trace
        if trace is None:
            return
        options = {"trace": trace, "timeout": self._timeout}
        try:
            step = helper.ask(
                "replay", options, timeout=self._timeout, seconds=self._looking + 6 * self._timeout
            )
        except (Fault, Unfindable):
            return
        if step is not None:
            where = f"the result of step {step}" if step else "the first observation"
            self.findings.add(
                "processes-differ",
                f"In another process, with another PYTHONHASHSEED, {where} of the episode of seed "
                f"{trace.seed} was another.",
            )

    def _learn(self, helper: HelperProcess | None, examination: Examination) -> Learnability | None:
        plan = examination.plan
        if plan is None or not self._probe or "no-choice" in self.findings:
            return None
        options: dict[str, Any] = {
            "plan": plan,
            "facts": examination.facts,
            "seconds": self._seconds,
            "timeout": self._timeout,
        }
        if helper is None:
            learned = try_learning(self._environment, **options)
        else:
            try:
                learned = helper.ask(
                    "learn",
                    options,
                    timeout=self._timeout,
                    seconds=3 * self._seconds + 6 * self._timeout,
                )
            except Fault as fault:
                self.findings.take(fault)
                return None
        if learned.problem:
            self.findings.add("training-fails", learned.problem)
        elif learned.learned is False and not plan.has_preset:  # known to need longer
            self.findings.add("not-learned", learned.summary)
        return learned
