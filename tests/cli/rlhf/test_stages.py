"""`rlkit rlhf sft`, `reward`, `ppo`, ... as a user and as a script see them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from rlkit.cli import main
from rlkit.rlhf.stages.stage_run import load_stage_run
from tests.cli.rlhf.commands import (
    DEMONSTRATIONS,
    LABELS,
    PAIRS,
    SMALL,
    UPDATES,
    answer,
    lines,
    refused,
    said,
)


def test_a_stage_answers_in_json_and_a_finished_run_is_noticed(sft: str, out: Path) -> None:
    argv = ("--num-demonstrations", 512, "--num-epochs", 2, *SMALL, "--seeds", 2, "--out", out)
    printed, noted = said("sft", "enumerable", *argv, "--json")
    again = json.loads(printed)
    assert "already finished" in noted
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


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ppo", "rloo", "grpo"])
def test_a_policy_is_trained_on_gold_without_a_reward_model(
    method: str, sft: str, tmp_path: Path
) -> None:
    found = answer(method, sft, *UPDATES, "--out", tmp_path)
    assert found["status"] == "finished"
    assert set(found["final"][0]) >= {"score", "kl", "kl_coef", "response_length"}
    assert found["final"][0]["num_updates"] == 2


@pytest.mark.slow
def test_dpo_learns_from_preferences_that_follow_gold(sft: str, tmp_path: Path) -> None:
    found = answer("dpo", sft, "--num-pairs", 64, "--num-epochs", 1, "--out", tmp_path)
    assert set(found["final"][0]) >= {"loss", "accuracy", "reward_margin"}
    judged = answer("evaluate", found["run"], "--num-samples", 16)
    # The preferences follow gold, so the optimum of its loss is that for gold and beta.
    assert judged["exact"]["maximised"] == "gold"
    assert judged["exact"]["kl_coef"] == 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "tokenizer",
    ["char", *(pytest.param(each, marks=pytest.mark.torture) for each in ("word", "bpe"))],
)
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


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("", "the line is empty"),
        ("{'prompt': 'hi'}", "expected one JSON object on one line"),
        ('{"prompt": "hi", "answer": "x"}', "the other fields 'answer'"),
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_reward_model_of_another_vocabulary_is_rejected(
    sft: str, reward: str, text_sft: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    message = refused("ppo", text_sft, "--reward", reward, out=runs)
    assert "a different vocabulary" in message
    assert reward in message
    assert "a different vocabulary" in said("sample", text_sft, "--reward", reward, code=2)[1]


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
        (["ppo", "SFT", "--reward", "REWARD", "--score", "x.py:f"], "cannot read x.py"),
        (["ppo", "SFT", "--score", "half*x.py:f"], "expected a number before the asterisk"),
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
def test_wrong_usage_of_a_stage_is_rejected_before_anything_is_written(
    argv: list[str], reason: str, sft: str, reward: str, text_sft: str, tmp_path: Path
) -> None:
    runs = {"SFT": sft, "REWARD": reward, "TEXT": text_sft}
    argv = [runs.get(word, word) for word in argv]
    out = ["--out", str(tmp_path / "runs")] if argv[0] != "sfd" else []
    assert reason in said(*argv, *out, code=2)[1]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_since_the_run_began_is_rejected(tmp_path: Path) -> None:
    shown = lines(tmp_path / "shown.jsonl", DEMONSTRATIONS)
    argv = ("--demonstrations", shown, *SMALL, "--num-epochs", 1, "--out", tmp_path / "runs")
    sft = answer("sft", *argv)["run"]
    lines(shown, DEMONSTRATIONS[:2])
    assert "has changed since the run began" in said("sample", sft, code=2)[1]
    assert answer("sft", *argv)["run"] != sft  # other content is another run


def test_preferences_that_teach_or_show_nothing_are_remarked_on(
    text_sft: str, tmp_path: Path
) -> None:
    one = lines(tmp_path / "one.jsonl", PAIRS[:1])
    message = refused("reward", text_sft, "--preferences", one, out=tmp_path / "none")
    assert "one.jsonl, has one line, expected at least two" in message
    liked = lines(tmp_path / "liked.jsonl", [row | {"label": 1} for row in LABELS])
    argv = ("--loss", "pointwise", "--num-epochs", 1, "--min-updates", 1, "--num-calibration", 8)
    argv = (*argv, "--preferences", liked, "--out", tmp_path / "runs")
    printed, notes = said("reward", text_sft, *argv)
    assert "all labels are 1: there is nothing to tell apart" in notes
    run = printed.strip().splitlines()[-1]
    assert "was trained on" in said("evaluate", run, "--preferences", liked)[1]
    assert "was trained on" not in said("evaluate", run)[1]


def test_what_a_score_prints_stays_out_of_the_json(text_sft: str, tmp_path: Path) -> None:
    file = tmp_path / "loud.py"
    file.write_text(
        "def loud(prompts, responses):\n    print('scored')\n    return [1.0] * len(prompts)\n"
    )
    printed, notes = said("sample", text_sft, "--score", f"{file}:loud", "--num", 2, "--json")
    assert len(json.loads(printed)["samples"]) == 2
    assert "scored" in notes


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("sft", "With files of your own they are --batch-size 8 --min-updates 2000"),
        (
            "sft",
            "--positions sinusoidal --init-std 0.0625, and with a pretrained model there",
        ),
        ("reward", "--min-updates 30 --num-calibration 256 --patience 2, with low-rank adapters"),
        ("dpo", "--nll-coef 10 --learning-rate 0.0002, and with a pretrained model"),
        ("grpo", "--learning-rate 0.0001 --no-scale --kl-placement reward --kl-estimator k1, and"),
    ],
)
def test_the_help_has_the_defaults_of_own_files_and_of_pretrained_models(
    stage: str, words: str
) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(["rlhf", stage, "--help"])
    assert words in " ".join(out.getvalue().split())
