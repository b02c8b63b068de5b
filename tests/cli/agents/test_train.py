"""`rlkit train`."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from rlkit.cli import main
from rlkit.training.presets import preset
from tests.cli.commands import GRID, answer, output


def test_training_twice_says_that_it_is_finished(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["train", "q-learning", "FrozenLake-v1", "--seeds", "2", "--steps", "500"]
    argv += ["--out", str(tmp_path)]
    first = answer(capsys, *argv)
    assert first["status"] == "finished"
    assert first["seeds"] == len(first["final"]) == 2
    assert first["num_env_steps"] == 500
    assert first["stopped"] is None
    assert first["env_steps_per_second"] > 0
    folder = Path(first["run"])
    names = {path.name for path in folder.iterdir()}
    assert names >= {"run.json", "seed-000.csv", "seed-001.csv", "learning_curve.png"}
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
    out, err = output(capsys, *argv, "--json")
    assert "already finished" in err
    assert json.loads(out)["final"] == first["final"]
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
    kept = {p for p in before if p.name != ".lock"}
    assert {p: before[p] for p in kept} == {p: after[p] for p in kept}


@pytest.mark.slow
def test_more_steps_are_another_run_where_a_schedule_spans_it_and_the_message_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    common = ["--seeds", "1", "--out", str(tmp_path), "--evaluation-episodes", "1", "--json"]
    common += ["--num-epochs", "1"]
    first = json.loads(output(capsys, "train", "ppo", "CartPole-v1", "--steps", "300", *common)[0])
    out, err = output(capsys, "train", "ppo", "CartPole-v1", "--steps", "600", *common)
    assert json.loads(out)["run"] != first["run"]
    assert "600 steps are another configuration than the 300" in err
    reward = tmp_path / "reward.py"
    parameters = "observations, actions, next_observations, terminated"
    reward.write_text(f"def nothing({parameters}):\n    return 0.0 * actions\n")
    own = [*common, "--reward", f"{reward}:nothing"]
    _, err = output(capsys, "train", "ppo", "CartPole-v1", "--steps", "900", *own)
    assert "another configuration" not in err
    _, err = output(capsys, "train", "ppo", "CartPole-v1", "--steps", "1200", *common)
    assert "than the 300" in err
    assert "than the 900" not in err  # which has another reward
    same = [*common, "--learning-rate-schedule", "constant", "--clip-schedule", "constant"]
    short = json.loads(output(capsys, "train", "ppo", "CartPole-v1", "--steps", "300", *same)[0])
    rows = (Path(short["run"]) / "seed-000.csv").read_bytes()
    out, err = output(capsys, "train", "ppo", "CartPole-v1", "--steps", "600", *same)
    assert json.loads(out)["run"] == short["run"]
    assert err == ""
    assert (Path(short["run"]) / "seed-000.csv").read_bytes().startswith(rows)


@pytest.mark.slow
def test_an_environment_in_a_file_can_be_trained_evaluated_and_plotted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "corridor.py"
    file.write_text(GRID)
    run = answer(
        capsys,
        *("train", "q-learning", f"{file}:Corridor", "--seeds", "2", "--steps", "4000"),
        *("--env-arg", "reward=2.5", "--epsilon-steps", "2000", "--out", str(tmp_path / "runs")),
    )
    assert run["final"] == [2.5, 2.5]
    result = answer(capsys, "evaluate", run["run"], "--episodes", "3")
    assert result["mean"] == result["iqm"] == 2.5
    assert [row["episodes"] for row in result["seeds"]] == [3, 3]
    assert [row["exact_return"] for row in result["seeds"]] == [None, None]
    figure = tmp_path / "figure.svg"
    output(capsys, "plot", run["run"], "--out", str(figure))
    assert "q-learning" in figure.read_text()
    file.write_text(GRID.replace("self.steps >= 50", "self.steps >= 20"))
    changed = answer(
        capsys,
        *("train", "q-learning", f"{file}:Corridor", "--seeds", "2", "--steps", "4000"),
        *("--env-arg", "reward=2.5", "--epsilon-steps", "2000", "--out", str(tmp_path / "runs")),
    )
    assert changed["run"] != run["run"]  # another environment is another configuration


def test_the_order_of_words_and_options_does_not_matter(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # The preset belongs to the pair of agent and environment, wherever they stand.
    words = ["--seeds", "1", "--steps", "64", "--out", str(tmp_path), "--json"]
    words += ["--evaluation-episodes", "0"]
    rate = preset("ppo", "MountainCar-v0")["learning_rate"]
    orders = [
        ["ppo", "MountainCar-v0", *words],
        ["ppo", *words[:4], "MountainCar-v0", *words[4:]],
        [*words, "ppo", f"--learning-rate={rate}", "MountainCar-v0"],
    ]
    runs = {json.loads(output(capsys, "train", *order)[0])["run"] for order in orders}
    assert len(runs) == 1
    record = json.loads((Path(runs.pop()) / "run.json").read_text())
    assert record["config"]["normalise_observations"] is True


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--discount", bad) for bad in ("1.01", "-0.1", "nan", "abc")),
        *(("--gae-lambda", "2"), ("--clip-epsilon", "0"), ("--learning-rate", "0")),
        *(("--value-clip", "-0.2"), ("--value-clip", "0"), ("--num-epochs", "0")),
        *(("--rollout-length", "0"), ("--activation", "elu"), ("--target-kl", "-1")),
    ],
)
def test_options_of_an_agent_are_checked_with_their_range(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    option: str,
    value: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:  # the parser prints what is wrong and leaves
        main(["train", "ppo", "CartPole-v1", f"{option}={value}"])
    assert stop.value.code == 2
    assert option in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_rejected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    argv = ["train", "random", "CartPole-v1", "--out", str(tmp_path / "file")]
    assert "cannot be written" in output(capsys, *argv, code=2)[1]


def test_a_reward_of_nan_is_rejected_with_its_place_and_the_other_seeds_are_finished(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "corridor.py"
    # Some seeds soon come to an episode whose seed is divisible by 5.
    spoilt = GRID.replace("self.at = 0\n", "self.at = 0\n        self.bad = seed % 5 == 0\n")
    spoilt = spoilt.replace("self.reward *", "(np.nan if self.bad else self.reward) *")
    file.write_text(spoilt)
    argv = ["train", "random", f"{file}:Corridor", "--seeds", "8", "--steps", "60", "--json"]
    argv += ["--evaluation-episodes", "0"]
    out, err = output(capsys, *argv, "--out", str(tmp_path / "runs"), code=2)
    result = json.loads(out)
    assert result["status"] == "failed"
    finished = [score for score in result["final"] if score is not None]
    assert 0 < len(finished) < 8
    assert f"{len(finished)} of 8 seeds of random were finished" in err
    for part in ("seed", "environment Corridor", "copy 0", "episode", "step", "action", "reward"):
        assert part in err


def test_help_of_an_agent_lists_its_options_with_the_presets_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "ppo", "CartPole-v1", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--clip-epsilon" in text
    assert "(default: 0.98)" in text  # the discount of the preset


LEARN = ["-m", "rlkit", "train", "q-learning", "FrozenLake-v1", "--json", "--seeds", "2"]
LEARN += ["--steps", "10000", "--evaluate-every", "1000", "--out"]


@pytest.fixture(scope="module")
def undisturbed(forks: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that no signal stopped."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert forks.python(*LEARN, "runs", cwd=out).returncode == 0
    (folder,) = (out / "runs").iterdir()
    return folder


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_same_command_continues(
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    forks: Any,
    wait_for: Any,
    undisturbed: Path,
) -> None:
    child = forks.start_python(*LEARN, "runs", cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/seed-000.csv")))
    child.kill(number)
    assert child.wait() == code
    assert "the same command continues" in child.errors
    assert forks.python(*LEARN, "runs", cwd=tmp_path).returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    for name in ("seed-000.csv", "seed-001.csv"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


# --- regret ---------------------------------------------------------------------------------------


def test_regret_is_drawn_beside_the_curve_on_request(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = ("--seeds", "2", "--steps", "200", "--evaluate-every", "100", "--out", str(tmp_path))
    out, _ = output(capsys, "train", "q-learning", "FrozenLake-v1", "--regret", *small)
    path = next(tmp_path.glob("q-learning-*")) / "regret.png"
    assert str(path) in out
    assert path.stat().st_size > 5000
    out, _ = output(
        capsys, "compare", "q-learning", "random", "--env", "FrozenLake-v1", "--regret", *small
    )
    assert f"{tmp_path}/regret.png" in out
    assert (tmp_path / "regret.png").stat().st_size > 5000
    drawn = tmp_path / "again.png"
    output(capsys, "plot", str(path.parent), "--regret", "--out", str(drawn))
    assert drawn.read_bytes() == path.read_bytes()


def test_regret_without_an_optimum_is_rejected_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for command in (
        ("train", "random", "CartPole-v1"),
        ("compare", "random", "--env", "CartPole-v1"),
    ):
        _, err = output(capsys, *command, "--regret", "--out", str(tmp_path), code=2)
        assert "regret (--regret): the exact optimum of CartPole-v1 is not known" in err
    assert list(tmp_path.iterdir()) == []


def test_reward_and_reference_are_given_by_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def right(o, a, n, t):\n    return n % 4 / 3.0\n")
    near = ("--reference", "uniform", "--kl-coef", "0.2")
    small = ("--seeds", "1", "--steps", "16", "--envs", "2", "--rollout-length", "4")
    run = answer(
        capsys, "train", "ppo", "FrozenLake-v1", "--reward", "mine.py:right", *near, *small
    )
    record = json.loads((Path(run["run"]) / "run.json").read_text())
    assert record["reward"]["name"] == "mine.py:right"
    assert record["reference"]["kind"] == "uniform"
    assert record["config"]["kl_coef"] == 0.2
    assert record["config"]["entropy_coef"] == 0.0  # of the preset near a reference
    header, *_, last = (Path(run["run"]) / "seed-000.csv").read_text().splitlines()
    row = dict(zip(header.split(","), last.split(","), strict=True))
    assert float(row["kl_coef"]) == pytest.approx(0.2)
    assert float(row["kl"]) >= 0.0
    assert "own_return" in row
