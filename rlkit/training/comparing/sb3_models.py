"""Models that were trained with Stable-Baselines3: their files, and their policies as an actor.

A file is a zip whose "data" is JSON with pickled Python objects in it, so that loading it runs
code. The algorithm and the steps of its training are read from the JSON alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.views.observations import seen_by_agents
from rlkit.errors import UsageError, missing_extra
from rlkit.runs.integrity.trust import require_trusted
from rlkit.spelling import closest
from rlkit.training.comparing.sb3_normalisers import (
    NONE,
    Normaliser,
    normaliser_remarks,
    require_unnormalised,
)
from rlkit.training.comparing.sb3_observations import (
    channels_first,
    decoder,
    same_observations,
    same_space,
    unsupported_part,
)

Array = NDArray[Any]
Space = spaces.Space[Any]

SB3 = "sb3:"
# Algorithms, and an entry that only their files have, the first that fits.
_MARKS = (
    ("trpo", "cg_max_steps"),
    ("ars", "n_delta"),
    ("tqc", "top_quantiles_to_drop_per_net"),
    ("ppo", "clip_range"),
    ("dqn", "exploration_fraction"),
    ("td3", "policy_delay"),  # DDPG is the same with other options
    ("sac", "target_entropy"),
    ("a2c", "gae_lambda"),
)
# The same by the module of the policy, where no entry tells.
_POLICIES = (("qrdqn", "sb3_contrib.qrdqn"), ("crossq", "sb3_contrib.crossq"))
_CLASSES = {name: name.upper() for name in ("a2c", "ddpg", "dqn", "ppo", "sac", "td3")}
_CONTRIB = {"ars": "ARS", "crossq": "CrossQ", "qrdqn": "QRDQN", "tqc": "TQC", "trpo": "TRPO"}
ALGORITHMS = tuple(sorted(_CLASSES | _CONTRIB))
# Policies that need more than an observation, by their modules.
_NEED_MORE = {
    "sb3_contrib.common.recurrent": "a recurrent policy, which needs its state of the step before",
    "sb3_contrib.common.maskable": "a maskable policy, which needs the mask of each observation",
}
# What only training needs; pickled functions of another version of Python need not be readable.
_ONLY_TRAINING = ("learning_rate", "lr_schedule", "clip_range", "exploration_schedule")
# A buffer of replays takes gigabytes, and that of hindsight asks for the environment.
_NO_REPLAYS: dict[str, Any] = {
    "buffer_size": 1,
    "replay_buffer_class": None,
    "replay_buffer_kwargs": {},
}


@dataclass(frozen=True)
class Sb3Model:
    """A file of one model.

    Args:
        path: of the zip.
        algorithm: one of ALGORITHMS.
        num_timesteps: environment steps of its training.
        digest: the sha256 of its bytes and of those of its normaliser.
        normaliser: the file of the VecNormalize through which it saw observations.
        is_plain: whether the user said that it saw observations as they are.
        remarks: what a reader of its score must know.
    """

    path: Path
    algorithm: str
    num_timesteps: int
    digest: str
    normaliser: Path | None = None
    is_plain: bool = False
    remarks: tuple[str, ...] = ()


def read_models(word: str, normalisers: Sequence[str] = ()) -> list[Sb3Model]:
    """Return the models that sb3:[ALGORITHM:]FILE.zip[,FILE.zip ...] names; nothing is unpickled.

    Args:
        word: beginning with sb3:.
        normalisers: a file of VecNormalize per model, "none" for one that saw observations as
            they are; a single "none" is for all.

    Raises:
        UsageError: a file is missing or no such model, the algorithm is not known, or statistics
            of VecNormalize are missing.
    """
    rest, algorithm = word.removeprefix(SB3), None
    before, colon, after = rest.partition(":")
    if colon and "/" not in before and "." not in before:
        algorithm, rest = before.lower(), after
        if algorithm not in ALGORITHMS:
            raise UsageError(
                f"{word}: expected the algorithm {', '.join(ALGORITHMS)}, got {before!r}."
                f"{closest(algorithm, ALGORITHMS)}"
            )
    names = [name for name in rest.split(",") if name]
    if not names:
        raise UsageError(f"{word}: expected a file, as in sb3:model.zip or sb3:ppo:model.zip")
    statistics: list[str | None] = [NONE if one.lower() == NONE else one for one in normalisers]
    if statistics == [NONE]:
        statistics *= len(names)
    if len(statistics) not in (0, len(names)):
        raise UsageError(
            f"{word}: each training has statistics of its own; expected {len(names)} files of "
            f"--vecnormalize, one for each model, with commas between, got {len(statistics)}"
        )
    models = [
        _read(Path(name), algorithm, of)
        for name, of in zip(names, statistics or [None] * len(names), strict=True)
    ]
    twice = [one.path for i, one in enumerate(models) if one.digest in _digests(models[:i])]
    if twice:
        raise UsageError(
            f"{word}: {twice[0]} has the content of another of the files, and a seed counts once"
        )
    return models


def _digests(models: Sequence[Sb3Model]) -> list[str]:
    return [one.digest for one in models]


def _read(path: Path, algorithm: str | None, statistics: str | None) -> Sb3Model:
    digest = hashlib.sha256()
    normaliser = None if statistics in (None, NONE) else Path(str(statistics))
    for file in (path, *([] if normaliser is None else [normaliser])):
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UsageError(f"the file {file} of a contender cannot be read: {reason}") from error
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
        steps = int(data["num_timesteps"])
        policy = str(data["policy_class"].get("__module__", ""))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise UsageError(
            f"{path} is no model of Stable-Baselines3: expected a zip file that model.save wrote "
            f"({error})"
        ) from error
    for module, need in _NEED_MORE.items():
        if policy.startswith(module):
            raise _needs_more(path, need)
    by_policy = next((name for name, module in _POLICIES if policy.startswith(module)), None)
    by_entry = next((name for name, mark in _MARKS if mark in data), None)
    known = algorithm or by_policy or by_entry
    if known is None:
        raise UsageError(
            f"{path}: its algorithm cannot be told from the file; name it, as in sb3:ppo:{path}"
        )
    remarks = normaliser_remarks(path, known, data, statistics)
    return Sb3Model(
        path=path,
        algorithm=known,
        num_timesteps=steps,
        digest=digest.hexdigest(),
        normaliser=normaliser,
        is_plain=statistics == NONE,
        remarks=tuple(remarks),
    )


def _needs_more(path: Path, need: str) -> UsageError:
    return UsageError(
        f"the model {path} has {need}; here a model gets observations alone. Judge it by "
        "evaluate_policy of its own library"
    )


def load_policy(model: Sb3Model, observations: Space, actions: Space) -> Any:
    """Return the actor of a model: its deterministic policy, as `evaluate_policy` plays it.

    Args:
        model: its file, which is unpickled.
        observations: of the environment.
        actions: of the environment.

    Raises:
        UsageError: the user does not trust the file, a package is missing, the file cannot be
            loaded, the model is for other spaces, or needs more than an observation.
    """
    require_trusted(
        f"{model.path} holds pickled Python objects, and loading them runs whatever code is in "
        "them; nothing shows who made the file"
    )
    with _own_generators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = _loaded(model)
        normalise = Normaliser(model.normaliser)
        seen = normalise.space(observations)
        _require_spaces(model.path, loaded, seen, actions)
        if model.normaliser is None and not model.is_plain:
            require_unnormalised(model.path, loaded)
        _require_plain(model.path, observations, actions)
        if loaded.predict(loaded.observation_space.sample(), deterministic=True)[1] is not None:
            raise _needs_more(model.path, _NEED_MORE["sb3_contrib.common.recurrent"])
    transpose = channels_first(loaded.observation_space, seen)
    decode = decoder(observations)
    return Sb3Actor(loaded, lambda obs: transpose(normalise(decode(obs))), observations, actions)


def _loaded(model: Sb3Model) -> Any:
    """Return the model in a file, without its replays."""
    place = "stable_baselines3" if model.algorithm in _CLASSES else "sb3_contrib"
    try:
        library = importlib.import_module(place)
    except ImportError as error:
        if place == "sb3_contrib":
            raise UsageError(
                f"the contender {SB3}{model.path} is a {model.algorithm.upper()} of sb3-contrib, "
                f"which cannot be imported ({error}); install it with: pip install sb3-contrib"
            ) from error
        raise missing_extra(f"the contender {SB3}{model.path}", "sb3", error) from error
    loader: Any = getattr(library, (_CLASSES | _CONTRIB)[model.algorithm])
    unused = {**dict.fromkeys(_ONLY_TRAINING, _zero), **_NO_REPLAYS}
    try:
        return loader.load(model.path, device="cpu", custom_objects=unused)
    except Exception as error:  # whatever the pickles in it raise
        raise UsageError(
            f"{model.path} cannot be loaded as a {model.algorithm.upper()} of {place} "
            f"{library.__version__}: {error!r:.300}{_hint(error)}"
        ) from error


def _hint(error: Exception) -> str:
    """Return what to do about an error of unpickling."""
    if str(getattr(error, "name", "")).partition(".")[0] == "gym":
        return (
            ". Stable-Baselines3 before 2.0 saved it with spaces of the package gym: pip install "
            "gym shimmy"
        )
    if isinstance(error, ImportError | AttributeError):
        return ". If it names a class of yours, put the folder of its file on PYTHONPATH"
    return ""


def _require_spaces(path: Path, loaded: Any, seen: Space, actions: Space) -> None:
    """Require that the spaces of a model are those of the environment."""
    for role, own, wanted, same in (
        ("observation", loaded.observation_space, seen, same_observations),
        ("action", loaded.action_space, actions, same_space),
    ):
        if not same(own, wanted):
            raise UsageError(
                f"the model {path} has the {role} space {own}, and the environment "
                f"{wanted}: it cannot act there"
            )


def _zero(_: float) -> float:
    return 0.0


@contextlib.contextmanager
def _own_generators() -> Iterator[None]:
    """Restore the global generators, which a model with a seed sets when it is loaded."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _require_plain(path: Path, observations: Space, actions: Space) -> None:
    """Reject spaces whose values no model of Stable-Baselines3 sees or returns."""
    problem = unsupported_part(observations)
    if problem is not None:
        raise UsageError(
            f"the model {path} cannot see the observation space {observations}: {problem}, which "
            "Stable-Baselines3 does not support; give the environment in the wrapper in which it "
            "was trained"
        )
    kinds = (spaces.Discrete, spaces.MultiDiscrete)
    if not (isinstance(actions, spaces.Box | spaces.MultiBinary) or _starts_at_0(actions, *kinds)):
        raise UsageError(
            f"the model {path} has the action space {actions}, whose numbers do not start at 0, "
            "which Stable-Baselines3 does not support; give the environment in the wrapper in "
            "which it was trained"
        )


def _starts_at_0(space: spaces.Space[Any], *kinds: Any) -> bool:
    return isinstance(space, kinds) and not np.any(space.start)


class Sb3Actor:
    """The deterministic policy of a model over a grid [1, M].

    It has `probabilities` where observations and actions are discrete, so that its return is exact
    where the table is known.
    """

    def __init__(
        self, model: Any, see: Callable[[Array], Any], observations: Space, actions: Space
    ) -> None:
        """Take a model, and what makes its observations of those that agents of rlkit see."""
        self._model, self._see, self._dtype = model, see, actions.dtype
        is_discrete = isinstance(seen_by_agents(observations), spaces.Discrete)
        if is_discrete and isinstance(actions, spaces.Discrete):
            self._num_actions = int(actions.n)
            self.probabilities = self._probabilities

    def act(self, obs: Array) -> Array:
        """Return actions [1, M, ...] for observations [1, M, ...]."""
        actions, _ = self._model.predict(self._see(obs[0]), deterministic=True)
        # The switches of a MultiBinary space are floats there.
        return np.asarray(actions, dtype=self._dtype)[None]

    def _probabilities(self, obs: Array) -> Array:
        vectors: Array = np.eye(self._num_actions)[self.act(obs)]
        return vectors
