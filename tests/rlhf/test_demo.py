"""The demonstration without its training: where it writes, and its table."""

from pathlib import Path

import pytest

from rlkit.rlhf.demo import DemoOptions, learning_rate_for, rows


def test_results_go_into_the_folder_of_the_runs_unless_another_is_given() -> None:
    assert DemoOptions().results_folder == Path("runs/rlhf-demo")
    assert DemoOptions(out=Path("mine")).results_folder == Path("mine/rlhf-demo")
    assert DemoOptions(results=Path("elsewhere")).results_folder == Path("elsewhere")


@pytest.mark.parametrize(("kl_coef", "slower"), [(0.03, False), (0.3, False), (1.0, True)])
def test_a_large_penalty_has_a_smaller_learning_rate(kl_coef: float, slower: bool) -> None:
    assert (learning_rate_for(kl_coef) < learning_rate_for(0.1)) is slower


def test_the_table_shows_what_is_not_known_as_a_dash() -> None:
    exact = {"gap": 0.25, "log_evidence": 1.5, "elbo": 0.5, "posterior_kl": 1.0}
    trained = {"method": "ppo", "kl_coef": 0.25, "kl": 0.1, "proxy": 0.2, "gold": 0.3, **exact}
    best = {**trained, **dict.fromkeys(exact), "method": "best-of-n", "n": 4, "kl_coef": None}
    assert rows({"policies": [trained, best]}) == [
        ("ppo", "beta = 0.25", "0.2500", "1.5000", "0.5000", "1.0000", "0.100", "0.200", "0.300"),
        ("best-of-n", "n = 4", "-", "-", "-", "-", "0.100", "0.200", "0.300"),
    ]
