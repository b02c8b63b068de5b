"""Films an episode of a trained policy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError, UsageError
from rlkit.runs.run import Run
from rlkit.seeding import SeedStreams


def watch(
    run: Run, path: Path, *, seed: int = 0, episode: int = 0, max_steps: int = 500
) -> tuple[int, float]:
    """Write an animated gif of one greedy episode of the original environment.

    Args:
        run: the run whose policy acts.
        path: of the gif.
        seed: which seed's policy.
        episode: which of the episodes that evaluation uses, so that a film can be found again.
        max_steps: where to stop filming.

    Returns:
        the number of steps and the return.
    """
    from PIL import Image

    if path.suffix.lower() != ".gif":
        raise UsageError(f"--gif {path}: expected a name that ends in .gif")
    # Gymnasium draws with pygame, which otherwise looks for a screen.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    actor = run.actor(seed)
    try:
        env = run.environment.make(render_mode="rgb_array")
    except UsageError as error:
        raise UsageError(
            'to be filmed, an environment must accept render_mode="rgb_array" and return pictures '
            f"from render(): {error}"
        ) from error
    try:
        streams = SeedStreams(run.spec.experiment_seed, seed)
        obs, _ = env.reset(seed=streams.episode_seed("evaluation", episode, 0))
        frames, total, steps = [_frame(env)], 0.0, 0
        for _ in range(max_steps):
            obs, reward, terminated, truncated, _ = env.step(actor.act(obs))
            frames.append(_frame(env))
            total, steps = total + float(reward), steps + 1
            if terminated or truncated:
                break
    except Exception as error:
        if isinstance(error, RlkitError):
            raise
        raise RlkitError(
            f"filming {run.environment.reference} failed: {error!r}; pictures of Gymnasium's own "
            "environments need the extra `render`: pip install 'rlkit[render]'"
        ) from error
    finally:
        fps = float(env.metadata.get("render_fps") or 30)
        env.close()
    images = [Image.fromarray(frame) for frame in frames]
    # Most viewers play nothing faster than 50 frames a second.
    duration = max(20, round(1000 / fps))
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0)
    return steps, total


def _frame(env: gym.Env[Any, Any]) -> NDArray[np.uint8]:
    frame: Any = env.render()
    if frame is None or getattr(frame, "ndim", 0) != 3:
        raise UsageError(
            "the environment's render() returned no picture; it must support "
            'render_mode="rgb_array"'
        )
    return np.asarray(frame, dtype=np.uint8)
