"""Any function of texts as the reward: what it sees, and what is refused of what it returns."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import RlkitError, UsageError
from rlkit.rlhf.data import scores as module
from rlkit.rlhf.data.scores import TextScore, WeightedScores, check_score, load_score
from rlkit.rlhf.data.sequences import Sequences, pack
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.data.tokenizer import Tokenizer

CODEC = Tokenizer.train(["abcd"], "char")
A, B, C, D = range(4)
EOS, PAD = CODEC.eos, CODEC.pad


def length(prompts: list[str], responses: list[str]) -> list[int]:
    return [len(response) for response in responses]


def batch() -> Sequences:
    prompts, responses = [[A, B], [C], [D, D, D]], [[C, D, EOS], [EOS], [A, B, C, D]]
    return pack(prompts, responses, pad=PAD, prompt_length=4)


def scored(returned: Any) -> np.ndarray[Any, Any]:
    return TextScore(lambda prompts, responses: returned, CODEC)(batch())


def test_the_function_sees_texts_without_eos_and_padding() -> None:
    seen: list[Any] = []

    def score(prompts: list[str], responses: list[str]) -> list[float]:
        seen.append((prompts, responses))
        return [1.0, 2.0, 3.0]

    found = TextScore(score, CODEC)(batch())
    assert seen == [(["ab", "c", "ddd"], ["cd", "", "abcd"])]
    assert found.tolist() == [1.0, 2.0, 3.0]
    assert found.dtype == np.float64


def test_tokens_outside_the_mask_are_not_text() -> None:
    sequences = batch()
    poisoned = sequences.tokens.clone()
    poisoned[0, 0], poisoned[1, 5:] = A, B
    texts: list[Any] = []

    def score(prompts: list[str], responses: list[str]) -> list[int]:
        texts.append((prompts, responses))
        return length(prompts, responses)

    TextScore(score, CODEC)(sequences._replace(tokens=poisoned))
    assert texts == [(["ab", "c", "ddd"], ["cd", "", "abcd"])]


def test_rows_keep_their_order_and_do_not_depend_on_the_batch() -> None:
    score, sequences = TextScore(length, CODEC), batch()
    alone = [score(sequences.select(slice(i, i + 1)))[0] for i in range(3)]
    assert score(sequences).tolist() == alone == [2.0, 0.0, 4.0]


@pytest.mark.parametrize(
    "returned",
    [
        [1, 2, 3],
        (1.0, 2.0, 3.0),
        np.array([1, 2, 3], dtype=np.float32),
        np.array([1, 2, 3], dtype=np.uint8),
        torch.tensor([1.0, 2.0, 3.0], requires_grad=True),
        torch.tensor([1, 2, 3]),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16),
        [torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)],
        [Fraction(1), Fraction(2), 3],
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_all_usual_kinds_of_numbers_are_taken(returned: Any) -> None:
    assert scored(returned).tolist() == [1.0, 2.0, 3.0]


def test_truth_values_are_zeros_and_ones() -> None:
    assert scored([True, False, True]).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "expected 3 numbers, one per response, got None. Return a list"),
        (1.5, r"got 1.5 \(float\). The function gets lists"),
        ([1.0, 2.0], r"got a list of shape \(2,\). Return the scores in the order"),
        ([], r"got a list of shape \(0,\)"),
        (np.zeros((3, 1)), r"got a ndarray of shape \(3, 1\). Flatten it"),
        (torch.zeros(3, 2), r"got a Tensor of shape \(3, 2\)"),
        ([[1.0], [2.0, 3.0], []], "expected 3 numbers"),
        ((x for x in (1.0, 2.0, 3.0)), "expected 3 numbers, one per response, got <generator"),
        ({"a": 1.0}, "expected 3 numbers, one per response, got {'a': 1.0}"),
        ([1.0, None, 3.0], "got None for number 1: prompt 'c', response ''"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False]), "of which some are masked"),
        (["1.0", "2.0", "3.0"], "got '1.0' for number 0: prompt 'ab', response 'cd'"),
        ([1.0, 2.0, 1j], "got 1j for number 2: prompt 'ddd'"),
        ([1.0, 2.0, "3"], "got '3' for number 2: prompt 'ddd'"),
        ([1.0, 2.0, np.nan], "got nan for number 2: prompt 'ddd', response 'abcd' .1 of 3"),
        ([1.0, -np.inf, np.nan], "got -inf for number 1: prompt 'c', response '' .2 of 3"),
        ([1.0, 1e39, 3.0], r"got 1e\+39 for number 1.*too large for float32"),
        ([1.0, 10**400, 3.0], "got inf for number 1: prompt 'c'"),
    ],
    ids=lambda value: str(value)[:30].replace("\n", " "),
)
def test_anything_but_one_finite_number_per_response_is_rejected(
    returned: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        scored(returned)


def test_the_first_wrong_response_is_named_even_if_the_function_changed_its_lists() -> None:
    def score(prompts: list[str], responses: list[str]) -> list[float]:
        prompts.clear()
        responses.reverse()
        return [0.0, float("nan"), 0.0]

    with pytest.raises(UsageError, match="number 1: prompt 'c', response ''"):
        TextScore(score, CODEC)(batch())


def test_long_texts_are_shortened_in_messages() -> None:
    score = TextScore(lambda prompts, responses: [np.nan], CODEC)
    with pytest.raises(UsageError) as error:
        score.of_texts(["a" * 1000], ["b" * 1000])
    assert len(str(error.value)) < 400


def test_exceptions_of_the_function_are_wrapped_with_their_place() -> None:
    def score(prompts: list[str], responses: list[str]) -> list[int]:
        return [int(response) for response in responses]  # the place that has to be named

    with open(__file__) as file:
        line = next(i for i, text in enumerate(file, start=1) if "has to be named" in text)
    with pytest.raises(UsageError, match=rf"test_scores.py, line {line}\)") as error:
        TextScore(score, CODEC)(batch())
    assert "ValueError" in str(error.value)
    assert "prompt 'ab', response 'cd'" in str(error.value)
    assert isinstance(error.value.__cause__, ValueError)


def test_the_place_is_the_users_even_where_a_library_raised() -> None:
    def score(prompts: list[str], responses: list[str]) -> Any:
        return np.stack([np.zeros(len(response)) for response in responses])

    with pytest.raises(UsageError, match=r"all input arrays.*test_scores.py, line"):
        TextScore(score, CODEC)(batch())


def test_errors_of_rlkit_and_interrupts_pass_through() -> None:
    for error in (RlkitError("mine"), KeyboardInterrupt()):

        def score(prompts: list[str], responses: list[str], error: Any = error) -> Any:
            raise error

        with pytest.raises(type(error)):
            TextScore(score, CODEC)(batch())


# --- the probe ------------------------------------------------------------------------------------


def test_the_probe_tries_empty_responses_and_single_ones() -> None:
    calls: list[tuple[list[str], list[str]]] = []

    def score(prompts: list[str], responses: list[str]) -> list[int]:
        calls.append((prompts, responses))
        return length(prompts, responses)

    assert check_score(TextScore(score, CODEC), ["ab", "c"]).tolist() == [2, 0, 1, 0]
    assert calls == [
        (["ab", "ab", "c", "c"], ["ab", "", "c", ""]),
        (["ab"], ["ab"]),
    ]
    found = check_score(TextScore(score, CODEC), ["ab", "c"], ["d", "ddd"])
    assert found.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda prompts, responses: [1 / len(r) for r in responses], "ZeroDivisionError"),
        (lambda prompts, responses: np.squeeze([[0.0] for _ in responses]), "expected 1 numbers"),
        (lambda response: 0.0, "expected the parameters"),
    ],
)
def test_the_probe_finds_what_training_would_stumble_over(
    function: Callable[..., Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_score(TextScore(function, CODEC), ["ab", "c"])


def test_the_probe_needs_prompts_and_equal_numbers() -> None:
    score = TextScore(length, CODEC)
    with pytest.raises(UsageError, match="at least one prompt"):
        check_score(score, [])
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        check_score(score, ["a", "b"], ["a"])


# --- finding functions ----------------------------------------------------------------------------

SOURCE = """
def brevity(prompts, responses):
    return [-len(response) for response in responses]

