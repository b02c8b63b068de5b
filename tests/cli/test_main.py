"""The command line, as a user and as a script see it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlkit.cli import COMMANDS, main
from rlkit.cli.terminal import plain, printable

ROOT = Path(__file__).parents[2]

GRID = """
import gymnasium as gym
import numpy as np

class Corridor(gym.Env):
    observation_space = gym.spaces.Discrete(5)
    action_space = gym.spaces.Discrete(2, start=1)

    def __init__(self, reward=1.0):
        self.reward = reward

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        self.steps = 0
        return self.at, {}

    def step(self, action):
        assert action in (1, 2)
        self.at = max(0, self.at + (1 if action == 2 else -1))
        self.steps += 1
        return self.at, self.reward * (self.at == 4), self.at == 4, self.steps >= 50, {}
"""


def output(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    assert main(list(argv)) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:  # type: ignore[type-arg]
    """What --json printed, which must be one JSON object and nothing else."""
    return json.loads(output(capsys, *argv, "--json")[0])


# --- solve ----------------------------------------------------------------------------------------


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


# --- train, evaluate, plot, watch, compare --------------------------------------------------------


def test_training_twice_says_that_it_is_finished(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = ["train", "q-learning", "FrozenLake-v1", "--seeds", "2", "--steps", "500"]
    argv += ["--out", str(tmp_path)]
    first = answer(capsys, *argv)
    assert first["status"] == "finished"
    assert first["seeds"] == len(first["final"]) == 2
    assert first["num_env_steps"] == 500
    assert first["env_steps_per_second"] > 0
    folder = Path(first["run"])
    names = {path.name for path in folder.iterdir()}
    assert names >= {"run.json", "seed-000.csv", "seed-001.csv", "learning_curve.png"}
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
    out, err = output(capsys, *argv, "--json")
    assert "finished already" in err
    assert json.loads(out)["final"] == first["final"]
    after = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
    kept = {p for p in before if p.name != ".lock"}
    assert {p: before[p] for p in kept} == {p: after[p] for p in kept}


def test_more_steps_are_another_run_where_a_schedule_spans_it_and_this_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    common = ["--seeds", "1", "--out", str(tmp_path), "--evaluation-episodes", "1", "--json"]
    common += ["--num-epochs", "1"]
    first = json.loads(output(capsys, "train", "ppo", "CartPole-v1", "--steps", "300", *common)[0])
    out, err = output(capsys, "train", "ppo", "CartPole-v1", "--steps", "600", *common)
    assert json.loads(out)["run"] != first["run"]
    assert "600 steps are another configuration than the 300" in err
    same = [*common, "--learning-rate-schedule", "constant", "--clip-schedule", "constant"]
    short = json.loads(output(capsys, "train", "ppo", "CartPole-v1", "--steps", "300", *same)[0])
    rows = (Path(short["run"]) / "seed-000.csv").read_bytes()
    out, err = output(capsys, "train", "ppo", "CartPole-v1", "--steps", "600", *same)
    assert json.loads(out)["run"] == short["run"]
    assert err == ""
    assert (Path(short["run"]) / "seed-000.csv").read_bytes().startswith(rows)


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
    orders = [
        ["ppo", "MountainCar-v0", *words],
        ["ppo", *words[:4], "MountainCar-v0", *words[4:]],
        [*words, "ppo", "--learning-rate=0.0003", "MountainCar-v0"],
    ]
    runs = {json.loads(output(capsys, "train", *order)[0])["run"] for order in orders}
    assert len(runs) == 1
    record = json.loads((Path(runs.pop()) / "run.json").read_text())
    assert record["config"]["normalise_observations"] is True


def test_arguments_of_the_environment_can_be_given_in_both_spellings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = answer(
        capsys,
        *("solve", "FrozenLake-v1", "--env-arg=is_slippery=false"),
        *("--env-arg", "max_episode_steps=6", '--env-arg=map_name="4x4"'),
    )
    assert result["optimal_return_under_limit"] == 1.0
    assert result["time_limit"] == 6


def test_evaluating_says_when_a_seed_is_not_at_the_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = answer(
        capsys,
        *("train", "ppo", "CartPole-v1", "--seeds", "2", "--steps", "600", "--num-epochs", "1"),
        *("--evaluate-every", "300", "--evaluation-episodes", "1", "--out", str(tmp_path)),
    )
    sound = answer(capsys, "evaluate", run["run"], "--episodes", "2")
    newest = sorted(Path(run["run"], "checkpoints", "seed-001").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    out, notes = output(capsys, "evaluate", run["run"], "--episodes", "2", "--json")
    assert re.search("^rlkit: .*seed-001.* is damaged.* that of 304", notes, re.MULTILINE)
    result = json.loads(out)
    # The seeds are at different steps now; the sound one plays as before.
    assert result["seeds"][0] == sound["seeds"][0]
    assert len(result["seeds"]) == 2


def test_comparing_agents_that_all_fail_still_answers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "corridor.py"
    file.write_text(GRID.replace("self.steps += 1", "raise RuntimeError('broken')"))
    out, err = output(
        capsys,
        *("compare", "random", "q-learning", "--env", f"{file}:Corridor", "--seeds", "2"),
        *("--steps", "50", "--json", "--out", str(tmp_path / "out")),
        code=1,
    )
    summary = json.loads(out)
    assert summary["agents"]["random"]["mean"] is None
    assert summary["pairs"] == []
    assert "RuntimeError('broken')" in err


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import rlkit\n"
        "run = rlkit.train('random', 'CartPole-v1', seeds=2, steps=50, workers=2, out='runs')\n"
        "print(run.failures)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr


def test_watch_films_an_episode(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from PIL import Image

    run = answer(
        capsys,
        *("train", "random", "CartPole-v1", "--seeds", "1", "--steps", "50"),
        *("--out", str(tmp_path)),
    )
    gif = tmp_path / "film.gif"
    out, _ = output(capsys, "watch", run["run"], "--gif", str(gif))
    steps = int(out.split(": ")[1].split()[0])
    with Image.open(gif) as image:
        # Frames that equal the one before are stored as a longer duration.
        assert 1 < image.n_frames <= steps + 1


def test_compare_writes_a_summary_and_two_figures(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output(
        capsys,
        *("compare", "value-iteration", "random", "q-learning", "--env", "FrozenLake-v1"),
        *("--seeds", "6", "--steps", "1000", "--out", str(tmp_path)),
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["environment"] == "FrozenLake-v1"
    assert summary["optimum"] == pytest.approx(0.7441902878, abs=1e-8)
    assert set(summary["agents"]) == {"value-iteration", "random", "q-learning"}
    planner = summary["agents"]["value-iteration"]
    assert planner["mean"] == pytest.approx(0.7401648978, abs=1e-8)
    assert planner["final"] == [planner["mean"]] * 6
    assert summary["agents"]["random"]["iqm"] == pytest.approx(0.0139397960, abs=1e-8)
    pairs = {(pair["a"], pair["b"]): pair for pair in summary["pairs"]}
    assert pairs["value-iteration", "random"]["verdict"] == "better"
    assert len(pairs) == 3
    for name in ("learning_curves.png", "final_performance.png"):
        assert (tmp_path / name).stat().st_size > 5000


def test_list_names_agents_presets_and_native_environments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = answer(capsys, "list")
    assert {"ppo", "q-learning", "reinforce", "value-iteration", "random"} == set(listed["agents"])
    assert {"CartPole-v1", "Acrobot-v1", "Pendulum-v1"} <= set(listed["native_environments"])
    assert any(p["agent"] == "ppo" and p["steps"] == 100_000 for p in listed["presets"])


# --- wrong usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "qlearning", "FrozenLake-v1"], "Did you mean 'q-learning'"),
        (["train", "ppo", "CartPole"], "Did you mean 'CartPole-v"),
        (["train", "ppo", "CartPole-v1", "--gama", "0.9"], "Did you mean '--discount'"),
        (["train", "ppo", "CartPole-v1", "--n-steps", "9"], "Did you mean '--rollout-length'"),
        (["train", "ppo", "CartPole-v1", "--steps", "-5"], "option steps (--steps)"),
        (["train", "ppo", "CartPole-v1", "--seeds", "0"], "option seeds (--seeds)"),
        (["train", "ppo", "CartPole-v1", "--workers", "0"], "option workers"),
        (["train", "q-learning", "CartPole-v1"], "Use ppo or reinforce"),
        (["train", "value-iteration", "CartPole-v1"], "value-iteration"),
        (["train", "q-learning", "Pendulum-v1"], "q-learning keeps a table"),
        (["train", "ppo", "nowhere.py:Env"], "cannot read nowhere.py"),
        (["train", "ppo", "no.such.module:Env-v0"], "cannot import the module"),
        (["train", "ppo", "CartPole-v1", "--env-arg", "gravity"], "expected name=value"),
        (["train", "ppo", "CartPole-v1", "--env-arg", "x=__import__('os')"], "is not JSON"),
        (["train", "ppo", "CartPole-v1", "--env-arg", "nonsense=1"], "building the environment"),
        (["train", "ppo", "Blackjack-v1"], "observation space Tuple"),
        (["solve", "CartPole-v1"], "CartPole-v1"),
        (["solve", "FrozenLake-v1", "--discount", "1.01"], "option discount"),
        (["solve", "FrozenLake-v1", "--tolerance", "0"], "option tolerance"),
        (["evaluate", "nowhere"], "not the folder of a run"),
        (["compare", "ppo", "sarsa", "--env", "FrozenLake-v1"], "unknown agent 'sarsa'"),
        (["watch", "nowhere", "--gif", "x.gif"], "not the folder of a run"),
    ],
)
def test_wrong_usage_exits_with_2_names_the_thing_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    argv: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in output(capsys, *argv, code=2)[1]
    assert list(tmp_path.iterdir()) == []


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


def test_a_folder_that_cannot_be_written_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    argv = ["train", "random", "CartPole-v1", "--out", str(tmp_path / "file")]
    assert "cannot be written" in output(capsys, *argv, code=2)[1]


def test_a_reward_of_nan_is_refused_with_its_place_and_the_other_seeds_are_finished(
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


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        *(("--n-envs", "--envs"), ("--num_envs", "--envs"), ("--lr", "--learning-rate")),
        *(("--total-timesteps", "--steps"), ("--gamma", "--discount"), ("--n-seeds", "--seeds")),
        *(("--env-kwargs", "--env-arg"), ("--n-jobs", "--workers"), ("--LR", "--learning-rate")),
        *(("--n-epochs", "--num-epochs"), ("--ent-coef", "--entropy-coef")),
    ],
)
def test_options_of_other_libraries_lead_to_ours(
    capsys: pytest.CaptureFixture[str], typed: str, ours: str
) -> None:
    for words in ([typed, "4"], [f"{typed}=4"]):
        err = output(capsys, "train", "ppo", "CartPole-v1", *words, code=2)[1]
        assert f"Did you mean '{ours}'?" in err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    argv = ["train", "random", "FrozenLake-v1", "--seeds", "1", "--steps", "50"]
    return str(answer(capsys, *argv, "--out", str(tmp_path / "runs"))["run"])


@pytest.mark.parametrize(("command", "suffix"), [("plot", ".png"), ("watch", ".gif")])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file/x", "is no folder"),
        ("file/new/x", "is no folder"),
        ("folder", "it is a folder"),
        ("pipe", "it is no ordinary file"),
        ("lost/x", "is a link to nothing"),
        ("y" * 300, "name too long"),
        ("x.txt", "expected a file name that ends in"),
    ],
)
def test_a_figure_or_film_that_cannot_be_written_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    run: str,
    tmp_path: Path,
    command: str,
    suffix: str,
    name: str,
    said: str,
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / "lost").symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.rglob("*"))
    path = tmp_path / (name if name == "x.txt" else name + suffix)
    option = {"plot": "--out", "watch": "--gif"}[command]
    err = output(capsys, command, run, option, str(path), code=2)[1]
    assert err.startswith(f"rlkit: {option} {path}")
    assert said in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_comparing_into_a_file_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    argv = ["compare", "random", "--env", "FrozenLake-v1", "--seeds", "1", "--steps", "50"]
    for name in ("file", "file/below"):
        err = output(capsys, *argv, "--out", str(tmp_path / name), code=2)[1]
        assert "cannot be written" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "least"), [("--max-steps", "-3", 1), ("--episode", "-1", 0)]
)
def test_watch_refuses_a_negative_option(
    capsys: pytest.CaptureFixture[str], run: str, option: str, value: str, least: int
) -> None:
    err = output(capsys, "watch", run, "--gif", "x.gif", f"{option}={value}", code=2)[1]
    assert f"({option}): expected a whole number >= {least}, got {value}" in err


# --- terminals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "arrow", "deviation"),
    [
        ("ascii", "<", " +- "),
        ("cp1252", "<", " ± "),
        ("latin-1", "<", " ± "),
        ("utf-8", "←", " ± "),
    ],
)
def test_output_is_plain_where_the_terminal_is(
    encoding: str, arrow: str, deviation: str, run: str, tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path / "more"), "--seeds", "2", "--steps", "50"]
    commands = [
        ["solve", "FrozenLake-v1"],
        ["evaluate", run, "--episodes", "2"],
        ["train", "random", "FrozenLake-v1", *out],
        ["compare", "random", "value-iteration", "--env", "FrozenLake-v1", *out],
        ["list"],
        ["--help"],
        ["train", "ppo", "--help"],
        ["train", "ppo", "CartPole-v1", "--discount", "π"],
        ["rlhf", "--help"],
    ]
    program = (
        "import sys, rlkit.cli\n"
        f"for argv in {commands!r}:\n"
        "    try:\n"
        "        code = rlkit.cli.main(argv)\n"
        "    except SystemExit as stop:\n"
        "        code = stop.code\n"
        "    assert code == (2 if 'π' in argv else 0), (argv, code)\n"
    )
    environ = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environ, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert arrow in text.split("0.74419029")[1].splitlines()[3]
    assert deviation in text
    assert "│" in text or "|" in text  # of tables
    if encoding != "utf-8":
        assert "?" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("←↓→↑", "<v>^"),
        ("± × – — … − ≥ ∞", "+- x - - ... - >= inf"),
        ("╭─╮│╰┃━┏┳╇", "+-+|+|-+++"),
        ("γ λ", "gamma lambda"),
        ("漢 😀 é", "? ? ?"),
        ("plain", "plain"),
    ],
)
def test_characters_have_plain_substitutes(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert text.encode("ascii", "rlkit-plain").decode() == expected
    assert text.encode("utf-8", "rlkit-plain").decode() == text


def test_the_bytes_of_a_path_that_is_no_text_are_printed_as_they_are() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert name.encode("utf-8", "rlkit-plain") == b"caf\xe9"


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[31m\x9b\r\nb\N{RIGHT-TO-LEFT OVERRIDE}") == (
        "a\\x1b[31m\\x9b\\r\\nb\\u202e"
    )
    assert printable("a\nb\x07", lines=True) == "a\nb\\x07"
    assert printable("é漢[/nope]") == "é漢[/nope]"


@pytest.mark.parametrize("argv", [["list"], ["list", "--help"]])
def test_output_on_a_full_disk_is_one_sentence(argv: list[str]) -> None:
    for unbuffered in ("", "1"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "rlkit", *argv],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr == "rlkit: standard output cannot be written: No space left on device\n"


# --- help and processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    try:
        code = main([command, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    assert f"usage: rlkit {command}" in capsys.readouterr().out


def test_help_of_an_agent_lists_its_options_with_the_presets_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "ppo", "CartPole-v1", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--clip-epsilon" in text
    assert "(default: 0.98)" in text  # the discount of the preset


def test_the_module_and_the_command_are_the_same() -> None:
    for command in ([sys.executable, "-m", "rlkit"], [str(Path(sys.executable).parent / "rlkit")]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("rlkit ")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "rlkit", "train", "q-learning", "FrozenLake-v1", "--json"]
    command += ["--seeds", "2", "--steps", "30000", "--out"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "a")], stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("a/*/seed-000.csv")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"the same command goes on" in err
    for folder in ("a", "b"):
        subprocess.run([*command, str(tmp_path / folder)], check=True, cwd=ROOT, env=os.environ)
    runs = [next((tmp_path / folder).iterdir()) for folder in ("a", "b")]
    for name in ("seed-000.csv", "seed-001.csv"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
