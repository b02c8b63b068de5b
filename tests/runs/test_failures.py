"""One seed that cannot go on is named, with where and why; the others reach the end."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import AllSeedsFailed, RlkitWarning
from rlkit.runs.execution import Interrupted
from rlkit.runs.record import read_record, write_record
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run, load
from rlkit.training.specification import RunSpec
from rlkit.training.train import train


def bad_seed(seed: int, *, copy: int = 1, episode: int = 2) -> int:
    """With what an episode of a seed is reset."""
    return SeedStreams(0, seed).episode_seed("env", copy, episode)


@pytest.mark.trap("F31", "F59")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "problem"),
    [
        (
            "raise",
            1,
            r"step\([012]\) raised ValueError\('the walk fell over'\) at probe_envs.py:\d+ in _go",
        ),
        ("fatal", 1, r"step\([012]\) raised an object of type Fatal at probe_envs.py:\d+"),
        ("unpicklable", 1, r"step\([012]\) raised Unpicklable\('the walk fell over'\)"),
        ("nan", 2, "the reward is nan; it must be finite"),
        ("exit", 1, r"step\([012]\) raised SystemExit\(3\)"),
    ],
)
def test_one_failing_seed_is_named_and_the_others_are_as_without_it(
    fault: str, code: int, problem: str, small: Callable[..., Run], results: Any
) -> None:
    arguments = {"fault": fault, "at": 5}
    run = small("ppo-probe", seeds=4, env_args={**arguments, "bad_seed": bad_seed(2)})
    sound = small("ppo-probe", seeds=4, env_args={**arguments, "bad_seed": -1})
    assert run.status == load(run.folder).status == "failed"
    assert list(run.failures) == [2]
    # Copy 1, episode 2, its fifth step, and whatever action that was.
    place = r"environment Probe, copy 1, episode 2, step 5, action [012]: "
    with pytest.raises(AssertionError, match=f"^{place}.*{problem}"):
        raise AssertionError(run.failures[2])
    assert np.isnan(run.scores).tolist() == [False, False, True, False]
    expected = results(sound.folder)
    sound_seeds = results_without(results, run, 2)
    assert sound_seeds == {seed: expected[seed] for seed in (0, 1, 3)}
    record = json.loads((run.folder / "run.json").read_text())
    assert record["failures"]["2"]["exit_code"] == code
    assert record["failures"]["2"]["message"] == run.failures[2]


def results_without(results: Any, run: Run, seed: int) -> Any:
    """The results of all seeds but one, which left no checkpoint."""
    (run.folder / f"seed-{seed:03d}.csv").rename(run.folder / "other.csv")
    return results(run.folder)


@pytest.mark.slow
def test_a_seed_that_fails_late_keeps_its_rows_and_its_checkpoint(
    small: Callable[..., Run], results: Any
) -> None:
    # Episodes are 13 steps long: episode 20 of copy 0 begins after row 400 of 2 environments.
    late = bad_seed(1, copy=0, episode=20)
    run = small("ppo-probe", seeds=3, env_args={"fault": "raise", "bad_seed": late})
    sound = small("ppo-probe", seeds=3)
    stored, expected = results(run.folder), results(sound.folder)
    assert (stored[0], stored[2]) == (expected[0], expected[2])
    assert expected[1][0].startswith(stored[1][0])
    assert run.columns[1]["num_env_steps"].tolist() == [0, 200, 400]
    assert run.steps.tolist() == [0, 200, 400, 600]
    assert np.isnan(run.curve[1]).tolist() == [False, False, False, True]
    assert np.isnan(run.scores).tolist() == [False, True, False]
    assert np.isfinite(run.interval().estimate)


def test_the_traceback_of_a_failure_is_kept(small: Callable[..., Run]) -> None:
    arguments = {"fault": "raise", "bad_seed": bad_seed(1, copy=0)}
    run = small("random-probe", seeds=2, steps=200, env_args=arguments)
    (path,) = run.folder.glob("failure-*")
    assert path.name == "failure-001.txt"
    text = path.read_text()
    assert "self._go_wrong()" in text
    assert text.endswith("ValueError: the walk fell over\n")


def test_a_failure_is_not_forgotten_by_a_call_for_other_seeds(small: Callable[..., Run]) -> None:
    arguments = {"fault": "raise", "bad_seed": bad_seed(2)}
    small("ppo-probe", seeds=3, steps=200, env_args=arguments)
    run = small("ppo-probe", seeds=2, steps=200, env_args=arguments)
    assert run.status == "failed"
    assert list(run.failures) == [2]


@pytest.mark.slow
def test_a_run_whose_every_seed_fails_lists_them_all(small: Callable[..., Run]) -> None:
    partly = small("ppo-probe", seeds=2, env_args={"fault": "raise", "bad_seed": bad_seed(0)})
    assert list(partly.failures) == [0]
    with pytest.raises(AllSeedsFailed, match="the walk fell over") as caught:
        small("ppo-probe", seeds=1, env_args={"fault": "raise", "bad_seed": bad_seed(0)})
    run: Any = caught.value.run
    assert np.isnan(run.scores).all()
    assert run.status == "failed"


@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_the_figure_of_a_run_with_a_failed_seed_is_drawn(small: Callable[..., Run]) -> None:
    run = small("ppo-probe", seeds=3, env_args={"fault": "raise", "bad_seed": bad_seed(1)})
    assert (run.folder / "learning_curve.png").exists()


@pytest.mark.usefixtures("figures")
def test_a_run_whose_only_seed_failed_still_says_why(small: Callable[..., Run]) -> None:
    with pytest.raises(AllSeedsFailed, match=r"seed 0: .*the walk fell over"):
        small("ppo-probe", seeds=1, env_args={"fault": "raise", "bad_seed": bad_seed(0)})


@pytest.mark.trap("F55")
def test_parameters_that_diverge_fail_their_seeds_alone(small: Callable[..., Run]) -> None:
    with pytest.raises(AllSeedsFailed) as caught:
        small("ppo", seeds=2, learning_rate=1e30)
    run: Any = caught.value.run
    assert sorted(run.failures) == [0, 1]
    assert all("diverged" in message for message in run.failures.values())
    assert run.status == "failed"


class Huge(gym.Env[Any, Any]):
    """Two steps with a reward that is given."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, reward: float) -> None:
        self.reward = reward

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.steps = 0
        return 0, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return 0, self.reward, self.steps == 2, False, {}


