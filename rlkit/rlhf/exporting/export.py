"""`export`: write a trained policy or reward model as a folder of transformers or peft.

folder = rlkit.rlhf.export(ppo, "my-policy")
transformers.AutoModelForCausalLM.from_pretrained(folder)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rlkit.determinism import prepared_torch
from rlkit.errors import RlkitError, UsageError
from rlkit.files import sync_folder, write_atomically
from rlkit.options import require_count
from rlkit.rlhf.exporting.card import model_card
from rlkit.rlhf.exporting.folders import (
    DTYPES,
    Request,
    write_adapters,
    write_classifier,
    write_policy,
)
from rlkit.rlhf.models.huggingface.folder import import_optional
from rlkit.rlhf.stages.loading import POLICY_PREFIX
from rlkit.rlhf.stages.stage_run import RunLike, StageRun, as_run
from rlkit.runs.integrity.trust import trusting
from rlkit.runs.places import writing


def export(
    run: RunLike,
    to: str | Path,
    *,
    adapter: bool = False,
    run_seed: int = 0,
    at: int | None = None,
    dtype: str | None = None,
    trust: bool = False,
) -> Path:
    """Write a trained policy or reward model as a folder that transformers or peft loads.

    A policy becomes a causal language model, a reward model a sequence classifier. The folder is
    read again before it gets its name, and its logits are compared with the run's.

    Args:
        run: the run or its folder.
        to: the folder to write, which must not exist, or be empty.
        adapter: write only the low-rank adapters, as a folder of peft, rather than the model with
            its adapters merged.
        run_seed: which seed of the run.
        at: the number of updates of a checkpoint of a policy; None = the end.
        dtype: "float32", "bfloat16" or "float16"; None = that of the pretrained model's folder.
        trust: run the code that the run names although it was not trained on this machine from it.

    Returns:
        The folder.

    Raises:
        UsageError: the folder is in use, or the run cannot be written in this form.
        RlkitError: what was written does not give what the run gives; then nothing is left of it.
    """
    run = as_run(run, (*POLICY_PREFIX, "reward"))
    require_count("run_seed", run_seed, at_least=0)
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"dtype (--dtype): expected {', '.join(DTYPES)}, got {dtype!r}")
    _require_fitting(run, adapter=adapter, at=at, dtype=dtype)
    import_optional("transformers")
    request = Request(run, run_seed, at, dtype)
    write = write_classifier if run.stage == "reward" else write_policy
    with prepared_torch(), trusting(trust), _new_folder(Path(to)) as folder:
        exported = (write_adapters if adapter else write)(request, folder)
        # save_pretrained of peft writes a card of its own.
        write_atomically(folder / "README.md", model_card(exported).encode())
    return Path(to)


def _require_fitting(run: StageRun, *, adapter: bool, at: int | None, dtype: str | None) -> None:
    if run.stage == "reward" and adapter:
        raise UsageError(
            f"{run.folder} is a reward model, whose head is no adapter: export the whole "
            "classifier, without --adapter"
        )
    if run.stage == "reward" and at is not None:
        raise UsageError("at (--at): a reward model is exported at its end; omit it")
    if adapter and dtype is not None:
        raise UsageError("dtype (--dtype): adapters stay float32, as they were trained; omit it")


@contextlib.contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    """Yield a folder to fill, which gets the name of `place` at the end, or is removed.

    Raises:
        UsageError: something is there, or it cannot be written.
    """
    is_empty_folder = place.is_dir() and not any(place.iterdir())
    if (place.exists() or place.is_symlink()) and not is_empty_folder:
        raise UsageError(
            f"--to {place}: it exists already, and an export overwrites nothing; give the name of "
            "a new folder, or remove it"
        )
    temporary = place.absolute().parent / f".{place.absolute().name[:60]}.{os.getpid()}.tmp"
    with writing(place, "--to"):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            os.replace(temporary, place)
            sync_folder(place.absolute().parent)
        except Exception as error:
            # The writer of safetensors reports a full disk by an error of its own.
            if type(error).__name__ == "SafetensorError":
                raise RlkitError(f"--to {place}: nothing was written: {error}") from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
