"""The user's own code: files that are run, and digests of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.determinism import apart
from rlkit.errors import UsageError
from rlkit.user_code import (
    content_digest,
    is_patched,
    place_of,
    remembered_digest,
    run_file,
    source_digest,
)


def test_a_file_is_run_as_a_module_and_its_content_is_digested(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def double(x):\n    return 2 * x\n")
    module, digest = run_file(file, "score 'mine.py:double'")
    assert module.double(4) == 8
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest() == content_digest(str(file))


def test_a_file_that_fails_is_reported_with_its_purpose_and_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n\nraise KeyError('no such thing')\n")
    with pytest.raises(UsageError, match=r"score 'mine': running .*KeyError.*mine.py, line 3\)"):
        run_file(file, "score 'mine'")
    with pytest.raises(UsageError, match=r"score 'mine': cannot read .*: No such file"):
        run_file(tmp_path / "other.py", "score 'mine'")


def test_a_file_that_is_missing_has_no_digest(tmp_path: Path) -> None:
    assert content_digest(str(tmp_path / "none")) is None


def test_a_remembered_digest_follows_the_time_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = remembered_digest(file)
    before = file.stat().st_mtime_ns
    file.write_bytes(b"two")
    os.utime(file, ns=(before, before))
    assert remembered_digest(file) == first  # same size and time: not read again
    os.utime(file, ns=(before + 1, before + 1))
    assert remembered_digest(file) == hashlib.sha256(b"two").hexdigest()


def test_only_code_with_a_source_has_a_digest_of_it() -> None:
    assert source_digest(run_file) != source_digest(content_digest)
    assert source_digest(len) == ""


def test_a_class_of_a_library_with_a_method_of_the_users_is_patched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    assert not is_patched(CartPoleEnv)
    monkeypatch.setattr(CartPoleEnv, "render", lambda self: None)
    assert is_patched(CartPoleEnv)


def test_a_file_is_run_as_it_stands_also_after_an_edit_within_a_second(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    for value in (1, 2):
        file.write_text(f"def f(x: int) -> float:\n    return {value}\n")
        module, _ = run_file(file, "test")
        assert module.f(0) == value
        assert module.f.__annotations__["x"] is int  # not under the future statements of rlkit


def _failure(function: Callable[..., Any], *arguments: Any) -> BaseException:
    try:
        apart(function, *arguments)
    except Exception as error:
        later = error.__traceback__.tb_next if error.__traceback__ else None
        return error.with_traceback(later)  # without the frame of this test
    raise AssertionError("it did not fail")


def test_the_place_of_an_error_is_in_the_users_code_or_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import json\nclass Reads:\n  def __call__(self, x):\n    return json.loads(x)\n"
    )
    module, _ = run_file(file, "score 'mine.py:Reads'")
    for known in (str(file), None):
        assert place_of(_failure(module.Reads(), "{"), known) == f" (in {file}, line 4)"
        assert place_of(_failure(module.Reads()), known) == ""  # not the place of the call
    assert place_of(_failure(json.loads, "{"), None) == ""
