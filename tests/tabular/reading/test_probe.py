"""The probe: what is played, and that every part of it is needed."""

import functools
import time
from typing import Any, ClassVar

import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from rlkit.tabular.reading import probe
from rlkit.tabular.reading.model import examine, find_mdp
from tests.tabular.table_envs import Corridor, Starts


def test_a_rare_start_is_seen_thanks_to_the_further_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Corridor:
        return Starts(None, [0.997, 0, 0, 0.003])

    assert examine(make).problem is not None
    monkeypatch.setattr(probe, "RESETS", probe.RESET_TRIAL)
    monkeypatch.setattr(probe, "STEPS", probe.STEP_TRIAL)
    assert examine(make).problem is None


@pytest.mark.slow
def test_the_best_policys_steps_see_what_random_ones_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from the start, where random play never comes, a certain table is wrong."""
    far = ["S" + "F" * 30 + "G"]

    class Ending(FrozenLakeEnv):
        def __init__(self) -> None:
            super().__init__(desc=far, is_slippery=False)

        def step(self, a: int) -> Any:
            s, reward, terminated, truncated, info = super().step(a)
            return s, 2 * reward, terminated, truncated, info

    make = functools.partial(wrappers.TimeLimit, max_episode_steps=60)
    problem = examine(lambda: make(Ending())).problem
    assert problem is not None
    assert "(31, 2, True), which P gives probability 0" in problem
    monkeypatch.setattr(probe, "EXPLORATION", 1.0)
    assert examine(lambda: make(Ending())).problem is None


# --- the probe ----------------------------------------------------------------------------------


class Recorded(Corridor):
    """Notes its resets and steps; may take its time over them."""

    seeds: ClassVar[list[Any]] = []
    num_steps: ClassVar[list[int]] = [0]
    pause = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.seeds.append(seed)
        time.sleep(10 * self.pause)
        return super().reset(seed=seed)

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.num_steps[0] += 1
        time.sleep(self.pause)
        return super().step(action)


@pytest.mark.slow
def test_every_reset_of_the_probe_has_a_seed_of_its_own_that_old_generators_take() -> None:
    Recorded.seeds.clear()
    Recorded.num_steps[0] = 0
    assert examine(Recorded).problem is None
    assert Recorded.num_steps[0] == 20_000
    first = list(Recorded.seeds)
    drawn = first[2:]  # one reset each reads where the two environments start
    assert len(drawn) > 2_000
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 for seed in drawn)
    assert len(set(drawn)) > 0.999 * len(drawn)
    Recorded.seeds.clear()
    examine(Recorded)
    assert Recorded.seeds == first


def test_a_slow_environment_has_a_short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded.seeds.clear()
    Recorded.num_steps[0] = 0
    monkeypatch.setattr(probe, "SLOW_STEP", 1e-5)
    monkeypatch.setattr(probe, "SLOW_RESET", 1e-4)
    monkeypatch.setattr(Recorded, "pause", 2e-5)
    assert examine(Recorded).problem is None
    assert Recorded.num_steps[0] == 2_000


def test_what_other_programs_delay_now_and_then_is_not_slow() -> None:
    pauses = iter([0.0] * 10 + [0.02] + [0.0] * 14)
    assert probe._seconds(lambda: time.sleep(next(pauses)), 25) < 1e-3
    assert probe._seconds(lambda: time.sleep(2e-3), 25) > 2e-3


def test_a_trap_does_not_hold_the_probe() -> None:
    """Half of the cells lead to one that is never left."""

    class Trap(Corridor):
        def __init__(self) -> None:
            super().__init__()
            for s, row in self.P.items():
                row[0] = [(1.0, 0, 0.0, False)]
                row[1] = [(1.0, 0 if s == 0 else min(s + 1, 3), float(s == 3), s == 3)]
            self.initial_state_distrib = [0, 0.5, 0.5, 0]
            self.starts = (1, 2)

        def step(self, action: int) -> Any:
            s = self.state
            self.state = 0 if s == 0 or action == 0 else min(s + 1, 3)
            ends = s == 3 and action == 1
            return self.state, float(ends), ends, False, {}

    made: list[Trap] = []

    def make() -> Trap:
        made.append(Trap())
        return made[-1]

    mdp = find_mdp(make)
    assert mdp is not None
    record = probe.play([make()], mdp)
    assert np.bincount(record.state).min() > 100  # of 5,000 steps
