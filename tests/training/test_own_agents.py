"""A user's agent is named by file or module on the command line, in Python and across processes."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.training.own_agents import find_own_agent, reference_of
from rlkit.training.specification import make_spec
from tests import steady_agent
from tests.cli.commands import answer, output

SOURCE = Path(steady_agent.__file__)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The agent in a file of its own."""
    return Path(shutil.copy(SOURCE, tmp_path / "mine.py"))


def test_the_same_file_has_one_class_and_an_edited_one_another(file: Path) -> None:
    agent = find_own_agent(f"{file}:Steady")
    assert find_own_agent(f"{file}:Steady") is agent
    file.write_text(file.read_text().replace("chance: float = 0.5", "chance: float = 0.25"))
    edited: Any = find_own_agent(f"{file}:Steady")
    assert edited is not agent
    assert edited.Config().chance == 0.25


def test_names_lead_back_to_the_class(file: Path) -> None:
    for reference in (f"{file}:Steady", "tests.steady_agent:Steady"):
        assert reference_of(find_own_agent(reference)) == reference

    class Local(steady_agent.Steady): ...

    assert reference_of(Local) == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("{file}:Stedy", "does not define 'Stedy'. Did you mean 'Steady'?"),
        ("{file}:Always", "it has no learn, actor, state_dict, load_state_dict"),
        ("{file}:np", "is not an agent"),
        ("{file}:", "expected path/to/file.py:Class or module:Class"),
        ("{file}x.py:A", "cannot read"),
        ("no_such_module:A", "cannot import the module 'no_such_module'"),
    ],
)
def test_what_names_no_agent_is_rejected(name: str, text: str, file: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_own_agent(name.format(file=file))
    assert text in str(caught.value)


def test_a_specification_finds_the_class_of_a_file_again_in_another_process(
    file: Path, tmp_path: Path
) -> None:
    spec = make_spec(f"{file}:Steady", "FrozenLake-v1", options={"first": 2})
    (tmp_path / "spec").write_bytes(pickle.dumps(spec))
    program = (
        "import pickle, sys; spec = pickle.load(open(sys.argv[1], 'rb')); "
        "print(spec.agent.__name__, spec.config.first, isinstance(spec.config, spec.agent.Config))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "spec")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["Steady", "2", "True"]
    assert copy.copy(spec) == spec


def test_a_file_is_trained_by_its_name_as_the_class_is(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--seeds", "2", "--steps", "60", "--evaluate-every", "30", "--first", "1")
    summary = answer(
        capsys, "train", f"{file}:Steady", "FrozenLake-v1", *small, "--out", str(tmp_path / "a")
    )
    run = rlkit.train(
        *(steady_agent.Steady, "FrozenLake-v1"),
        seeds=2, steps=60, evaluate_every=30, first=1, out=tmp_path / "b",
    )  # fmt: skip
    assert Path(summary["run"]).name == run.folder.name
    for seed in range(2):
        name = f"seed-{seed:03d}.csv"
        assert (Path(summary["run"]) / name).read_bytes() == (run.folder / name).read_bytes()
    _, err = output(capsys, "train", f"{file}:Steady", "FrozenLake-v1", "--frist", "1", code=2)
    assert "Did you mean '--first'?" in err
