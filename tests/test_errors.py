"""Messages and exit codes of errors."""

import pickle

import pytest

from rlkit.errors import Diverged, EnvironmentFault, SeedError, missing_extra, printable


def test_control_characters_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31m\tb\n") == r"a\x1b[31m\tb\n"
    assert printable("a\x1b\nb", lines=True) == "a\\x1b\nb"
    assert printable("größer than 0 €") == "größer than 0 €"


@pytest.mark.parametrize(("kind", "code"), [(SeedError, 1), (Diverged, 1), (EnvironmentFault, 2)])
def test_an_error_of_a_seed_survives_the_way_between_processes(
    kind: type[SeedError], code: int
) -> None:
    error = pickle.loads(pickle.dumps(kind(3, "reward is nan")))
    assert type(error) is kind
    assert str(error) == "seed 3: reward is nan"
    assert (error.seed, error.message, error.exit_code) == (3, "reward is nan", code)


def test_a_missing_package_is_named_with_the_extra_that_installs_it() -> None:
    error = ModuleNotFoundError("No module named 'onnx'", name="onnx.helper")
    assert str(missing_extra("export: --onnx", "onnx", error)) == (
        "export: --onnx needs the package onnx, which cannot be imported (No module named 'onnx'); "
        'install it with: pip install "rlkit[onnx]"'
    )