number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_score.py"
    path.write_text(SOURCE)
    return path


def test_a_function_is_found_in_a_file(file: Path) -> None:
    score = TextScore(f"{file}:brevity", CODEC)
    assert score(batch()).tolist() == [-2, 0, -4]
    assert score.reference == f"{file}:brevity"
    assert TextScore(load_score(score.reference), CODEC)(batch()).tolist() == [-2, 0, -4]
    assert score.digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_function_is_found_in_a_module(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    reference, function, digest = load_score("my_score:brevity")
    assert reference == "my_score:brevity"
    assert function(["a"], ["bb"]) == [-2]
    assert digest == hashlib.sha256(SOURCE.split("\n\n")[0].strip().encode() + b"\n").hexdigest()
    sys.modules.pop("my_score")


def test_a_function_itself_is_named_by_its_module() -> None:
    reference, function, digest = load_score(length)
    assert reference == f"{__name__}:length"
    assert function is length
    assert len(digest) == 64
    assert load_score(max)[2] == ""  # no source, no digest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{file}", "expected path/to/file.py:function"),
        ("{file}:", "expected path/to/file.py:function"),
        ("{file}:brevty", "has no 'brevty'. Did you mean 'brevity'"),
        ("{file}:number", "expected a function, got 3"),
        ("{file}x.py:brevity", "cannot read .*No such file"),
        ("no_such_module:brevity", "cannot import the module 'no_such_module'"),
    ],
)
def test_names_of_no_function_are_rejected(file: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_score(name.format(file=file))


def test_objects_that_are_not_functions_are_rejected() -> None:
    with pytest.raises(UsageError, match="expected a function, got 3"):
        load_score(3)  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match=r"got \(<built.*, 0\.5\); a weight stands before its func"
    ):
        load_score((len, 0.5))  # type: ignore[arg-type]


