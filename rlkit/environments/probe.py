"""Probe one copy of an environment: reject what cannot be trained on, and describe the rest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces, wrappers
from gymnasium.wrappers.utils import RunningMeanStd

from rlkit.environments.copies import problem_of_closing
from rlkit.environments.spaces import require_supported, spaces_of
from rlkit.environments.stepping.checked import reading_attributes
from rlkit.environments.stepping.states import with_state
from rlkit.environments.views.masks import offers_masks
from rlkit.errors import UsageError
from rlkit.fingerprint import Fingerprint, fingerprint, identify
from rlkit.fingerprint.opened_files import reads_of
from rlkit.processes.calls import CALLS, RESET, Abandoned, describe_abandoned
from rlkit.tabular.reading.wrappers import layers_of, time_limit

# The classes of the latest copy of each environment that was probed.
_LAYERS: dict[str, list[type]] = {}


@dataclass(frozen=True)
class Probe:
    """The description of one copy of an environment.

    Args:
        observation_space: of one copy.
        action_space: of one copy.
        time_limit: the steps after which a wrapper truncates an episode, or None.
        has_table: whether it publishes an attribute `P`.
        offers_masks: whether it offers action masks.
        has_priors: whether it publishes an attribute `beta_priors`, as a drawn bandit does.
        details: spaces, registration, wrappers and data files as plain data, part of a run's
            identity.
        layers: the classes of its wrappers from the outside in, and of the environment.
        made_of: the fingerprint of these classes.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    time_limit: int | None
    has_table: bool
    has_priors: bool
    offers_masks: bool
    details: dict[str, Any]
    layers: list[type]
    made_of: Fingerprint


def probe(make: Callable[[], gym.Env[Any, Any]], reference: str) -> Probe:
    """Build one copy, reject it if it cannot be trained on, and describe it.

    Raises:
        UsageError: it is not an environment, its spaces are not supported, or it carries running
            statistics from episode to episode.
    """
    earlier = _LAYERS.get(reference)
    # Building a copy may change its classes.
    before = None if earlier is None else identify(earlier)
    with reads_of() as files:
        env = make()
    try:
        with reading_attributes(reference):
            return _described(env, reference, files, earlier, before)
    finally:
        problem_of_closing(env)  # training warns about it


def _described(
    env: Any,
    reference: str,
    files: Mapping[str, str],
    earlier: list[type] | None,
    before: Fingerprint | None,
) -> Probe:
    """Describe one copy of an environment.

    Args:
        env: what was built.
        reference: its name.
        files: the data files that its constructor read.
        earlier: the classes of the copy that was probed before.
        before: what those were made of before this one was built.
    """
    if not isinstance(env, gym.Env):
        raise UsageError(
            f"environment {reference}: expected a gymnasium.Env, got a {type(env).__name__}"
        )
    observation_space, action_space = spaces_of(env, reference)
    require_supported(reference, observation_space, action_space)
    layers = layers_of(env)
    _reject_statistics(layers, reference)
    # A first reset may read files that the constructor did not; training reports its errors.
    info: Any = None
    try:
        with reads_of() as later:
            CALLS.begin(RESET)
            _, info = env.reset(seed=0)
    except Abandoned as error:
        problem = describe_abandoned(error, "reset(seed=0)")
        raise UsageError(f"environment {reference}: {problem}") from error
    except KeyboardInterrupt:
        raise
    except BaseException:
        pass
    finally:
        CALLS.end()
    with_state(env)  # read here as well, so that an attribute that raises is known before a run
    limit = time_limit(layers)
    spec = getattr(env, "spec", None)
    classes = _LAYERS[reference] = list(map(type, layers))
    made_of = before if before is not None and earlier == classes else identify(classes)
    arguments = fingerprint(getattr(spec, "kwargs", None))
    details = {
        "observation_space": _describe_space(observation_space),
        "action_space": _describe_space(action_space),
        "time_limit": limit,
        "spec": getattr(spec, "id", None),
        "arguments": "" if arguments.unidentified else arguments.digest,
        "layers": [type(layer).__qualname__ for layer in layers],
        "made_of": "" if made_of.unidentified else made_of.digest,
        "data_files": sorted({**files, **later}.values()),
    }
    return Probe(
        observation_space=observation_space,
        action_space=action_space,
        time_limit=limit,
        has_table=_publishes(layers[-1], "P"),
        has_priors=_publishes(layers[-1], "beta_priors"),
        offers_masks=offers_masks(env, info),
        details=details,
        layers=classes,
        made_of=made_of,
    )


def _publishes(env: gym.Env[Any, Any], attribute: str) -> bool:
    try:
        return getattr(env, attribute, None) is not None
    except Exception:
        return True  # whatever reads it reports the error


def _describe_space(space: spaces.Space[Any]) -> str:
    """Return a space as text, with a digest of the bounds of a Box, which its text abbreviates."""
    if not isinstance(space, spaces.Box):
        return str(space)
    bounds = np.ascontiguousarray(space.low).tobytes() + np.ascontiguousarray(space.high).tobytes()
    return f"{space} {hashlib.sha256(bounds).hexdigest()[:16]}"


def told_apart(trained: str, now: str) -> tuple[str, str]:
    """Return two different descriptions of spaces as a reader needs them, without digests."""
    one, other = (re.sub(r" [0-9a-f]{16}$", "", text) for text in (trained, now))
    return one, f"{other} with other bounds" if one == other else other


def _reject_statistics(layers: list[Any], reference: str) -> None:
    for layer in layers:
        known = isinstance(layer, (wrappers.NormalizeObservation, wrappers.NormalizeReward))
        own = [
            name
            for name, value in getattr(layer, "__dict__", {}).items()
            if isinstance(value, RunningMeanStd)
        ]
        if not (known or own) or getattr(layer, "update_running_mean", True) is False:
            continue
        held = "" if known else f" (in {', '.join(own)})"
        raise UsageError(
            f"environment {reference}: {type(layer).__name__} keeps running statistics{held} that "
            "outlive an episode. Each copy would scale differently, evaluation would train them, "
            "returns would not be those of the environment, and a resumed run would start without "
            "them. Remove it; ppo has normalise_observations=True (--normalise-observations) and "
            "scale_rewards=True (--scale-rewards), which are kept per seed, saved with the run and "
            "frozen in evaluation. A wrapper whose update_running_mean is False may stay."
        )
