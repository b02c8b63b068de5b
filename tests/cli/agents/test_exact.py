"""The exact answers of `rlkit evaluate`."""

import json
from pathlib import Path

import numpy as np
import pytest

import rlkit
from rlkit.errors import RlkitWarning
from tests.cli.commands import answer, output
from tests.tabular.evaluation.by_hand import Dense
from tests.tabular.models import from_env

UNIFORM = np.full((16, 4), 0.25)


def test_visits_and_values_of_a_random_run_are_those_of_a_dense_solve(
    capsys: pytest.CaptureFixture[str], run: str
) -> None:
    result = answer(capsys, "evaluate", run, "--episodes", "2", "--visits", "--discount", "0.9")
    (row,) = result["seeds"]
    dense = Dense(from_env("FrozenLake-v1"), UNIFORM)
    visits = dense.visits(100)
    np.testing.assert_allclose(row["share_of_time"], visits / visits.sum(), atol=1e-12)
    assert row["expected_length"] == pytest.approx(visits.sum())
    assert row["success_probability"] == pytest.approx(visits @ dense.rewarded)
    assert result["discount"] == 0.9
    values = np.linalg.solve(np.eye(16) - 0.9 * dense.going, dense.gain)
    assert row["value"] == pytest.approx(values[0], abs=1e-12)
    states = dense.reached()
    moduli = np.abs(np.linalg.eigvals(dense.restarting()[np.ix_(states, states)]))
    assert row["second_eigenvalue"] == pytest.approx(np.sort(moduli)[-2])
    assert row["mixing_time"] == pytest.approx(-1 / np.log(np.sort(moduli)[-2]))


def test_what_is_not_requested_is_not_in_the_answer(
    capsys: pytest.CaptureFixture[str], run: str
) -> None:
    result = answer(capsys, "evaluate", run, "--episodes", "2")
    assert "discount" not in result
    assert set(result["seeds"][0]) == {
        *("seed", "env_steps", "mean_return", "std_return", "episodes", "exact_return")
    }


def test_the_map_is_printed_and_drawn(
    capsys: pytest.CaptureFixture[str], run: str, tmp_path: Path
) -> None:
    path = tmp_path / "visits.png"
    args = ("evaluate", run, "--episodes", "2", "--visits", "--figure", str(path))
    out, _ = output(capsys, *args)
    assert path.read_bytes().startswith(b"\x89PNG")
    lines = [line.split() for line in out.splitlines()[-4:]]
    assert [lines[1][1], lines[3][3]] == ["H", "G"]
    shares = [float(cell) for line in lines for cell in line if cell not in "HG"]
    assert sum(shares) == pytest.approx(100, abs=0.1)  # two decimals are printed
    assert "under the limit of 100 steps" in out
    assert "mixing time" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--discount", "2"], r"--discount: expected a number in [0, 1], got 2"),
        (["--figure", "x.png"], "add --visits"),
        (["--visits", "--figure", "x.jpeg"], "expected a file name that ends in"),
    ],
)
def test_options_that_cannot_be_used_are_rejected(
    capsys: pytest.CaptureFixture[str], run: str, options: list[str], message: str
) -> None:
    err = output(capsys, "evaluate", run, "--episodes", "2", *options, code=2)[1]
    assert message in err
    assert err.count("\n") == 1


def test_without_a_table_nothing_is_exact(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = rlkit.train("random", "CartPole-v1", seeds=1, steps=20, out=tmp_path).folder
    for option in (["--visits"], ["--discount", "0.5"]):
        err = output(capsys, "evaluate", str(folder), "--episodes", "2", *option, code=2)[1]
        assert f"{option[0]}: needs the transition probabilities of CartPole-v1" in err


def test_an_endless_policy_has_shares_and_no_length(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Up, from a table of zeros: without a time limit the cliff is never left.
    with pytest.warns(RlkitWarning, match="have no score"):
        run = rlkit.train(
            "q-learning", "CliffWalking-v1", seeds=1, steps=1, out=tmp_path, evaluation_episodes=0
        )
    out, _ = output(capsys, "evaluate", str(run.folder), "--episodes", "2", "--visits", "--json")
    (row,) = json.loads(out)["seeds"]
    assert row["expected_length"] is None
    assert row["success_probability"] == 0.0
    assert sum(row["share_of_time"]) == pytest.approx(1.0)
