"""What both sides of the comparison are given and what they give back; needs numpy only.

A side is a module that runs in a process of its own, `python -m ... job.json`, trains, and writes
result.json and the folder policy/ beside the job.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the processes of TRL, whose memory is measured, do not load rlkit
    from rlkit.rlhf.data.task import GoldTask

# Of both sides. The learning rate falls linearly, as TRL's does: lr (1 - i / updates).
BATCH_SIZE = 256
NUM_EPOCHS = 4
NUM_MINIBATCHES = 4
LEARNING_RATE = 7e-4
ADAM_EPSILON = 1e-5
KL_COEF = 0.3
CLIP_EPSILON = 0.2
DISCOUNT = 1.0
GAE_LAMBDA = 0.95

FOREIGN_SCORE = -3.0  # of a response with a token that is no action, in deviations of the gold


@dataclass(frozen=True)
class Job:
    """One training; standardised gold = gain * gold + bias."""

    task: str
    model: str  # folder of the policy to start from
    seed: int
    num_updates: int
    gain: float
    bias: float


def make_task(name: str) -> GoldTask:
    """A built-in task by its name."""
    if name == "enumerable":
        from rlkit_envs.enumerable import EnumerableTask

        return EnumerableTask()
    from rlkit_envs.grammar import GrammarTask

    return GrammarTask()


class Gold:
    """The standardised gold reward, for any ids: not every library keeps to the task's actions."""

    def __init__(self, task: GoldTask, job: Job) -> None:
        self._task, self._job = task, job
        self.num_scored = self.num_foreign = 0

    def __call__(self, prompts: NDArray[Any], responses: NDArray[Any]) -> NDArray[np.float64]:
        """Scores [n] of prompts [n, P] and responses [n, up to T]."""
        task, missing = self._task, self._task.max_new_tokens - responses.shape[1]
        full = np.pad(responses, ((0, 0), (0, missing)), constant_values=task.pad)
        ended = np.cumsum(full == task.eos, axis=1) > 0
        foreign = (~ended & (full >= task.num_actions)).any(1)
        self.num_scored += len(full)
        self.num_foreign += int(foreign.sum())
        gold = task.gold(prompts, np.where(~ended & (full >= task.num_actions), task.eos, full))
        return np.where(foreign, FOREIGN_SCORE, self._job.gain * gold + self._job.bias)


def read_job() -> tuple[Job, Path]:
    """The job named on the command line, and its folder."""
    path = Path(sys.argv[1])
    return Job(**json.loads(path.read_text())), path.parent


def write_result(
    folder: Path,
    *,
    import_seconds: float,
    times: Sequence[float],
    logged_kl: float,
    gold: Gold,
    versions: dict[str, str],
) -> None:
    """Write result.json; `times` are those of a clock at the start and after each update."""
    # Of this process alone: what getrusage says includes that of the parent at the fork.
    status = Path("/proc/self/status").read_text()
    peak_kilobytes = int(status.split("VmHWM:")[1].split()[0])
    result = {
        "import_seconds": import_seconds,
        "update_seconds": np.diff(times).tolist(),
        "peak_megabytes": peak_kilobytes / 1024,
        "logged_kl": logged_kl,
        "foreign_fraction": gold.num_foreign / max(1, gold.num_scored),
        "versions": versions,
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")


clock = time.perf_counter
