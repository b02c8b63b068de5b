"""`rlkit rlhf`, as a user and as a script see it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.cli import main
from rlkit.cli.rlhf import COMMANDS
from rlkit.rlhf.exact.answer_key import AnswerKey
from rlkit.rlhf.stages.loading import load_policy
from rlkit.rlhf.stages.stage_run import load_stage_run

SMALL = ("--width", "16", "--num-layers", "1")
UPDATES = ("--num-updates", "2", "--batch-size", "16", "--minibatch-size", "8")
DEMONSTRATIONS = [
    {"prompt": "hi", "response": "hello you"},
    {"prompt": "good day", "response": "see you"},
    {"prompt": "bye", "response": "see you soon"},
]
PAIRS = [
    {"prompt": "hi", "chosen": "hello you", "rejected": "see"},
    {"prompt": "bye", "chosen": "see you", "rejected": "hello"},
    {"prompt": "bye", "chosen": "see you soon", "rejected": "soon", "margin": 0.5},
    {"prompt": "good day", "chosen": "hello", "rejected": "you"},
]
LABELS = [
    {"prompt": "hi", "response": "hello you", "label": 1},
    {"prompt": "bye", "response": "hello", "label": False},
    {"prompt": "bye", "response": "see you", "label": 0.9},
]
SCORES = """
import numpy as np

def length(prompts, responses):
    return [float(len(response)) for response in responses]

def one(prompts, responses):
    return 1.0

def column(prompts, responses):
    return np.ones((len(responses), 1))

def nan(prompts, responses):
    return [float("nan")] * len(responses)

def fails(prompts, responses):
    raise KeyError("no such thing")
"""


def said(*argv: object, code: int = 0, stdin: Any = None) -> tuple[str, str]:
    """Run the command line in this process; return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        if stdin is not None:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr("sys.stdin", stdin)
        try:
            found = main(["rlhf", *map(str, argv)])
        except SystemExit as stop:  # the parser prints what is wrong with an option and leaves
            found = int(str(stop.code))
    assert found == code, err.getvalue()
    return out.getvalue(), err.getvalue()


def answer(*argv: object) -> Any:
    """What --json printed, which must be JSON and nothing else."""
    return json.loads(said(*argv, "--json")[0])


