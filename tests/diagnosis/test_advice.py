"""The agent, the settings and the command that the doctor advises."""

from __future__ import annotations

import gymnasium as gym
import pytest

from rlkit.diagnosis.advice import Plan, choose_plan, choose_steps
from rlkit.environments.resolve import locate
from tests.diagnosis.planted import LargeActions, Masked, Walk


@pytest.mark.parametrize(
    ("env", "codes", "facts", "command"),
    [
        ("FrozenLake-v1", [], {}, "rlkit train q-learning E"),
        ("CartPole-v1", [], {}, "rlkit train ppo E"),
        ("CartPole-v1", ["observation-badly-scaled"], {}, "rlkit train ppo E"),  # has a preset
        ("Taxi-v4", [], {"offers_masks": True}, "rlkit train q-learning E"),  # its table is faster
        (Masked, [], {"offers_masks": True}, "rlkit train ppo E --action-masks"),
        (Masked, ["mask-invalid"], {"offers_masks": True}, "rlkit train ppo E"),
        (Walk, ["reward-large"], {}, "rlkit train ppo E --scale-rewards"),
        (Walk, [], {"random_return": -900.0}, "rlkit train ppo E --scale-rewards"),
        (Walk, ["observation-badly-scaled"], {}, "rlkit train ppo E --normalise-observations"),
        (LargeActions, ["action-range"], {}, "rlkit train ppo E --rescale-actions"),
    ],
)
def test_the_plan_fits_spaces_and_findings(
    env: str | type[gym.Env], codes: list[str], facts: dict[str, object], command: str
) -> None:
    plan = choose_plan(locate(env), codes, facts)
    assert plan.as_command("E", {}, None) == command


def test_workers_are_advised_where_steps_are_slow_and_processes_can_make_it() -> None:
    slow = choose_plan(locate(Walk), ["slow-steps"], {})
    assert slow.arguments["env_workers"] >= 1
    assert not choose_plan(locate(Walk), ["slow-steps", "cannot-be-sent"], {}).arguments


def test_a_command_is_quoted_and_a_call_is_python() -> None:
    plan = Plan("ppo", {"action_masks": True}, {"scale_rewards": True})
    args = {"name": "north", "size": 3}
    assert plan.as_command("my envs.py:Grid", args, 7) == (
        "rlkit train ppo 'my envs.py:Grid' --env-arg 'name=\"north\"' --env-arg size=3 --steps 7 "
        "--action-masks --scale-rewards"
    )
    call = plan.as_call("env", args, 7)
    assert call == (
        "rlkit.train(\"ppo\", env, env_args={'name': 'north', 'size': 3}, steps=7, "
        "action_masks=True, scale_rewards=True)"
    )
    compile(call, "", "eval")


@pytest.mark.parametrize(
    ("has_preset", "steps", "learned", "expected"),
    [
        (True, 50_000, False, None),
        (False, 0, None, None),
        (False, 30_000, True, None),
        (False, 100_000, True, None),
        (False, 120_000, True, 200_000),
        (False, 30_000, False, 300_000),
    ],
)
def test_the_budget_follows_from_the_probe(
    has_preset: bool, steps: int, learned: bool | None, expected: int | None
) -> None:
    assert choose_steps(Plan("ppo", has_preset=has_preset), steps, learned) == expected
