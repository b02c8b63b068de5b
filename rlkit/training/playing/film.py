"""Animated gifs of episodes of a trained policy."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from rlkit.environments.copies import problem_of_closing
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.masks import MaskReader
from rlkit.errors import RlkitError, UsageError
from rlkit.files import write_atomically
from rlkit.options import require_count, require_seconds
from rlkit.processes.calls import RESET, STEP, Abandoned, describe_abandoned, noted
from rlkit.runs.places import require_place, writing
from rlkit.seeding import SeedStreams
from rlkit.training.playing.deployed import SingleActor
from rlkit.training.playing.frames import Array, new_frames, pictures
from rlkit.training.playing.policies import FINAL, Which
from rlkit.training.run import Run


@dataclass(frozen=True)
class Episode:
    """One filmed episode."""

    images: list[Array]  # [height, width, 3] each, of one size
    milliseconds: int  # that each picture is shown
    every: int  # how many steps lie between two pictures
    num_steps: int
    episode_return: float


def watch(
    run: Run,
    path: Path,
    *,
    seed: int = 0,
    episode: int = 0,
    max_steps: int = 500,
    which: Which = FINAL,
    env_timeout: float = ENV_TIMEOUT,
) -> tuple[int, float]:
    """Write an animated gif of one greedy episode of the original environment.

    Args:
        run: the run whose policy acts.
        path: of the gif.
        seed: which seed's policy.
        episode: which of the evaluation episodes, so that a film can be repeated.
        max_steps: the length at which filming stops.
        which: the "final" policy or the "best", of a run that kept it.
        env_timeout: seconds that a constructor, reset or step of the environment may take.

    Returns:
        the number of steps and the return.

    Raises:
        UsageError: an option or the place of the gif cannot be used, or the environment returns
            no pictures.
        RlkitError: filming failed.
    """
    require_place(path, "--gif", (".gif",))
    filmed = film(
        run,
        seed=seed,
        episode=episode,
        max_steps=max_steps,
        which=which,
        env_timeout=env_timeout,
    )
    _write(filmed.images, path, filmed.milliseconds)
    return filmed.num_steps, filmed.episode_return


def film(
    run: Run,
    *,
    seed: int = 0,
    episode: int = 0,
    max_steps: int = 500,
    max_pictures: int | None = None,
    which: Which = FINAL,
    env_timeout: float = ENV_TIMEOUT,
) -> Episode:
    """Return the pictures of one greedy episode; errors and other arguments are those of `watch`.

    Args:
        max_pictures: how many are kept, at equal distances and with the end; None = all.
    """
    seed = require_count("seed", seed, at_least=0)
    episode = require_count("episode", episode, at_least=0)
    max_steps = require_count("max_steps", max_steps, at_least=1)
    # Gymnasium draws with pygame, which otherwise needs a screen.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    actor = run.actor(seed, which=which)
    with watched(require_seconds("env_timeout", env_timeout)):
        return _film(run, actor, seed, episode, max_steps, max_pictures)


def _film(
    run: Run,
    actor: SingleActor,
    seed: int,
    episode: int,
    max_steps: int,
    max_pictures: int | None,
) -> Episode:
    try:
        env = run.environment.make(render_mode="rgb_array")
    except UsageError as error:
        raise UsageError(
            'to be filmed, an environment must accept render_mode="rgb_array" and return pictures '
            f"from render(): {error}"
        ) from error
    try:
        streams = SeedStreams(run.spec.experiment_seed, seed)
        with noted(RESET):
            obs, info = env.reset(seed=streams.episode_seed("evaluation", episode, 0))
            frames, total, steps, every = new_frames(env), 0.0, 0, 1
        read_mask = MaskReader(ActionLayout(env.action_space)) if run.spec.action_masks else None
        for _ in range(max_steps):
            masks = None if read_mask is None else read_mask(env, info)
            action = actor.act(obs, masks)
            with noted(STEP):
                obs, reward, terminated, truncated, info = env.step(action)
                total, steps = total + float(reward), steps + 1
                ended = terminated or truncated or steps == max_steps
                if ended or steps % every == 0:
                    frames += new_frames(env)
            if ended:
                break
            if max_pictures is not None and len(frames) > max_pictures:
                frames, every = frames[::2], 2 * every
        images = pictures(frames)
    except UsageError as error:
        raise UsageError(f"filming {run.environment.reference}: {error}") from error
    except Abandoned as error:
        text = describe_abandoned(error, "reset, step or render")
        raise RlkitError(f"filming {run.environment.reference}: {text}") from error
    except Exception as error:
        if isinstance(error, RlkitError):
            raise
        raise RlkitError(
            f"filming {run.environment.reference} failed: {error!r}; pictures of Gymnasium's own "
            "environments need the extra `render`: pip install 'rlkit[render]'"
        ) from error
    finally:
        milliseconds = _frame_duration(env)
        problem_of_closing(env)
    return Episode(images, milliseconds * every, every, steps, total)


def _write(images: list[Array], path: Path, milliseconds: int) -> None:
    from PIL import Image

    first, *others = [Image.fromarray(image) for image in images]
    buffer = io.BytesIO()
    first.save(buffer, "gif", save_all=True, append_images=others, duration=milliseconds, loop=0)
    with writing(path, "--gif"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _frame_duration(env: gym.Env[Any, Any]) -> int:
    """Return milliseconds per frame; most viewers show at most 50 frames per second."""
    try:
        fps = float(env.metadata.get("render_fps") or 30)
    except (AttributeError, TypeError, ValueError):
        fps = 30.0
    return max(20, round(1000 / fps)) if math.isfinite(fps) and fps >= 0.1 else 33
