"""`rlkit solve`."""

import json
from pathlib import Path

import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import generate_random_map

from tests.cli.commands import answer, output
from tests.tabular.models import from_env


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


EMPTY_LAKE = ("--size", "4", "--hole-probability", "0")


def test_json_has_the_certificate_and_the_size_of_the_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = answer(capsys, "solve", "FrozenLake-v1", "--tolerance", "1e-6")
    assert result["method"] == "value-iteration"
    assert (result["num_states"], result["num_transitions"]) == (16, 11 * 4 * 3 + 5 * 4)
    assert result["lower"] <= 0.5420259320 <= result["upper"]
    assert result["upper"] - result["lower"] <= 1e-6
    assert 0 < result["certified_error"] <= 0.5e-6
    assert result["build_seconds"] > 0
    assert 20 < result["peak_memory_mb"] < 10_000


@pytest.mark.parametrize(
    "method", ["value-iteration", "gauss-seidel", "policy-iteration", "modified-policy-iteration"]
)
def test_every_method_has_the_known_answer(capsys: pytest.CaptureFixture[str], method: str) -> None:
    result = answer(capsys, "solve", "FrozenLake-v1", "--method", method)
    assert result["method"] == method
    assert result["start_value"] == pytest.approx(0.5420259320, abs=1e-9)
    assert result["greedy_return_under_limit"] == pytest.approx(0.7401648978, abs=1e-9)
    assert result["lower"] <= result["start_value"] <= result["upper"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--method", "gauss-seidel"), " sweeps of Gauss-Seidel, "),
        (("--discount", "0"), "  1 sweep of value iteration, "),
        (("--discount", "1"), " of value iteration, after policy iteration, "),
        (("--horizon", "1000000000000"), "under the limit of 1,000,000,000,000 steps  0.82352941"),
    ],
)
def test_the_method_is_named_in_words_and_a_huge_horizon_is_soon_solved(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    assert line in output(capsys, "solve", "FrozenLake-v1", *words)[0]


def test_bounds_hold_when_the_sweeps_run_out(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("solve", "FrozenLake-v1", "--max-sweeps", "20")
    result = answer(capsys, *words)
    assert not result["converged"]
    assert result["sweeps"] == 20
    assert result["lower"] <= 0.5420259320 <= result["upper"]
    assert result["upper"] - result["lower"] > 0.1
    assert "stopped before the 5e-10 that was requested" in output(capsys, *words)[0]
    assert "as close as float64" in output(capsys, "solve", "FrozenLake-v1", "--tolerance=1e-30")[0]


@pytest.mark.parametrize(
    ("horizon", "limit", "optimal"),
    [("auto", 100, 0.7441902878), ("6", 6, None), ("none", None, 14 / 17)],
)
def test_the_horizon_truncates_the_returns_and_not_the_values(
    capsys: pytest.CaptureFixture[str], horizon: str, limit: int | None, optimal: float | None
) -> None:
    result = answer(capsys, "solve", "FrozenLake-v1", "--horizon", horizon)
    assert result["time_limit"] == limit
    assert result["start_value"] == pytest.approx(0.5420259320, abs=1e-8)
    if optimal is None:
        optimal = 3 / 3**6  # six steps suffice for three of the paths, each with chance 1 / 3 ** 6
    assert result["optimal_return_under_limit"] == pytest.approx(optimal, abs=1e-8)


def test_a_random_map_is_solved_like_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    desc = generate_random_map(6, p=1 - 0.3, seed=5)
    theirs = answer(
        capsys, "solve", "FrozenLake-v1", "--horizon=none", "--env-arg", f"desc={json.dumps(desc)}"
    )
    map_words = ("--size", "6", "--hole-probability", "0.3", "--map-seed", "5")
    ours = answer(capsys, "solve", *map_words)
    same = ("start_value", "lower", "upper", "optimal_return_under_limit", "num_transitions")
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    named = answer(capsys, "solve", "FrozenLake-v1", *map_words)
    assert named["environment"] == "random map 6 x 6, hole probability 0.3, seed 5"


def test_a_map_is_read_from_a_file_and_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "lake.txt"
    path.write_text("SFFF\nFHFH\nFFFH\nHFFG\n")
    result = answer(capsys, "solve", "--map", str(path))
    assert result["start_value"] == pytest.approx(0.5420259320, abs=1e-8)
    assert result["optimal_return_under_limit"] == pytest.approx(14 / 17, abs=1e-8)
    dry = answer(capsys, "solve", "--map", str(path), "--no-slippery")
    assert dry["start_value"] == pytest.approx(0.99**5, abs=1e-9)
    drawn = output(capsys, "solve", "--map", str(path))[0].splitlines()[-4:]
    assert drawn == ["← ↑ ↑ ↑", "← H ← H", "↑ ↓ ← H", "H → ↓ G"]


def test_a_large_map_has_returns_only_under_a_horizon(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("solve", "--size", "110", "--hole-probability", "0.1", "--discount", "0.9")
    text = output(capsys, *words, "--tolerance", "1e-6")[0]
    assert text.count("not computed (large model; set --horizon)") == 2
    assert "sweeps of modified policy iteration" in text
    assert "too large to print" in text
    result = answer(capsys, *words, "--horizon", "3")
    assert result["greedy_return_under_limit"] == 0.0
    assert result["optimal_return_under_limit"] == 0.0
    assert result["time_limit"] == 3


def test_a_model_is_read_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "lake.npz"
    from_env("FrozenLake-v1").save(path)
    result = answer(capsys, "solve", str(path))
    assert result["start_value"] == pytest.approx(0.5420259320, abs=1e-8)
    assert result["time_limit"] == 100
    assert result["build_seconds"] > 0


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_figure_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lake.{suffix}"
    output(capsys, "solve", *EMPTY_LAKE, "--figure", str(path))
    assert path.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name an environment, an .npz file, or a map"),
        (["FrozenLake-v1", "--horizon", "0"], "--horizon 0: expected auto, none or a number"),
        (["FrozenLake-v1", "--horizon", "soon"], "--horizon soon: expected auto, none or a"),
        (["FrozenLake-v1", "--max-sweeps", "0"], "max_sweeps"),
        (
            ["FrozenLake-v1", "--discount", "1", "--method", "gauss-seidel"],
            "gauss-seidel needs a discount below 1; at discount 1 use value-iteration or policy-",
        ),
        (
            ["FrozenLake-v1", "--discount", "1", "--method", "modified-policy-iteration"],
            "at discount 1 use value-iteration or policy-iteration",
        ),
        (["--size", "4", "--map", "lake.txt"], "--map and --size exclude each other"),
        (["CliffWalking-v1", "--size", "4"], "maps of FrozenLake-v1, got the environment Cliff"),
        (["FrozenLake-v1", "--map-seed", "1"], "--map-seed belongs to --map or --size"),
        (["FrozenLake-v1", "--no-slippery"], "as in --env-arg is_slippery=false"),
        (["--map", "lake.txt", "--hole-probability", "0.1"], "belong to --size, not to --map"),
        (["--size", "4", "--env-arg", "is_slippery=false"], "--env-arg has no meaning with"),
        (["--size", "1"], "the size must be at least 2, got 1"),
        (["--size", "-3"], "the size must be at least 2, got -3"),
        (["--size", "4", "--hole-probability", "1"], "the hole probability must be in [0, 1)"),
        (["--size", "40", "--hole-probability", "0.95"], "has a path from the start to the goal"),
        (["--size", "200000"], "transitions, and at most 2,147,483,647 are supported"),
        (["--map", "none.txt"], "the map 'none.txt' cannot be read: No such file"),
        (["none.npz"], "the model 'none.npz' cannot be read: No such file"),
        (["FrozenLake-v1", "--figure", "lake.gif"], "must end in .png, .svg or .pdf"),
        (["--map", "unknown.txt"], "line 2, column 1: expected one of the letters"),
        (["--map", "ragged.txt"], "line 1 has 2 cells, line 2 has 3"),
        (["--map", "aimless.txt"], "it has no goal G"),
        (["--map", "startless.txt"], "it has no start S"),
        (["keys.npz"], "missing: reward, unknown: none"),
        (["objects.npz"], "reward holds Python objects"),
        (["sums.npz"], "must sum to 1, got 1.1 at state 0, action 0"),
        (["negative.npz"], "must be >= 0, got -0.5 at state 0, action 0"),
        (["nan.npz"], "must be >= 0, got nan at state 0, action 0"),
        (["rewards.npz"], "rewards must be finite, got inf at state 1, action 0"),
        (["endless.npz", "--discount", "1"], "no policy is sure to end the episode"),
    ],
)
def test_what_cannot_be_solved_is_a_usage_error(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {"unknown": "SF\nxG", "ragged": "SF\nFFG", "aimless": "SF", "startless": "FG"}
    for name, text in texts.items():
        Path(f"{name}.txt").write_text(text)
    chain, reward = [[[0.0, 1.0]], [[1.0, 0.0]]], [1.0, 1.0]
    first_rows = {"sums": [0.5, 0.6], "negative": [1.5, -0.5], "nan": [np.nan, 1.0]}
    for name, row in first_rows.items():
        np.savez(f"{name}.npz", transition=[[row], [[1.0, 0.0]]], reward=reward)
    np.savez("keys.npz", transition=chain)
    np.savez("objects.npz", transition=chain, reward=np.array([1.0, None]))
    np.savez("rewards.npz", transition=chain, reward=[0.0, np.inf])
    np.savez("endless.npz", transition=chain, reward=reward)
    assert message in output(capsys, "solve", *words, code=2)[1]


def test_a_successor_out_of_range_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.npz"
    from_env("FrozenLake-v1").save(path)
    arrays = dict(np.load(path))
    arrays["next_state"][7] = 16
    np.savez(path, **arrays)
    message = "next_state must be in [0, 16), got 16 at state 0, action 2"
    assert message in output(capsys, "solve", str(path), code=2)[1]


def test_proto_values_are_printed_and_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "proto.png"
    args = ("FrozenLake-v1", "--proto-values", "3", "--figure", str(path))
    result = answer(capsys, "solve", *args)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert result["proto_eigenvalues"][0] == 0
    assert np.shape(result["proto_values"]) == (3, 16)
    assert result["build_seconds"] > 0.0
    out, _ = output(capsys, "solve", *args[:3])
    assert "eigenvalues of the proto-values: 0, " in out
    assert "proto_values" not in answer(capsys, "solve", "FrozenLake-v1")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["FrozenLake-v1", "--proto-values", "0"], "expected a whole number >= 1, got 0"),
        (["FrozenLake-v1", "--proto-values", "17"], "from 1 to 16, the states"),
        (["Taxi-v4", "--proto-values", "2", "--figure", "x.png"], "Taxi-v4 has no map"),
        (["CartPole-v1", "--proto-values", "2"], "solving CartPole-v1: "),
    ],
)
def test_proto_values_that_cannot_be_had_are_one_sentence(
    capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    err = output(capsys, "solve", *args, code=2)[1]
    assert message in err
    assert err.count("\n") == 1


def test_solve_prints_the_optimum_near_a_reference(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("solve", "FrozenLake-v1", "--reference", "uniform", "--kl-coef", "0.01")
    near = answer(capsys, *words)["near_reference"]
    assert near["penalised_optimum"] == pytest.approx(0.2314321690, abs=1e-8)
    assert near["return"] - 0.01 * near["kl"] == pytest.approx(near["penalised_return"], abs=1e-12)
    assert near["return_of_reference"] == pytest.approx(0.01394, abs=1e-4)
    text = output(capsys, *words)[0]
    assert "\nnear uniform, 0.01 per nat and step\n" in text
    assert f"{near['penalised_optimum']:.8f}" in text
    assert f"{near['kl']:.8f}" in text