@pytest.mark.parametrize("line", ["1 / 0", "import sys; sys.exit(0)", "def f(:", "import nothing_"])
def test_a_file_that_does_not_run_is_rejected(file: Path, line: str) -> None:
    file.write_text(f"{SOURCE}\n{line}\n")
    with pytest.raises(UsageError, match=r"running .*my_score.py failed: .*line"):
        load_score(f"{file}:brevity")


# --- the tests would see these bugs ---------------------------------------------------------------


def test_texts_made_from_padded_rows_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole_rows(self: TextScore, tokens: Any, mask: Any) -> list[str]:
        return [CODEC.decode(row) for row in tokens.tolist()]

    monkeypatch.setattr(module.TextScore, "_texts", whole_rows)
    with pytest.raises(AssertionError):
        test_tokens_outside_the_mask_are_not_text()


def test_scores_read_by_numpy_alone_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(self: TextScore, returned: Any, p: Sequence[str], r: Sequence[str]) -> Any:
        return np.asarray(returned, dtype=np.float64)

    monkeypatch.setattr(module.TextScore, "_checked", plain)
    assert scored(["1.0", "2.0", "3.0"]).tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(scored([1.0, None, 3.0])[1])


def _topic(prompts: list[str], responses: list[str], topic: list[Any]) -> list[float]:
    return [float(bool(word) and word in text) for word, text in zip(topic, responses, strict=True)]


def _all(prompts: list[str], responses: list[str], **columns: list[Any]) -> list[float]:
    return [float(len(columns))] * len(prompts)


def test_columns_of_the_prompts_reach_functions_that_take_them() -> None:
    rows = [{"prompt": "a", "topic": "b", "id": 1}, {"prompt": "aa", "topic": "a"}]
    pair = {"prompt": "a", "chosen": "ab", "rejected": "b"}
    task = TextTask.from_files(prompts=rows, preferences=[pair], max_new_tokens=3)
    prompts = [task.parse(text) for text in ("a", "aa", "a", "b")]
    answers = [[*task.parse(text), task.eos] for text in ("ab", "bb", "a", "b")]
    batch = pack(prompts, answers, pad=task.pad)
    assert TextScore(_topic, task.codec, task.columns)(batch).tolist() == [1, 0, 0, 0]
    assert TextScore(_all, task.codec, task.columns)(batch).tolist() == [2.0] * 4
    assert TextScore(_all, task.codec)(batch).tolist() == [0.0] * 4
    plain = TextScore(lambda prompts, responses: [1.0] * len(prompts), task.codec, task.columns)
    assert plain(batch).tolist() == [1.0] * 4
    topical = TextScore(_topic, task.codec, task.columns)
    rows_of_prompts = topical.rows_of([tuple(task.parse(text)) for text in ("aa", "a", "b")])
    assert [row.get("topic") for row in rows_of_prompts] == ["a", "b", None]
    tried = check_score(topical, ["aa", "a", "b"], ["a", "a", "a"], rows=rows_of_prompts)
    assert tried.tolist() == [1, 0, 0]
    assert check_score(topical, ["a"], ["b"]).tolist() == [0]  # a prompt without columns


