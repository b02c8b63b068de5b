"""The option `labeller`: its forms, and that a file is known by its content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlkit.agents.preferences.naming import (
    identified,
    is_person,
    make_labeller,
    require_labeller,
    split_digest,
)
from rlkit.agents.preferences.person.labeller import PersonLabeller
from rlkit.errors import UsageError
from tests.agents.preferences.pairs import pairs_of

RNG = np.random.default_rng(0)


def test_a_person_needs_no_file_and_opens_none(tmp_path: Path) -> None:
    for name in ("person", f"person:{tmp_path / 'answers.jsonl'}"):
        require_labeller(name)
        assert identified(name) == name
        assert is_person(name)
        assert isinstance(make_labeller(name, 1.0), PersonLabeller)
    assert list(tmp_path.iterdir()) == []
    assert not is_person("personal.py:function")


def test_a_file_is_identified_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "labels.py"
    file.write_text("def prefer(first, second):\n    return 1.0\n")
    name = identified(f"{file}:prefer")
    assert identified(name) == name
    assert split_digest(name)[0] == f"{file}:prefer"
    pairs = pairs_of([([1], [2])], length=1)
    assert make_labeller(name, 1.0)(pairs, RNG).preferred.tolist() == [1.0]
    file.write_text("def prefer(first, second):\n    return 0.0\n")
    assert identified(f"{file}:prefer") != name
    with pytest.raises(UsageError, match=r"labels.py has changed since the run began"):
        make_labeller(name, 1.0)
    assert identified("truth") == "truth"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("judge", r"--labeller\): expected truth, person or path/to/file.py:function, got 'judge'"),
        ("person:here.txt", r"expected person, or person:FILE.jsonl .* got 'person:here.txt'"),
        ("no.py:prefer", r"'no.py:prefer': there is no file no.py"),
    ],
)
def test_a_labeller_that_is_not_there_is_named(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_labeller(identified(name))


def test_identifying_a_labeller_runs_none_of_its_code(tmp_path: Path) -> None:
    """A run that somebody else made is opened by its stored options."""
    file = tmp_path / "labels.py"
    file.write_text("raise SystemExit('this was run')\n")
    assert identified(f"{file}:prefer").startswith(f"{file}:prefer#")


def test_a_missing_function_names_the_closest(tmp_path: Path) -> None:
    file = tmp_path / "labels.py"
    file.write_text("def prefer(first, second):\n    return 1.0\n")
    with pytest.raises(UsageError, match=r"has no 'prefers'.*Did you mean 'prefer'"):
        make_labeller(identified(f"{file}:prefers"), 1.0)
