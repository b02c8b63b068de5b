"""Pictures of observations, where an environment can draw the state that an observation is.

An environment says how by a method `render_observation(obs)`. Without one, the observation must be
the environment's whole state, `env.unwrapped.state` or `env.unwrapped.s`, as it is in CartPole and
in tables; that is checked on the steps of some episodes. Pictures are their own.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.determinism import apart
from rlkit.environments.environment import Environment
from rlkit.environments.views.observations import seen_by_agents
from rlkit.errors import RlkitError

Array = NDArray[Any]
Draw = Callable[[Array, "int | None"], "Array | None"]
_WIDTH = 320
_STEPS = 20  # on which it is checked that the state is the observation


def painter_of(environment: Environment | None, space: spaces.Space[Any]) -> Draw | None:
    """Return what draws an observation, or None where nothing can.

    It takes the observation and the number of the action before it, if there is one.

    Args:
        environment: that is trained on.
        space: of the observations as the agent sees them.
    """
    if is_picture(space):
        return lambda obs, action: obs
    if environment is None or environment.bins is not None:
        return None
    own = environment.probe.observation_space
    # Otherwise observations are numbers of states or flat rows to agents.
    if seen_by_agents(own) is not own or (isinstance(own, spaces.Discrete) and own.start != 0):
        return None
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    try:
        return apart(_painter, environment)
    except RlkitError:  # it takes no render_mode
        return None


def is_picture(space: spaces.Space[Any]) -> bool:
    """Return whether observations are pictures, [height, width] or with 1 or 3 channels."""
    shape = space.shape or ()
    is_bytes = isinstance(space, spaces.Box) and space.dtype == np.uint8
    return is_bytes and min(shape[:2], default=0) >= 8 and shape[2:] in ((), (1,), (3,))


def _painter(environment: Environment) -> Draw | None:
    env = environment.make(render_mode="rgb_array")
    env.reset(seed=0)
    inner: Any = env.unwrapped
    own = getattr(inner, "render_observation", None)
    if callable(own):
        return lambda obs, action: _picture(apart(own, obs))
    name = next((name for name in ("state", "s") if _is_state(env, name)), None)
    if name is None:
        return None
    env.reset(seed=0)

    def draw(obs: Array, action: int | None) -> Array | None:
        setattr(inner, name, _like(getattr(inner, name), obs))
        if hasattr(inner, "lastaction"):  # which way a figure in a table looks
            inner.lastaction = action
        return _picture(apart(env.render))

    return draw


def _like(state: Any, obs: Array) -> Any:
    """Return an observation in the type of a state."""
    if isinstance(state, np.ndarray):
        return np.asarray(obs, state.dtype)
    return int(obs) if np.ndim(obs) == 0 else type(state)(np.asarray(obs, np.float64).tolist())


def _is_state(env: Any, name: str) -> bool:
    """Return whether an attribute is the observation, at each of some steps."""
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    for _ in range(_STEPS):
        state = getattr(env.unwrapped, name, None)
        if not isinstance(state, tuple | list | np.ndarray | int | np.integer):
            return False
        if np.shape(state) != np.shape(obs) or not np.allclose(state, obs, rtol=1e-5, atol=1e-6):
            return False
        obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            obs, _ = env.reset()
    return True


def _picture(frame: Any) -> Array | None:
    """Return a frame if it is one, [height, width, 3] of bytes."""
    frame = np.asarray(frame)
    good = frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[-1] == 3
    return frame if good else None


def png_of(picture: Array) -> str:
    """Return a picture as a data URI, at most 320 pixels wide."""
    from PIL import Image

    if picture.ndim == 3 and picture.shape[-1] == 1:
        picture = picture[..., 0]
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.width > _WIDTH:
        image = image.resize((_WIDTH, max(1, round(image.height * _WIDTH / image.width))))
    elif image.width < _WIDTH // 2:  # as small as observations are, no pixel is blurred
        times = _WIDTH // 2 // image.width + 1
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
