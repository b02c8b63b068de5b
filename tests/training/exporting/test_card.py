"""A card has the interval over seeds, and says what falls short."""

from collections.abc import Callable
from pathlib import Path

import pytest

import rlkit
from rlkit.runs.record import read_record, write_record
from rlkit.training.exporting.card import model_card
from rlkit.training.kind import AGENT_RUN


def test_the_result_is_the_mean_over_seeds_with_its_interval(
    trained_folder: Callable[..., Path],
) -> None:
    run = rlkit.load(trained_folder("q-learning", seeds=2))
    interval, card = run.interval(), model_card(run)
    value = f'"{interval.estimate:.4g} ({interval.low:.4g} to {interval.high:.4g})"'
    header = card.split("---\n")[1]
    assert f"type: mean_reward, value: {value}" in header
    assert (
        f"| {interval.estimate:.4g} | {interval.low:.4g} to {interval.high:.4g} | 2 of 2 |" in card
    )
    for seed, score in enumerate(run.scores):
        assert f"| {seed} | {score:.4g} |" in card
    assert "| epsilon_steps | `500` |" in card
    assert run.record["identity"] in card


def test_the_header_is_yaml(trained_folder: Callable[..., Path]) -> None:
    yaml = pytest.importorskip("yaml")
    header = yaml.safe_load(
        model_card(rlkit.load(trained_folder("random", seeds=1))).split("---")[1]
    )
    (result,) = header["model-index"][0]["results"]
    assert result["dataset"]["name"].startswith("Frozen")
    assert header["library_name"] == "rlkit"


def test_what_falls_short_is_listed(trained_folder: Callable[..., Path]) -> None:
    folder = trained_folder("random", seeds=2)
    assert "failed" not in model_card(rlkit.load(folder))
    record = read_record(folder, AGENT_RUN)
    failure = {"message": "the walk fell over", "exit_code": 1}
    changes = {"failures": {"1": failure}, "caveats": ["its tides"], "reproducible": False}
    write_record(folder, {**record, **changes})
    short = model_card(rlkit.load(folder)).split("## What falls short")[1].split("##")[0]
    for text in ("seed 1 failed: the walk fell over", "its tides", "not reproducible"):
        assert text in short
