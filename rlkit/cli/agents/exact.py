"""The exact part of `rlkit evaluate`: visits, success, mixing time, values at a discount."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlkit.cli.report import under_limit
from rlkit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rlkit.tabular.evaluation.evaluate import PolicyEvaluation
    from rlkit.tabular.grids.drawing import Grid
    from rlkit.tabular.mdp import TabularMDP
    from rlkit.training.playing.policies import Which
    from rlkit.training.run import Run

_MOST_PRINTED = 16  # rows and columns of a map that is printed


def require_exact_options(visits: bool, discount: float | None, figure: Path | None) -> None:
    """Reject a discount out of range, and a figure that cannot be drawn."""
    if discount is not None and not 0.0 <= discount <= 1.0:
        raise UsageError(f"option --discount: expected a number in [0, 1], got {discount:g}")
    if figure is None:
        return
    from rlkit.runs.places import require_place

    if not visits:
        raise UsageError("--figure draws the share of time in each cell: add --visits")
    require_place(figure, "--figure", (".png", ".pdf", ".svg"))


class ExactAnswers:
    """What is known exactly about the final policies of a run.

    Args:
        run: on an environment with a known model.
        visits: whether the shares of time and the mixing time are requested.
        discount: of the values that are requested, or None.

    Raises:
        UsageError: the model is not known.
    """

    def __init__(self, run: Run, *, visits: bool, discount: float | None) -> None:
        self._run, self._visits, self._discount = run, visits, discount
        self._mdp = _model(run, "--visits" if visits else "--discount")
        self._shares: list[NDArray[np.float64]] = []

    def add_to(self, result: dict[str, Any], *, greedy: bool, which: Which = "final") -> None:
        """Add the answers to the rows of the seeds in the result of `Run.evaluate`."""
        from rlkit.tabular.evaluation.evaluate import evaluate
        from rlkit.tabular.policy_chain import NoFiniteReturn

        if self._discount is not None:
            result["discount"] = self._discount
        for row in result["seeds"]:
            actor = self._run.actor(row["seed"], greedy=greedy, which=which)
            discount = 0.0 if self._discount is None else self._discount
            try:
                answers = evaluate(self._mdp, actor, discount=discount)
            except NoFiniteReturn as error:
                raise UsageError(f"seed {row['seed']}: {error}") from error
            if self._discount is not None:
                row["value"] = answers.start_value
            if self._visits:
                self._add_visits(row, answers, actor.policy_table())

    def _add_visits(
        self, row: dict[str, Any], answers: PolicyEvaluation, policy: NDArray[np.float64]
    ) -> None:
        from rlkit.tabular.evaluation.long_run import mixing

        share = answers.share_of_time
        mixed = mixing(self._mdp, policy)
        row["success_probability"] = answers.success_probability
        row["expected_length"] = answers.expected_length
        row["second_eigenvalue"], row["mixing_time"] = mixed
        row["share_of_time"] = None if share is None else share.tolist()
        if share is not None:
            self._shares.append(share)

    def print_rows(self, rows: list[dict[str, Any]]) -> None:
        """Print the answers for each seed, and the map of the shares if it is small."""
        limit = self._mdp.time_limit
        under = under_limit(limit)
        if self._discount is not None:
            print(f"\nexact values at the start, discount {self._discount:g}, no time limit")
            for row in rows:
                print(f"  seed {row['seed']:>3}   {row['value']:>12.8f}")
        if not self._visits:
            return
        print(f"\nexact, of an episode {under}")
        for row in rows:
            success, second = row["success_probability"], row["second_eigenvalue"]
            known = "nothing ends it" if success is None else f"success {success:.6f}"
            mixed = f"mixing time {row['mixing_time']:.4g} steps (second eigenvalue {second:.6f})"
            length = f"length {row['expected_length']:.6g}"
            print(f"  seed {row['seed']:>3}   {known}   {length}   {mixed}")
        self._print_map()

    def _print_map(self) -> None:
        from rlkit.tabular.grids.drawing import share_map

        grid, share = _grid(self._run), self._mean_share()
        if grid is None or share is None or max(grid.letters.shape) > _MOST_PRINTED:
            return
        print(
            f"\npercent of the steps in each cell, {self._over_seeds()}\n{share_map(grid, share)}"
        )

    def draw(self, path: Path) -> None:
        """Draw the share of time in each cell, averaged over the seeds."""
        from rlkit.analysis.figure import save_figure
        from rlkit.runs.places import writing
        from rlkit.tabular.grids.cell_maps import share_figure

        grid, share = _grid(self._run), self._mean_share()
        name = self._run.environment_name
        if grid is None:
            raise UsageError(f"--figure: {name} has no map to draw on; --json has the shares")
        if share is None:
            raise UsageError(
                "--figure: the policies settle in one of several sets of states by chance, so "
                "there is no one long-run share of time"
            )
        title = f"{self._run.agent} on {name}: share of time, {self._over_seeds()}"
        with writing(path, "--figure"):
            save_figure(share_figure(grid, share, title=title), path)

    def _mean_share(self) -> NDArray[np.float64] | None:
        import numpy as np

        return np.asarray(np.mean(self._shares, axis=0)) if self._shares else None

    def _over_seeds(self) -> str:
        number = len(self._shares)
        return "1 seed" if number == 1 else f"mean of {number} seeds"


def _model(run: Run, flag: str) -> TabularMDP:
    model = run.environment.model
    if model.mdp is None:
        reason = model.problem or "it publishes no transition table P"
        raise UsageError(
            f"{flag}: needs the transition probabilities of {run.environment_name}: {reason}"
        )
    return model.mdp


def _grid(run: Run) -> Grid | None:
    from rlkit.tabular.grids.drawing import grid_made_by

    return grid_made_by(run.environment.make)
