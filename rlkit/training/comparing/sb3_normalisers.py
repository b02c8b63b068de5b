"""The statistics of VecNormalize, through which many models of Stable-Baselines3 see observations.

They are in a file of their own, beside the model or anywhere, and a model that is judged without
them gets a wrong score that looks like any other. So a model is rejected where its file says that
it was trained through a VecNormalize, or where one lies beside it and its file does not say, unless
the statistics are given or `none` is.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.errors import UsageError

Array = NDArray[Any]
Space = spaces.Space[Any]

NONE = "none"  # in the place of a file: the model saw observations as they are
# vecnormalize.pkl, vec_normalize.pkl, model_vecnormalize_1000_steps.pkl
_NAMES = re.compile(r"vec_?normali[sz]e.*\.pkl$", re.IGNORECASE)
_FOLDERS_SEARCHED = 100
# Their files have the observation before normalisation only where there was one; those of the
# others always have it.
_TELLING = ("a2c", "ars", "ppo", "trpo")


def normaliser_remarks(
    path: Path, algorithm: str, data: Mapping[str, Any], given: str | None
) -> list[str]:
    """Return what a reader must know of the statistics with which a model is judged.

    Args:
        path: of the model.
        algorithm: its name.
        data: the JSON of its file.
        given: a file of statistics, "none", or None where the user said nothing.

    Raises:
        UsageError: the user said nothing, and the model was or may have been trained with some.
    """
    saw = _was_normalised(algorithm, data)
    if given is not None and given != NONE:
        return [] if saw is not False else [
            f"{path.name} is judged with the statistics of {Path(given).name}, although its file "
            "says that it was trained without VecNormalize"
        ]  # fmt: skip
    if given == NONE:
        return [] if not saw else [
            f"{path.name} was trained through a VecNormalize and is judged without its statistics, "
            "as --vecnormalize none says: right only if it normalised rewards alone"
        ]  # fmt: skip
    folder = path.absolute().parent
    beside = None if saw is False else next(_normalisers_in(folder), None)
    if saw or beside is not None:
        reason = (
            "was trained through a VecNormalize"
            if saw or beside is None
            else "may have been trained through the VecNormalize of "
            f"{beside.relative_to(folder).as_posix()}, which lies beside it"
        )
        raise _missing(path, reason, beside)
    if saw is None and data.get("_last_obs") is not None and _has_numbers(data):
        return [
            f"a file of {algorithm.upper()} does not say whether the model was trained through a "
            f"VecNormalize; {path.name} is judged without one"
        ]
    return []


def _missing(path: Path, reason: str, beside: Path | None = None) -> UsageError:
    return UsageError(
        f"the model {path} {reason}: without its statistics it sees other numbers than in "
        f'training. Give their file in the same word, as in "sb3:{path} --vecnormalize '
        f'{_beside(path, beside)}", or --vecnormalize none if observations were not normalised '
        "(norm_obs=False)"
    )


def require_unnormalised(path: Path, loaded: Any) -> None:
    """Require that the last observation of a loaded model has the type of its space.

    That of a VecNormalize is always float32, whatever the space, which is float64 in MuJoCo. So
    this finds some of the models whose file does not say.

    Raises:
        UsageError: it has another type.
    """
    last, space = getattr(loaded, "_last_obs", None), loaded.observation_space
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    for key, part in parts.items():
        value = last.get(key) if isinstance(last, Mapping) else last
        seen = getattr(value, "dtype", part.dtype)
        if isinstance(part, spaces.Box) and part.dtype == np.float64 and seen == np.float32:
            where = f" at {key!r}" if key else ""
            raise _missing(
                path,
                "was probably trained through a VecNormalize, as the last observation in its file "
                f"is float32 where its space is float64{where}",
            )


def _beside(path: Path, normaliser: Path | None) -> Path:
    """Return a file of statistics as a user would name it who named the model so."""
    if normaliser is None:
        return path.with_name("vecnormalize.pkl")
    return path.parent / normaliser.relative_to(path.absolute().parent)


def _was_normalised(algorithm: str, data: Mapping[str, Any]) -> bool | None:
    """Return whether the file says that the model saw a VecNormalize; None where it cannot say."""
    if algorithm not in _TELLING or data.get("_last_obs") is None:  # the latter: never trained
        return None
    return data.get("_last_original_obs") is not None


def _has_numbers(data: Mapping[str, Any]) -> bool:
    """Return whether observations have a part that VecNormalize can normalise."""
    space = data.get("observation_space")
    kind = str(space.get(":type:", "")) if isinstance(space, Mapping) else ""
    return not any(f".{name}'" in kind for name in ("Discrete", "MultiDiscrete", "MultiBinary"))


def _normalisers_in(folder: Path) -> Iterator[Path]:
    """Yield files of VecNormalize in a folder and its folders, where the zoo has them."""
    try:
        inside = sorted(folder.iterdir())
        for place in (folder, *[one for one in inside if one.is_dir()][:_FOLDERS_SEARCHED]):
            yield from (one for one in sorted(place.iterdir()) if _NAMES.search(one.name))
    except OSError:  # what cannot be read is not searched
        return


class Normaliser:
    """What a VecNormalize does to observations, with its statistics as they are.

    Args:
        path: of its file, which is unpickled; None where observations are not normalised.

    Raises:
        UsageError: the file has something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._wrapper = path, None
        if path is None:
            return
        from stable_baselines3.common.vec_env import VecNormalize

        try:
            with path.open("rb") as file:
                wrapper = pickle.load(file)
        except Exception as error:  # whatever the pickle raises
            raise UsageError(
                f"the statistics {path} cannot be loaded: {error!r:.300}; expected the file that "
                "VecNormalize.save wrote"
            ) from error
        if not isinstance(wrapper, VecNormalize):
            raise UsageError(
                f"the statistics {path}: expected a VecNormalize, as its method save writes it, "
                f"got {type(wrapper).__name__}"
            )
        self._wrapper = wrapper

    def space(self, observations: Space) -> Space:
        """Return the space of its results, which differs from that of observations for images.

        Raises:
            UsageError: the statistics are of other observations.
        """
        wrapper = self._wrapper
        if wrapper is None or not wrapper.norm_obs:
            return observations
        parts = observations.spaces if isinstance(observations, spaces.Dict) else observations
        own = wrapper.obs_rms
        shapes = {
            key: own.mean.shape
            for key, own in (own if isinstance(own, dict) else {"": own}).items()
        }
        there = {
            key: part.shape
            for key, part in (parts if isinstance(parts, Mapping) else {"": parts}).items()
            if key in shapes
        }
        if shapes != there:
            raise UsageError(
                f"the statistics {self._path} are of observations of shape {_listed(shapes)}, and "
                f"those of the environment are {observations}"
            )
        if not isinstance(observations, spaces.Dict):
            return _normalised(observations, wrapper.clip_obs)
        return spaces.Dict(
            {
                key: _normalised(part, wrapper.clip_obs) if key in shapes else part
                for key, part in observations.items()
            }
        )

    def __call__(self, observations: Any) -> Any:
        """Return observations [M, ...], or one array per key, as the model sees them."""
        if self._wrapper is None:
            return observations
        return self._wrapper.normalize_obs(observations)


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{shape} at {key!r}" if key else f"{shape}" for key, shape in shapes.items())


def _normalised(space: Space, most: float) -> Space:
    """Return the space of a normalised part: that of numbers is kept, that of images is not."""
    from stable_baselines3.common.preprocessing import is_image_space

    if not is_image_space(space):
        return space
    return spaces.Box(-most, most, space.shape, np.float32)
