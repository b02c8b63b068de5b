"""The inputs of stages: what they hold, where they are found, and when they have changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.stage_run import StageRun
from tests.rlhf.stages.small_runs import MODEL, SHOWN, SMALL, TASK, UPDATES, lines, log_probs_of


def test_tied_embeddings_and_the_scale_of_weights_reach_the_model(out: Path) -> None:
    model = rlhf.ModelSource(width=64, num_layers=1, tied=True, init_std=0.08)
    how = {"num_demonstrations": 64, "num_epochs": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    run = rlhf.sft("enumerable", model=model, out=out, **how)
    _, policy = rlhf.load_policy(run, 0)
    assert policy.config.tied
    assert not hasattr(policy, "unembedding")
    # More than five standard errors of the deviation of 192 x 64 weights.
    weight = policy.blocks[0].attention.qkv.weight.detach()
    assert float(weight.std()) == pytest.approx(0.08, rel=0.04)


def test_a_moved_pair_of_runs_is_found(
    run: Callable[..., StageRun], parents: dict[str, StageRun], out: Path, tmp_path: Path
) -> None:
    import shutil

    run("sft", out=out, seeds=2)
    (sft,) = out.iterdir()
    done = rlhf.dpo(sft, out=out, **SMALL["dpo"])
    moved = tmp_path / "moved"
    shutil.move(out, moved)
    task, policy = rlhf.load_policy(StageRun(moved / done.folder.name), 0)
    assert np.isfinite(log_probs_of(policy, task)).all()


def test_a_run_stays_usable_when_its_texts_have_moved_but_not_when_they_changed(
    tmp_path: Path,
) -> None:
    rows = [{"prompt": p, "response": r} for p, r in SHOWN]
    texts, out = lines(tmp_path / "shown.jsonl", *rows), tmp_path / "runs"
    sft = rlhf.sft(demonstrations=texts, num_epochs=1, model=MODEL, out=out)
    before = rlhf.sample_run(sft, num=2)
    texts.rename(tmp_path / "elsewhere.jsonl")
    assert rlhf.sample_run(str(sft.folder), num=2) == before
    score = out / "score.py"
    score.write_text("def f(prompts, responses):\n    return [float(len(r)) for r in responses]\n")
    ppo = rlhf.ppo(sft, score=f"{score}:f", out=out, **UPDATES)
    assert ppo.status == "finished"
    assert rlhf.load_policy(ppo.folder)[0].prompt_length == 5
    lines(texts, *rows[:2])
    with pytest.raises(UsageError, match=r"the file of demonstrations, .* has changed"):
        rlhf.sample_run(sft, num=2)


def test_another_content_of_a_models_folder_is_another_run_and_another_place_is_not(
    hf: dict[str, Any], tmp_path: Path
) -> None:
    import shutil

    common = {"demonstrations": hf["shown"], "num_epochs": 1, "out": tmp_path / "runs"}
    copied = Path(shutil.copytree(hf["model"], tmp_path / "copied"))
    first = rlhf.sft(model=hf["model"], **common)
    assert rlhf.sft(model=copied, **common).folder == first.folder
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"resid_pdrop": 0.2}))
    assert rlhf.sft(model=copied, **common).folder != first.folder


def test_a_models_folder_that_changed_is_rejected_by_later_stages(
    hf: dict[str, Any], tmp_path: Path
) -> None:
    import shutil

    copied = Path(shutil.copytree(hf["model"], tmp_path / "copied"))
    sft = rlhf.sft(
        model=copied, demonstrations=hf["shown"], num_epochs=1, learning_rate=1e-4, out=tmp_path
    )
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"activation_function": "relu"}))
    with pytest.raises(UsageError, match=r"the model in .*copied has changed"):
        rlhf.sample_run(sft, num=1)


def test_a_models_folder_is_hashed_again_only_when_a_file_changed(
    hf: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copied = Path(shutil.copytree(hf["model"], tmp_path / "copied"))
    read: list[str] = []
    original = hashlib.file_digest

    def file_digest(file: Any, name: str) -> Any:
        read.append(Path(file.name).name)
        return original(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    source = rlhf.ModelSource(path=str(copied))
    first = source.with_digest().digest
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(read)
    num_files = len(read)
    assert source.with_digest().digest == first
    assert len(read) == num_files
    # Weights of the same size, written at another time.
    weights = copied / "model.safetensors"
    before, content = weights.stat().st_mtime_ns, weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(weights, ns=(before + 1, before + 1))
    assert source.with_digest().digest != first
    assert read[num_files:] == ["model.safetensors"]
    digests = [
        hashlib.sha256(path.read_bytes()).digest()
        for path in sorted(copied.iterdir())
        if path.name in read
    ]
    assert source.with_digest().digest == hashlib.sha256(b"".join(digests)).hexdigest()


@pytest.mark.slow
def test_parents_are_distinguished_by_content_whatever_their_folders_are_called(
    parents: dict[str, StageRun], tmp_path: Path
) -> None:
    import shutil

    other = rlhf.sft(TASK, model=MODEL, out=tmp_path, **SMALL["sft"] | {"num_epochs": 1})
    folders = [tmp_path / name / "base" for name in ("one", "two")]
    for run, folder in zip((parents["sft"], other), folders, strict=True):
        shutil.copytree(run.folder, folder)
    first, second = (rlhf.rloo(folder, out=tmp_path / "runs", **UPDATES) for folder in folders)
    assert first.folder != second.folder
    # A copy of a run under another name is still that run.
    known = rlhf.rloo(parents["sft"], out=tmp_path / "runs", **UPDATES)
    assert known.folder == rlhf.rloo(parents["sft"].folder, out=tmp_path / "runs", **UPDATES).folder


def test_a_negative_seed_of_a_parent_is_rejected(parents: dict[str, StageRun], out: Path) -> None:
    with pytest.raises(UsageError, match="parent_seed"):
        rlhf.rloo(parents["sft"], parent_seed=-1, out=out, **UPDATES)
    with pytest.raises(UsageError, match="not -1"):
        rlhf.sample_run(parents["sft"], num=1, run_seed=-1)
