"""Models of Stable-Baselines3 that are hardly trained."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

WITH_REPLAYS = ("DQN", "SAC", "TD3", "DDPG", "QRDQN", "TQC", "CrossQ")


def saved(folder: Path, algorithm: str, environment: str, **options: Any) -> tuple[Path, Any]:
    """Save an untrained model; return its file and the model."""
    import stable_baselines3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = hasattr(stable_baselines3, algorithm)
        library = stable_baselines3 if there else importlib.import_module("sb3_contrib")
        kind = getattr(library, algorithm)
        arch = {"policy_kwargs": {"net_arch": [8]}}
        more: dict[str, Any] = {"seed": 1, "device": "cpu"}
        more |= {"buffer_size": 10} if algorithm in WITH_REPLAYS else {}
        model = kind(options.pop("policy", "MlpPolicy"), environment, **{**arch, **more, **options})
        path = folder / "model.zip"
        model.save(path)
    return path, model