def lines(path: Path, rows: Iterable[object]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs that tests share lie."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def sft(out: Path) -> str:
    argv = ("--num-demonstrations", 512, "--num-epochs", 2, *SMALL, "--seeds", 2, "--out", out)
    return str(answer("sft", "enumerable", *argv)["run"])


@pytest.fixture(scope="module")
def reward(out: Path, sft: str) -> str:
    argv = ("--num-pairs", 256, "--num-epochs", 2, "--seeds", 2, "--out", out)
    return str(answer("reward", sft, *argv)["run"])


@pytest.fixture(scope="module")
def ppo(out: Path, sft: str, reward: str) -> str:
    return str(answer("ppo", sft, "--reward", reward, *UPDATES, "--out", out)["run"])


@pytest.fixture(scope="module")
def text_sft(out: Path) -> str:
    files = ("--demonstrations", lines(out / "shown.jsonl", DEMONSTRATIONS))
    files = (*files, "--preferences", lines(out / "pairs.jsonl", PAIRS))
    return str(answer("sft", *files, *SMALL, "--num-epochs", 1, "--out", out)["run"])


@pytest.fixture(scope="module")
def scores(out: Path) -> Path:
    (out / "scores.py").write_text(SCORES)
    return out / "scores.py"


# --- stages -------------------------------------------------------------------------------------


def test_a_stage_answers_in_json_and_a_finished_run_is_noticed(sft: str, out: Path) -> None:
    argv = ("--num-demonstrations", 512, "--num-epochs", 2, *SMALL, "--seeds", 2, "--out", out)
    printed, noted = said("sft", "enumerable", *argv, "--json")
    again = json.loads(printed)
    assert "finished already" in noted
    assert again["run"] == sft
    assert (again["stage"], again["status"]) == ("sft", "finished")
    assert [set(row) >= {"loss", "num_updates"} for row in again["final"]] == [True, True]
    printed, _ = said("sft", "enumerable", *argv)
    assert "sft on enumerable" in printed
    assert sft in printed


def test_fine_tuning_makes_the_demonstrations_likelier(sft: str) -> None:
    loss = load_stage_run(sft).curve(0)["loss"]
    assert loss[-1] < np.log(6) - 0.02  # log 6 is that of guessing; 0.04 below it is reached
    assert loss[-1] < loss[0]


@pytest.mark.parametrize("method", ["ppo", "rloo", "grpo"])
def test_a_policy_is_trained_on_gold_without_a_reward_model(
    method: str, sft: str, tmp_path: Path
) -> None:
    found = answer(method, sft, *UPDATES, "--out", tmp_path)
    assert found["status"] == "finished"
    assert set(found["final"][0]) >= {"score", "kl", "kl_coef", "response_length"}
    assert found["final"][0]["num_updates"] == 2


def test_dpo_learns_from_preferences_that_follow_gold(sft: str, tmp_path: Path) -> None:
    found = answer("dpo", sft, "--num-pairs", 64, "--num-epochs", 1, "--out", tmp_path)
    assert set(found["final"][0]) >= {"loss", "accuracy", "reward_margin"}
    judged = answer("evaluate", found["run"], "--num-samples", 16)
    # The preferences follow gold, so the optimum of its loss is that for gold and beta.
    assert judged["exact"]["maximised"] == "gold"
    assert judged["exact"]["kl_coef"] == 0.1


@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_own_texts_go_from_demonstrations_to_a_policy(
    tokenizer: str, scores: Path, tmp_path: Path
) -> None:
    shown = lines(tmp_path / "shown.jsonl", DEMONSTRATIONS)
    judged = lines(tmp_path / "judged.jsonl", LABELS if tokenizer == "word" else PAIRS)
    argv = ("--demonstrations", shown, "--preferences", judged, "--tokenizer", tokenizer)
    common = ("--num-epochs", 1, "--out", tmp_path / "runs")
    sft = answer("sft", *argv, *SMALL, *common)["run"]
    loss = "pointwise" if tokenizer == "word" else "pairwise"
    reward = answer("reward", sft, "--loss", loss, *common)["run"]
    accuracy = answer("evaluate", reward)["accuracy"]["all"]
    assert accuracy["num_pairs"] == 1  # held out of so few
    ppo = answer("ppo", sft, "--reward", reward, *UPDATES, *common)["run"]
    other = answer("ppo", sft, "--score", f"{scores}:length", *UPDATES, *common)["run"]
    assert other != ppo
    for run, name in ((ppo, "reward"), (other, "score")):
        rows = answer("sample", run, "--prompt", "hi", "bye", "--num", 2)["samples"]
        assert [row["prompt"] for row in rows] == ["hi", "hi", "bye", "bye"]
        assert all(list(row["scores"]) == [name] for row in rows)
    assert all(row["scores"]["score"] == len(row["response"]) for row in rows)
    if tokenizer != "word":
        assert answer("dpo", sft, *common)["status"] == "finished"
    found = answer("evaluate", ppo, "--demonstrations", shown, "--num-samples", 8)
    assert found["exact"] is None
    assert set(found["overlap"]) == {"bleu", "rouge_1", "rouge_2", "rouge_l"}
    assert found["perplexity"]["of_demonstrations"] > 1


# --- sample -------------------------------------------------------------------------------------


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


# --- evaluate -----------------------------------------------------------------------------------


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


def test_a_larger_kl_coefficient_leaves_a_smaller_gap_to_the_reference(sft: str) -> None:
    gaps = [
        answer("evaluate", sft, "--num-samples", 16, "--kl-coef", coef)["exact"]["gap"]
        for coef in (0, 0.3, 100)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    # For large beta, J* = E[r] + Var(r) / (2 beta) + O(beta^-2); over prompts at most 1 / 200.
    assert gaps[2] < 0.00505


def test_the_policy_after_fine_tuning_is_its_own_reference(sft: str) -> None:
    found = answer("evaluate", sft, "--num-samples", 64)
    assert found["is_reference"] is True
    assert found["exact"]["kl"] == pytest.approx(0.0, abs=1e-12)
    assert found["exact"]["gold"] == pytest.approx(0.0, abs=1e-9)  # standardised under it
    for name in ("gap", "log_evidence", "elbo", "posterior_kl"):
        assert found["exact"][name] is None
    assert found["kl"] == pytest.approx(0.0, abs=1e-4)  # cached and whole forward pass, float32
    assert "reference" not in said("evaluate", sft, "--num-samples", 64)[0]


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


# --- best of n ----------------------------------------------------------------------------------


def test_the_best_of_n_agrees_with_its_exact_law(sft: str, reward: str) -> None:
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


# --- chat ---------------------------------------------------------------------------------------


def test_chat_shows_both_sides_explains_unknown_tokens_and_ends_at_an_empty_line(ppo: str) -> None:
    typed = io.StringIO("<about-A>\n<about-Z>\nA B\n<about-B>\n\n<about-C>\n")
    printed, _ = said("chat", ppo, "--num", 2, stdin=typed)
    assert "tokens of prompts: <about-A> <about-B> <about-C> <about-D>" in printed
    assert "example of a prompt: <about-" in printed
    assert printed.count("┃ policy ") == printed.count("┃ reference ") == 2
    assert "'<about-Z>' is not one of the" in printed
    assert "'A B' is no prompt of the task enumerable; a prompt is, for example" in printed
    assert typed.readline() == "<about-C>\n"  # not read any more


def test_chat_ends_with_its_input_and_by_ctrl_c(text_sft: str) -> None:
    printed, _ = said("chat", text_sft, "--num", 1, stdin=io.StringIO("hi\nhü\ngood day!\nhi"))
    assert printed.count("policy ") >= 2
    assert "'ü' is not in the tokenizer's vocabulary" in printed

    class Interrupted(io.StringIO):
        def readline(self, *_: Any) -> str:
            raise KeyboardInterrupt

    said("chat", text_sft, stdin=Interrupted())


# --- wrong usage --------------------------------------------------------------------------------


def refused(*argv: object, out: Path) -> str:
    """What is said of wrong usage, which must come before anything is written."""
    message = said(*argv, "--out", out, code=2)[1]
    assert not out.exists() or not list(out.iterdir())
    return message


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("", "the line is empty"),
        ("{'prompt': 'hi'}", "expected one JSON object on one line"),
        ('{"prompt": "hi", "answer": "x"}', "unknown field 'answer'"),
        ('{"prompt": "hi", "response": ""}', "field 'response' is empty"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(row: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "shown.jsonl"
    file.write_text(f"{json.dumps(DEMONSTRATIONS[0])}\n{row}\n{json.dumps(DEMONSTRATIONS[1])}\n")
    message = refused("sft", "--demonstrations", file, out=tmp_path / "runs")
    assert f"{file}:2" in message
    assert reason in message


def test_a_prompt_longer_than_the_context_is_named(text_sft: str, tmp_path: Path) -> None:
    shown = lines(tmp_path / "shown.jsonl", DEMONSTRATIONS)
    runs = tmp_path / "runs"
    message = refused("sft", "--demonstrations", shown, "--context-length", 18, out=runs)
    assert f"{shown}:2: the prompt has 8 tokens" in message  # and 13 more to respond
    longer = lines(tmp_path / "prompts.jsonl", [{"prompt": "hi"}, {"prompt": "hi " * 9}])
    score = tmp_path / "score.py"
    score.write_text("def f(prompts, responses):\n    return [0.0] * len(responses)\n")
    argv = ("ppo", text_sft, "--prompts", longer, "--score", f"{score}:f")
    assert f"{longer}:2: the prompt has 27 tokens" in refused(*argv, out=runs)
    assert "reads at most" in said("sample", text_sft, "--prompt", "hi " * 9, code=2)[1]


def test_bad_preferences_are_named(text_sft: str, tmp_path: Path) -> None:
    file, runs = tmp_path / "pairs.jsonl", tmp_path / "runs"
    for pair, reason in (
        ({"prompt": "hi", "chosen": "see", "rejected": "see"}, "are the same text"),
        ({"prompt": "hi", "chosen": "sèe", "rejected": "see"}, "'è' is not in the tokenizer's"),
        ({"prompt": "hi", "chosen": "see " * 9, "rejected": "see"}, "has 37 tokens"),
    ):
        lines(file, [PAIRS[0], pair])
        for stage in ("reward", "dpo"):
            message = refused(stage, text_sft, "--preferences", file, out=runs)
            assert f"{file}:2" in message
            assert reason in message
    # Other texts, but the same tokens: words are cut at white space.
    shown = lines(tmp_path / "shown.jsonl", DEMONSTRATIONS)
    lines(file, [PAIRS[0], {"prompt": "hi", "chosen": "see you", "rejected": "see  you"}])
    argv = ("--demonstrations", shown, "--preferences", file, "--tokenizer", "word")
    message = refused("sft", *argv, out=runs)
    assert f"{file}:2: chosen 'see you' and rejected 'see  you' are the same tokens" in message
    lines(file, LABELS)
    assert "--loss pointwise" in refused("reward", text_sft, "--preferences", file, out=runs)
    assert "dpo needs pairs" in refused("dpo", text_sft, "--preferences", file, out=runs)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("one", "expected 8 numbers, one per response"),
        ("column", "shape (8, 1)"),
        ("nan", "expected finite numbers"),
        ("fails", "line 17"),
        ("lenght", "Did you mean 'length'"),
    ],
)
def test_a_score_function_is_tried_before_training(
    name: str, reason: str, text_sft: str, scores: Path, tmp_path: Path
) -> None:
    argv = ("ppo", text_sft, "--score", f"{scores}:{name}")
    assert reason in refused(*argv, out=tmp_path / "runs")


def test_a_reward_model_of_another_vocabulary_is_refused(
    sft: str, reward: str, text_sft: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    message = refused("ppo", text_sft, "--reward", reward, out=runs)
    assert "another vocabulary" in message
    assert reward in message
    assert "another vocabulary" in said("sample", text_sft, "--reward", reward, code=2)[1]


def test_a_damaged_model_folder_says_what_it_lacks(tmp_path: Path) -> None:
    shown = lines(tmp_path / "shown.jsonl", DEMONSTRATIONS)
    argv = ("sft", "--demonstrations", shown, "--model", tmp_path / "model")
    assert "no such folder" in refused(*argv, out=tmp_path / "runs")
    (tmp_path / "model").mkdir()
    assert "has no config.json" in refused(*argv, out=tmp_path / "runs")
    (tmp_path / "model" / "config.json").write_text("{}")
    assert "has no weights" in refused(*argv, out=tmp_path / "runs")
    (tmp_path / "model" / "model.safetensors").write_text("")
    assert "has no tokenizer" in refused(*argv, out=tmp_path / "runs")


@pytest.mark.claim(52)
@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["sfd"], "Did you mean 'sft'"),
        (["sft"], "give either a built-in task"),
        (["sft", "enumerabel"], "Did you mean 'enumerable'"),
        (["sft", "enumerable", "--demonstrations", "x"], "not both"),
        (["sft", "enumerable", "--lr", "1"], "Did you mean '--learning-rate'"),
        (["sft", "enumerable", "--learning-rate", "-1"], "option learning_rate"),
        (["sft", "enumerable", "--seeds", "0"], "option seeds"),
        (["sft", "enumerable", "--init-std", "nan"], "option init_std"),
        (["sft", "enumerable", "--dropout", "nan"], "option dropout"),
        (["sft", "enumerable", "--context-length", "3"], "option context_length"),
        (["sft", "enumerable", "--model", "m"], "no such folder"),
        *(
            (["sft", *words, option, value], f"({option}): the {reason}")
            for words, option, value, reason in (
                (["enumerable"], "--tokenizer", "word", "task enumerable has its own tokens"),
                (["grammar"], "--vocab-size", "300", "task grammar has its own tokens"),
                (["enumerable"], "--max-new-tokens", "4", "task enumerable has its own tokens"),
                (["--demonstrations", "x", "--model", "m"], "--width", "32", "model in "),
                (["--demonstrations", "x", "--model", "m"], "--num-layers", "1", "model in "),
                (["--demonstrations", "x", "--model", "m"], "--num-heads", "4", "model in "),
                (["--demonstrations", "x", "--model", "m"], "--dropout", "0.1", "model in "),
                (["--demonstrations", "x", "--model", "m"], "--positions", "sinusoidal", "model"),
                (["--demonstrations", "x", "--model", "m"], "--init-std", "0.1", "model in "),
            )
        ),
        (["ppo", "nowhere"], "not the folder of a run"),
        (["reward", "nowhere"], "not the folder of a run"),
        (["ppo", "SFT", "--adapter-rank", "0"], "option adapter_rank"),
        (["ppo", "SFT", "--prompts", "x"], "has its own prompts"),
        (["ppo", "SFT", "--reward", "REWARD", "--score", "x.py:f"], "not both"),
        (["ppo", "SFT", "--reward", "SFT"], "expected a reward model's"),
        (["ppo", "REWARD"], "is a run of reward, expected a policy"),
        (["reward", "REWARD"], "is a run of reward, expected a policy"),
        (["ppo", "SFT", "--seeds", "3"], "with at least 3 seeds"),
        (["ppo", "SFT", "--parent-seed", "7"], "with at least 8 seeds"),
        (["grpo", "SFT", "--group-size", "5"], "option group_size"),
        (["reward", "SFT", "--preferences", "x"], "draws its preferences from its gold"),
        (["dpo", "SFT", "--beta", "0"], "option beta"),
        (["ppo", "TEXT"], "has no gold reward"),
        (["reward", "TEXT", "--preferences", "nowhere.jsonl"], "nowhere.jsonl, does not exist"),
    ],
)
def test_wrong_usage_of_a_stage_is_refused_before_anything_is_written(
    argv: list[str], reason: str, sft: str, reward: str, text_sft: str, tmp_path: Path
) -> None:
    runs = {"SFT": sft, "REWARD": reward, "TEXT": text_sft}
    argv = [runs.get(word, word) for word in argv]
    out = ["--out", str(tmp_path / "runs")] if argv[0] != "sfd" else []
    assert reason in said(*argv, *out, code=2)[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["evaluate", "nowhere"], "not the folder of a run"),
        (["sample", "AGENT"], "is the run of the agent 'random'"),
        (["sample", "REWARD"], "expected a policy"),
        (["sample", "SFT", "--num", "0"], "option num"),
        (["sample", "SFT", "--run-seed", "2"], "with at least 3 seeds"),
        (["sample", "SFT", "--temperature", "0"], "option temperature"),
        (["sample", "SFT", "--prompt", "A"], "'A' is no prompt of the task"),
        (["sample", "SFT", "--prompt", "Q"], "'Q' is not one of the"),
        (["sample", "SFT", "--reward", "SFT"], "expected a reward model's"),
        (["evaluate", "SFT", "--preferences", "x"], "preferences evaluate a reward model"),
        (["evaluate", "SFT", "--demonstrations", "x"], "makes its own texts"),
        (["evaluate", "REWARD", "--demonstrations", "x"], "omit demonstrations"),
        (["evaluate", "SFT", "--num-samples", "1"], "option num_samples"),
        (["best-of-n", "SFT", "--n", "0", "2"], "option n"),
        (["best-of-n", "TEXT"], "no score to choose the best response by"),
        (["best-of-n", "SFT", "--reward", "REWARD", "--score", "x.py:f"], "not both"),
        (["chat", "REWARD"], "expected a policy"),
    ],
)
def test_wrong_usage_of_what_judges_is_refused(
    argv: list[str],
    reason: str,
    sft: str,
    reward: str,
    text_sft: str,
    agent: str,
) -> None:
    runs = {"SFT": sft, "REWARD": reward, "TEXT": text_sft, "AGENT": agent}
    assert reason in said(*(runs.get(word, word) for word in argv), code=2)[1]


