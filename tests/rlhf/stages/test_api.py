"""The stages of RLHF as runs: the same bytes whatever happens, and what is rejected."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.runs.execution import Interrupted
from rlkit.runs.reports import Reports
from tests.rlhf.stages.small_runs import (
    NUM_UPDATES,
    PLUGIN,
    SMALL,
    STAGES,
    TASK,
    UPDATES,
    lines,
)
from tests.small_stage import stop_after

pytestmark = pytest.mark.slow

MOMENTS = {
    "in the third update": "call_at(Stage, 'update', 3, kill)",
    "in the second seed": "call_at(Stage, 'update', NUM_UPDATES + 4, kill)",
    "before the second checkpoint is renamed": "die_at(os, 'replace', 3)",
    "after it is renamed": "die_at(os, 'replace', 3, after=True)",
    "between row and checkpoint": "die_at(curves.CurveFile, 'sync', 2)",
}


@pytest.mark.claim(53)
@pytest.mark.parametrize("stage", STAGES)
def test_a_seed_has_the_same_bytes_alone_and_beside_another(
    stage: str, run: Callable[..., StageRun], out: Path, results: Any, undisturbed: Any
) -> None:
    alone = results(run(stage, out=out).folder)
    assert list(alone) == [0]
    assert alone[0] == undisturbed(stage)[0]
    assert undisturbed(stage)[0] != undisturbed(stage)[1]
    assert results(run(stage, out=out, seeds=2).folder) == undisturbed(stage)


@pytest.mark.parametrize("stage", [pytest.param("sft", marks=pytest.mark.torture), "ppo"])
def test_seeds_have_the_same_bytes_in_two_workers(
    stage: str, run: Callable[..., StageRun], out: Path, results: Any, undisturbed: Any
) -> None:
    assert results(run(stage, out=out, seeds=2, workers=2).folder) == undisturbed(stage)


@pytest.mark.claim(51)
@pytest.mark.parametrize(
    ("stage", "looks"),
    # At 1 nothing is saved yet, at 4 the stop is within an epoch, at 70 or 8 in the second seed.
    [*((stage, 4) for stage in STAGES), ("sft", 1), ("ppo", 1), ("reward", 70), ("ppo", 8)],
)
def test_a_stage_that_was_stopped_continues_to_the_same_bytes(
    stage: str, looks: int, run: Callable[..., StageRun], out: Path, results: Any, undisturbed: Any
) -> None:
    with pytest.raises(Interrupted, match="stopped at"):
        run(stage, out=out, seeds=2, reports=stop_after(looks))
    done = run(stage, out=out, seeds=2)
    assert done.status == "finished"
    assert done.num_updates == NUM_UPDATES[stage]
    assert results(done.folder) == undisturbed(stage)


def test_a_reward_model_of_all_comparisons_has_the_same_bytes_after_a_stop(
    run: Callable[..., StageRun], out: Path, tmp_path: Path, results: Any, undisturbed: Any
) -> None:
    options = {"seeds": 2, "responses_per_prompt": 4, "min_updates": 1}
    whole = run("reward", out=tmp_path / "whole", **options)
    # 20 prompts, of which 5 are held out; 2 of them are what a minibatch of 16 pairs has room for.
    assert whole.num_updates == 3 * 8
    with pytest.raises(Interrupted, match="stopped at"):
        run("reward", out=out, reports=stop_after(4), **options)
    assert results(run("reward", out=out, **options).folder) == results(whole.folder)
    assert results(whole.folder) != undisturbed("reward")


@pytest.mark.parametrize("stage", ["sft", "reward", "rloo"])
def test_a_seed_has_the_same_bytes_whatever_the_global_generators_hold(
    stage: str, run: Callable[..., StageRun], out: Path, results: Any, undisturbed: Any
) -> None:
    notes: list[str] = []
    torch.manual_seed(12345)
    random.seed(12345)
    done = run(stage, out=out, reports=Reports(note=notes.append))
    assert results(done.folder)[0] == undisturbed(stage)[0]
    assert not [note for note in notes if "global generator" in note]


def script(stage: str, parents: dict[str, StageRun], out: Path, before: str = "") -> str:
    """The command of a small stage for a child process; the same run as `run` makes."""
    options = dict(SMALL[stage])
    if stage == "ppo":
        options["reward"] = str(parents["reward"].folder)
    first = f"{TASK!r}, model=rlhf.ModelSource(width=8, num_layers=1, dropout=0.1)"
    if stage != "sft":
        first = repr(str(parents["sft"].folder))
    owner = "rlkit.rlhf.training.policy import KLPenalisedPolicy"
    if stage in ("sft", "reward", "dpo"):
        owner = "rlkit.rlhf.training.example_trainer import ExampleTrainer"
    return (
        f"from {owner} as Stage\n"
        "import sys, rlkit.rlhf as rlhf\n"
        f"sys.path.append({str(PLUGIN)!r})\n"
        f"NUM_UPDATES = {NUM_UPDATES[stage]}\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{before}\n"
        f"rlhf.{stage}({first}, seeds=2, out={str(out)!r}, **{options!r})"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("stage", "moment"),
    [
        pytest.param(stage, moment, marks=[] if moment == first else [pytest.mark.slow])
        for stage, first in zip(("sft", "reward", "ppo"), MOMENTS, strict=False)
        for moment in MOMENTS
    ],
)
def test_a_stage_killed_at_a_given_moment_ends_as_if_undisturbed(
    stage: str,
    moment: str,
    stage_forks: Any,
    run: Callable[..., StageRun],
    parents: dict[str, StageRun],
    out: Path,
    results: Any,
    undisturbed: Any,
) -> None:
    child = stage_forks.start(script(stage, parents, out, MOMENTS[moment]))
    assert child.wait() == -signal.SIGKILL, child.output
    done = run(stage, out=out, seeds=2)
    assert done.status == "finished"
    assert results(done.folder) == undisturbed(stage)


@pytest.mark.trap("F2")
@pytest.mark.claim(51)
@pytest.mark.torture
@pytest.mark.parametrize("stage", ["sft", "reward", "ppo"])
def test_the_command_killed_at_random_three_times_ends_as_if_undisturbed(
    stage: str, parents: dict[str, StageRun], out: Path, results: Any
) -> None:
    options = SMALL[stage] | ({"num_updates": 60} if stage == "ppo" else {"num_epochs": 40})
    words = [stage, "enumerable" if stage == "sft" else str(parents["sft"].folder)]
    words += ["--reward", str(parents["reward"].folder)] if stage == "ppo" else []
    words += ["--width", "8", "--num-layers", "1"] if stage == "sft" else []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    command = [sys.executable, "-m", "rlkit", "rlhf", *words, "--seeds", "2", "--json", "--out"]

    def start(target: Path) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [*command, str(target)],
            stdout=subprocess.DEVNULL,
            cwd=out.parent,
            env={**os.environ, "PYTHONPATH": path},
        )

    def saved() -> set[Path]:
        return set(out.glob("killed/*/checkpoints/*/step-*"))

    assert start(out / "undisturbed").wait() == 0
    moments, kills = random.Random(0), 0
    while kills < 3:
        before = saved()
        child = start(out / "killed")
        while child.poll() is None and saved() <= before:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.3))
        child.kill()
        if child.wait() == 0:
            break
        kills += 1
    assert kills  # at least once, after something was saved and before the end
    assert start(out / "killed").wait() == 0
    (whole,), (killed,) = (list((out / name).iterdir()) for name in ("undisturbed", "killed"))
    assert results(killed) == results(whole)


def test_a_hugging_face_policy_with_adapters_has_the_same_bytes_after_a_stop(
    hf: dict[str, Any], out: Path, results: Any
) -> None:
    options = {"reward": hf["reward"], "adapter_rank": 2, **UPDATES}
    whole = rlhf.ppo(hf["sft"], out=out / "whole", **options)
    with pytest.raises(Interrupted, match="stopped at 3 updates"):
        rlhf.ppo(hf["sft"], out=out / "stopped", reports=stop_after(3), **options)
    stopped = rlhf.ppo(hf["sft"], out=out / "stopped", **options)
    assert results(stopped.folder) == results(whole.folder)


def test_options_that_a_model_folder_excludes_are_rejected_before_training(
    hf: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    long = lines(tmp_path / "long.jsonl", {"prompt": "a " * 22, "response": "b c"})
    with pytest.raises(UsageError, match=r"long.jsonl:1: .*context_length of 24"):
        rlhf.sft(demonstrations=long, model=hf["model"], out=out)
    with pytest.raises(UsageError, match="enumerable has its own tokens"):
        rlhf.sft("enumerable", model=hf["model"], out=out)
    assert not out.exists()


def test_settings_stored_with_a_model_are_rejected_as_options(
    hf: dict[str, Any], tmp_path: Path
) -> None:
    common = {"demonstrations": hf["shown"], "num_epochs": 1, "out": tmp_path / "runs"}
    path = str(hf["model"])
    for options, name in (
        ({"model": rlhf.ModelSource(path=path, dropout=0.2)}, "dropout"),
        ({"model": path, "tokenizer": "word"}, "tokenizer"),
        ({"model": path, "vocab_size": 300}, "vocab_size"),
    ):
        flag = "--" + name.replace("_", "-")
        with pytest.raises(UsageError, match=rf"option {name} \({flag}\): the model in .* has its"):
            rlhf.sft(**common, **options)
    assert not (tmp_path / "runs").exists()
    # The context may be shorter, and a default is taken as not given.
    shorter = rlhf.ModelSource(path=path, width=64, context_length=20)
    assert rlhf.sft(model=shorter, tokenizer="char", **common).status == "finished"


def brevity(prompts: list[str], responses: list[str]) -> list[float]:
    return [-float(len(text)) for text in responses]


def test_a_function_that_can_be_imported_is_a_score_and_no_other_reaches_workers(
    parents: dict[str, StageRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, brevity.__module__, sys.modules[__name__])
    done = rlhf.rloo(parents["sft"], score=brevity, out=tmp_path, **UPDATES)
    assert done.status == "finished"
    assert done.content["score"]["function"] == f"{brevity.__module__}:brevity"
    for local in (lambda prompts, responses: [0.0] * len(prompts), SMALL.get):
        with pytest.raises(UsageError, match=r"score='path/to/file.py:name'"):
            rlhf.rloo(parents["sft"], score=local, out=tmp_path, workers=2, **UPDATES)