def test_a_column_of_several_values_for_a_prompt_is_left_out_of_all_columns() -> None:
    rows = [{"prompt": "a", "topic": "b", "id": 1}, {"prompt": "a", "topic": "b", "id": 2}]
    task = TextTask.from_files(prompts=rows, demonstrations=[{"prompt": "b", "response": "ab"}])
    batch = pack([task.parse("a")], [[*task.parse("b"), task.eos]], pad=task.pad)
    known: list[list[str]] = []

    def score(prompts: list[str], responses: list[str], **columns: list[Any]) -> list[float]:
        known.append(sorted(columns))
        return [0.0]

    scorer = TextScore(score, task.codec, task.columns, task.ambiguous)
    scorer(batch)
    assert known == [["topic"]]  # and not the id of either line
    assert len(scorer.notes) == 1
    assert "does not get the column id, which has several values for" in scorer.notes[0]
    both = WeightedScores({"a": (1.0, scorer), "b": (0.0, lambda _: [0.0])})
    assert both.notes == scorer.notes
    by_name: Any = lambda prompts, responses, id: [0.0]  # noqa: E731
    with pytest.raises(UsageError, match="takes the column id, which has several values for"):
        TextScore(by_name, task.codec, task.columns, task.ambiguous)
    assert not TextScore(_topic, task.codec, task.columns, task.ambiguous).notes


def test_a_weighted_sum_knows_its_parts_and_runs_each_of_them_once() -> None:
    calls: list[str] = []

    def constant(name: str, value: float) -> Any:
        def score(sequences: Sequences) -> list[float]:
            calls.append(name)
            return [value] * len(sequences.responses)

        return score

    both = WeightedScores({"a": (0.5, constant("a", 3.0)), "b": (-2.0, constant("b", 1.0))})
    first, second = batch(), batch()
    assert both.names == ("a", "b")
    assert both(first).tolist() == [-0.5] * 3
    assert both.part("a")(first).tolist() == [3.0] * 3
    assert both(second).tolist() == [-0.5] * 3
    assert both.part("b")(first).tolist() == both.part("b")(second).tolist() == [1.0] * 3
    assert calls == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0, 2.0], r"score/b: expected 3 finite numbers, one per response, got shape \(2,\)"),
        ([1.0, float("nan"), 2.0], r"score/b: expected 3 finite numbers.* some that are not"),
        ([1.0, 3e38, 1.0], r"sum of the scores of response 1 is 1.5e\+39 .*score/b 3e\+38"),
    ],
)
def test_a_part_that_returns_no_finite_numbers_is_named(returned: Any, message: str) -> None:
    parts = {"score/a": (1.0, TextScore(length, CODEC)), "score/b": (5.0, lambda _: returned)}
    with pytest.raises(UsageError, match=message):
        WeightedScores(parts)(batch())


@pytest.mark.parametrize(
    "function",
    [
        lambda responses, prompts: [1.0] * len(prompts),
        lambda completions, **columns: [1.0] * len(completions),
        lambda texts, prompt: [1.0] * len(texts),
    ],
)
def test_parameters_in_the_wrong_order_are_rejected_by_their_names(function: Any) -> None:
    with pytest.raises(UsageError, match=r"prompts first|expected the parameters"):
        TextScore(function, CODEC)
    TextScore(lambda p, r: [1.0] * len(p), CODEC)  # other names are free


class _Callable:
    def __call__(self, prompts: list[str], responses: list[str], mood: str) -> list[float]:
        return [0.0] * len(prompts)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda responses: [0.0], r"<lambda>\(responses\): .*\(prompts, responses\).*too many"),
        (lambda: [0.0], r"<lambda>\(\): expected the parameters"),
        (lambda prompts, responses, mood: [0.0], r"columns topic, id: missing .*'mood'"),
        (lambda prompts, responses, *, mood: [0.0], "missing a required argument: 'mood'"),
        (_Callable(), r"_Callable\(prompts.*, mood: .*missing a required argument: 'mood'"),
    ],
)
def test_a_function_of_other_parameters_is_rejected_with_those_expected(
    function: Any, message: str
) -> None:
    rows = {(1,): {"topic": "a", "id": 1}}
    with pytest.raises(UsageError, match=message) as error:
        TextScore(function, CODEC, rows)
    assert ".py, line" not in str(error.value)  # it is not the place of a call in rlkit
