"""Scores as plain data: weights, names of columns, sums, and what a run remembers of them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.score_sources import ScoreSource, split_weight, stored_score, sum_of
from rlkit.rlhf.stages.sources import Parent
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.runs.integrity.trust import sign, trusting
from tests.rlhf.stages.small_runs import UPDATES


def _functions(*names: str) -> list[tuple[float, ScoreSource]]:
    return [(2.0, ScoreSource(function=name)) for name in names]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.py:f", (1.0, "a.py:f")),
        ("0.5*a.py:f", (0.5, "a.py:f")),
        ("-1e-3 * module:f", (-1e-3, "module:f")),
        ("0*a.py:f", (0.0, "a.py:f")),
    ],
)
def test_a_weight_stands_before_an_asterisk(words: str, expected: tuple[float, str]) -> None:
    assert split_weight(words) == expected


def test_an_asterisk_of_a_files_name_is_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x*a.py").touch()
    assert split_weight("x*a.py:f") == (1.0, "x*a.py:f")
    with pytest.raises(UsageError, match=r"expected a number before the asterisk.* got '0,5'"):
        split_weight("0,5*a.py:f")


@pytest.mark.parametrize(
    ("functions", "names"),
    [
        (("a.py:f", "b.py:g"), ["f", "g"]),
        (("a.py:f", "dir/b.py:f", "b.py:g"), ["a.f", "b.f", "g"]),
        (("one/a.py:f", "two/a.py:f"), ["a.f", "a.f-2"]),
        (("pkg.a:f", "b:f"), ["a.f", "b.f"]),
        (("notebook:<lambda>", "a.py:größe"), ["_lambda_", "gr_e"]),
        (("a.py:reward",), ["reward"]),
    ],
)
def test_columns_are_named_after_functions_and_told_apart(
    functions: tuple[str, ...], names: list[str]
) -> None:
    assert list(sum_of(_functions(*functions)).named_parts()) == [f"score/{n}" for n in names]


def test_a_reward_model_and_a_function_of_its_name_are_told_apart() -> None:
    model = (1.0, ScoreSource(reward=Parent(folder="runs/reward-1")))
    source = sum_of([model, *_functions("a.py:reward")])
    assert list(source.named_parts()) == ["score/reward", "score/a.reward"]
    assert source.parent == model[1].reward


def test_one_score_with_the_weight_1_is_the_run_that_it_was_without_weights() -> None:
    alone = ScoreSource(function="a.py:f", digest="0")
    assert sum_of([(1.0, alone)]) is alone
    assert alone.identity() == {"function": "a.py:f", "digest": "0"}
    assert ScoreSource().identity() == {"gold": True}
    half = sum_of([(0.5, alone)]).identity()
    assert half == {"sum": [{"weight": 0.5, "function": "a.py:f", "digest": "0"}]}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.0, 0.0), "every weight is 0"),
        ((1.0, float("nan")), r"score b.py:f: expected a finite weight, got nan"),
        ((float("inf"), 1.0), r"score a.py:f: expected a finite weight, got inf"),
    ],
)
def test_weights_without_a_meaning_are_rejected(weights: tuple[float, ...], message: str) -> None:
    sources = [ScoreSource(function=name) for name in ("a.py:f", "b.py:f")]
    with pytest.raises(UsageError, match=message):
        sum_of(list(zip(weights, sources, strict=True)))


def test_a_score_that_is_given_twice_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"a.py:f is given twice"):
        sum_of(_functions("a.py:f", "a.py:f"))


SCORES = """
def length(prompts, responses):
    return [float(len(text.split())) for text in responses]

def score(prompts, responses):
    return [float("C" in text) for text in responses]