@pytest.fixture(scope="module")
def agent(out: Path) -> str:
    """The run of an agent, which is no stage of this."""
    argv = ["train", "random", "FrozenLake-v1", "--seeds", "1", "--steps", "50", "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*argv, "--out", str(out / "agents")]) == 0
    return str(json.loads(printed.getvalue())["run"])


def test_an_unfinished_run_names_the_command_that_finishes_it(sft: str, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(sft, tmp_path / "sft"))
    for checkpoint in (copied / "checkpoints" / "seed-001").iterdir():
        checkpoint.unlink()
    message = said("sample", copied, "--run-seed", 1, code=2)[1]
    assert "seed 1 of the stage 'sft'" in message
    assert "is at 0 of 16 updates; bring it to its end first" in message
    assert "that began it: " in message


def test_a_file_that_changed_since_the_run_began_is_refused(tmp_path: Path) -> None:
    shown = lines(tmp_path / "shown.jsonl", DEMONSTRATIONS)
    argv = ("--demonstrations", shown, *SMALL, "--num-epochs", 1, "--out", tmp_path / "runs")
    sft = answer("sft", *argv)["run"]
    lines(shown, DEMONSTRATIONS[:2])
    assert "has changed since the run began" in said("sample", sft, code=2)[1]
    assert answer("sft", *argv)["run"] != sft  # other content is another run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    printed = io.StringIO()
    with pytest.raises(SystemExit) as stop, contextlib.redirect_stdout(printed):
        main(["rlhf", command, "--help"])
    assert stop.value.code == 0
    assert f"usage: rlkit rlhf {command}" in printed.getvalue()
    assert main(["rlhf"]) == 2
