"""Options of a call: which are of the run, which of the configuration, and which are unknown."""

from pathlib import Path

import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.stages.launch import RunOptions, resolve_config, split_options
from rlkit.rlhf.training.configs import DPOConfig


def test_options_of_the_run_are_distinguished_from_the_others() -> None:
    options, others = split_options({"seeds": 3, "out": "mine", "beta": 0.2})
    assert options == RunOptions(seeds=3, out=Path("mine"))
    assert others == {"beta": 0.2}


@pytest.mark.parametrize(
    ("config", "options"),
    [(None, {"beta": 0.2}), ({"beta": 0.2}, {}), (DPOConfig(beta=0.2), {})],
)
def test_a_config_is_given_whole_or_by_options(config: object, options: dict[str, float]) -> None:
    assert resolve_config("dpo", DPOConfig, config, options) == DPOConfig(beta=0.2)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (DPOConfig(), {"beta": 0.2}, "give dpo either a config or individual options, not both"),
        (None, {"betta": 0.2}, "the stage dpo has no option 'betta'. Did you mean 'beta'"),
        (None, {"sedes": 2}, "the stage dpo has no option 'sedes'. Did you mean 'seeds'"),
        ({"seeds": 2}, {}, "'seeds' is not one of its options but a separate argument"),
        (object(), {}, "config of the stage dpo: expected a DPOConfig"),
    ],
)
def test_invalid_configs_are_rejected(
    config: object, options: dict[str, float], message: str
) -> None:
    with pytest.raises(UsageError) as error:
        resolve_config("dpo", DPOConfig, config, options)
    assert message in str(error.value)
