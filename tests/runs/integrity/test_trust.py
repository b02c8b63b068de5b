"""A run from somebody else is data: nothing that it names is run unless the user trusts it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.cli import main
from rlkit.errors import RlkitWarning, UsageError
from rlkit.runs.integrity import trust
from rlkit.runs.record import write_record
from rlkit.training.playing.environment import code_named_by
from rlkit.training.playing.film import watch
from rlkit.training.run import Run, load

PATH = list(sys.path)
SOURCE = """
    import pathlib
    import gymnasium as gym
    import numpy as np

    with open({marker!r}, "a") as file:
        file.write("run ")

    class Walk(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        action_space = gym.spaces.Discrete(2)
        def __init__(self, render_mode=None):
            self.render_mode = render_mode
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {{}}
        def step(self, action):
            return np.zeros(1, np.float32), {gain}, True, False, {{}}
        def render(self):
            return np.zeros((4, 4, 3), np.uint8)

    gym.register("Walked-v0", Walk)
"""


@pytest.fixture(autouse=True)
def no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python takes a file for unchanged that is edited within a second to the same length."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def source(marker: Path) -> Callable[[float], str]:
    return lambda gain: textwrap.dedent(SOURCE).format(marker=str(marker), gain=gain)


@pytest.fixture(params=["walk_env.py:Walk", "walk_env:Walk", "walk_env:Walked-v0"])
def ours(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    source: Callable[[float], str],
    marker: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A run that was trained on this machine; nothing of its source is imported any more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walk_env.py").write_text(source(3.0))
    run = rlkit.train(
        "random", request.param, seeds=1, steps=8, evaluate_every=4, evaluation_episodes=1
    )
    _forget()
    marker.unlink()
    yield run.folder.absolute()
    _forget()


def _forget() -> None:
    import gymnasium as gym

    for name in [name for name in sys.modules if "walk_env" in name]:
        del sys.modules[name]
    sys.path[:] = PATH
    gym.registry.pop("Walked-v0", None)


def uses(folder: Path, tmp_path: Path, **options: Any) -> dict[str, Callable[[], Any]]:
    return {
        "evaluate": lambda: load(folder, **options).evaluate(2),
        "actor": lambda: load(folder, **options).actor(),
        "watch": lambda: watch(load(folder, **options), tmp_path / "film.gif"),
        "q_table": lambda: load(folder, **options).q_table(),
        "environment": lambda: load(folder, **options).environment,
    }


def test_a_run_of_this_machine_is_played_without_a_question(ours: Path) -> None:
    assert load(ours).evaluate(2)["mean"] == 3.0


@pytest.mark.trap("F67")
def test_nothing_that_a_run_from_elsewhere_names_is_run(
    ours: Path, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another machine"))
    for use in uses(ours, tmp_path).values():
        with pytest.raises(UsageError, match=r"names the (file|module) .*walk_env.*--trust"):
            use()
    load(ours).plot(tmp_path / "curve.png")
    rlkit.compare([ours], out=tmp_path / "comparison")
    assert load(ours).scores.tolist() == [3.0]
    assert not marker.exists()
    assert load(ours, trust=True).evaluate(2)["mean"] == 3.0
    assert marker.exists()


def test_a_genuine_record_cannot_be_given_other_code(
    ours: Path, tmp_path: Path, marker: Path
) -> None:
    shutil.copy("walk_env.py", "other_env.py")
    record = json.loads((ours / "run.json").read_text())
    for name in ("other_env.py:Walk", "other_env:Walk"):
        write_record(ours, record | {"environment": name})
        with pytest.raises(UsageError, match=r"or its record was changed\).*--trust"):
            load(ours).evaluate(2)
    write_record(ours, record | {"sources": {str(tmp_path / "other_env.py"): "0" * 64}})
    with pytest.raises(UsageError, match="its record was changed"):
        load(ours).evaluate(2)
    assert not marker.exists()


def test_an_edited_source_is_not_run(
    ours: Path, tmp_path: Path, marker: Path, source: Callable[[float], str]
) -> None:
    (tmp_path / "walk_env.py").write_text(source(9.0))
    with pytest.warns(RlkitWarning, match="changed since the run"):
        load(ours)
    for use in uses(ours, tmp_path).values():
        with (
            pytest.warns(RlkitWarning, match="changed since"),
            pytest.raises(UsageError, match=r"walk_env.* is not the code .*Nothing was run"),
        ):
            use()
    assert not marker.exists()
    with pytest.warns(RlkitWarning):
        assert load(ours, trust=True).evaluate(2)["mean"] == 9.0


def test_another_file_of_the_same_name_in_another_folder_is_not_run(
    ours: Path,
    tmp_path: Path,
    marker: Path,
    source: Callable[[float], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "walk_env.py").write_text(source(9.0))
    monkeypatch.chdir(elsewhere)
    for use in uses(ours, tmp_path).values():
        with pytest.raises(UsageError, match=r"elsewhere/walk_env\.py: expected .*, got "):
            use()
    assert main(["evaluate", str(ours), "--episodes", "2"]) == 2
    assert "is not the code that the run" in capsys.readouterr().err
    assert not marker.exists()
    (elsewhere / "walk_env.py").write_text(source(3.0))  # the same source, moved
    assert load(ours).evaluate(2)["mean"] == 3.0


def test_the_environment_may_be_given_instead(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    assert load(ours, env="walk_env.py:Walk").evaluate(2)["mean"] == 3.0


@pytest.mark.parametrize(
    "reference", ["FrozenLake-v1", "CartPole-v1", "rlkit_envs.dyna_maze:DynaMaze", "Nowhere-v0"]
)
def test_environments_of_gymnasium_and_rlkit_need_no_trust(reference: str) -> None:
    assert code_named_by(reference) is None


@pytest.mark.trap("F67")
def test_an_id_whose_registration_would_import_a_module_is_code() -> None:
    import gymnasium as gym

    gym.register("Sleeping-v0", "sleeping_module:Env")
    try:
        assert code_named_by("Sleeping-v0") == (
            "the module 'sleeping_module', where 'Sleeping-v0' is registered"
        )
    finally:
        gym.registry.pop("Sleeping-v0")


def test_without_a_home_that_can_be_written_a_run_is_trained_and_says_what_follows(
    tmp_path: Path, source: Callable[[float], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    (tmp_path / "walk_env.py").write_text(source(3.0))
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"seeds": 1, "steps": 8, "evaluation_episodes": 1}
    with pytest.warns(RlkitWarning, match=r"machine\.key: Not a directory\. The run is trained"):
        run = rlkit.train("random", "walk_env.py:Walk", **options)
    assert run.status == "finished"
    with pytest.raises(UsageError, match=r"machine\.key is missing or cannot be read"):
        load(run.folder).evaluate(2)


def test_the_key_is_readable_by_its_owner_alone_and_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first: dict[str, Any] = {"environment": "a.py:A"}
    assert trust.sign(first) is None
    path = tmp_path / "rlkit" / "machine.key"
    assert os.stat(path).st_mode & 0o777 == 0o600
    key = path.read_bytes()
    second: dict[str, Any] = {"environment": "b.py:B"}
    assert trust.sign(second) is None
    assert path.read_bytes() == key
    assert [p.name for p in path.parent.iterdir()] == ["machine.key"]
    assert trust.is_from_here(first)
    assert not trust.is_from_here({**second, "origin": first["origin"]})
    path.write_bytes(b"short")
    assert not trust.is_from_here(first)


def test_runs_of_gymnasium_environments_from_elsewhere_are_played(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    assert len(trained("random", seeds=1).evaluate(2)["seeds"]) == 1
