"""Small runs that tests start from; nothing in them is changed by a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rlkit.rlhf as rlhf
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from tests.rlhf.stages.small_runs import MODEL, SHOWN, SMALL, TASK, lines, save_model


@pytest.fixture(scope="session")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageRun]:
    """What the other stages start from, with two seeds."""
    out = tmp_path_factory.mktemp("parents")
    sft = rlhf.sft(TASK, model=MODEL, seeds=2, out=out, **SMALL["sft"])
    reward = rlhf.reward(sft, seeds=2, out=out, **SMALL["reward"])
    return {"sft": sft, "reward": reward}


@pytest.fixture(scope="session")
def stage_forks(forks: Any) -> Any:
    """Where children come from that have imported the stages, and what torch's optimisers need."""
    forks.prepare("rlkit.rlhf.stages.api", "tests.small_stage", "torch._dynamo")
    return forks


@pytest.fixture(scope="session")
def run(parents: dict[str, StageRun]) -> Callable[..., StageRun]:
    """Run one of the small stages."""

    def run(stage: str, **how: Any) -> StageRun:
        if stage == "sft":
            return rlhf.sft(TASK, model=MODEL, **SMALL[stage], **how)
        options = SMALL[stage] | how
        if stage == "ppo":
            options.setdefault("reward", parents["reward"])
        return getattr(rlhf, stage)(parents["sft"], **options)

    return run


@pytest.fixture(scope="session")
def undisturbed(
    run: Callable[..., StageRun], results: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Any]:
    """The bytes of two seeds of a stage that nothing disturbed."""
    known: dict[str, Any] = {}

    def undisturbed(stage: str) -> Any:
        if stage not in known:
            done = run(stage, seeds=2, out=tmp_path_factory.mktemp(stage))
            assert done.status == "finished"
            known[stage] = results(done.folder)
        return known[stage]

    return undisturbed


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The stages that were built; after a run the last of them holds what was trained."""
    built: list[Any] = []
    for kind in (KLPenalisedPolicy, ExampleTrainer):

        def initialise(
            self: Any, *args: Any, __original: Any = kind.__init__, **kwargs: Any
        ) -> None:
            built.append(self)
            __original(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", initialise)
    return built


@pytest.fixture(scope="session")
def hf(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model's folder, texts, and the policy and reward model that were trained from them."""
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("hf")
    model = save_model(folder / "model")
    shown = lines(folder / "shown.jsonl", *({"prompt": p, "response": r} for p, r in SHOWN))
    pairs = ({"prompt": p, "chosen": r, "rejected": "e e"} for p, r in SHOWN)
    judged = lines(folder / "pairs.jsonl", *pairs)
    common = {"num_epochs": 3, "batch_size": 2, "out": folder / "runs"}
    sft = rlhf.sft(demonstrations=shown, preferences=judged, model=model, **common)
    reward = rlhf.reward(sft, min_updates=20, **common)
    runs = {"sft": sft, "reward": reward, "out": folder / "runs"}
    return {"model": model, "shown": shown, "judged": judged, **runs}
