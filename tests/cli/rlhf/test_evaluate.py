"""`rlkit rlhf sample`, `evaluate` and `best-of-n`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from rlkit.rlhf.exact.answer_key import AnswerKey
from rlkit.rlhf.stages.loading import load_policy
from rlkit.rlhf.stages.stage_run import load_stage_run
from tests.cli.rlhf.commands import answer, said


@pytest.mark.slow
def test_samples_have_the_probabilities_that_the_answer_key_knows(ppo: str) -> None:
    rows = answer("sample", ppo, "--num", 5, "--prompt", "<about-B>")["samples"]
    run = load_stage_run(ppo)
    task, policy = load_policy(run, 0)
    _, reference = load_policy(
        load_stage_run(run.record["sources"]["parents"]["policy"]["folder"]), 0
    )
    key = AnswerKey(task, reference)
    for row in rows:
        ids = [*task.parse(row["response"]), *([task.eos] if row["ended"] else [])]
        padded = np.full((1, task.max_new_tokens), task.pad)
        # EOS is part of the response, and shown neither there nor here.
        padded[0, : len(ids)] = ids
        place = 1, int(key.completions.index(padded)[0])
        # Two float32 forward passes over up to 6 tokens.
        assert row["log_prob"] == pytest.approx(key.log_probs(policy)[place], abs=1e-4)
        assert row["reference_log_prob"] == pytest.approx(key.reference_log_prob[place], abs=1e-4)
        assert row["scores"]["gold"] == pytest.approx(key.gold[place], abs=1e-9)
        assert row["scores"]["reward"] != row["scores"]["gold"]


@pytest.mark.slow
def test_samples_follow_the_seed_and_greedy_ones_do_not(sft: str) -> None:
    argv = ("sample", sft, "--num", 6, "--prompt", "<about-A>")
    first = answer(*argv)
    assert answer(*argv) == first
    assert answer(*argv, "--seed", 1) != first
    assert answer(*argv, "--run-seed", 1) != first
    greedy = [answer(*argv, "--greedy", "--seed", seed) for seed in (0, 1)]
    assert greedy[0] == greedy[1]
    responses = {row["response"] for row in greedy[0]["samples"]}
    assert len(responses) == 1
    assert "reference_log_prob" not in greedy[0]["samples"][0]  # fine-tuning has no reference


def test_the_table_of_samples_shows_texts_as_they_are(sft: str) -> None:
    printed, _ = said("sample", sft, "--num", 12)
    assert "<about-" in printed
    assert "gold" in printed
    assert "truncated at the length limit" in printed


def test_many_scores_leave_room_for_the_texts(text_sft: str, scores: Path) -> None:
    file = scores.parent / "several.py"
    names = ("a_long_name_of_a_score", "another", "third", "fourth", "fifth")
    file.write_text("\n".join(f"def {x}(p, r):\n    return [1.0 for _ in r]" for x in names))
    words = [f"--score={file}:{name}" for name in names]
    printed, _ = said("sample", text_sft, "--num", 3, "--prompt", "good day", *words)
    assert printed.count("good day") == 3
    assert all(printed.count(f"score/{name} 1.000") == 3 for name in names)
    assert printed.count("score 5.000") == 3


@pytest.mark.slow
def test_the_measured_kl_and_scores_agree_with_the_exact_ones(ppo: str) -> None:
    found = answer("evaluate", ppo, "--num-samples", 1024)
    exact = found["exact"]
    # Five standard errors: one failure in two million for a normal law.
    assert abs(found["kl"] - exact["kl"]) < 5 * found["kl_standard_error"]
    for name, value in (("gold", exact["gold"]), ("reward", exact["proxy"])):
        policy = found["scores"][name]["policy"]
        assert abs(policy["mean"] - value) < 5 * policy["standard_error"]
        assert abs(found["scores"][name]["reference"]["mean"]) < 5 / 32  # mean 0, deviation 1
        assert list(policy["quantiles"]) == ["0", "0.05", "0.25", "0.5", "0.75", "0.95", "1"]
    assert exact["maximised"] == "reward"
    assert exact["kl_coef"] == 0.3
    assert exact["objective"] == pytest.approx(exact["proxy"] - 0.3 * exact["kl"], abs=1e-12)
    assert exact["gap"] > 0
    # Sums over all responses in float64.
    missing = exact["log_evidence"] - exact["elbo"]
    assert missing == pytest.approx(exact["posterior_kl"], abs=1e-10)
    assert exact["posterior_kl"] == pytest.approx(exact["gap"] / 0.3, abs=1e-10)
    assert exact["elbo"] == pytest.approx(exact["objective"] / 0.3, abs=1e-10)
    promised = {"perplexity", "overlap", "num_samples"}
    for name in ("length", "ended", "diversity"):
        promised |= {name, f"reference_{name}"}
    assert set(found) >= promised
    printed, _ = said("evaluate", ppo, "--num-samples", 64)
    for part in ("KL from the reference", "win rate", "BLEU", "below its optimum by"):
        assert part in printed
    for part in ("log evidence, nats", "ELBO, nats", "KL to the posterior, nats"):
        assert part in printed
    (ended,) = (line for line in printed.splitlines() if "ended by EOS" in line)
    assert ended.count("%") == 2  # of the policy and of the reference


@pytest.mark.slow
def test_a_larger_kl_coefficient_leaves_a_smaller_gap_to_the_reference(sft: str) -> None:
    gaps = [
        answer("evaluate", sft, "--num-samples", 16, "--kl-coef", coef)["exact"]["gap"]
        for coef in (0, 0.3, 100)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    # For large beta, J* = E[r] + Var(r) / (2 beta) + O(beta^-2); over prompts at most 1 / 200.
    assert gaps[2] < 0.00505


@pytest.mark.slow
def test_the_policy_after_fine_tuning_is_its_own_reference(sft: str) -> None:
    found = answer("evaluate", sft, "--num-samples", 64)
    assert found["is_reference"] is True
    assert found["exact"]["kl"] == pytest.approx(0.0, abs=1e-12)
    assert found["exact"]["gold"] == pytest.approx(0.0, abs=1e-9)  # standardised under it
    for name in ("gap", "log_evidence", "elbo", "posterior_kl"):
        assert found["exact"][name] is None
    assert found["kl"] == pytest.approx(0.0, abs=1e-4)  # cached and whole forward pass, float32
    assert "reference" not in said("evaluate", sft, "--num-samples", 64)[0]


@pytest.mark.slow
@pytest.mark.claim(39)
def test_a_reward_model_is_judged_beside_its_ceiling(reward: str) -> None:
    found = answer("evaluate", reward, "--num-samples", 2048)
    exact, every = found["exact"], found["accuracy"]["all"]
    assert every["num_pairs"] == 2048
    assert exact["accuracy"] < exact["bayes_accuracy"] < 1
    # Fresh pairs differ and equal ones are drawn again, which the exact accuracy counts as one
    # half; they are 1 in 300. Five standard errors, and that.
    for measured, value in (
        (every, exact["accuracy"]),
        (found["gold"]["accuracy"], exact["bayes_accuracy"]),
        (found["gold"]["agreement"], exact["agreement"]),
    ):
        assert abs(measured["accuracy"] - value) < 5 * measured["standard_error"] + 0.005
    assert found["gold"]["correlation"] == pytest.approx(exact["correlation"], abs=5 / 2048**0.5)
    lengths = ("chosen is longer", "equally long", "chosen is shorter")
    margins = ("small margin", "middle margin", "large margin")
    for groups in (lengths, margins):
        assert sum(found["accuracy"][name]["num_pairs"] for name in groups) == 2048
    assert "Bayes" in said("evaluate", reward, "--num-samples", 64)[0]


@pytest.mark.slow
def test_the_best_of_n_agrees_with_its_exact_distribution(sft: str, reward: str) -> None:
    argv = ("--reward", reward, "--n", 1, 2, 8, "--num-prompts", 128)
    found = answer("best-of-n", sft, *argv)
    assert found["chosen_by"] == "reward"
    assert [row["n"] for row in found["rows"]] == [1, 2, 8]
    for row in found["rows"]:
        # log n - (n - 1)/n bounds the KL of a law with ties.
        assert row["exact"]["kl"] <= row["kl_bound"] + 1e-12
        assert row["kl_bound"] == pytest.approx(np.log(row["n"]) - (row["n"] - 1) / row["n"])
        for name in ("reward", "gold"):
            measured = row["scores"][name]
            assert abs(measured["mean"] - row["exact"][name]) < 5 * measured["standard_error"]
    first, *_, last = (row["exact"] for row in found["rows"])
    assert first["reward"] == pytest.approx(0.0, abs=1e-9)
    assert last["reward"] > 1
    assert "KL bound" in said("best-of-n", sft, "--n", 1, 2, "--num-prompts", 4)[0]


def test_the_best_of_n_is_chosen_by_a_function_of_texts(text_sft: str, scores: Path) -> None:
    argv = ("--score", f"{scores}:length", "--n", 1, 4, "--num-prompts", 8)
    rows = answer("best-of-n", text_sft, *argv)["rows"]
    assert rows[0]["scores"]["score"]["mean"] < rows[1]["scores"]["score"]["mean"]
    assert rows[0]["exact"] is None


@pytest.mark.slow
def test_without_the_extra_metrics_a_note_says_how_to_install_it(
    sft: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    printed, notes = said("evaluate", sft, "--num-samples", 16, "--json")
    assert "overlap" not in json.loads(printed)
    assert notes.count("\n") == 1
    assert "omitted" in notes
    assert 'pip install "rlkit[metrics]"' in notes
    assert "BLEU" not in said("evaluate", sft, "--num-samples", 16)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["evaluate", "nowhere"], "not the folder of a run"),
        (["sample", "AGENT"], "is the run of the agent 'random'"),
        (["sample", "REWARD"], "expected a policy"),
        (["sample", "SFT", "--num", "0"], "option num"),
        (["sample", "SFT", "--run-seed", "2"], "with at least 3 seeds"),
        (["sample", "SFT", "--temperature", "0"], "option temperature"),
        (["sample", "SFT", "--prompt", "A"], "'A' is not a prompt of the task"),
        (["sample", "SFT", "--prompt", "Q"], "'Q' is not one of the"),
        (["sample", "SFT", "--reward", "SFT"], "expected a reward model's"),
        (["evaluate", "SFT", "--preferences", "x"], "preferences evaluate a reward model"),
        (["evaluate", "SFT", "--demonstrations", "x"], "makes its own texts"),
        (["evaluate", "REWARD", "--demonstrations", "x"], "omit demonstrations"),
        (["evaluate", "SFT", "--num-samples", "1"], "option num_samples"),
        (["best-of-n", "SFT", "--n", "0", "2"], "option n"),
        (["best-of-n", "TEXT"], "no score to choose the best response by"),
        (["best-of-n", "SFT", "--reward", "REWARD", "--score", "x.py:f"], "cannot read x.py"),
        (["chat", "REWARD"], "expected a policy"),
    ],
)
def test_wrong_usage_of_a_score_or_reward_is_rejected(
    argv: list[str],
    reason: str,
    sft: str,
    reward: str,
    text_sft: str,
    agent: str,
) -> None:
    runs = {"SFT": sft, "REWARD": reward, "TEXT": text_sft, "AGENT": agent}
    assert reason in said(*(runs.get(word, word) for word in argv), code=2)[1]


def test_an_unfinished_run_names_the_command_that_finishes_it(sft: str, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(sft, tmp_path / "sft"))
    for checkpoint in (copied / "checkpoints" / "seed-001").iterdir():
        checkpoint.unlink()
    message = said("sample", copied, "--run-seed", 1, code=2)[1]
    assert "seed 1 of the stage 'sft'" in message
    assert "is at 0 of 16 updates; finish it first" in message
    assert "that started it: " in message


def test_a_limit_of_memory_changes_no_evaluation_beyond_rounding(ppo: str) -> None:
    limited, whole = (
        answer("evaluate", ppo, "--num-samples", 64, *limit)
        for limit in (("--memory-gb", 1e-4), ())
    )
    for name in ("kl", "length", "ended"):
        assert limited[name] == pytest.approx(whole[name], abs=1e-4)
    assert "expected > 0, got 0" in said("evaluate", ppo, "--memory-gb", 0, code=2)[1]
