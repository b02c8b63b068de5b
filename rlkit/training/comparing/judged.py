"""Policies that were trained elsewhere and are judged here, in the place of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor
from rlkit.environments.environment import Environment
from rlkit.environments.views.view import View
from rlkit.evaluation import early_stop_remark, evaluation_limits, exact_returns_of, play_many
from rlkit.seeding import SeedStreams
from rlkit.training.comparing.sb3_models import Sb3Model, load_policy
from rlkit.training.playing.deployed import ActorBySeed
from rlkit.training.run import Run

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How policies are judged: as those of the other contenders are.

    Args:
        environment: what they play.
        record: entries of a run's record that name the environment.
        stepped_as: "native", "tabular" or "gymnasium".
        experiment_seed: whose seed k has the evaluation episodes of model k.
        episodes: of each model, where its return is not known exactly.
    """

    environment: Environment
    record: dict[str, Any]
    stepped_as: str
    experiment_seed: int
    episodes: int


class Judged(Run):
    """Models of Stable-Baselines3 as a run: a seed per model, whose curve is its last point.

    It has no folder; `folder` is a name made of its content.

    Args:
        models: each counts as a seed.
        terms: of the comparison.

    Raises:
        UsageError: a model is not trusted, cannot be loaded, or cannot act in the environment.
    """

    def __init__(self, models: Sequence[Sb3Model], terms: Terms) -> None:
        self._terms = terms
        self._environment = environment = terms.environment.seen_as(View())
        probe = environment.probe
        self._actor: Actor = ActorBySeed(
            [load_policy(one, probe.observation_space, probe.action_space) for one in models]
        )
        self.models = list(models)
        digest = models[0].digest if len(models) == 1 else _joined(models)
        self.folder = Path(f"sb3-{models[0].algorithm}-{digest[:16]}")
        self.seeds = list(range(len(models)))
        self.record = {
            **terms.record,
            "agent": f"sb3 {models[0].algorithm}",
            "agent_source": "",
            "stepped_as": terms.stepped_as,
            "num_env_steps": max(one.num_timesteps for one in models) or 1,
            "num_envs": 1,
            "experiment_seed": terms.experiment_seed,
            "evaluation_episodes": terms.episodes,
            "evaluate_every": 1,
            "timing": [],
            "failures": {},
            "status": "finished",
        }
        self._num_env_steps = None
        self._spec = self._env = self._agent = None
        self._trust = True
        self.source_known = True
        self._remarks: list[str] = []
        self._is_judged = False

    @property
    def is_single(self) -> bool:
        """Whether it is one model, which says nothing about other seeds of its training."""
        return len(self.models) == 1

    @property
    def caveats(self) -> list[str]:
        """Return what a reader of its scores must know."""
        files = ", ".join(one.path.name for one in self.models)
        seeds = (
            "one seed, so that it has no interval and no test"
            if self.is_single
            else f"{len(self.models)} files, each counted as a seed"
        )
        text = (
            f"{files}: trained elsewhere with Stable-Baselines3 ({self.num_env_steps:,} steps), "
            f"judged here; {seeds}"
        )
        return [text, *(text for one in self.models for text in one.remarks), *self._remarks]

    def at(self, num_env_steps: int) -> Run:
        """Return itself: how long it was trained is not for rlkit to say."""
        return self

    def judge(self) -> None:
        """Evaluate the models: exactly where the table is known, else on the episodes of seeds."""
        if self._is_judged:
            return
        terms, environment, num = self._terms, self.environment, len(self.models)
        exact = exact_returns_of(self._actor, environment, num, terms.stepped_as)
        if exact is not None:
            returns = exact.returns
        else:
            streams = [SeedStreams(terms.experiment_seed, seed) for seed in self.seeds]
            limits = evaluation_limits(environment, np.ones(num, dtype=np.int64))
            options: dict[str, Any] = {"kind": terms.stepped_as, "limits": limits}
            played = play_many(self._actor, environment, streams, terms.episodes, **options)
            returns = played.returns.mean(axis=1)
            if played.stopped_early.any():
                self._remarks.append(f"{environment.name} {early_stop_remark(limits)}")
        steps = np.array([float(self.num_env_steps)])
        self.columns = [
            {"num_env_steps": steps, self.measured: np.array([value])} for value in returns
        ]
        self._is_judged = True

    def _reached(self, s: int) -> int:
        return self.num_env_steps


def _joined(models: Sequence[Sb3Model]) -> str:
    return hashlib.sha256("".join(one.digest for one in models).encode()).hexdigest()


def trained_elsewhere(run: Run) -> dict[str, Any]:
    """Return the entries of a summary that only models of Stable-Baselines3 have."""
    if not isinstance(run, Judged):
        return {}
    models = [
        {
            "file": one.path.name,
            "algorithm": one.algorithm,
            "num_timesteps": one.num_timesteps,
            "sha256": one.digest,
        }
        for one in run.models
    ]
    return {"trained_elsewhere": models}


def is_single(run: Run) -> bool:
    """Return whether a run is one model that was trained elsewhere."""
    return isinstance(run, Judged) and run.is_single