@pytest.mark.trap("F51")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    ("agent", "reward", "text"),
    [
        ("random", 1e308, "the return of an episode is no longer finite"),
        ("q-learning", 1e308, "the return of an episode is no longer finite"),
        ("q-learning", 8e307, r"its state 'q' is no longer finite"),
        ("reinforce", 1e30, r"its state '\w*adam_v' is no longer finite"),
    ],
)
def test_numbers_that_are_no_longer_finite_fail_the_seed(
    agent: str, reward: float, text: str, out: Any
) -> None:
    more = {"q-learning": {"discount": 1.0, "step_size": 0.99, "initial_value": 1.2e308}}
    with pytest.raises(AllSeedsFailed, match=text):
        train(
            *(agent, Huge),
            **{"seeds": 1, "steps": 60, "evaluate_every": 2, "evaluation_episodes": 0},
            **{"env_args": {"reward": reward}, "out": out, **more.get(agent, {})},
        )


def test_an_error_of_the_agent_ends_the_run_as_failed_with_the_original_error(
    small: Callable[..., Run], out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlkit.agents.tabular.q_learning import QLearning

    def learn(self: Any, transition: Any) -> Any:
        raise ZeroDivisionError("in learn")

    monkeypatch.setattr(QLearning, "learn", learn)
    with pytest.raises(ZeroDivisionError, match="in learn"):
        small("q-learning", seeds=2)
    (folder,) = out.iterdir()
    assert load(folder).status == "failed"


def test_an_environment_that_replaces_json_does_not_spoil_the_record(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaces(gym.Wrapper[Any, Any, Any, Any]):
        def __init__(self) -> None:
            super().__init__(gym.make("FrozenLake-v1"))

        def step(self, action: Any) -> Any:
            monkeypatch.setattr("json.dumps", lambda *args, **kwargs: "nothing")
            monkeypatch.setattr("json.loads", lambda *args, **kwargs: {})
            return super().step(action)

    run = small("q-learning", environment=Replaces, native=False, seeds=2)
    monkeypatch.undo()
    assert load(run.folder, env=Replaces).status == "finished"
    assert not rlkit.verify(run.folder)[0].problems


@pytest.mark.trap("F69")
def test_no_variable_of_the_environment_is_stored(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, spec_of: Callable[..., RunSpec]
) -> None:
    monkeypatch.setenv("API_TOKEN", "geheim-4711")
    monkeypatch.setenv("HOME", "/geheim-4712")
    folder = small("q-learning", seeds=1, steps=100).folder
    for path in folder.rglob("*"):
        assert not path.is_file() or b"geheim" not in path.read_bytes()


@pytest.mark.slow
def test_a_crash_of_compiled_code_names_the_line_of_the_environment(forks: Any, out: Path) -> None:
    args = {"fault": "abort", "bad_seed": bad_seed(0, episode=60)}
    child = forks.train("random-probe", seeds=1, steps=2_000, out=out, env_args=args)
    assert child.wait() == -signal.SIGABRT
    assert re.search(r'probe_envs.py", line \d+ in step', child.output)


@pytest.mark.parametrize("silent", [True, False])
def test_a_process_that_ended_without_a_word_is_reported_by_the_next_call(
    silent: bool, small: Callable[..., Run], out: Path
) -> None:
    """Where it said how it ended there is nothing to report."""
    asked = iter(range(1_000))
    with pytest.raises(Interrupted):
        small("random-probe", seeds=1, reports=Reports(stop=lambda: next(asked) > 150))
    (folder,) = out.iterdir()
    if silent:
        write_record(folder, read_record(folder, AGENT_RUN) | {"status": "running"})
    with pytest.warns(RlkitWarning, match="was not trained to its") as warned:
        load(folder, trust=True).evaluate(2)
    assert any("ended without a word)" in str(one.message) for one in warned) is silent
    notes: list[str] = []
    run = small("random-probe", seeds=1, reports=Reports(note=notes.append))
    assert run.status == "finished"
    assert (
        any("ended without a word" in one and "--env-workers 1" in one for one in notes) is silent
    )