"""


@pytest.fixture(scope="module")
def summed(parents: dict[str, StageRun], tmp_path_factory: pytest.TempPathFactory) -> StageRun:
    """A policy that was trained on a reward model less half of a length, beside a third score."""
    folder = tmp_path_factory.mktemp("summed")
    (folder / "scores.py").write_text(SCORES)
    file = folder / "scores.py"
    scores = [(-0.5, f"{file}:length"), f"0*{file}:score"]
    out = folder / "runs"
    return rlhf.rloo(parents["sft"], reward=parents["reward"], score=scores, out=out, **UPDATES)


def test_each_part_of_a_sum_is_a_column_and_the_score_is_their_sum(summed: StageRun) -> None:
    curve = summed.curve()
    reward, length = curve["score/reward"], curve["score/length"]
    assert curve["score"] == pytest.approx(reward - 0.5 * length, abs=1e-5)
    assert "score/score" in curve
    # The column is the mean of the rollouts, so the length is that of the texts, without EOS.
    expected = curve["response_length"] - curve["ended_fraction"]
    assert length == pytest.approx(expected, abs=1e-5)


def test_an_evaluation_has_the_sum_and_its_parts(summed: StageRun) -> None:
    rows = rlhf.sample_run(summed, num=4)
    assert list(rows[0]["scores"])[:4] == ["score", "score/reward", "score/length", "score/score"]
    for row in rows:
        scores = row["scores"]
        assert scores["score/length"] == len(row["response"].split())
        whole = scores["score/reward"] - 0.5 * scores["score/length"]
        assert scores["score"] == pytest.approx(whole, abs=1e-5)
    file = summed.content["score"]["sum"][1]["function"]
    report = rlhf.evaluate_run(
        summed, num_samples=8, score=[file, (2, file.replace("length", "score"))]
    )
    assert list(report["scores"]) == ["score", "score/length", "score/score", "gold"]
    best = rlhf.best_of_n_run(summed, n=(1, 2), num_prompts=4)
    assert best["chosen_by"] == "score"


def test_a_run_of_a_sum_is_continued_from_its_folder(summed: StageRun) -> None:
    from rlkit.rlhf.stages.launch import stored_spec

    assert stored_spec(summed).folder_name() == summed.folder.name
    source = stored_score(summed)
    assert source is not None
    assert [weight for weight, _ in source.parts] == [1.0, -0.5, 0.0]
    assert source.identity() == summed.content["score"]


@pytest.mark.parametrize("reference", ["score_file.py:score", "score_file:score"])
def test_the_score_function_of_a_run_from_elsewhere_is_not_run(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = b"open('marker', 'w')\ndef score(prompts, responses): return [0.0] * len(prompts)\n"
    Path("score_file.py").write_bytes(source)
    score = {"function": reference, "digest": hashlib.sha256(source).hexdigest()}
    record: dict[str, Any] = {"kind": "stage", "content": {"score": score}}
    run: Any = SimpleNamespace(folder=tmp_path, record=record, content=record["content"])
    with pytest.raises(UsageError, match=r"names the (file|module) .*score_file.* --trust"):
        stored_score(run)
    with trusting(True):
        assert stored_score(run) == ScoreSource(**score)
    assert sign(record) is None
    assert stored_score(run) == ScoreSource(**score)
    score["function"] = "other_file.py:score"
    with pytest.raises(UsageError, match="its record was changed"):
        stored_score(run)
    score["function"] = reference
    Path("score_file.py").write_bytes(source + b"#\n")
    if reference.startswith("score_file.py"):
        with pytest.raises(UsageError, match=r"has changed since .*expected the sha256 .* got"):
            stored_score(run)
    assert not Path("marker").exists()


@pytest.fixture(scope="module")
def judge(hf: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reward model of a run, as a classifier that knows nothing of the run."""
    return rlhf.export(hf["reward"], tmp_path_factory.mktemp("judge") / "judge")


ROWS = [{"prompt": "a b", "response": "c d e"}, {"prompt": "b", "response": "d"}]


def test_a_classifier_scores_as_the_run_that_it_was_exported_from(
    hf: dict[str, Any], judge: Path
) -> None:
    expected = rlhf.score(hf["reward"], ROWS)
    assert rlhf.score(judge, ROWS) == pytest.approx(expected, abs=1e-5)


def test_a_classifier_is_maximised_and_known_by_its_content(
    hf: dict[str, Any], judge: Path, tmp_path: Path
) -> None:
    options = {"num_updates": 1, "batch_size": 4, "minibatch_size": 4, "num_epochs": 1}
    options = {"group_size": 2, **options, "out": tmp_path}
    run = rlhf.rloo(hf["sft"], reward=judge, **options)
    other = Path(shutil.copytree(judge, tmp_path / "elsewhere"))
    assert rlhf.rloo(hf["sft"], reward=other, **options).folder == run.folder
    weights = load_file(other / "model.safetensors")
    save_file({**weights, "score.weight": 2 * weights["score.weight"]}, other / "model.safetensors")
    assert rlhf.rloo(hf["sft"], reward=other, **options).folder != run.folder
    # What it was trained on is found again, and another can be named.
    rows = [row for row in rlhf.sample_run(run, num=4) if row["response"]]
    expected = rlhf.score(
        judge, [{key: row[key] for key in ("prompt", "response")} for row in rows]
    )
    assert [row["scores"]["reward"] for row in rows] == pytest.approx(expected, abs=1e-4)
    best = rlhf.best_of_n_run(hf["sft"], reward=judge, n=[1, 2], num_prompts=2)
    assert best["chosen_by"] == "reward"


def test_a_classifier_that_has_changed_is_noticed(
    hf: dict[str, Any], judge: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(judge, tmp_path / "own"))
    options = {"num_updates": 1, "batch_size": 4, "minibatch_size": 4, "num_epochs": 1}
    run = rlhf.ppo(hf["sft"], reward=own, score=f"{__file__}:ones", out=tmp_path, **options)
    assert {"score/reward", "score/ones"} <= set(run.curve())
    (own / "config.json").write_text((own / "config.json").read_text() + "\n")
    with pytest.raises(UsageError, match=r"has changed or is gone since .* give the one to eval"):
        stored_score(run)


def ones(prompts: list[str], responses: list[str]) -> list[float]:
    return [1.0] * len(responses)
