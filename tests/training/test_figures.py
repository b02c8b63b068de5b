"""The lines to compare learning curves with, and figures of regret."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlkit.environments.resolve import find_environment
from rlkit.errors import UsageError
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.model import Model
from rlkit.training import figures
from rlkit.training.figures import plot_runs
from rlkit.training.references import optimum, random_return, references
from rlkit.training.run import Run
from rlkit.training.train import train


def test_without_a_time_limit_the_lines_are_those_of_whole_episodes() -> None:
    cliff = find_environment("CliffWalking-v1")
    assert optimum(cliff) == pytest.approx(-13, abs=1e-9)
    # By a dense linear solve, see tests/tabular/test_returns.py.
    assert random_return(cliff) == pytest.approx(-65_375, abs=0.5)
    # Twenty steps are enough for the 13 of the best way, and random play pays for all of them.
    limited = find_environment("CliffWalking-v1", {"max_episode_steps": 20})
    assert optimum(limited) == pytest.approx(-13, abs=1e-9)
    random = random_return(limited)
    assert random is not None
    assert -2000 < random < -20


def test_where_no_finite_optimum_exists_no_line_is_drawn() -> None:
    environment = find_environment("CliffWalking-v1")
    forever = TabularMDP.from_successors([[[(1.0, 0, 1.0, False)]]], initial_distribution=[1.0])
    environment = environment.with_model(Model(forever, None))
    assert optimum(environment) is None
    assert random_return(environment) == 1000  # of the first 1,000 steps
    assert references(environment) == [("random", 1000.0)]


def test_the_optimum_of_a_drawn_bandit_is_the_bayes_optimal_return() -> None:
    bandit = find_environment("BernoulliBandit-v0", {"max_episode_steps": 10})
    assert optimum(bandit) == pytest.approx(6.0217857143, abs=1e-9)
    given = find_environment("BernoulliBandit-v0", {"max_episode_steps": 10, "means": [0.1, 0.3]})
    assert optimum(given) == pytest.approx(3, abs=1e-9)
    # Of a belief that takes minutes it is not known.
    assert optimum(find_environment("BernoulliBandit-v0", {"max_episode_steps": 1000})) is None


def test_regret_is_drawn_in_place_of_returns_with_that_of_random_play(
    trained: Callable[..., Run],
) -> None:
    run = trained("q-learning", seeds=2)
    (axes,) = plot_runs([run], regret=True).axes
    assert axes.get_ylabel() == "regret: optimum − return"
    drawn = [line.get_ydata() for line in axes.lines if line.get_label() == "_seed"]
    np.testing.assert_allclose(drawn, 0.7441902878 - run.curve, atol=1e-9)
    dashed = [line for line in axes.lines if str(line.get_label()).startswith("random")]
    assert [line.get_ydata()[0] for line in dashed] == [pytest.approx(0.7441902878 - 0.0139397960)]


def test_bandits_and_other_environments_are_not_drawn_in_one_figure(
    trained: Callable[..., Run], tmp_path: Path
) -> None:
    options: Any = {"seeds": 2, "steps": 100, "evaluation_episodes": 0, "out": tmp_path}
    bandit = train("ucb", "BernoulliBandit-v0", **options)
    assert plot_runs([bandit], regret=True).axes[0].get_ylabel() == "cumulative regret"
    with pytest.raises(UsageError, match="in two figures"):
        plot_runs([bandit, trained("q-learning", seeds=2)], regret=True)


# --- in another process ---


def python(code: str, folder: Path) -> None:
    code = f"if __name__ == '__main__':\n{textwrap.indent(textwrap.dedent(code), '    ')}"
    (folder / "program.py").write_text(code)
    subprocess.run([sys.executable, "program.py"], cwd=folder, check=True)


@pytest.mark.long
def test_the_command_draws_the_same_figure_without_importing_matplotlib(tmp_path: Path) -> None:
    python(
        """
        import sys
        from pathlib import Path
        from rlkit.cli import main

        words = "train q-learning FrozenLake-v1 --seeds 2 --steps 2000 --evaluate-every 500"
        assert main(words.split()) == 0
        assert "matplotlib" not in sys.modules
        (figure,) = Path("runs").rglob("learning_curve.png")
        import rlkit
        rlkit.load(figure.parent).plot("here.png")
        assert Path("here.png").read_bytes() == figure.read_bytes()
        """,
        tmp_path,
    )


@pytest.mark.long
def test_what_cannot_be_drawn_there_is_drawn_here(tmp_path: Path) -> None:
    python(
        """
        import operator
        import rlkit
        from pathlib import Path
        from rlkit.training import figures

        figures.start_drawing()
        run = rlkit.train("random", "FrozenLake-v1", seeds=2, steps=20)
        content = {"curves": "nonsense"}
        assert not figures.warm_process(figures.draw_quietly, content, Path("figure.png"))
        figures.draw_quietly = operator.truediv  # raises
        figures.save_curve(run, Path("figure.png"))
        assert Path("figure.png").exists()
        """,
        tmp_path,
    )


def test_a_program_that_started_no_process_draws_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Path] = []
    run: Any = SimpleNamespace(plot=paths.append)
    monkeypatch.setattr(figures, "_started", [])
    figures.save_curve(run, Path("figure.png"))
    assert paths == [Path("figure.png")]


def test_more_runs_than_can_be_told_apart_are_not_drawn(tmp_path: Path) -> None:
    run = train("random", "FrozenLake-v1", seeds=1, steps=10, evaluation_episodes=0, out=tmp_path)
    with pytest.raises(UsageError, match="at most 20 runs, got 21"):
        plot_runs([run] * 21)
