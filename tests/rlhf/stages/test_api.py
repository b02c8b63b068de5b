"""The stages of RLHF as runs: same bytes whatever happens, and what one stage hands to the next."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.data.sequences import pack, response_log_probs
from rlkit.rlhf.exact.enumeration import all_completions, completion_log_probs
from rlkit.rlhf.stages.factories import PolicyFactory
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.runs import checkpoints
from rlkit.runs.execution import Interrupted
from rlkit.runs.reports import Reports

MODEL = rlhf.ModelSource(width=8, num_layers=1, dropout=0.1)
UPDATES = {"num_updates": 6, "batch_size": 16, "minibatch_size": 8, "num_epochs": 2}
SMALL: dict[str, dict[str, Any]] = {
    "sft": {"num_demonstrations": 300, "num_epochs": 2, "batch_size": 32},
    "reward": {"num_pairs": 120, "num_epochs": 3, "batch_size": 16},
    "dpo": {"num_pairs": 120, "num_epochs": 2, "batch_size": 16},
    "ppo": UPDATES,
    "rloo": UPDATES,
    "grpo": UPDATES,
}
STAGES = tuple(SMALL)


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StageRun]:
    """What the other stages start from, with two seeds."""
    out = tmp_path_factory.mktemp("parents")
    sft = rlhf.sft("enumerable", model=MODEL, seeds=2, out=out, **SMALL["sft"])
    reward = rlhf.reward(sft, seeds=2, out=out, **SMALL["reward"])
    return {"sft": sft, "reward": reward}


@pytest.fixture(scope="module")
def run(parents: dict[str, StageRun]) -> Callable[..., StageRun]:
    """Run one of the small stages."""

    def run(stage: str, **how: Any) -> StageRun:
        if stage == "sft":
            return rlhf.sft("enumerable", model=MODEL, **SMALL[stage], **how)
        options = SMALL[stage] | how
        if stage == "ppo":
            options.setdefault("reward", parents["reward"])
        return getattr(rlhf, stage)(parents["sft"], **options)

    return run


@pytest.fixture(scope="module")
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


# --- the same bytes -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_seeds_have_the_same_bytes_in_two_workers(
    stage: str, run: Callable[..., StageRun], out: Path, results: Any, undisturbed: Any
) -> None:
    assert results(run(stage, out=out, seeds=2, workers=2).folder) == undisturbed(stage)


def stopping(looks: int) -> Reports:
    """Asked to stop when it has been asked so many times."""
    left = iter(range(looks))
    return Reports(stop=lambda: next(left, None) == looks - 1)


@pytest.mark.claim(51)
@pytest.mark.parametrize(
    ("stage", "looks"),
    # At 1 nothing is saved yet, at 4 the stop is within an epoch, at 8 within the second seed.
    [*((stage, 4) for stage in STAGES), ("sft", 1), ("ppo", 1), ("reward", 8), ("ppo", 8)],
)
def test_a_stage_that_was_stopped_goes_on_to_the_same_bytes(
    stage: str, looks: int, run: Callable[..., StageRun], out: Path, results: Any, undisturbed: Any
) -> None:
    with pytest.raises(Interrupted, match="stopped at"):
        run(stage, out=out, seeds=2, reports=stopping(looks))
    done = run(stage, out=out, seeds=2)
    assert done.status == "finished"
    assert results(done.folder) == undisturbed(stage)


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


def test_a_reward_model_of_all_comparisons_has_the_same_bytes_after_a_stop(
    run: Callable[..., StageRun], out: Path, tmp_path: Path, results: Any, undisturbed: Any
) -> None:
    options = {"seeds": 2, "responses_per_prompt": 4, "min_updates": 1}
    whole = run("reward", out=tmp_path / "whole", **options)
    # 20 prompts, of which 5 are held out; 2 of them are what a minibatch of 16 pairs has room for.
    assert whole.num_updates == 3 * 8
    with pytest.raises(Interrupted, match="stopped at"):
        run("reward", out=out, reports=stopping(4), **options)
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


MOMENTS = {
    "in the third update": "call_at(Stage, 'update', 3, kill)",
    "in the second seed": "call_at(Stage, 'update', 10, kill)",
    "before the second checkpoint is renamed": "die_at(os, 'replace', 3)",
    "after it is renamed": "die_at(os, 'replace', 3, after=True)",
    "between row and checkpoint": "die_at(curves.CurveFile, 'sync', 2)",
}


def script(stage: str, parents: dict[str, StageRun], out: Path, before: str = "") -> str:
    """The command of a small stage for a child process; the same run as `run` makes."""
    options = dict(SMALL[stage])
    if stage == "ppo":
        options["reward"] = str(parents["reward"].folder)
    first = "'enumerable', model=rlhf.ModelSource(width=8, num_layers=1, dropout=0.1)"
    if stage != "sft":
        first = repr(str(parents["sft"].folder))
    owner = "rlkit.rlhf.training.policy import KLPenalisedPolicy"
    if stage in ("sft", "reward", "dpo"):
        owner = "rlkit.rlhf.training.example_trainer import ExampleTrainer"
    return (
        f"from {owner} as Stage\n"
        "import rlkit.rlhf as rlhf\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{before}\n"
        f"rlhf.{stage}({first}, seeds=2, out={str(out)!r}, **{options!r})"
    )


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
    forks: Any,
    run: Callable[..., StageRun],
    parents: dict[str, StageRun],
    out: Path,
    results: Any,
    undisturbed: Any,
) -> None:
    child = forks.start(script(stage, parents, out, MOMENTS[moment]))
    assert child.wait() == -signal.SIGKILL, child.output
    done = run(stage, out=out, seeds=2)
    assert done.status == "finished"
    assert results(done.folder) == undisturbed(stage)


@pytest.mark.claim(51)
@pytest.mark.slow
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
        return subprocess.Popen([*command, str(target)], stdout=subprocess.DEVNULL, cwd=out.parent)

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


# --- what a stage hands on ----------------------------------------------------------------------


def log_probs_of(model: Any, task: Any) -> np.ndarray[Any, Any]:
    responses = all_completions(task.num_actions, task.eos, task.max_new_tokens, task.pad)
    return completion_log_probs(model, task.prompts[:1], responses)


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


@pytest.mark.parametrize("adapter_rank", [None, 2])
def test_the_policy_that_is_loaded_is_the_one_that_was_trained(
    adapter_rank: int | None, run: Callable[..., StageRun], out: Path, finished: list[Any]
) -> None:
    done = run("rloo", out=out, adapter_rank=adapter_rank)
    task, loaded = rlhf.load_policy(done, 0)
    trained = finished[-1].policy
    # The adapters are folded into the weights as the forward pass does it: the same bits.
    assert np.array_equal(log_probs_of(loaded, task), log_probs_of(trained, task))
    assert not [name for name, _ in loaded.named_parameters() if "base" in name]


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


def test_a_reward_model_has_mean_0_and_deviation_1_under_its_reference(
    parents: dict[str, StageRun],
) -> None:
    model = rlhf.load_reward_model(parents["reward"], 0)
    task, policy = rlhf.load_policy(parents["sft"], 0)
    key = rlhf.AnswerKey(task, policy)
    table, law = key.tabulate(model.score), np.exp(key.reference_log_prob)
    mean = (law * table).sum(1).mean()
    # Set from 4096 samples: the mean has a standard error of 1/64; five of them.
    assert abs(mean) < 5 / 64
    assert (law * (table - mean) ** 2).sum(1).mean() == pytest.approx(1.0, abs=0.15)


def test_a_reference_with_another_vocabulary_is_refused(parents: dict[str, StageRun]) -> None:
    from rlkit.rlhf.training.configs import PPOConfig
    from rlkit.seeding import SeedStreams

    task, policy = rlhf.load_policy(parents["sft"], 0)
    rng = np.random.default_rng(0)
    config = rlhf.GPTConfig(vocab_size=13, num_actions=7, context_length=8, width=8)
    other = rlhf.GPT(config, rng)
    streams = SeedStreams(0, 0)
    with pytest.raises(UsageError, match="reference has another vocabulary"):
        KLPenalisedPolicy(policy, other, lambda s: s, task, PPOConfig(), streams)
    task.pad = task.eos
    with pytest.raises(UsageError, match="pad and eos are the same id"):
        KLPenalisedPolicy(policy, policy, lambda s: s, task, PPOConfig(), streams)


def test_a_seed_that_cannot_go_on_is_told_and_the_others_are_finished(
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


# --- Hugging Face models ------------------------------------------------------------------------

WORDS = ("a", "b", "c", "d", "e", "f")
SHOWN = [("a b", "c d"), ("b", "d e f"), ("b a c", "d")]


def save_model(folder: Path, *, pad: str = "[PAD]") -> Path:
    """A random GPT-2 with a tokenizer of words."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    from rlkit.rlhf.models.huggingface.folder import silenced_transformers

    special = list(dict.fromkeys(("[EOS]", pad, "[UNK]")))
    ids = {word: i for i, word in enumerate([*WORDS, *special])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    config = transformers.GPT2Config(
        **{"vocab_size": len(ids), "n_positions": 24, "n_embd": 16, "n_layer": 1, "n_head": 2},
        **{"bos_token_id": None, "eos_token_id": ids["[EOS]"], "resid_pdrop": 0.1},
    )
    with silenced_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="[EOS]", pad_token=pad, unk_token="[UNK]"
        ).save_pretrained(folder)
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
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
    reward = rlhf.reward(sft, **common)
    return {"model": model, "shown": shown, "sft": sft, "reward": reward, "out": folder / "runs"}


