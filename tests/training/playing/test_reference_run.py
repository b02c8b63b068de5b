"""Runs as references of others: which can be, and what is said of those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.environments.resolve import find_environment
from rlkit.errors import UsageError
from rlkit.runs.record import read_record, write_record
from rlkit.training.kind import AGENT_RUN
from rlkit.training.playing.reference_run import load_reference
from rlkit.training.prepare import prepare
from rlkit.training.run import Run
from rlkit.training.specification import make_spec

CARTPOLE = {"environment": "CartPole-v1", "kl_coef": 0.1, "steps": 8, "seeds": 1}


def test_the_reference_is_the_policy_that_the_seed_ended_with(
    trained: Callable[..., Run],
) -> None:
    run = trained("ppo", seeds=2)
    environment = find_environment("CartPole-v1")
    policies = [load_reference(str(run.folder), s, environment, "ppo") for s in range(2)]
    assert policies[0].identity != policies[1].identity
    actor: Any = run.batch_actor([1], greedy=False)
    assert policies[1].arrays["layer 0"].tobytes() == actor.arrays()[0]["layer 0"].tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "no/such/folder"}, r"no/such/folder is not the folder of a run.*uniform"),
        ({"reference": 3}, "expected a run or its folder, or 'uniform', got 3"),
        ({"reference": None}, r"kl_coef.*give one, as --reference runs/ppo"),
        ({"reference": "uniform", "kl_coef": None}, r"give the penalty.*--kl-coef 0\.1"),
        ({"reference": "uniform", "environment": "Pendulum-v1"}, "no distribution is uniform"),
    ],
)
def test_what_is_no_reference_is_rejected_before_anything_is_written(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        rlkit.train("ppo", **{**CARTPOLE, "out": tmp_path / "runs", **arguments})
    assert not (tmp_path / "runs").exists()


def test_an_agent_that_takes_no_reference_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"random takes none; .* reinforce, ppo.* do"):
        rlkit.train("random", "CartPole-v1", reference="uniform", out=tmp_path)


def test_a_run_of_another_kind_seed_space_or_state_is_rejected(
    trained_folder: Callable[..., Path],
) -> None:
    ppo, lake = trained_folder("ppo", seeds=2), trained_folder("q-learning")
    pole = find_environment("CartPole-v1")
    with pytest.raises(UsageError, match=r"reference_seed.* = 2: .* has the seeds 0 to 1"):
        load_reference(str(ppo), 2, pole, "ppo")
    with pytest.raises(UsageError, match=r"trained with the observation space Discrete\(16\), but"):
        load_reference(str(lake), 0, pole, "ppo")
    with pytest.raises(UsageError, match=r"trained with Binning.*use the same options of bins"):
        load_reference(str(trained_folder("q-learning-bins")), 0, pole, "ppo")
    with pytest.raises(UsageError, match="neither a network"):
        load_reference(str(trained_folder("lspi")), 0, pole, "ppo")
    table = load_reference(str(lake), 0, find_environment("FrozenLake-v1"), "ppo")
    assert table.arrays["probabilities"].shape == (16, 4)

    record = read_record(ppo, AGENT_RUN)
    for checkpoint in (ppo / "checkpoints" / "seed-000").glob("step-000000000600*"):
        checkpoint.unlink()
    write_record(ppo, {**record, "num_env_steps": 2000, "status": "interrupted"})
    with pytest.raises(UsageError, match=r"seed 0 was trained for .* of 2,000 .*\(interrupted\)"):
        load_reference(str(ppo), 0, pole, "ppo")
    stage = next((Path(__file__).parents[2] / "runs/fixtures/format-2").glob("sft-enumerable-*"))
    with pytest.raises(UsageError, match="give the folder of a run of rlkit train"):
        load_reference(str(stage), 0, pole, "ppo")


def test_identity_follows_the_bytes_of_the_reference(trained_folder: Callable[..., Path]) -> None:
    folder = str(trained_folder("ppo", seeds=2))
    names = set()
    for seed in range(2):
        spec = make_spec(
            "ppo", "CartPole-v1", reference=folder, reference_seed=seed, options={"kl_coef": 0.1}
        )
        prepared = prepare(spec, 1, Path("nowhere"))
        names.add(prepared.folder.name)
        assert folder not in str(prepared.request.identity)
    assert len(names) == 2
