"""The settings of an evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.evaluation.loaded_policy import (
    EvaluationSettings,
    encode_prompts,
    example_prompt,
    load_for_evaluation,
    read_settings,
)
from rlkit.rlhf.stages.stage_run import StageRun
from tests.rlhf.stages.small_runs import MODEL


def test_a_reward_model_is_given_as_a_run_or_as_its_folder(parents: dict[str, StageRun]) -> None:
    folder = parents["reward"].folder
    for reward in (parents["reward"], folder, str(folder)):
        assert read_settings({"reward": reward}) == EvaluationSettings(reward=folder)


def test_an_unknown_setting_names_the_closest(parents: dict[str, StageRun]) -> None:
    with pytest.raises(UsageError, match=r"no option 'tempreature'\. Did you mean 'temperature'"):
        rlhf.sample_run(parents["sft"], tempreature=1.0)


@pytest.mark.parametrize("seed", [-1, True])
def test_a_seed_is_a_whole_number(seed: int) -> None:
    with pytest.raises(UsageError, match=r"option seed \(--seed\)"):
        EvaluationSettings(seed=seed).generator()


def test_a_fine_tuned_policy_is_its_own_reference_and_has_the_gold_score(
    parents: dict[str, StageRun],
) -> None:
    loaded = load_for_evaluation(parents["sft"], EvaluationSettings(temperature=0.5))
    assert loaded.is_reference
    assert list(loaded.scores) == ["gold"]
    # Gold is standardised at temperature 1, whatever the temperature of sampling.
    assert loaded.key_at_temperature().temperature == 0.5
    assert loaded.key is not None
    assert loaded.key.temperature == 1.0
    assert loaded.key_at_temperature().gold is loaded.key.gold


def test_a_given_score_takes_the_place_of_the_one_of_the_training(
    parents: dict[str, StageRun], tmp_path: Path
) -> None:
    file = tmp_path / "score.py"
    file.write_text("def f(prompts, responses):\n    return [float(len(r)) for r in responses]\n")
    settings = EvaluationSettings(score=(f"{file}:f",))
    assert list(load_for_evaluation(parents["sft"], settings).scores) == ["score", "gold"]
    by_reward = EvaluationSettings(reward=parents["reward"].folder)
    assert list(load_for_evaluation(parents["sft"], by_reward).scores) == ["reward", "gold"]


CHATS = [
    {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
    for q, a in (("hi", "hello"), ("bye", "see you"))
]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> StageRun:
    """A policy that was trained on two chats."""
    out = tmp_path_factory.mktemp("chats")
    model = dataclasses.replace(MODEL, context_length=60)
    return rlhf.sft(demonstrations=CHATS, model=model, num_epochs=1, out=out)


def test_a_prompt_is_put_into_the_template_where_the_policy_was_trained_on_chats(
    chats: StageRun,
) -> None:
    loaded = load_for_evaluation(chats, EvaluationSettings())
    _, ids = encode_prompts(loaded, ["hi"])
    trained = loaded.task.sample_prompts(np.random.default_rng(0), 2).tolist()
    assert ids[0].tolist() in trained
    assert loaded.codec.decode(ids[0].tolist()) == "user: hi\nassistant: "
    _, plain = encode_prompts(loaded, ["hi"], chat_template=False)
    assert loaded.codec.decode(plain[0].tolist()) == "hi"
    assert example_prompt(loaded) == "hi"
    (row,) = rlhf.sample_run(chats, num=1, prompts=["bye"])
    assert row["prompt"] == "user: bye\nassistant: "


def test_a_template_is_no_matter_of_plain_texts_unless_it_is_asked_for(
    hf: dict[str, Any], parents: dict[str, StageRun]
) -> None:
    loaded = load_for_evaluation(hf["sft"], EvaluationSettings())
    _, ids = encode_prompts(loaded, ["a b"])
    assert ids[0].tolist()[-2:] == [0, 1]
    with pytest.raises(UsageError, match="the tokenizer has no chat template"):
        encode_prompts(loaded, ["a b"], chat_template=True)
    with pytest.raises(UsageError, match="spells a special token"):
        encode_prompts(loaded, ["a [EOS] b"])
    with pytest.raises(UsageError, match="the task tiny has no chats"):
        rlhf.sample_run(parents["sft"], prompts=["A"], chat_template=True)
