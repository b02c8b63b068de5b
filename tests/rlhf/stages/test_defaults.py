"""Defaults by what is trained."""

from __future__ import annotations

from typing import Any

import pytest

import rlkit.rlhf as rlhf
from rlkit.cli import main
from rlkit.errors import UsageError
from rlkit.rlhf.models.gpt import GPTSize
from rlkit.rlhf.stages.defaults import default_model, default_options
from rlkit.rlhf.stages.sources import ModelSource, TaskSource
from rlkit.rlhf.training.configs import METHODS, DPOConfig, RewardConfig, SFTConfig

CLASSES: dict[str, Any] = {"sft": SFTConfig, "reward": RewardConfig, "dpo": DPOConfig, **METHODS}
BUILT_IN, TEXTS = TaskSource(name="enumerable"), TaskSource(demonstrations="mine.jsonl")
GPT = ModelSource()
FOLDER, ADAPTER = ModelSource(path="folder"), ModelSource(path="folder", adapter_rank=8)


@pytest.mark.parametrize("stage", CLASSES)
def test_built_in_tasks_have_the_defaults_of_the_configurations(stage: str) -> None:
    assert default_options(stage, BUILT_IN, GPT, {}) == {}
    assert default_options(stage, BUILT_IN, GPT, {"seed": 1}) == {"seed": 1}


@pytest.mark.parametrize("stage", CLASSES)
@pytest.mark.parametrize("model", [GPT, FOLDER, ADAPTER])
def test_every_default_is_a_valid_option_and_gives_way_to_a_given_one(
    stage: str, model: ModelSource
) -> None:
    options = default_options(stage, TEXTS, model, {})
    CLASSES[stage](**options)
    assert default_options(stage, TEXTS, model, {"learning_rate": 0.5})["learning_rate"] == 0.5


@pytest.mark.parametrize("stage", CLASSES)
def test_pretrained_weights_are_trained_gently_and_adapters_ten_times_faster(stage: str) -> None:
    whole, adapter = (default_options(stage, TEXTS, model, {}) for model in (FOLDER, ADAPTER))
    assert whole["learning_rate"] <= 2e-5 < CLASSES[stage]().learning_rate
    assert adapter == whole | {"learning_rate": pytest.approx(10 * whole["learning_rate"])}


@pytest.mark.parametrize("stage", ["ppo", "rloo", "grpo"])
def test_a_policy_on_texts_takes_smaller_steps_than_on_built_in_tasks(stage: str) -> None:
    rate = default_options(stage, TEXTS, GPT, {})["learning_rate"]
    assert rate <= CLASSES[stage]().learning_rate / 5  # at that rate characters collapse


def test_grpo_on_files_does_not_divide_by_the_deviation_of_a_group_unless_asked_to() -> None:
    assert default_options("grpo", TEXTS, GPT, {})["scale"] is False
    assert default_options("grpo", TEXTS, GPT, {"scale": True})["scale"] is True
    assert default_options("grpo", BUILT_IN, GPT, {}) == {}


@pytest.mark.parametrize(
    ("given", "placement", "estimator"),
    [
        ({}, "reward", "k1"),
        ({"kl_estimator": "k1"}, "reward", "k1"),
        ({"kl_placement": "reward"}, "reward", "k1"),
        ({"kl_placement": "loss"}, "loss", "k2"),
        ({"kl_estimator": "full"}, "loss", "full"),
        ({"kl_placement": "loss", "kl_estimator": "full"}, "loss", "full"),
    ],
)
def test_grpo_on_files_has_the_penalty_in_the_reward_unless_asked_otherwise(
    given: dict[str, str], placement: str, estimator: str
) -> None:
    config = METHODS["grpo"](**default_options("grpo", TEXTS, GPT, given))
    assert (config.kl_placement, config.kl_estimator) == (placement, estimator)


def test_epochs_that_are_given_are_not_added_to() -> None:
    assert default_options("sft", TEXTS, GPT, {})["min_updates"] == 2000
    assert "min_updates" not in default_options("sft", TEXTS, GPT, {"num_epochs": 2})


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
@pytest.mark.parametrize("task", [BUILT_IN, TEXTS])
@pytest.mark.parametrize("model", [GPT, FOLDER, ADAPTER])
def test_the_epochs_of_every_stage_are_those_that_are_given(
    stage: str, task: TaskSource, model: ModelSource
) -> None:
    config = CLASSES[stage](**default_options(stage, task, model, {"num_epochs": 2}))
    assert config.passes(config.batch_size).num_epochs == 2  # of one update each
    both = {"num_epochs": 2, "min_updates": 7}
    config = CLASSES[stage](**default_options(stage, task, model, both))
    assert config.passes(config.batch_size).num_epochs == 7


def test_a_gpt_on_files_has_fixed_positions_unless_others_are_given() -> None:
    assert default_model(TEXTS, GPT, ()).positions == "sinusoidal"
    assert default_model(TEXTS, ModelSource(width=32), ("width",)).width == 32
    assert default_model(TEXTS, GPT, ("positions", "init_std")) == GPT
    assert default_model(BUILT_IN, GPT, ()) == GPT
    assert default_model(TEXTS, FOLDER, ()) == FOLDER


@pytest.mark.parametrize(
    ("width", "given", "std"),
    [(64, (), 0.0625), (256, ("width",), 0.03125), (64, ("init_std",), 0.02)],
)
def test_a_gpt_on_files_begins_with_weights_that_suit_its_width(
    width: int, given: tuple[str, ...], std: float
) -> None:
    assert default_model(TEXTS, ModelSource(width=width), given).init_std == std


@pytest.mark.parametrize(
    ("words", "positions"), [([], "sinusoidal"), (["--positions", "learned"], "learned")]
)
def test_the_command_and_the_function_have_the_same_defaults(
    words: list[str], positions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[ModelSource] = []

    def fine_tune(task: TaskSource, model: ModelSource, **options: Any) -> None:
        models.append(model)
        raise UsageError("this is enough")

    monkeypatch.setattr("rlkit.rlhf.stages.api.fine_tune", fine_tune)
    assert main(["rlhf", "sft", "--demonstrations", "mine.jsonl", *words]) == 2
    with pytest.raises(UsageError, match="enough"):
        rlhf.sft(demonstrations="mine.jsonl", model=GPTSize() if words else None)
    assert [model.positions for model in models] == [positions] * 2