def hf_log_probs(policy: Any) -> list[float]:
    """log pi(c d e [EOS] | a b)."""
    batch = pack([[0, 1]], [[2, 3, 4, 6]], pad=7)
    with torch.no_grad():
        return response_log_probs(policy, batch)[0][0].tolist()


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


def test_a_hugging_face_policy_with_adapters_has_the_same_bytes_after_a_stop(
    hf: dict[str, Any], out: Path, results: Any
) -> None:
    options = {"reward": hf["reward"], "adapter_rank": 2, **UPDATES}
    whole = rlhf.ppo(hf["sft"], out=out / "whole", **options)
    with pytest.raises(Interrupted, match="stopped at 3 updates"):
        rlhf.ppo(hf["sft"], out=out / "stopped", reports=stopping(3), **options)
    stopped = rlhf.ppo(hf["sft"], out=out / "stopped", **options)
    assert results(stopped.folder) == results(whole.folder)


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


def test_what_a_models_folder_does_not_allow_is_refused_before_training(
    hf: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    ends = save_model(tmp_path / "ends", pad="[EOS]")
    with pytest.raises(UsageError, match="pads with its end-of-sequence token"):
        rlhf.sft(demonstrations=hf["shown"], model=ends, out=out)
    long = lines(tmp_path / "long.jsonl", {"prompt": "a " * 22, "response": "b c"})
    with pytest.raises(UsageError, match=r"long.jsonl:1: .*context_length of 24"):
        rlhf.sft(demonstrations=long, model=hf["model"], out=out)
    with pytest.raises(UsageError, match="enumerable has its own tokens"):
        rlhf.sft("enumerable", model=hf["model"], out=out)
    assert not out.exists()


def test_what_a_model_brings_along_is_refused_as_an_option(
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


# --- what changed in the meantime ---------------------------------------------------------------


def test_a_models_folder_that_changed_is_refused_by_later_stages(
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


def test_parents_are_told_apart_by_content_whatever_their_folders_are_called(
    parents: dict[str, StageRun], tmp_path: Path
) -> None:
    import shutil

    other = rlhf.sft("enumerable", model=MODEL, out=tmp_path, **SMALL["sft"] | {"num_epochs": 1})
    folders = [tmp_path / name / "base" for name in ("one", "two")]
    for run, folder in zip((parents["sft"], other), folders, strict=True):
        shutil.copytree(run.folder, folder)
    first, second = (rlhf.rloo(folder, out=tmp_path / "runs", **UPDATES) for folder in folders)
    assert first.folder != second.folder
    # A copy of a run under another name is still that run.
    known = rlhf.rloo(parents["sft"], out=tmp_path / "runs", **UPDATES)
    assert known.folder == rlhf.rloo(parents["sft"].folder, out=tmp_path / "runs", **UPDATES).folder


SCORE = "def f(prompts, responses):\n    return [{} * len(text) for text in responses]\n"


@pytest.mark.parametrize("by_file", [True, False])
def test_a_score_function_that_changed_is_another_run_and_not_judged_by(
    by_file: bool, parents: dict[str, StageRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"my_score_{by_file}.py"
    file.write_text(SCORE.format(1.0))
    monkeypatch.syspath_prepend(tmp_path)
    score = f"{file}:f" if by_file else f"{file.stem}:f"
    first = rlhf.ppo(parents["sft"], score=score, out=tmp_path / "runs", **UPDATES)
    assert rlhf.evaluate_run(first, num_samples=16)["scores"]
    file.write_text(SCORE.format(-2.5))
    for name in [name for name in sys.modules if name == file.stem]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match="has changed since the run was trained"):
        rlhf.evaluate_run(first, num_samples=16)
    second = rlhf.ppo(parents["sft"], score=score, out=tmp_path / "runs", **UPDATES)
    assert second.folder != first.folder


def brevity(prompts: list[str], responses: list[str]) -> list[float]:
    return [-float(len(text)) for text in responses]


def test_a_function_that_can_be_imported_is_a_score_and_no_other_is(
    parents: dict[str, StageRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, brevity.__module__, sys.modules[__name__])
    done = rlhf.rloo(parents["sft"], score=brevity, out=tmp_path, **UPDATES)
    assert done.status == "finished"
    assert done.content["score"]["function"] == f"{brevity.__module__}:brevity"
    for local in (lambda prompts, responses: [0.0] * len(prompts), SMALL.get):
        with pytest.raises(UsageError, match=r"score='path/to/file.py:name'"):
            rlhf.rloo(parents["sft"], score=local, out=tmp_path, **UPDATES)


def test_a_negative_seed_of_a_parent_is_refused(parents: dict[str, StageRun], out: Path) -> None:
    with pytest.raises(UsageError, match="parent_seed"):
        rlhf.rloo(parents["sft"], parent_seed=-1, out=out, **UPDATES)
    with pytest.raises(UsageError, match="not -1"):
        rlhf.sample_run(parents["sft"], num=1, run_seed=-1)
