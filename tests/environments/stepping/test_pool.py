"""Copies in worker processes: the bytes of one process, and every fault ends in a sentence."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.environments.environment import Environment
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.resolve import find_environment, locate
from rlkit.environments.stepping import pool as pool_module
from rlkit.environments.stepping.pool import Pool
from rlkit.environments.views.view import View
from rlkit.errors import PlayStopped, RlkitWarning, SeedError, UsageError
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run
from tests.faulty_envs import Drifting

ENVIRONMENTS = Path(__file__).parents[2] / "faulty_envs.py"
STREAMS = (SeedStreams(0, 3), SeedStreams(0, 4))
BAD = STREAMS[1].episode_seed("env", 1, 0)  # episode 0 of copy 1 of seed 4


def environment(name: str = "Misbehaves", **args: Any) -> Environment:
    return find_environment(f"{ENVIRONMENTS}:{name}", args)


@pytest.fixture(scope="module")
def drifting() -> Environment:
    return environment("Drifting")


@pytest.fixture
def pools() -> Iterator[Callable[..., Pool]]:
    """Make pools, which are closed in the end and leave no process behind."""
    made: list[Pool] = []

    def pools(of: Environment, workers: int = 2, timeout: float = 60.0, **options: Any) -> Pool:
        made.append(Pool(of, workers, timeout, **options))
        return made[-1]

    yield pools
    for one in made:
        processes = processes_of(one)
        began = time.monotonic()
        one.close()
        assert time.monotonic() - began < pool_module.CLOSE_PATIENCE + 1
        assert not any(process.is_alive() for process in processes)


def processes_of(pool: Pool) -> list[Any]:
    return [worker._process for worker in pool._workers]


def grid(of: Environment, pool: Pool | None = None, num_envs: int = 2, **options: Any) -> Any:
    copies = None if pool is None else pool.copies
    return of.grid(STREAMS, num_envs, kind="gymnasium", make_copies=copies, **options)


def played(env: GymBatchEnv, num_steps: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(num_steps):
        step = env.step(rng.integers(3, size=(2, env.num_envs)))
        seen += [np.asarray(part).tobytes() for part in step]
    return seen


@pytest.mark.trap("T24")
@pytest.mark.parametrize(("workers", "num_envs"), [(1, 2), (2, 1), (3, 4), (9, 1)])
def test_workers_give_the_bytes_of_this_process(
    workers: int, num_envs: int, drifting: Environment, pools: Any
) -> None:
    pool = pools(drifting, workers)
    here, there = grid(drifting, None, num_envs), grid(drifting, pool, num_envs)
    assert len(processes_of(pool)) == min(workers, 2 * num_envs)
    assert here.reset().tobytes() == there.reset().tobytes()
    assert played(here, 12) == played(there, 12)  # over the ends of episodes
    state = here.state_dict()
    assert all(
        np.asarray(part).tobytes() == np.asarray(there.state_dict()[name]).tobytes()
        for name, part in state.items()
        if name != "actions"
    )
    again = grid(drifting, pool, num_envs)  # a second grid in the same processes
    again.load_state_dict(state)
    assert again.exact_resume
    assert played(here, 7, seed=1) == played(again, 7, seed=1)
    there.reset()  # is not disturbed


def test_a_limited_evaluation_steps_no_ended_copy(drifting: Environment, pools: Any) -> None:
    env = grid(drifting, pools(drifting), purpose="evaluation", autoreset=False)
    first = env.reset(env_offset=3)
    assert played(env, 6)
    assert env.ended.all()
    here = grid(drifting, purpose="evaluation", autoreset=False)
    assert first.tobytes() == here.reset(env_offset=3).tobytes()


# What goes wrong where, and how it is described.
FAULTS = [
    ("raise", "step", r"step\(2\) raised ValueError\('the pole fell over'\) at faulty_envs.py:\d+"),
    ("unpicklable", "step", r"raised NamedError\('the pole broke'\) at faulty_envs.py:\d+"),
    ("unspeakable", "step", "raised an object of type Unspeakable"),
    ("interrupt", "step", r"raised KeyboardInterrupt\(\)"),
    ("exit", "step", r"raised SystemExit\(0\)"),
    ("vanish", "step", "its worker process ended with exit code 0 in step"),
    ("kill", "step", r"was ended by signal 9 \(SIGKILL\) in step"),
    ("sleep", "step", r"step did not return within 0.4 s .*at faulty_envs.py:\d+ in go_wrong"),
    ("spin", "step", r"step did not return within 0.4 s .*at faulty_envs.py:\d+ in go_wrong"),
    ("lock", "step", r"step did not return within 0.4 s .*at faulty_envs.py:\d+ in go_wrong"),
    ("stop", "step", "step did not return within 0.4 s"),
    ("unspeakable", "reset", r"reset\(seed=\d+\) raised an object of type Unspeakable"),
    ("vanish", "reset", "ended with exit code 0 in reset"),
    ("lock", "reset", "reset did not return within 0.4 s"),
]


@pytest.mark.trap("T23", "F32", "F33", "F34")
@pytest.mark.parametrize(("fault", "where", "text"), FAULTS)
def test_a_fault_names_its_place_and_ends_soon(
    fault: str, where: str, text: str, pools: Any
) -> None:
    args = {"fault": fault, "where": where, "bad_seed": BAD}
    env = grid(locate_probed(args), pools(locate_probed(args), timeout=0.4))
    place = "step 3, action 2" if where == "step" else "step 0"
    began = time.monotonic()
    expected = rf"^seed 4: environment Misbehaves, copy 1, episode 0, {place}: .*{text}"
    with pytest.raises(SeedError, match=expected) as caught:
        run_three_steps(env)
    assert time.monotonic() - began < 8
    if fault in ("raise", "unpicklable", "sleep", "spin", "lock"):
        assert "go_wrong" in caught.value.trace


def locate_probed(args: dict[str, Any]) -> Environment:
    return find_environment(f"{ENVIRONMENTS}:Misbehaves", args)


def run_three_steps(env: GymBatchEnv) -> None:
    env.reset()
    for action in (0, 1, 2):
        env.step(np.full((2, 2), action))


def test_a_fault_in_a_replay_names_the_step(pools: Any) -> None:
    sound = grid(environment())
    sound.reset()
    for action in (0, 1, 2, 1):
        sound.step(np.full((2, 2), action))
    of = environment(fault="vanish", bad_seed=BAD)
    with pytest.raises(SeedError, match="copy 1, episode 0, step 3, action 2: its worker process"):
        grid(of, pools(of)).load_state_dict(sound.state_dict())


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("raise", r"failed: ValueError\('the pole fell over'\)"),
        ("unspeakable", "failed: an object of type Unspeakable"),
        ("interrupt", r"failed: KeyboardInterrupt\(\)"),
        ("exit", r"failed: SystemExit\(0\)"),
        ("kill", r"was ended by signal 9 \(SIGKILL\) in its constructor"),
        ("sleep", "its constructor did not return within 0.4 s .* at faulty_envs.py"),
        ("vanish", "its worker process ended with exit code 0 in its constructor"),
        ("lock", "its constructor did not return within 0.4 s"),
    ],
)
def test_a_constructor_is_tried_in_a_worker_first(fault: str, text: str) -> None:
    located = locate(f"{ENVIRONMENTS}:Misbehaves", {"fault": fault, "where": "constructor"})
    with pytest.raises(UsageError, match=rf"building the environment .*Misbehaves\(.*{text}"):
        Pool(located, 1, 0.4).checked()


def test_checks_in_a_worker_are_those_of_this_process(drifting: Environment) -> None:
    checked = Pool(locate(drifting.reference), 1, 60.0).checked()
    assert checked.__dict__["repeatability"] == drifting.repeatability
    with_counter = locate(f"{ENVIRONMENTS}:NotDeterministic")
    assert "is not determined by" in str(Pool(with_counter, 1, 60.0).checked().repeatability)


def test_an_environment_that_ends_its_process_in_a_step_is_left_to_training() -> None:
    located = locate(f"{ENVIRONMENTS}:AlwaysEnds")
    checked = Pool(located, 1, 60.0).checked()
    assert "its worker process ended with exit code 0 in step" in str(checked.repeatability)


def test_a_run_that_is_asked_to_stop_does_not_wait_for_a_step(pools: Any) -> None:
    of = environment(fault="sleep", bad_seed=BAD)
    env = grid(of, pools(of, stop=lambda: True))
    with pytest.raises(PlayStopped, match="did not return after the run was asked to stop"):
        run_three_steps(env)


def test_what_raises_while_it_waits_leaves_the_copies_usable(
    drifting: Environment, pools: Any
) -> None:
    env = grid(drifting, pools(drifting))
    first = env.reset()
    calls = iter([None, InterruptedError])

    def ask() -> None:
        error = next(calls, None)
        if error is not None:
            raise error

    env.before_each = ask
    with pytest.raises(InterruptedError):
        played(env, 99)
    env.before_each = None
    assert env.reset().tobytes() == first.tobytes()


def test_what_close_raises_is_a_warning() -> None:
    of = environment("RaisesInClose")
    pool = Pool(of, 1, 60.0)
    grid(of, pool)
    with pytest.warns(RlkitWarning, match="closing environment RaisesInClose raised NamedError"):
        pool.close()


def test_an_environment_that_no_process_can_find_is_rejected() -> None:
    class Local(Drifting):
        pass

    with pytest.raises(UsageError, match="top level of a module, or use --env-workers 0"):
        Pool(find_environment(Local), 1, 60.0)


RUN: dict[str, Any] = {
    "environment": f"{ENVIRONMENTS}:Drifting",
    "seeds": 2,
    "envs": 2,
    "steps": 300,
    "evaluate_every": 100,
    "evaluation_episodes": 2,
}


def test_a_run_has_the_bytes_of_one_process_also_stopped_and_continued(
    small: Callable[..., Run], results: Any, out: Path, tmp_path: Path
) -> None:
    expected = results(small("ppo", **RUN, out=tmp_path / "one").folder)
    run = small("ppo", **RUN, env_workers=2)
    assert results(run.folder) == expected
    assert run.folder.name in os.listdir(tmp_path / "one")
    done: list[int] = []
    reports = Reports(
        progress=lambda seeds, steps: done.append(steps), stop=lambda: max(done, default=0) > 99
    )
    with pytest.raises(KeyboardInterrupt):
        small("ppo", **RUN, env_workers=1, reports=reports, out=tmp_path / "two")
    assert results(small("ppo", **RUN, out=tmp_path / "two").folder) == expected


@pytest.mark.trap("T23", "F33")
def test_a_seed_whose_worker_dies_fails_and_the_others_go_on(
    small: Callable[..., Run], results: Any, tmp_path: Path
) -> None:
    bad = SeedStreams(0, 1).episode_seed("env", 1, 2)
    changes = RUN | {"environment": f"{ENVIRONMENTS}:Misbehaves", "seeds": 3}
    args = {"fault": "kill", "bad_seed": bad}
    with pytest.warns(RlkitWarning, match="1 of 3 seeds"):
        run = small("random-probe", **changes, env_args=args, env_workers=2)
    assert list(run.failures) == [1]
    assert "environment Misbehaves, copy 1, episode 2, step 3, action" in run.failures[1]
    assert "signal 9 (SIGKILL) in step" in run.failures[1]
    sound = small("random-probe", **changes, env_args=args | {"fault": ""}, out=tmp_path / "sound")
    (run.folder / "seed-001.csv").unlink()
    expected = results(sound.folder)
    assert results(run.folder) == {seed: expected[seed] for seed in (0, 2)}


def test_workers_that_have_nothing_to_step_are_a_note(small: Callable[..., Run]) -> None:
    with pytest.warns(RlkitWarning, match=r"stepped as tabular.*env_workers .* has no effect"):
        small("random", seeds=1, steps=20, env_workers=2)


@pytest.mark.slow
def test_seed_workers_have_env_workers_of_their_own(
    small: Callable[..., Run], results: Any, tmp_path: Path
) -> None:
    run = small("random-probe", **RUN, workers=2, env_workers=2)
    alone = small("random-probe", **RUN, out=tmp_path / "alone")
    assert results(run.folder) == results(alone.folder)


@pytest.mark.trap("F74")
@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_no_worker_outlives_a_killed_parent(
    workers: int, forks: Any, out: Path, wait_for: Any
) -> None:
    bad = SeedStreams(0, 0).episode_seed("env", 0, 60)  # after the first checkpoint
    child = forks.train(
        "random-probe",
        **RUN | {"environment": f"{ENVIRONMENTS}:Misbehaves", "steps": 10_000},
        env_args={"fault": "lock", "bad_seed": bad},
        env_workers=2,
        workers=workers,
        out=out,
    )
    wait_for(lambda: len(list(out.glob("*/checkpoints/seed-000/*.npz"))) == 1)
    time.sleep(0.5)
    child.kill()
    child.wait()
    assert child.group_is_gone(5)


def test_masks_and_actions_of_several_parts_come_from_workers_as_from_this_process(
    pools: Any,
) -> None:
    of = environment("MasksParts").seen_as(View(numbered_actions=True, action_masks=True))
    here, there = grid(of), grid(of, pools(of))
    obs = [env.reset() for env in (here, there)]
    assert np.array_equal(*obs)
    for t in range(6):
        if t == 3:
            there.load_state_dict(here.state_dict())
        assert np.array_equal(here.action_masks, there.action_masks)
        actions = here.action_masks.argmax(axis=-1)
        for ours, theirs in zip(here.step(actions), there.step(actions), strict=True):
            assert np.array_equal(ours, theirs)
        assert np.array_equal(here.next_action_masks, there.next_action_masks)


@pytest.mark.torture
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_to_all_processes_saves_and_leaves_none(
    number: int,
    code: int,
    workers: int,
    forks: Any,
    out: Path,
    wait_for: Any,
    results: Any,
    small: Callable[..., Run],
    tmp_path: Path,
) -> None:
    options = RUN | {"steps": 6_000}
    child = forks.train("random-probe", **options, env_workers=2, workers=workers, out=out)
    wait_for(lambda: bool(list(out.glob("*/checkpoints/seed-000/*.npz"))))
    os.killpg(child.pid, number)
    assert child.wait(30) == code, child.output + child.errors
    assert "everything is saved" in child.output
    assert child.group_is_gone(5)
    expected = results(small("random-probe", **options, out=tmp_path / "one").folder)
    assert results(small("random-probe", **options, out=out).folder) == expected


def test_a_close_that_hangs_in_the_checks_is_a_warning() -> None:
    with pytest.warns(RlkitWarning, match=r"HangsInClose.*: close did not return within 0.3 s"):
        checked = Pool(locate(f"{ENVIRONMENTS}:HangsInClose"), 1, 0.3).checked()
    assert checked.repeatability.reproducible
