"""The environment of a stored run: given again, named by its record, or rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import RlkitError, UsageError
from rlkit.runs.record import read_record, write_record
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run, load


class Own(gym.Wrapper[Any, Any, Any, Any]):
    """An environment of one's own, defined in a test."""

    def __init__(self, limit: int = 7) -> None:
        super().__init__(gym.make("CartPole-v1", max_episode_steps=limit))


def test_a_class_is_given_again_where_its_name_does_not_lead_to_it(
    small: Callable[..., Run],
) -> None:
    class Local(Own):
        pass

    run = small("ppo", environment=Local, env_args={"limit": 5}, seeds=1)
    np.testing.assert_array_equal(run.evaluate(episodes=3)["mean"], 5.0)
    with pytest.raises(UsageError, match=r"env=MyEnv"):
        load(run.folder).evaluate(episodes=3)
    assert load(run.folder, env=Local).evaluate(episodes=3)["mean"] == 5.0


def test_code_in_the_folder_of_a_run_is_not_run(
    trained: Callable[..., Run], tmp_path: Path
) -> None:
    run = trained("random", seeds=1)
    marker = tmp_path / "marker"
    (run.folder / "env.py").write_text(f"open({str(marker)!r}, 'w')\nclass E: pass\n")
    for reference in (f"{run.folder}/env.py:E", f"{run.folder}/checkpoints/../env.py:E"):
        write_record(run.folder, {**read_record(run.folder, AGENT_RUN), "environment": reference})
        with pytest.raises(UsageError, match="give the environment"):
            load(run.folder).actor(0)
    assert not marker.exists()


@pytest.mark.parametrize("reference", ["os:system", "subprocess:run", "subprocess:Popen"])
def test_a_record_cannot_name_any_function_as_its_environment(
    reference: str, trained: Callable[..., Run], tmp_path: Path
) -> None:
    run = trained("random", seeds=1)
    marker = tmp_path / "marker"
    name = "command" if reference == "os:system" else "args"
    arguments = {name: f"touch {marker}"} if name == "command" else {name: ["touch", str(marker)]}
    record = {**read_record(run.folder, AGENT_RUN), "environment": reference, "env_args": arguments}
    write_record(run.folder, record)
    with pytest.raises(RlkitError, match=r"names the module .*--trust"):
        load(run.folder).evaluate(episodes=1)
    with pytest.raises(RlkitError, match="give the environment"):
        load(run.folder, trust=True).evaluate(episodes=1)
    assert not marker.exists()


def test_an_environment_with_other_spaces_is_named(tmp_path: Path) -> None:
    run = rlkit.train("random", "CartPole-v1", seeds=1, steps=20, out=tmp_path)
    with pytest.raises(UsageError, match=r"trained with the observation space .*now has"):
        rlkit.load(run.folder, env="MountainCar-v0").evaluate(2)
