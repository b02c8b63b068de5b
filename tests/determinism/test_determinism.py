"""What makes a run repeatable on one machine."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.parametrize("rlkit_first", [True, False])
def test_products_before_the_import_of_rlkit_are_reported(rlkit_first: bool) -> None:
    product, imported = "torch.ones(3, 50, 50) @ torch.ones(3, 50, 50)", "import rlkit"
    lines = [
        "import torch, warnings",
        *([imported, product] if rlkit_first else [product, imported]),
    ]
    lines += ["import rlkit.determinism"]
    lines += ["if rlkit.determinism._mkl_mode() is None: raise SystemExit('no MKL')"]
    lines += ["with rlkit.determinism.prepared_torch(): pass"]
    clean = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=clean, capture_output=True, text=True
    )
    if "no MKL" in done.stderr:
        pytest.skip("torch comes without MKL here")
    assert done.returncode == 0
    assert ("import rlkit first" in done.stderr) is not rlkit_first


def _run(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr


def test_training_and_evaluating_a_table_imports_no_torch_and_little_of_scipy(
    tmp_path: Path,
) -> None:
    code = """
        import sys
        import rlkit
        from rlkit.cli import main

        for steps in (200, 400):  # the second call resumes
            run = rlkit.train("q-learning", "FrozenLake-v1", seeds=2, steps=steps)
        assert not {"scipy.sparse", "scipy.special"} & set(sys.modules)  # neither is quick
        assert (run.folder / "learning_curve.png").exists()
        rlkit.load(run.folder).evaluate(episodes=5)
        assert main(["train", "q-learning", "FrozenLake-v1", "--seeds", "3", "--steps", "200"]) == 0
        rlkit.compare([run, "value-iteration"], "FrozenLake-v1", seeds=2, steps=200, out="both")
        assert main(["evaluate", str(run.folder), "--episodes", "5"]) == 0
        assert main(["solve", "FrozenLake-v1"]) == 0
        assert "torch" not in sys.modules
    """
    _run(code, tmp_path)


@pytest.mark.long
def test_torch_is_prepared_when_something_imports_it_later(tmp_path: Path) -> None:
    code = """
        import sys
        from rlkit.determinism import prepared_torch

        with prepared_torch(), prepared_torch():
            assert "torch" not in sys.modules
            import torch
            assert torch.get_num_threads() == 1
            assert type(torch.__loader__).__name__ == "SourceFileLoader"
            assert "exec_module" not in vars(torch.__loader__)
        assert torch.get_num_threads() == 2
        with prepared_torch():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    """
    _run(code, tmp_path)


@pytest.mark.long
def test_after_the_block_an_import_of_torch_is_left_alone(tmp_path: Path) -> None:
    code = """
        import sys
        from rlkit.determinism import prepared_torch

        finders = list(sys.meta_path)
        with prepared_torch():
            pass
        assert sys.meta_path == finders
        import torch
        assert torch.get_num_threads() == 2
    """
    _run(code, tmp_path)


LATE = """
    import pathlib
    import numpy as np

    class Late:
        # Imports torch after the steps that are tried before training.
        metrics = ()

        def __init__(self, task):
            self._steps, self._seeds = 0, task.num_seeds

        def act(self, obs):
            self._steps += 1
            if self._steps > 50:
                import torch
                pathlib.Path("threads").write_text(str(torch.get_num_threads()))
            return np.zeros(obs.shape[:2], dtype=np.int64)

        def learn(self, transition):
            return {}

        def actor(self, *, greedy=True):
            return self

        def state_dict(self):
            return {"steps": np.full(self._seeds, self._steps)}

        def load_state_dict(self, state):
            self._steps = int(state["steps"][0])
"""


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_agent_that_imports_torch_in_act_gets_one_thread(workers: int, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(textwrap.dedent(LATE))
    code = f"""
        import sys
        sys.path.insert(0, ".")
        import rlkit
        from late import Late

        options = {{"seeds": 2, "steps": 60, "evaluation_episodes": 0, "workers": {workers}}}
        rlkit.train(Late, "FrozenLake-v1", **options)
        assert open("threads").read() == "1"
    """
    _run(code, tmp_path)
