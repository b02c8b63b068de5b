"""A small stage with everything that a stage has, and ways for it to go wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rlkit.errors import Diverged
from rlkit.rlhf.models.state import (
    load_optimiser_state,
    load_trained_state,
    optimiser_state,
    trained_state,
)
from rlkit.rlhf.stages.run_stage import StageSpec
from rlkit.rlhf.stages.stage_run import load_stage_run
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams, generator_states, restore_generators

NUM_UPDATES = 50


class Fit:
    """Fits a noisy line with Adam, from samples of a stream; a running mean of the loss besides."""

    metrics = ("loss", "sometimes", "samples", "threads")
    last_value_metrics = ("samples",)

    def __init__(self, build: Build, streams: SeedStreams) -> None:
        self.num_updates = build.num_updates
        self._build, self._seed = build, streams.index
        init = streams.generator("init")
        self._rng = streams.generator("minibatch")
        self._model = torch.nn.Linear(4, 1)
        with torch.no_grad():
            for parameter in self._model.parameters():
                parameter.copy_(torch.from_numpy(init.standard_normal(parameter.shape)))
        if build.parent:
            state = load_stage_run(build.parent).state(streams.index)
            load_trained_state(self._model, state, "model")
        self._optimiser = torch.optim.Adam(self._model.parameters(), lr=0.01)
        self._num_done, self._mean = 0, 0.0

    def update(self) -> Mapping[str, float]:
        build = self._build
        if build.pause:
            time.sleep(build.pause)
        x = self._rng.standard_normal((8, 4)).astype(np.float32)
        y = x.sum(axis=1, keepdims=True) + np.sin(self._mean)
        loss = (self._model(torch.from_numpy(x)) - torch.from_numpy(y).float()).square().mean()
        if self._num_done == build.fails_after and self._seed == build.fails_in:
            raise Diverged(self._seed, "the loss is infinite")
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._optimiser.param_groups[0]["lr"] *= 0.99
        if build.dropout:
            torch.nn.functional.dropout(loss)
        self._num_done += 1
        self._mean += 0.1 * (float(loss.detach()) - self._mean)
        metrics = {
            "loss": float(loss.detach()),
            "samples": 8.0 * self._num_done,
            "threads": float(torch.get_num_threads()),
        }
        if self._num_done % 3 == 0:
            metrics["sometimes"] = float(self._num_done)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": generator_states([self._rng])[0],
            "num_done": np.array(self._num_done),
            "mean": np.array(self._mean),
            **trained_state(self._model, "model"),
            **optimiser_state(self._optimiser, "adam"),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        restore_generators([self._rng], state["rng"][None])
        self._num_done = int(state["num_done"])
        self._mean = float(state["mean"])
        load_trained_state(self._model, state, "model")
        load_optimiser_state(self._optimiser, state, "adam")


@dataclass(frozen=True)
class Build:
    """Builds the stage of a seed."""

    num_updates: int
    fails_in: int = -1  # the seed whose parameters diverge
    fails_after: int = 0  # updates
    pause: float = 0.0  # seconds an update
    dropout: bool = False  # draw from torch's global generator
    parent: str = ""  # the folder of the run that the parameters come from

    def __call__(self, streams: SeedStreams) -> Fit:
        return Fit(self, streams)


def small_spec(
    *,
    num_updates: int = NUM_UPDATES,
    record_every: int = 7,
    save_every: int = 10,
    spans_run: bool = False,
    experiment_seed: int = 0,
    stage: str = "fit",
    label: str = "line",
    content: Mapping[str, Any] | None = None,
    **options: Any,
) -> StageSpec:
    """A stage of some tenths of a second, whose rows and checkpoints lie apart."""
    return StageSpec(
        stage=stage,
        label=label,
        content={"learning_rate": 0.01} if content is None else content,
        experiment_seed=experiment_seed,
        num_updates=num_updates,
        spans_run=spans_run,
        build=Build(num_updates, **options),
        record_every=record_every,
        save_every=save_every,
    )


def stop_after(looks: int) -> Reports:
    """Asked to stop at the n-th look, which is taken after each update but a seed's last."""
    left = iter(range(looks))
    return Reports(stop=lambda: next(left, 0) == looks - 1)
