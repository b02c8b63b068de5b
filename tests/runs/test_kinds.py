"""A damaged record, or one of another version, is one sentence with the file and the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.errors import RlkitError, UsageError
from rlkit.runs.kinds import _COMMON
from rlkit.runs.record import read_record
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import load

KEYS = [*AGENT_RUN.keys, *_COMMON, "timing"]


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key: str, damaged: Callable[..., Path]) -> None:
    folder = damaged(**{key: ...})
    with pytest.raises(RlkitError, match=f"run.json .* it has no '{key}'"):
        load(folder)


ILL_TYPED = {
    "agent": [None, 3, "", ["ppo"]],
    "environment": [None, {}, ""],
    "env_args": [None, [], "a"],
    "config": ["a", [], 3],
    "experiment_seed": [None, "0", -1, 0.0, True, 10**30],
    "num_seeds": ["2", 0, 10**12, 1e400, None],
    "num_envs": [0, "1"],
    "num_env_steps": [None, 1.5, -1],
    "evaluate_every": [0, None],
    "evaluation_episodes": [None, "20"],
    "failures": [[], None, {"0": "text"}, {"x": {"message": "a", "exit_code": 1}}, {"0": {}}],
    "timing": [{}, None, [3], [{}], [{"seconds": "1", "env_steps": 1}]],
    "notes": ["note", [3]],
    "versions": [[], {"python": 3}],
    "status": ["done", None, []],
    "command": ["rlkit", [1]],
    "reproducible": ["yes", 1],
    "stepped_as": [None],
    "agent_source": [None],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in ILL_TYPED.items() for v in vs])
def test_a_value_of_another_type_is_named_with_the_expected_one(
    key: str, value: Any, damaged: Callable[..., Path]
) -> None:
    with pytest.raises(RlkitError, match=f"run.json, '{key}': expected .*, got "):
        load(damaged(**{key: value}))


def test_every_key_has_examples_of_what_it_must_not_hold() -> None:
    assert ILL_TYPED.keys() == set(KEYS)


def test_further_keys_and_failures_of_seeds_are_read(damaged: Callable[..., Path]) -> None:
    failures = {"1": {"message": "m", "exit_code": 2, "traceback": "t"}}
    run = load(damaged(more={"a": 1}, failures=failures))
    assert run.failures == {1: "m"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"gama": 0.9}, "no option 'gama'"),
        ({"discount": "high"}, "option discount .*got 'high'"),
        ({"discount": 1.5}, "option discount .*got 1.5"),
        ({"epsilon_steps": 1.5}, "option epsilon_steps"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_with_the_file(
    config: Any, message: str, damaged: Callable[..., Path]
) -> None:
    run = load(damaged(config=config))
    assert run.curve.shape[0] == 2  # what does not need the agent can still be read
    with pytest.raises(RlkitError, match=f"run.json, 'config': .*{message}"):
        run.actor()


def test_an_agent_that_is_not_known_is_named_with_the_file(damaged: Callable[..., Path]) -> None:
    with pytest.raises(RlkitError, match=r"run.json.*unknown agent 'Q-learning'.*'q-learning'"):
        load(damaged(agent="Q-learning")).actor()


def test_a_stored_configuration_is_that_of_the_run(damaged: Callable[..., Path]) -> None:
    spec = load(damaged()).spec
    assert spec.config.epsilon_steps == 500
    assert spec.num_env_steps == 600


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": 1', "[]", "3", "\x80", "[" * 100_000, '{"format": 2}', "null"]
)
def test_invalid_records_are_rejected_with_their_file(
    text: str, damaged: Callable[..., Path]
) -> None:
    folder = damaged()
    (folder / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RlkitError, match=r"run\.json"):
        read_record(folder, AGENT_RUN)


def test_a_file_is_not_the_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not the folder of a run"):
        read_record(tmp_path / "file", AGENT_RUN)
