"""What names demonstrations, and clones as runs like any other."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.environments.resolve import find_environment
from rlkit.errors import RlkitWarning, UsageError
from rlkit.nn.demonstrations import Demonstrations
from rlkit.runs.integrity.verify import verify_run
from rlkit.runs.reports import Reports
from rlkit.training.cloning.demonstrations import load_demonstrations, require_fit
from rlkit.training.kind import AGENT_RUN
from rlkit.training.prepare import prepare
from rlkit.training.run import Run
from rlkit.training.specification import make_spec
from rlkit.training.train import train_prepared

SMALL: dict[str, Any] = {
    "steps": 4,
    "evaluate_every": 1,
    "evaluation_episodes": 1,
    "updates_per_step": 5,
    "minibatch_size": 16,
    "hidden_sizes": (8,),
    "episodes": 5,
    "reports": Reports(),
}


def lake(**changes: Any) -> Demonstrations:
    parts: dict[str, Any] = {
        "observations": np.arange(12),
        "actions": np.arange(12) % 4,
        "episodes": np.arange(12) // 3,
    }
    return Demonstrations(**{**parts, **changes})


def clone(data: Any, env: str = "FrozenLake-v1", **changes: Any) -> Run:
    options = {**SMALL, "demonstrations": data, **changes}
    return rlkit.train("behaviour-cloning", env, **options)


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("FrozenLake-v1", {}),
        ("Pendulum-v1", {}),
        ("Pendulum-v1", {"method": "diffusion", "diffusion_steps": 3}),
    ],
)
def test_a_seeds_bytes_depend_on_neither_batch_nor_interruption(
    out: Path, results: Any, env: str, options: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    given = lake()
    if env == "Pendulum-v1":
        obs, actions = rng.normal(size=(12, 3)), rng.uniform(-2, 2, (12, 1))
        given = lake(observations=obs.astype(np.float32), actions=actions.astype(np.float32))
    together = clone(given, env, seeds=3, out=out / "a", **options).folder
    first = clone(given, env, seeds=1, steps=2, out=out / "b", **options).folder
    assert first.name == together.name
    # Without the origin: from the copy in the folder, as `rlkit resume` does.
    spec = Run(first).spec
    assert isinstance(spec.demonstrations, Demonstrations)
    longer = dataclasses.replace(spec, num_env_steps=4)
    train_prepared(prepare(longer, 3, first.parent), 3, reports=Reports())
    assert results(first) == results(together)
    assert verify_run(first, AGENT_RUN).problems == ()


def test_a_clone_of_a_run_has_its_exact_return_beside_its_own(
    trained_folder: Callable[..., Path], out: Path
) -> None:
    expert = trained_folder("value-iteration", seeds=1)
    run = clone(expert, out=out, seeds=2, steps=10, updates_per_step=40, episodes=200,
                hidden_sizes=(), learning_rate=0.1, minibatch_size=256)  # fmt: skip
    known = dict(run.references)["expert"]
    exact = rlkit.load(expert).evaluate(episodes=1)["mean"]
    assert known == pytest.approx(exact)
    np.testing.assert_allclose(run.scores, exact, atol=1e-9)  # it acts as the expert does
    assert run.columns[0]["held_out_loss"][-1] < 0.05
    assert run.folder.name.startswith("behaviour-cloning-FrozenLake-v1-")
    assert [row["exact_return"] for row in run.evaluate(episodes=1)["seeds"]] == list(run.scores)
    shutil.rmtree(expert)
    assert isinstance(rlkit.load(run.folder).spec.demonstrations, Demonstrations)


def test_other_demonstrations_are_another_run_and_the_same_ones_are_this_one(out: Path) -> None:
    first = clone(lake(), out=out, seeds=1)
    assert clone(lake(), out=out, seeds=1).folder == first.folder
    other = clone(lake(actions=np.arange(12) % 3), out=out, seeds=1)
    assert other.folder != first.folder
    (first.folder / "demonstrations.npz").write_bytes(b"x")
    with pytest.warns(RlkitWarning, match="demonstrations of the run, .*cannot be used"):
        assert rlkit.load(first.folder).evaluate(episodes=1)["seeds"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".npz"])
def test_every_kind_of_file_is_found_by_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"demos{suffix}"
    if suffix == ".csv":
        path.write_text("observation,action,reward\n0,1,0\n4,2,1\n")
    elif suffix == ".jsonl":
        path.write_text('{"observation": 0, "action": 1, "reward": 0}\n'
                        '{"observation": 4, "action": 2, "reward": 1}\n')  # fmt: skip
    else:
        np.savez(path, observations=[0, 4], actions=[1, 2], rewards=[0, 1])
    spec = make_spec("behaviour-cloning", "FrozenLake-v1", demonstrations=path)
    given, sentence = load_demonstrations(str(path), spec, find_environment("FrozenLake-v1"))
    assert given.observations.tolist() == [0, 4]
    assert given.actions.tolist() == [1, 2]
    assert sentence == f"2 decisions of 1 episode from {path}, mean return 1"


def test_a_place_that_is_not_there_is_named(out: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or folder; give .*minari:NAME"):
        clone("runs/nothing", out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lake(actions=np.arange(12)), "actions have 4 in row 4"),
        (lake(actions=np.zeros((12, 1))), r"actions have shape \(12, 1\)"),
        (lake(observations=np.arange(12) + 5), "observations have 16 in row 11"),
        (lake(observations=np.arange(12) - 0.5), "observations have -0.5 in row 0"),
        (lake(observations=np.full(12, "x")), "observations have shape .* type <U1"),
    ],
)
def test_arrays_that_do_not_fit_are_named(given: Demonstrations, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_fit(given, find_environment("FrozenLake-v1"))
