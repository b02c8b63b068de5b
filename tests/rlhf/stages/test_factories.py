"""What each stage starts from and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.factories import PolicyFactory
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.runs import checkpoints
from rlkit.runs.reports import Reports
from tests.rlhf.stages.small_runs import (
    MODEL,
    SHOWN,
    SMALL,
    TASK,
    UPDATES,
    WORDS,
    hf_log_probs,
    log_probs_of,
)


@pytest.mark.slow
def test_training_adapters_leaves_the_base_alone_and_can_be_repeated(
    run: Callable[..., StageRun], parents: dict[str, StageRun], out: Path
) -> None:
    first = run("rloo", out=out, adapter_rank=2)
    names = [name for name in first.state(0) if name.startswith("policy/")]
    assert names
    assert all(name.endswith(("/down", ".down", ".up")) for name in names)
    # From a policy with adapters to one with others, or to one whose weights are all trained.
    again = rlhf.rloo(first, out=out, adapter_rank=3, **UPDATES)
    whole = rlhf.dpo(again, out=out, **SMALL["dpo"])
    task, policy = rlhf.load_policy(whole, 0)
    assert np.isfinite(log_probs_of(policy, task)).all()
    _, before = rlhf.load_policy(parents["sft"], 0)
    assert sum(p.requires_grad for p in policy.parameters()) == len(list(before.parameters()))


@pytest.mark.slow
def test_seed_k_starts_from_seed_k_unless_one_parent_seed_is_given(
    run: Callable[..., StageRun], out: Path, parents: dict[str, StageRun]
) -> None:
    same = run("grpo", out=out, seeds=2)
    from_first = run("grpo", out=out, seeds=2, parent_seed=0)
    assert same.folder != from_first.folder
    assert same.curve(0)["kl"].tolist() == from_first.curve(0)["kl"].tolist()
    assert same.curve(1)["kl"].tolist() != from_first.curve(1)["kl"].tolist()
    # The first rollout is sampled by the policy itself, and the reference is its parent.
    for done in (same, from_first):
        for seed in (0, 1):
            # float32 rounding of a cached and a whole pass; and PPO's first ratio is 1.
            assert abs(done.curve(seed)["kl"][0]) < 1e-5


def test_a_reference_with_another_vocabulary_is_rejected(parents: dict[str, StageRun]) -> None:
    from rlkit.rlhf.training.configs import PPOConfig
    from rlkit.seeding import SeedStreams

    task, policy = rlhf.load_policy(parents["sft"], 0)
    rng = np.random.default_rng(0)
    config = rlhf.GPTConfig(vocab_size=13, num_actions=7, context_length=8, width=8)
    other = rlhf.GPT(config, rng)
    streams = SeedStreams(0, 0)
    with pytest.raises(UsageError, match="reference has a different vocabulary"):
        KLPenalisedPolicy(policy, other, lambda s: s, task, PPOConfig(), streams)
    task.pad = task.eos
    with pytest.raises(UsageError, match="pad and eos are the same id"):
        KLPenalisedPolicy(policy, policy, lambda s: s, task, PPOConfig(), streams)


def test_a_seed_that_cannot_continue_is_reported_and_the_others_are_finished(
    run: Callable[..., StageRun], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PolicyFactory.__call__

    def build(self: PolicyFactory, streams: Any) -> Any:
        stage = original(self, streams)
        if streams.index == 0:
            with torch.no_grad():
                next(iter(stage.policy.parameters())).fill_(float("nan"))
        return stage

    monkeypatch.setattr(PolicyFactory, "__call__", build)
    done = run("rloo", out=out, seeds=2, check_ratio=False)
    assert done.status == "failed"
    assert list(done.failures) == [0]
    assert checkpoints.newest_checkpoint(done.folder, 1)[0] == UPDATES["num_updates"]
    with pytest.raises(UsageError, match=r"seed 0 of the stage 'rloo'.*is at 0 of 6"):
        rlhf.load_policy(done, 0)


@pytest.mark.slow
@pytest.mark.parametrize("adapter_rank", [None, 2])
def test_a_hugging_face_model_goes_from_demonstrations_to_ppo(
    adapter_rank: int | None, hf: dict[str, Any], finished: list[Any]
) -> None:
    done = rlhf.ppo(
        hf["sft"],
        reward=hf["reward"],
        adapter_rank=adapter_rank,
        out=hf["out"],
        learning_rate=0.01,
        **UPDATES,
    )
    assert done.status == "finished"
    stage = finished[-1]
    assert (stage.reference is None) == (adapter_rank is not None)
    names = [name for name in done.state(0) if name.startswith("policy/")]
    assert all("lora" in name for name in names) == (adapter_rank is not None)
    _, loaded = rlhf.load_policy(done, 0)
    # Adapters are added to the weights: float32 sums in another order.
    assert hf_log_probs(loaded) == pytest.approx(hf_log_probs(stage.policy), abs=1e-5)
    _, parent = rlhf.load_policy(hf["sft"], 0)
    assert hf_log_probs(loaded) != pytest.approx(hf_log_probs(parent), abs=1e-4)
    if adapter_rank is not None:
        with stage.policy.adapters_off():
            assert hf_log_probs(stage.policy) == hf_log_probs(parent)
    rows = rlhf.sample_run(done, prompts=["a b", "f"], num=2)
    assert all(set(row["response"].split()) <= {*WORDS, "…"} for row in rows)
    found = rlhf.evaluate_run(done, num_samples=16, demonstrations=hf["shown"])
    assert set(found["scores"]) == {"reward"}


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "ppo"])
def test_every_stage_of_a_pretrained_model_can_train_adapters_only(
    stage: str, hf: dict[str, Any], finished: list[Any], tmp_path: Path
) -> None:
    common: dict[str, Any] = {"adapter_rank": 2, "out": tmp_path, "learning_rate": 1e-2}
    if stage == "sft":
        run = rlhf.sft(
            demonstrations=hf["shown"], preferences=hf["judged"], model=hf["model"],
            num_epochs=2, batch_size=2, **common,
        )  # fmt: skip
    elif stage == "ppo":
        run = rlhf.ppo(hf["sft"], reward=hf["reward"], **UPDATES, **common)
    else:
        run = getattr(rlhf, stage)(hf["sft"], num_epochs=2, batch_size=2, **common)
    trained = finished[-1]
    names = [name for name in run.state(0) if name.startswith(("module/", "policy/", "critic/"))]
    weights = [name for name in names if "head." not in name and "gain" not in name]
    assert weights
    assert all("lora" in name for name in weights if name != "module/bias"), names
    if stage == "reward":
        loaded = rlhf.load_reward_model(run, 0)
        batch = rlhf.load_policy(hf["sft"], 0)[0].preferences().chosen
        assert loaded.score(batch).tolist() == pytest.approx(trained.module.score(batch).tolist())
        return
    _, policy = rlhf.load_policy(run, 0)
    own = trained.policy if stage == "ppo" else trained.module
    assert hf_log_probs(policy) == pytest.approx(hf_log_probs(own), abs=1e-5)
    if stage != "sft":
        _, before = rlhf.load_policy(hf["sft"], 0)
        assert hf_log_probs(policy) != pytest.approx(hf_log_probs(before), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter_rank": 2}, "a GPT from scratch has nothing to adapt"),
        ({"adapter_targets": ["qkv"]}, "there are no adapters; give their adapter_rank"),
    ],
)
def test_adapters_without_what_they_adapt_are_rejected(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        rlhf.sft(TASK, model=MODEL, out=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


def test_dpo_says_that_it_ignores_margins(out: Path) -> None:
    pairs = [{"prompt": p, "chosen": "c d", "rejected": "e", "margin": 1.5} for p in "abc"]
    shown = [{"prompt": p, "response": r} for p, r in SHOWN]
    sft = rlhf.sft(demonstrations=shown, preferences=pairs, model=MODEL, out=out, num_epochs=1)
    for margin, is_said in ((1.5, True), (0.0, False)):
        notes: list[str] = []
        rows = [{**pair, "margin": margin} for pair in pairs]
        reports = Reports(note=notes.append)
        rlhf.dpo(sft, preferences=rows, out=out, num_epochs=1, reports=reports)
        assert any("margins, which only a reward model" in note for note in notes) == is_said


def test_a_name_of_a_field_that_no_file_has_is_noted(out: Path) -> None:
    shown = [{"prompt": p, "question": "c d e", "response": r} for p, r in SHOWN]
    for other, is_said in (("questoin", True), ("question", False)):
        notes: list[str] = []
        rlhf.sft(
            demonstrations=shown,
            fields={"prompt": other, "chosen": "better"},  # of pairs that are given later
            model=MODEL,
            out=out,
            num_epochs=1,
            reports=Reports(note=notes.append),
        )
        said = [note for note in notes if "was given for" in note]
        assert len(said) == is_said
        assert all(
            "no line has the field 'questoin', which was given for 'prompt'" in x for x in said
        )
