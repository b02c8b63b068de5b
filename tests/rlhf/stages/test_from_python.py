"""Rows and functions that are given in Python."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import rlkit.rlhf as rlhf
from rlkit.errors import RlkitWarning, UsageError
from rlkit.rlhf.data import scores
from rlkit.rlhf.data.sequences import pack
from rlkit.rlhf.stages.from_python import score_source, text_file
from rlkit.rlhf.stages.stage_run import StageRun
from tests.rlhf.stages.small_runs import MODEL, SHOWN, UPDATES, lines, save_model

ROWS = [{"prompt": p, "response": r} for p, r in SHOWN]


def scorer(factor: float) -> Any:
    """A function that no import finds."""

    def brief(prompts: list[str], responses: list[str]) -> list[float]:
        return [-factor * len(response) for response in responses]

    return brief


def test_rows_are_the_same_run_as_a_file_of_them(tmp_path: Path) -> None:
    file = lines(tmp_path / "demonstrations.jsonl", *ROWS)
    written = text_file(ROWS, "demonstrations", tmp_path / "runs")
    assert written is not None
    assert Path(written).read_bytes() == file.read_bytes()
    common: dict[str, Any] = {"model": MODEL, "num_epochs": 1, "out": tmp_path / "runs"}
    of_rows = rlhf.sft(demonstrations=ROWS, **common)
    assert of_rows.label == "demonstrations"
    assert rlhf.sft(demonstrations=file, **common).folder == of_rows.folder
    with pytest.raises(UsageError, match="demonstrations: expected a file, or rows"):
        rlhf.sft(demonstrations=[{"prompt": {1, 2}}], **common)


def test_a_function_of_a_notebook_is_a_score_while_its_process_lives(
    parents: dict[str, StageRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rlhf.rloo(parents["sft"], score=scorer(1.0), out=tmp_path, **UPDATES)
    assert first.status == "finished"
    assert str(first.content["score"]["function"]).startswith("notebook:")
    again = rlhf.rloo(parents["sft"], score=scorer(1.0), out=tmp_path, **UPDATES)
    edited = rlhf.rloo(parents["sft"], score=scorer(2.0), out=tmp_path, **UPDATES)
    assert again.folder == first.folder != edited.folder
    (row,) = rlhf.sample_run(edited, num=1)
    assert row["scores"]["score"] == -2.0 * len(row["response"])
    (row,) = rlhf.sample_run(first, num=1)  # the one that it was trained with
    assert row["scores"]["score"] == -1.0 * len(row["response"])
    (row,) = rlhf.sample_run(first, num=1, score=scorer(3.0))
    assert row["scores"]["score"] == -3.0 * len(row["response"])
    monkeypatch.setattr(scores, "_KEPT", {})  # as in another process
    with pytest.raises(UsageError, match=r"of a notebook .* give it again, as score="):
        rlhf.sample_run(first, num=1)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda responses: [1.0 for _ in responses], "too many positional arguments"),
        (lambda prompts, responses, topic: [1.0 for _ in responses], "missing a required .*topic"),
        (lambda: 1.0, "too many positional arguments"),
    ],
)
def test_a_score_with_other_parameters_is_rejected_with_those_it_gets(
    function: Any, problem: str, parents: dict[str, StageRun], tmp_path: Path
) -> None:
    expected = rf"<lambda>\(.*\): expected the parameters \(prompts, responses\).* {problem}"
    with pytest.raises(UsageError, match=expected):
        rlhf.rloo(parents["sft"], score=function, out=tmp_path, **UPDATES)


def test_rows_are_evaluated_as_a_file_of_them(hf: dict[str, Any], tmp_path: Path) -> None:
    file = lines(tmp_path / "demonstrations.jsonl", *ROWS)
    of_file, of_rows = (
        rlhf.evaluate_run(hf["sft"], num_samples=4, demonstrations=texts) for texts in (file, ROWS)
    )
    assert of_rows == of_file
    pairs = [{"prompt": "a b", "chosen": "c", "rejected": "d"}]
    file = lines(tmp_path / "preferences.jsonl", *pairs)
    of_file, of_rows = (rlhf.evaluate_run(hf["reward"], preferences=each) for each in (file, pairs))
    assert of_rows["accuracy"]["all"]["accuracy"] == of_file["accuracy"]["all"]["accuracy"]


def test_evaluating_on_the_texts_of_the_training_is_said(hf: dict[str, Any]) -> None:
    with pytest.warns(RlkitWarning, match=r"is what sft-.* was fine-tuned on.* of new texts"):
        rlhf.evaluate_run(hf["sft"], num_samples=4, demonstrations=hf["shown"])
    with warnings.catch_warnings(record=True) as said:
        rlhf.evaluate_run(hf["sft"], num_samples=4, demonstrations=ROWS[:1])
    assert not said


def test_a_seed_that_the_run_before_lacks_is_said_with_the_remedies(
    parents: dict[str, StageRun], tmp_path: Path
) -> None:
    remedies = r"seed 2 starts from seed 2 of .*, which has 2: .* at least 3 seeds .*--parent-seed"
    with pytest.raises(UsageError, match=remedies):
        rlhf.rloo(parents["sft"], seeds=3, out=tmp_path, **UPDATES)
    done = rlhf.rloo(parents["sft"], score=_nothing, seeds=1, out=tmp_path, **UPDATES)
    with pytest.raises(UsageError, match=r"rloo-.* shows the seeds 0 to 0, not 1"):
        rlhf.load_policy(done, 1)  # and not the run before it, which has it


def test_a_policy_has_a_line_in_a_notebook(parents: dict[str, StageRun]) -> None:
    _, model = rlhf.load_policy(parents["sft"])
    text = repr(model)
    assert text.startswith("GPT(")
    assert "\n" not in text
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in text


def test_a_function_of_a_notebook_does_not_reach_workers() -> None:
    with pytest.raises(UsageError, match=r"use workers=1, got 2, or .*file.py:name"):
        score_source(scorer(1.0), workers=2)


def test_texts_are_scored_by_a_reward_model(hf: dict[str, Any]) -> None:
    run = hf["reward"]
    texts = [{"prompt": p, "response": r} for p, r in (*SHOWN, ("a b", "e e"))]
    values = rlhf.score(str(run.folder), texts)
    pairs = rlhf.load_policy(hf["sft"])[0].preferences()
    expected = rlhf.load_reward_model(run).score(pairs.chosen)
    assert values[:3].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert len(values) == 4
    task, _ = rlhf.load_policy(hf["sft"])
    at_once = pack([task.codec.encode("a b", prompt=True)], [[task.eos]], pad=task.pad)  # type: ignore[attr-defined]
    empty = rlhf.score(run, [{"prompt": "a b", "response": ""}])
    assert empty.tolist() == pytest.approx(rlhf.load_reward_model(run).score(at_once).tolist())
    with pytest.raises(UsageError, match="expected a demonstration"):
        rlhf.score(run, [{"prompt": "a"}])


def test_chats_are_scored_as_the_reward_model_read_them_in_training(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    template = "{% for message in messages %}f {{ message.content }} {% endfor %}e"
    (folder / "chat_template.jinja").write_text(template)
    chats = [[{"role": "user", "content": prompt}] for prompt, _ in SHOWN]
    answers = [[{"role": "assistant", "content": response}] for _, response in SHOWN]
    rows = [{"messages": chat + answer} for chat, answer in zip(chats, answers, strict=True)]
    pairs = [
        {"prompt": chat, "chosen": answer, "rejected": [{**answer[0], "content": "e e"}]}
        for chat, answer in zip(chats, answers, strict=True)
    ]
    common: dict[str, Any] = {"num_epochs": 1, "out": tmp_path / "runs"}
    sft = rlhf.sft(demonstrations=rows, preferences=pairs, model=folder, **common)
    model = rlhf.reward(sft, min_updates=1, num_calibration=2, **common)
    chosen = rlhf.load_policy(sft)[0].preferences().chosen
    expected = rlhf.load_reward_model(model).score(chosen).tolist()
    assert rlhf.score(model, rows).tolist() == pytest.approx(expected, abs=1e-5)
    by_hand = [{"prompt": f"f {prompt} e", "response": response} for prompt, response in SHOWN]
    assert rlhf.score(model, by_hand, chat_template=False).tolist() == pytest.approx(
        expected, abs=1e-5
    )


def test_prompts_of_a_model_without_chats_are_put_into_no_template(hf: Any) -> None:
    texts = [{"prompt": "a b", "response": "c"}]
    plain = rlhf.score(hf["reward"], texts)
    assert rlhf.score(hf["reward"], texts, chat_template=False).tolist() == plain.tolist()
    with pytest.raises(UsageError, match="the tokenizer has no chat template"):
        rlhf.score(hf["reward"], texts, chat_template=True)


def test_a_table_of_columns_is_rejected_with_how_it_becomes_rows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a table of columns becomes rows by"):
        text_file({"prompt": ["a"], "response": ["b"]}, "demonstrations", tmp_path)  # type: ignore[arg-type]


def test_runs_keep_functions_of_one_name_apart(
    parents: dict[str, StageRun], tmp_path: Path
) -> None:
    first = rlhf.rloo(parents["sft"], score=scorer(1.0), out=tmp_path, **UPDATES)
    rlhf.rloo(parents["sft"], score=scorer(2.0), out=tmp_path, **UPDATES)
    (row,) = rlhf.sample_run(first, num=1)  # of the cell before it was edited
    assert row["scores"]["score"] == -1.0 * len(row["response"])
    both = rlhf.rloo(
        parents["sft"], score=[scorer(3.0), (0.5, scorer(4.0))], out=tmp_path, **UPDATES
    )
    (row,) = rlhf.sample_run(both, num=1)
    assert row["scores"]["score"] == -5.0 * len(row["response"])
    (row,) = rlhf.sample_run(first, num=1, score=[scorer(5.0), scorer(6.0)])
    assert row["scores"]["score"] == -11.0 * len(row["response"])


def test_a_name_that_another_run_has_is_rejected_with_what_differs(
    parents: dict[str, StageRun], tmp_path: Path
) -> None:
    common: dict[str, Any] = {**UPDATES, "out": tmp_path, "name": "mine"}
    rlhf.rloo(parents["sft"], score=scorer(1.0), **common)
    with pytest.raises(
        UsageError, match=r"already.* differs from this one in .*score\.digest \(its code\)$"
    ):
        rlhf.rloo(parents["sft"], score=scorer(2.0), **common)
    with pytest.raises(UsageError, match=r"differs from this one in content\.config\.kl_coef$"):
        rlhf.rloo(parents["sft"], score=scorer(1.0), kl_coef=0.2, **common)


def _nothing(prompts: list[str], responses: list[str]) -> list[float]:
    return [0.0] * len(prompts)


def _expected(prompts: list[str], responses: list[str], answer: list[Any]) -> list[float]:
    return [float(str(one) in text) for one, text in zip(answer, responses, strict=True)]


def _any_column(prompts: list[str], responses: list[str], **columns: Any) -> list[float]:
    return [0.0] * len(columns["answer"])


def test_a_column_of_several_values_for_one_prompt_reaches_no_score(
    tmp_path: Path,
) -> None:
    common: dict[str, Any] = {"num_epochs": 1, "out": tmp_path}
    sft = rlhf.sft(demonstrations=ROWS, model=MODEL, **common)
    prompt = ROWS[0]["prompt"]
    prompts = [{"prompt": prompt, "answer": 1}, {"prompt": prompt, "answer": 2}]
    common = {"prompts": prompts, "out": tmp_path, **UPDATES}
    with pytest.raises(UsageError, match=rf"column answer, which has several .* prompt '{prompt}'"):
        rlhf.rloo(sft, score=_expected, **common)
    with pytest.raises(UsageError, match=r"KeyError\('answer'\).* does not get the column answer"):
        rlhf.rloo(sft, score=_any_column, **common)
    once = [{"prompt": row["prompt"], "answer": i} for i, row in enumerate(ROWS)]
    for score in (_expected, _any_column):
        assert rlhf.rloo(sft, score=score, **common | {"prompts": once}).status == "finished"


def test_one_text_and_one_number_stand_for_lists_of_one(
    parents: dict[str, StageRun], tmp_path: Path
) -> None:
    sft = rlhf.sft(demonstrations=ROWS, model=MODEL, num_epochs=1, out=tmp_path)
    prompt = ROWS[0]["prompt"]
    one, several = (rlhf.sample_run(sft, num=2, prompts=each) for each in (prompt, [prompt]))
    assert one == several  # and not one for each character
    with pytest.raises(UsageError, match=r"prompts: expected a text or .* got {'prompt': 'a b'}"):
        rlhf.sample_run(sft, prompts=[{"prompt": "a b"}])  # type: ignore[list-item]
    rows = [rlhf.best_of_n_run(parents["sft"], n=n, num_prompts=2)["rows"] for n in (2, [2])]
    assert rows[0] == rows[1]
    with pytest.raises(UsageError, match=r"expected .*>= 1, got 0"):
        rlhf.best_of_n_run(parents["sft"], n=0)


def test_rows_that_are_no_dictionaries_are_rejected(hf: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dictionary per row, such as .*, got a row \('a', 'b'\)"):
        text_file([("a", "b")], "demonstrations", tmp_path)  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"such as {'prompt': \.\.\.}, got a row 'a'"):
        text_file(["a"], "prompts", tmp_path)  # type: ignore[list-item]
    with pytest.raises(
        UsageError, match="demonstrations: expected a file, or a list of rows, got 3"
    ):
        text_file(3, "demonstrations", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match=r"texts: expected .* got one dictionary; put it into a list"
    ):
        rlhf.score(hf["reward"], ROWS[0])  # type: ignore[arg-type]


def test_what_is_no_reward_model_is_told_what_is(parents: dict[str, StageRun]) -> None:
    with pytest.raises(UsageError, match=r"no run.json, nor the folder of a .* no config.json"):
        rlhf.rloo(parents["sft"], reward="nowhere")
    with pytest.raises(UsageError, match="got a function; give it as score="):
        rlhf.rloo(parents["sft"], reward=scorer(1.0))


def test_a_table_of_pandas_is_its_rows(tmp_path: Path) -> None:
    class Table:  # the part of a DataFrame that counts
        def to_dict(self, orient: str) -> Any:
            return ROWS if orient == "records" else {}

    expected = text_file(ROWS, "demonstrations", tmp_path)
    assert text_file(Table(), "demonstrations", tmp_path) == expected  # type: ignore[arg-type]
