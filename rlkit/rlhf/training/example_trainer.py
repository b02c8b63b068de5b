"""Gradient descent on a fixed set of examples, for SFT, reward models and DPO.

The order of the examples is drawn for each epoch from the seed's own stream. One update is one
minibatch, so a run can be stopped and resumed between any two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.errors import Diverged
from rlkit.maths.schedules import scheduled
from rlkit.rlhf.models.layers import torch_seeded
from rlkit.rlhf.models.memory import Forecast, weight_bytes
from rlkit.rlhf.models.state import (
    load_optimiser_state,
    load_trained_state,
    optimiser_state,
    trained_state,
)
from rlkit.rlhf.training.configs import DescentConfig, optimiser_class
from rlkit.seeding import SeedStreams, generator_states, restore_generators

Array = NDArray[Any]
# indices of examples [B] -> the loss of each [B], and metrics of the minibatch
Loss = Callable[[Tensor], tuple[Tensor, Mapping[str, float]]]
FIRST_UPDATES = 10  # within which a rising loss is noticed
# a held-out loss falls to the end if it fell by this fraction and these nats in the last epoch
STILL_FALLING = 0.05, 0.01


class ExampleTrainer:
    """Trains one seed of a stage on examples, by Adam with a learning rate that falls to 0.

    Args:
        module: the module to train, in place.
        num_examples: number of examples.
        loss: returns the losses of the examples with given indices, and metrics.
        config: epochs, batch size, rates.
        streams: the random streams of this seed.
        metrics: the names of the metrics that `loss` returns.
        held_out: metrics of the held-out examples, among them "held_out_loss", which selects the
            epoch whose parameters are kept; None = the last epoch's are.
        held_out_metrics: the names of these metrics.
        warning: of an epoch's held-out metrics, if they look wrong; noted once.
        finish: called once, after the last update, with the final parameters in place.
        row_length: tokens of a prompt with its response, for the forecast.
        rows_per_example: responses of an example, for the forecast.

    Attributes:
        notes: messages to the user; whoever reads them clears the list.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        num_examples: int,
        loss: Loss,
        config: DescentConfig,
        streams: SeedStreams,
        *,
        metrics: tuple[str, ...] = (),
        held_out: Callable[[], Mapping[str, float]] | None = None,
        held_out_metrics: tuple[str, ...] = ("held_out_loss",),
        warning: Callable[[Mapping[str, float]], str | None] = lambda metrics: None,
        finish: Callable[[], None] | None = None,
        row_length: int = 0,
        rows_per_example: int = 1,
    ) -> None:
        self.module, self._loss, self._config, self._streams = module, loss, config, streams
        self._num_examples, self._held_out, self._finish = num_examples, held_out, finish
        self._warning = warning
        self._steps_per_epoch = -(-num_examples // config.batch_size)
        self.num_updates = config.num_epochs * self._steps_per_epoch
        own = ("loss", "gradient_norm", "learning_rate")
        validated = held_out_metrics if held_out else ()
        self._patience = config.patience if held_out else 0
        if self._patience:
            validated = (*validated, "best_held_out_loss", "best_epoch")
        self.metrics = (*own, *metrics, *validated)
        self.last_value_metrics = ("learning_rate", *validated)
        self._rng = streams.generator("minibatch")
        self._index = 0
        self._best, self._best_epoch = np.inf, 0
        self._losses: list[float] = []  # of the first updates
        self.notes: list[str] = []
        self._best_state: dict[str, Array] | None = None
        self._trained = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = optimiser_class(config.decay)(
            self._trained,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._row_length, self._rows_per_example = row_length, rows_per_example
        self._begin_epoch()

    @property
    def forecast(self) -> Forecast:
        """What the training will need."""
        trunk = getattr(self.module, "trunk", self.module)
        num_rows = self._config.batch_size * self._rows_per_example
        sizes = getattr(trunk, "sizes", None)
        batch = 0 if sizes is None else sizes.row_bytes(self._row_length, gradient=True) * num_rows
        num_tokens = self._config.num_epochs * self._num_examples * self._rows_per_example
        return Forecast(num_tokens * self._row_length, weight_bytes([self.module]) + batch)

    def _begin_epoch(self) -> None:
        self._epoch_start = generator_states([self._rng])
        self._order = torch.from_numpy(self._rng.permutation(self._num_examples))

    def update(self) -> dict[str, float]:
        """Take one gradient step on one minibatch; returns its metrics.

        Once training has stopped early, updates do nothing.
        """
        if self._has_stopped():
            self._index += 1
            self._end()
            return {}
        config = self._config
        position = self._index % self._steps_per_epoch
        if position == 0 and self._index > 0:
            self._begin_epoch()
        rows = slice(position * config.batch_size, (position + 1) * config.batch_size)
        progress = self._index / self.num_updates
        rate = scheduled(config.learning_rate, "linear", progress=progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.module.train()
        with torch_seeded(self._streams.integer("dropout", 0, self._index)):
            losses, metrics = self._loss(self._order[rows])
            loss = losses.mean()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._trained, config.max_gradient_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(
                self._streams.index,
                f"training diverged at update {self._index + 1}: the loss is {loss.item():g} and "
                f"the gradient's norm {float(norm):g}; try a smaller learning_rate",
            )
        self.optimiser.step()
        self._index += 1
        own = {"loss": float(loss.detach()), "gradient_norm": float(norm), "learning_rate": rate}
        self.module.eval()
        self._watch_first_updates(own["loss"])
        own |= dict(metrics) | self._end_epoch()
        self._end()
        return own

    def _end_epoch(self) -> dict[str, float]:
        """Measure the held-out examples after the last minibatch of an epoch."""
        if self._index % self._steps_per_epoch or self._held_out is None:
            return {}
        with torch.no_grad():
            metrics = dict(self._held_out())
        if (message := self._warning(metrics)) is not None:
            self.notes.append(message)
            self._warning = lambda metrics: None
        self._watch_last_epoch(metrics["held_out_loss"])
        if metrics["held_out_loss"] < self._best:
            self._best, self._best_epoch = metrics["held_out_loss"], self._epoch
            self._best_state = trained_state(self.module, "best")
        if self._patience:
            metrics |= {"best_held_out_loss": self._best, "best_epoch": float(self._best_epoch)}
        if self._has_stopped() and self._index < self.num_updates:
            self.notes.append(
                f"stopped after epoch {self._epoch} of {self._config.num_epochs}: the held-out "
                f"loss was lowest, {self._best:.4g}, after epoch {self._best_epoch}, which is kept"
            )
        return metrics

    def _end(self) -> None:
        """After the last update, put the parameters to keep into place."""
        if self._index == self.num_updates:
            if self._best_state is not None:
                load_trained_state(self.module, self._best_state, "best")
            if self._finish is not None:
                self._finish()

    @property
    def _epoch(self) -> int:
        """The epoch of the last update, from 1."""
        return -(-self._index // self._steps_per_epoch)

    def _has_stopped(self) -> bool:
        """Return whether the held-out loss has not improved for as long as patience lasts."""
        ended = self._index // self._steps_per_epoch
        return bool(self._patience) and ended - self._best_epoch >= self._patience

    def _watch_last_epoch(self, loss: float) -> None:
        """Note a held-out loss that more epochs would lower further."""
        fraction, nats = STILL_FALLING
        fall = self._best - loss
        if self._index < self.num_updates or not nats < fall < np.inf or fall < fraction * loss:
            return
        num_epochs = self._config.num_epochs
        self.notes.append(
            f"the held-out loss still fell in the last of {num_epochs} epochs, to {loss:.4g} from "
            f"{self._best:.4g} before: more epochs would lower it further. Set num_epochs "
            f"(--num-epochs), to {2 * num_epochs} for example"
        )

    def _watch_first_updates(self, loss: float) -> None:
        """Note a loss that rises from the start; not part of the state, for it changes nothing."""
        if self._index <= FIRST_UPDATES:
            self._losses.append(loss)
        if self._index == FIRST_UPDATES == len(self._losses):
            first, later = self._losses[0], float(np.mean(self._losses[FIRST_UPDATES // 2 :]))
            if later > 1.1 * first + 0.05:
                self.notes.append(
                    f"rising loss: {first:.3g} at the first update, {later:.3g} on average in "
                    f"updates {FIRST_UPDATES // 2 + 1} to {FIRST_UPDATES}: the steps destroy "
                    f"what the model knew. learning_rate = {self._config.learning_rate:.3g} is too "
                    "large for it; a pretrained model is fine-tuned at about 2e-5"
                )

    def state_dict(self) -> dict[str, Array]:
        """Return everything that changes."""
        state = {
            "index": np.asarray(self._index),
            "epoch_start": self._epoch_start,
            "best_loss": np.asarray(self._best),
            **trained_state(self.module, "module"),
            **optimiser_state(self.optimiser, "optimiser"),
        }
        if self._patience:
            state["best_epoch"] = np.asarray(self._best_epoch)
        if self._best_state is not None:
            state |= self._best_state
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned."""
        self._index = int(state["index"])
        self._best = float(state["best_loss"])
        self._best_epoch = int(state.get("best_epoch", 0))
        best = {name: value for name, value in state.items() if name.startswith("best/")}
        self._best_state = best or None
        restore_generators([self._rng], state["epoch_start"])
        self._begin_epoch()
        load_trained_state(self.module, state, "module")
        load_optimiser_state(self.optimiser, state, "optimiser")
        self.module.eval()
