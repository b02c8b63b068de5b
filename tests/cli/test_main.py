"""The command as a whole: wrong usage, help, exit codes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlkit.cli import COMMANDS, main
from tests.cli.commands import output


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train", "qlearning", "FrozenLake-v1"], "Did you mean 'q-learning'"),
        (["train", "ppo", "CartPole"], "Did you mean 'CartPole-v"),
        (["train", "ppo", "CartPole-v1", "--gama", "0.9"], "Did you mean '--discount'"),
        (["train", "ppo", "CartPole-v1", "--n-steps", "9"], "Did you mean '--rollout-length'"),
        (["train", "ppo", "CartPole-v1", "--steps", "-5"], "option steps (--steps)"),
        (["train", "ppo", "CartPole-v1", "--seeds", "0"], "option seeds (--seeds)"),
        (["train", "ppo", "CartPole-v1", "--workers", "0"], "option workers"),
        (["train", "q-learning", "MountainCar-v0"], "Divide them into bins with --bins"),
        (["train", "value-iteration", "CartPole-v1"], "value-iteration"),
        (["train", "q-learning", "Pendulum-v1"], "q-learning keeps a table"),
        (["train", "ppo", "nowhere.py:Env"], "cannot read nowhere.py"),
        (["train", "ppo", "no.such.module:Env-v0"], "cannot import the module"),
        (["train", "ppo", "CartPole-v1", "--env-arg", "gravity"], "expected name=value"),
        (["train", "ppo", "CartPole-v1", "--env-arg", "x=__import__('os')"], "is not JSON"),
        (["solve", "FrozenLake-v1", "--env-arg", "is_slippery=False"], "write is_slippery=false"),
        (["train", "ppo", "CartPole-v1", "--env-arg", "nonsense=1"], "building the environment"),
        (["train", "sarsa", "Pendulum-v1"], "the observations are Box"),
        (["solve", "CartPole-v1"], "CartPole-v1"),
        (["solve", "FrozenLake-v1", "--discount", "1.01"], "option discount"),
        (["solve", "FrozenLake-v1", "--tolerance", "0"], "option tolerance"),
        (["evaluate", "nowhere"], "not the folder of a run"),
        (["compare", "ppo", "nobody", "--env", "FrozenLake-v1"], "unknown agent 'nobody'"),
        (["watch", "nowhere", "--gif", "x.gif"], "not the folder of a run"),
    ],
)
def test_wrong_usage_exits_with_2_names_the_thing_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    argv: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in output(capsys, *argv, code=2)[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["list"], ["list", "--help"]])
def test_output_on_a_full_disk_is_one_sentence(argv: list[str], tmp_path: Path, forks: Any) -> None:
    for unbuffered in ("", "1"):
        done = forks.python(
            *("-m", "rlkit", *argv),
            stdout=Path("/dev/full"),
            cwd=tmp_path,
            env={"PYTHONUNBUFFERED": unbuffered},
        )
        assert done.returncode == 2
        assert done.stderr == "rlkit: standard output cannot be written: No space left on device\n"


def test_a_closed_standard_output_is_one_sentence(tmp_path: Path, forks: Any) -> None:
    script = (
        "import sys, rlkit.cli as cli\n"
        "run = cli._run\n"
        "cli._run = lambda args: (sys.stdout.close(), run(args))\n"  # as an environment may
        "sys.exit(cli.main(['list']))\n"
    )
    done = forks.python("-c", script, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("rlkit: standard output was closed")
    assert "Traceback" not in done.stderr


def test_a_current_folder_that_was_removed_is_one_sentence(tmp_path: Path, forks: Any) -> None:
    script = (
        "import os, sys, rlkit.cli as cli\n"
        "os.mkdir('gone'), os.chdir('gone'), os.rmdir('../gone')\n"
        "sys.exit(cli.main(['train', 'random', 'CartPole-v1']))\n"
    )
    done = forks.python("-c", script, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("rlkit: the current folder no longer exists; change to one")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    try:
        code = main([command, "--help"])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    printed = capsys.readouterr().out
    assert f"usage: rlkit {command}" in printed
    assert "(default: )" not in printed


def test_the_module_and_the_command_are_the_same() -> None:
    for command in ([sys.executable, "-m", "rlkit"], [str(Path(sys.executable).parent / "rlkit")]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("rlkit ")
