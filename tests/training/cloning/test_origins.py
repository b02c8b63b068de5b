"""Runs that start from others, and what is missing or superfluous."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.nn.reference import ReferencePolicy
from rlkit.runs.integrity.verify import verify_run
from rlkit.runs.record import read_record
from rlkit.runs.reports import Reports
from rlkit.training.kind import AGENT_RUN
from rlkit.training.prepare import prepare
from rlkit.training.run import Run
from rlkit.training.specification import make_spec
from rlkit.training.train import train_prepared
from tests.steady_agent import Steady, SteadyConfig


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)


QUIET = {"reports": Reports()}


@pytest.mark.parametrize("agent", ["ppo", "reinforce"])
def test_a_run_starts_where_another_ended_and_needs_it_no_more(
    trained_folder: Callable[..., Path],
    small: Callable[..., Run],
    tmp_path: Path,
    results: Any,
    agent: str,
) -> None:
    other = trained_folder(agent, seeds=2)
    options = {"init": other, "init_seed": 1, **QUIET}
    whole = small(agent, seeds=2, out=tmp_path / "a", **options)
    expected = Run(other).columns[1]["eval_return"][-1]
    # The other seed's streams of evaluation are its own, so only that seed plays the same episodes.
    assert whole.columns[1]["eval_return"][0] == expected
    record = read_record(whole.folder, AGENT_RUN)
    assert record["config"]["init"] == "orthogonal"
    assert record["init"]["kind"] == "network"
    small(agent, seeds=1, steps=400, out=tmp_path / "b", **options)
    shutil.rmtree(other)
    folder = tmp_path / "b" / whole.folder.name
    assert isinstance(Run(folder).spec.init, ReferencePolicy)
    longer = dataclasses.replace(Run(folder).spec, num_env_steps=600)
    train_prepared(prepare(longer, 2, folder.parent), 2, reports=Reports())
    assert results(folder) == results(whole.folder)
    assert verify_run(folder, AGENT_RUN).problems == ()
    assert small(agent, seeds=1, steps=200, out=tmp_path / "c", **QUIET).folder.name != folder.name


def test_the_identity_is_the_content_of_the_policy_not_its_place(
    trained_folder: Callable[..., Path], small: Callable[..., Run], tmp_path: Path
) -> None:
    first = trained_folder("ppo", seeds=2)
    moved = tmp_path / "moved"
    shutil.copytree(first, moved)
    names = [
        small("ppo", seeds=1, steps=200, out=tmp_path / str(k), init=init, **options, **QUIET)
        .folder.name
        for k, (init, options) in enumerate(
            [(first, {}), (str(moved), {}), (Run(moved), {}), (first, {"init_seed": 1})]
        )
    ]  # fmt: skip
    assert len(set(names[:3])) == 1
    assert names[3] != names[0]


def test_a_clone_is_a_start_and_a_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 4)).astype(np.float32)
    given = rlkit.Demonstrations(rows, (rows[:, 2] > 0).astype(np.int64), np.arange(40) // 8)
    options: dict[str, Any] = {"hidden_sizes": (8,), "evaluation_episodes": 1, **QUIET}
    clone = rlkit.train(
        *("behaviour-cloning", "CartPole-v1"), seeds=1, steps=3, demonstrations=given,
        updates_per_step=5, out=tmp_path, **options,
    )  # fmt: skip
    run = rlkit.train(
        *("ppo", "CartPole-v1"), seeds=1, steps=64, envs=2, rollout_length=16, minibatch_size=32,
        init=clone, reference=clone, kl_coef=0.1, out=tmp_path, evaluate_every=32, **options,
    )  # fmt: skip
    # It starts at its reference.
    assert run.columns[0]["kl"][1] < 1e-6
    assert run.columns[0]["eval_return"][0] == clone.columns[0]["eval_return"][-1]


@pytest.mark.parametrize(
    ("agent", "options", "message"),
    [
        ("behaviour-cloning", {}, "imitates demonstrations, and there are none; give a run"),
        ("random", {"demonstrations": "x.csv"}, "random takes none; .* behaviour-cloning does"),
        ("ppo", {"init_seed": 2}, r"init_seed \(--init-seed\) = 2: it has no meaning without"),
        ("ppo", {"init": "."}, r"init \(--init\) = \.: .*or orthogonal or xavier"),
        ("reinforce", {"init": "zeros"}, "init .*zeros is not the folder of a run.*orthogonal or"),
        ("ppo", {"init": 3}, "expected orthogonal, xavier, or a run or its folder, got 3"),
        ("behaviour-cloning", {"demonstrations": 3}, "expected a run, a file, minari:NAME or"),
    ],
)
def test_what_is_missing_or_has_no_meaning_is_named(
    agent: str, options: dict[str, Any], message: str, out: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        rlkit.train(agent, "CartPole-v1", seeds=1, out=out, **options, **QUIET)
    assert not out.exists()


@dataclass(frozen=True, kw_only=True)
class OwnConfig(SteadyConfig):
    """Options of a user's own agent, among them one of the name `init`."""

    init: str = "zeros"


class Own(Steady):
    """Takes no policy to start from."""

    Config = OwnConfig


def test_a_users_agent_keeps_an_option_init_of_its_own() -> None:
    spec = make_spec(Own, "CartPole-v1", options={"init": "somewhere"})
    assert (spec.config.init, spec.init) == ("somewhere", None)
