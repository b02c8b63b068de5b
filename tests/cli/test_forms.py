"""How words become options."""

import pytest

from tests.cli.commands import answer, output


def test_arguments_of_the_environment_can_be_given_in_both_spellings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = answer(
        capsys,
        *("solve", "FrozenLake-v1", "--env-arg=is_slippery=false"),
        *("--env-arg", "max_episode_steps=6", '--env-arg=map_name="4x4"'),
    )
    assert result["optimal_return_under_limit"] == 1.0
    assert result["time_limit"] == 6


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        *(("--n-envs", "--envs"), ("--num_envs", "--envs"), ("--lr", "--learning-rate")),
        *(("--total-timesteps", "--steps"), ("--gamma", "--discount"), ("--n-seeds", "--seeds")),
        *(("--env-kwargs", "--env-arg"), ("--n-jobs", "--workers"), ("--LR", "--learning-rate")),
        *(("--n-epochs", "--num-epochs"), ("--ent-coef", "--entropy-coef")),
    ],
)
def test_options_of_other_libraries_lead_to_ours(
    capsys: pytest.CaptureFixture[str], typed: str, ours: str
) -> None:
    for words in ([typed, "4"], [f"{typed}=4"]):
        err = output(capsys, "train", "ppo", "CartPole-v1", *words, code=2)[1]
        assert f"Did you mean '{ours}'?" in err
