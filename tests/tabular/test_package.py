"""The public names of rlkit.tabular."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
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


@pytest.mark.parametrize(
    "function",
    [
        lambda mdp: tabular.action_values(mdp, np.zeros(16), 0.9),
        lambda mdp: tabular.bellman_policy(mdp, [0] * 16, np.zeros(16), 0.9),
        lambda mdp: tabular.evaluate(mdp, [0] * 16),
        lambda mdp: tabular.gauss_seidel(mdp, discount=0.9),
        lambda mdp: tabular.greedy(mdp, np.zeros(16), 0.9),
        lambda mdp: tabular.mixing(mdp, [0] * 16),
        lambda mdp: tabular.modified_policy_iteration(mdp, discount=0.9),
        lambda mdp: tabular.optimal_return_under_limit(mdp),
        lambda mdp: tabular.policy_iteration(mdp, discount=0.9),
        lambda mdp: tabular.policy_value(mdp, [0] * 16, discount=0.9),
        lambda mdp: tabular.proto_values(mdp, 2),
        lambda mdp: tabular.return_under_limit(mdp, [0] * 16),
        lambda mdp: tabular.soft_value_iteration(mdp, np.eye(4), kl_coef=1.0, discount=0.9),
        lambda mdp: tabular.total_return(mdp, [0] * 16),
        lambda mdp: tabular.value_iteration(mdp, discount=0.9),
    ],
)
def test_a_name_in_place_of_a_model_is_rejected(function: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="expected a model, a TabularMDP, got 'FrozenLake-v1'"):
        function("FrozenLake-v1")
