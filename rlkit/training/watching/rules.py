"""Rules that end a run before its target, decided on the rows of all seeds at one step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.options import require_count, require_typed

Array = NDArray[Any]
HINT = "another threshold, or more seeds, is another run"  # for who wants to train further


@dataclass(frozen=True, kw_only=True)
class StopRules:
    """When a run ends before its target: part of its identity, and so is the number of seeds.

    Args:
        num_seeds: all of which a decision is made on.
        until_return: end when the lower end of the 95 % interval of the mean over seeds is this or
            more.
        patience: end when the mean over seeds has not risen for so many evaluations.
    """

    num_seeds: int
    until_return: float | None = None
    patience: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rules that are set."""
        return tuple(name for name in self.identity if name != "num_seeds")

    @property
    def identity(self) -> dict[str, Any]:
        """The rules that are set, and the number of seeds, as plain data."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def reason(self, scores: Array, means: Sequence[float]) -> tuple[str, str] | None:
        """Return the rule that ends the run at an evaluation, and why; None if none does.

        Args:
            scores: the performance there, one finite number per seed that had not failed by then.
            means: over these seeds at each evaluation, from step 0 to this one.
        """
        return self._reached(scores) or self._stale(means, len(scores))

    def _reached(self, scores: Array) -> tuple[str, str] | None:
        from rlkit.analysis.intervals import mean_interval

        if self.until_return is None or len(scores) < 2:
            return None
        low = mean_interval(scores).low
        if low < self.until_return:
            return None
        return "until_return", (
            f"the lower end of the 95 % interval of the mean over {len(scores)} seeds, {low:.6g}, "
            f"is at least {self.until_return:.6g}"
        )

    def _stale(self, means: Sequence[float], num_seeds: int) -> tuple[str, str] | None:
        if self.patience is None:
            return None
        best = int(np.argmax(means))  # the earliest of equal ones
        if len(means) - 1 - best < self.patience:
            return None
        return "patience", (
            f"the mean over {num_seeds} seed{'s' * (num_seeds != 1)} has not risen above "
            f"{means[best]:.6g} for {len(means) - 1 - best} "
            f"evaluation{'s' * (len(means) - 1 - best != 1)}"
        )

    def idle(self, evaluations: int, *, first: bool) -> list[str]:
        """Return a sentence for each rule that cannot end a run, however it goes.

        Args:
            evaluations: that decide, all after step 0.
            first: whether the row at step 0 has a score.
        """
        needed = {"until_return": 1, "patience": (self.patience or 0) + (not first)}
        number = f"{evaluations} evaluation{'s' * (evaluations != 1)}"
        return [
            f"option {name} (--{name.replace('_', '-')}) = {getattr(self, name):g} cannot end this "
            f"run: it needs {needed[name]} and there {'is' if evaluations == 1 else 'are'} "
            f"{number} at multiples of evaluate_every; choose a smaller one (--evaluate-every)"
            for name in self.names
            if needed[name] > evaluations
        ]


def make_rules(
    num_seeds: int, *, until_return: float | None = None, patience: int | None = None
) -> StopRules | None:
    """Return the rules of a run; None if none is set.

    Raises:
        UsageError: one cannot be used.
    """
    if until_return is None and patience is None:
        return None
    if until_return is not None:
        until_return = require_typed("until_return", until_return, float)
        if not math.isfinite(until_return):
            raise UsageError(
                f"option until_return (--until-return): expected a return, got {until_return}"
            )
        if num_seeds < 2:
            raise UsageError(
                f"option until_return (--until-return) = {until_return:g} is for the lower end of "
                "an interval over seeds, which one seed does not have; use more seeds (--seeds)"
            )
    if patience is not None:
        patience = require_count("patience", patience, at_least=1)
    return StopRules(num_seeds=num_seeds, until_return=until_return, patience=patience)
