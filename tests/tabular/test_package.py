"""The public names of rlkit.tabular."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from rlkit import tabular


def test_every_public_name_is_defined_where_the_list_says() -> None:
    for name, module in tabular._HOME.items():
        assert getattr(tabular, name) is getattr(importlib.import_module(module), name)
        assert getattr(tabular, name).__module__ == module
    assert dir(tabular) == tabular.__all__


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    source = Path(tabular.__file__).read_text()
    seen = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert seen == tabular._HOME


def test_the_example_of_the_docstring_runs() -> None:
    code = tabular.__doc__.split("\n\n")[1]
    names = {"tabular": tabular, "gym": gym}
    exec("\n".join(line.strip() for line in code.splitlines()), names)
    # Known answers, to 10 digits: see test_solution.py.
    assert names["solution"].start_value == pytest.approx(0.5420259320, abs=1e-9)
    assert names["values"][0] == pytest.approx(0.5420259320, abs=1e-9)
    assert names["returns"][0] == pytest.approx(0.7401648978, abs=1e-9)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'rlkit\.tabular' has no attribute 'solver'"):
        tabular.solver  # noqa: B018


@pytest.mark.slow
def test_no_public_name_imports_torch() -> None:
    code = (
        "import sys\nfrom rlkit import tabular\nfor name in tabular.__all__: getattr(tabular, name)"
        "\nassert not {'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
