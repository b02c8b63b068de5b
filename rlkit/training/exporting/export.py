"""`export`: write runs in the formats of other programs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.errors import UsageError, missing_extra
from rlkit.files import write_atomically
from rlkit.options import require_count
from rlkit.runs.places import require_place, writing
from rlkit.training.exporting import arrays
from rlkit.training.exporting.card import model_card
from rlkit.training.run import Run, load
from rlkit.training.watching.watch import Watching

if TYPE_CHECKING:
    from rlkit.training.playing.agent import AgentLike

Place = str | Path | None


def export(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    card: Place = None,
    rliable: Place = None,
    evaluations: Place = None,
    safetensors: Place = None,
    onnx: Place = None,
    tensorboard: Place = None,
    tensorboard_seeds: bool = False,
    seed: int = 0,
    agent: AgentLike | None = None,
    trust: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write finished runs in the formats of other programs.

    Args:
        runs: one; for `rliable` and `tensorboard` any number.
        card: .md, a model card with the mean over seeds and its interval.
        rliable: .npz, final scores [seeds, environments] of each agent.
        evaluations: .npz, the curve as Stable-Baselines3's evaluation callback stores it; its
            results hold one value per seed.
        safetensors: .safetensors, what the agent of one seed ended with; needs the extra `hf`.
        onnx: .onnx, the greedy policy of one seed, from the environment's own observations to its
            actions, checked against the actor; needs the extra `onnx`.
        tensorboard: a folder, in which each run gets one with event files, as `train` writes them:
            mean and interval of each metric over seeds; needs the extra `tensorboard`.
        tensorboard_seeds: also write a scalar for each seed there.
        seed: of `safetensors` and `onnx`.
        agent: the user's own agent, if run.json does not name it.
        trust: run the code that the run names although it was not trained on this machine from it.
        note: is called with what the check of a file showed.

    Returns:
        the files, and the folders of `tensorboard`.

    Raises:
        UsageError: no format was named, a place cannot be written, or a run lacks what it needs.
        RlkitError: the graph of `onnx` acts differently from the actor.
    """
    several = [runs] if isinstance(runs, Run | str | Path) else list(runs)
    wanted: list[tuple[str, Path, str, Callable[[list[Run]], bytes]]] = []
    for option, place, suffix, write in (
        ("--card", card, ".md", lambda opened: model_card(_one(opened, "card")).encode()),
        ("--rliable", rliable, ".npz", lambda opened: _npz(arrays.rliable_scores(opened))),
        ("--evaluations", evaluations, ".npz", _evaluations),
        ("--safetensors", safetensors, ".safetensors", lambda opened: _tensors(opened, seed)),
        ("--onnx", onnx, ".onnx", lambda opened: _onnx(opened, seed, note)),
    ):
        if place is not None:
            wanted.append((option, Path(place), suffix, write))
    if not wanted and tensorboard is None:
        raise UsageError(
            "export: name at least one format: --card FILE.md, --rliable FILE.npz, --evaluations "
            "FILE.npz, --safetensors FILE.safetensors, --onnx FILE.onnx or --tensorboard DIR; in "
            "Python card='FILE.md' and so on"
        )
    watching = Watching(tensorboard=tensorboard, tensorboard_seeds=tensorboard_seeds)
    seed = require_count("seed", seed, at_least=0)
    for option, path, suffix, _ in wanted:
        require_place(path, option, (suffix,))
    _require_own_places({option: path for option, path, _, _ in wanted})
    opened = [
        run if isinstance(run, Run) else load(run, agent=agent, trust=trust) for run in several
    ]
    for run in opened:
        watching.require(run.folder)
    contents = [write(opened) for _, _, _, write in wanted]
    for (option, path, _, _), content in zip(wanted, contents, strict=True):
        with writing(path, option):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
    return [path for _, path, _, _ in wanted] + watching.write(opened)


def _require_own_places(paths: Mapping[str, Path]) -> None:
    """Require a file for each format."""
    taken: dict[Path, str] = {}
    for option, path in paths.items():
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise UsageError(
                f"export: {option} and {other} are both {path}; each format needs a file of its own"
            )


def _one(runs: Sequence[Run], option: str) -> Run:
    if len(runs) != 1:
        raise UsageError(f"export: --{option} is of one run, got {len(runs)}")
    return runs[0]


def _evaluations(runs: Sequence[Run]) -> bytes:
    content = arrays.evaluations(_one(runs, "evaluations"))
    return _npz({**content, "ep_lengths": np.full_like(content["results"], np.nan)})


def _npz(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **content)
    return buffer.getvalue()


def _tensors(runs: Sequence[Run], seed: int) -> bytes:
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise missing_extra("export: --safetensors", "hf", error) from error
    content, about = arrays.tensors(_one(runs, "safetensors"), seed)
    data: bytes = save(content, metadata=about)
    return data


def _onnx(runs: Sequence[Run], seed: int, note: Callable[[str], None]) -> bytes:
    from rlkit.training.exporting.onnx_policy import onnx_policy

    content, checked = onnx_policy(_one(runs, "onnx"), seed)
    note(f"--onnx: {checked}")
    return content
