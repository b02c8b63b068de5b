"""The kind of run that trains an agent: the keys of its run.json, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlkit.runs.kinds import MAPPING, NAME, TEXT, TEXTS, RunKind, whole

_RULES = ("until_return", "patience")
_DETAILS = {"observation_space", "action_space", "time_limit", "spec", "layers"}


def _is_reference(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        return False
    number = value[1]
    return isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) < 1e300


def _is_binning(value: Any) -> bool:
    if not (isinstance(value, dict) and value.keys() == {"bins", "low", "high"}):
        return False
    return all(
        isinstance(numbers, list)
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
        for numbers in value.values()
    )


def _is_stop(value: Any) -> bool:
    """Return whether a value holds the rules that may end a run, as `StopRules.identity`."""
    if not (isinstance(value, dict) and {"num_seeds"} < value.keys() <= {"num_seeds", *_RULES}):
        return False
    low = value.get("until_return", 0.0)
    known = isinstance(low, int | float) and not isinstance(low, bool) and abs(low) < 1e300
    counts = [whole(1)[1](value.get(name, 1)) for name in ("num_seeds", "patience")]
    return known and all(counts)


def _is_stopped(value: Any) -> bool:
    if not (isinstance(value, dict) and value.keys() == {"at", "by", "reason"}):
        return False
    return whole(1)[1](value["at"]) and all(isinstance(value[k], str) for k in ("by", "reason"))


def _are_texts(*keys: str) -> Callable[[Any], bool]:
    """Return whether a value is an object with these keys, all of which are texts."""

    def are_texts(value: Any) -> bool:
        if not (isinstance(value, dict) and value.keys() == set(keys)):
            return False
        return all(isinstance(text, str) for text in value.values())

    return are_texts


AGENT_RUN = RunKind(
    name=None,
    # Format 2: episodes are reset with integers below 2^31, and the identity holds what the
    # environment is made of.
    format=2,
    older_formats={1: "which seeded episodes with other integers"},
    counter="num_env_steps",
    crash_hint=(
        ". If the environment ends it again, --env-workers 1 (env_workers=1) steps it in a process "
        "of its own and names the step"
    ),
    unit="environment steps",
    keys={
        "agent": NAME,
        "agent_source": TEXT,
        "environment": NAME,
        "env_args": MAPPING,
        "stepped_as": NAME,
        "config": ("an object or null", lambda value: value is None or isinstance(value, dict)),
        "num_env_steps": whole(1),
        "num_envs": whole(1),
        "evaluate_every": whole(1),
        "evaluation_episodes": whole(0),
    },
    optional_keys={  # runs of format 2 have them
        "agent_reference": TEXT,
        "environment_source": TEXT,
        "environment_details": (
            f"an object with {', '.join(sorted(_DETAILS))}",
            lambda value: isinstance(value, dict) and value.keys() >= _DETAILS,
        ),
        "binning": ("an object with lists of numbers bins, low and high", _is_binning),
        "rescale_actions": ("true", lambda value: value is True),
        "action_masks": ("true", lambda value: value is True),
        "keep_best": ("true", lambda value: value is True),
        "stop": (f"an object with num_seeds and {' or '.join(_RULES)}", _is_stop),
        "stopped": ("an object with a whole number at and texts by and reason", _is_stopped),
        "reward": ("an object with texts name and source", _are_texts("name", "source")),
        **dict.fromkeys(
            ("reference", "init"),
            (
                "an object with texts kind, activation and sha256",
                _are_texts("kind", "activation", "sha256"),
            ),
        ),
        "demonstrations": ("an object with text sha256", _are_texts("sha256")),
        "caveats": TEXTS,
        "sources": (
            "an object of digests by path",
            lambda value: (
                isinstance(value, dict)
                and all(
                    isinstance(one, str) and one.isprintable() for one in [*value, *value.values()]
                )
            ),
        ),
        "references": (
            "a list of [name, number]",
            lambda value: isinstance(value, list) and all(map(_is_reference, value)),
        ),
    },
    surplus="its rows and scores are shown up to the requested {target:,}",
    others={
        "stage": "is the run of a stage of RLHF, {stage!r} on {label!r}: it has no agent and no "
        "environment; use `rlkit rlhf evaluate`, `sample` or `export`, or in Python "
        "rlkit.rlhf.stages.stage_run.load_stage_run"
    },
    worker_imports=("rlkit.training.seed_trainer",),
    late_imports=("rlkit.analysis.plots",),
)
