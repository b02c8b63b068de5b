"""`rlkit solve`."""

import pytest

from tests.cli.commands import answer, output


@pytest.mark.parametrize(
    ("environment", "start", "greedy", "optimal", "limit"),
    [
        ("FrozenLake-v1", 0.5420259320, 0.7401648978, 0.7441902878, 100),
        ("FrozenLake8x8-v1", 0.4146403618, 0.8629553800, 0.9132201502, 200),
        ("CliffWalking-v1", -12.2478977001, -13.0, -13.0, None),
    ],
)
def test_solve_prints_the_known_answers(
    capsys: pytest.CaptureFixture[str],
    environment: str,
    start: float,
    greedy: float,
    optimal: float,
    limit: int | None,
) -> None:
    result = answer(capsys, "solve", environment)
    # The answers are known to ten digits, and the tolerance asked of the solver is 1e-9.
    assert result["start_value"] == pytest.approx(start, abs=1e-8)
    assert result["greedy_return_under_limit"] == pytest.approx(greedy, abs=1e-8)
    assert result["optimal_return_under_limit"] == pytest.approx(optimal, abs=1e-8)
    assert result["time_limit"] == limit
    assert set(result) >= {"environment", "discount", "sweeps", "seconds"}


@pytest.mark.slow
def test_solve_reads_the_limit_and_arguments_of_the_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = answer(
        capsys, "solve", "FrozenLake-v1", "--discount", "1", "--env-arg", "is_slippery=false"
    )
    assert result["start_value"] == 1.0
    assert result["greedy_return_under_limit"] == 1.0
    short = answer(
        capsys,
        *("solve", "FrozenLake-v1", "--env-arg", "is_slippery=false"),
        *("--env-arg", "max_episode_steps=5"),
    )
    assert short["time_limit"] == 5
    assert short["optimal_return_under_limit"] == 0.0  # the goal is six steps away


def test_solve_draws_the_policy_on_the_map(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = output(capsys, "solve", "FrozenLake-v1")[0].splitlines()[-4:]
    assert [line.split()[0] for line in drawn] == ["←", "←", "↑", "H"]
    assert drawn[-1].split()[-1] == "G"
