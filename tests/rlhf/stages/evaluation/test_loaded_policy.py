"""The settings of an evaluation."""

from pathlib import Path

import pytest

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.evaluation.loaded_policy import (
    EvaluationSettings,
    load_for_evaluation,
    read_settings,
)
from rlkit.rlhf.stages.stage_run import StageRun


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
