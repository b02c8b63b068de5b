"""Several environments: one family of verdicts, scores on one scale, and files of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.analysis.aggregate import compare_over_environments, interquartile_mean
from rlkit.analysis.comparisons import compare_pairs, holm
from rlkit.errors import UsageError
from rlkit.training.comparing import comparison
from rlkit.training.comparing.comparison_set import ComparisonSet
from rlkit.training.run import Run

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")
ENVIRONMENTS = ["FrozenLake-v1", "CliffWalking-v1"]
WORDS = ["q-learning", "slow=q-learning --step-size 0.01", "random"]
SMALL: dict[str, Any] = {"seeds": 5, "steps": 3000, "evaluate_every": 1000}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("set")


@pytest.fixture(scope="module", autouse=True)
def _no_figures_of_sets() -> Iterator[None]:
    """Draw no figures, which take longer than these runs; the command line's tests do."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((comparison, "plot_runs"), (comparison, "save"), (Run, "plot")):
            patch.setattr(owner, name, lambda *_, **__: None)
        patch.setattr(ComparisonSet, "plot", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def compared(out: Path) -> ComparisonSet:
    compared = rlkit.compare(WORDS, ENVIRONMENTS, out=out, **SMALL)
    assert isinstance(compared, ComparisonSet)
    return compared


def test_verdicts_are_corrected_over_all_environments_and_over_what_is_over_all(
    compared: ComparisonSet,
) -> None:
    raw = []
    for name in ENVIRONMENTS:
        alone = compare_pairs(compared.comparisons[name].scores)
        raw += [pair.raw_p_value for pair in alone]
    scores = {name: compared.scores_of(name) for name in compared.names}
    raw += [test.p_value for test in compare_over_environments(scores)]
    assert len(raw) == 9
    pairs = [pair for one in compared.comparisons.values() for pair in one.pairs()]
    corrected = [pair.p_value for pair in (*pairs, *compared.pairs())]
    assert corrected == pytest.approx(holm(raw).tolist(), abs=1e-12)
    assert compared.num_tests == compared.comparisons["FrozenLake-v1"].num_tests == 9


def test_scores_are_between_random_play_and_the_optimum(compared: ComparisonSet) -> None:
    lake = compared.comparisons["FrozenLake-v1"]
    assert compared.scales["FrozenLake-v1"].best == pytest.approx(0.74419029, abs=1e-8)
    random = dict(lake.runs["random"].references)["random"]
    expected = (lake.scores["q-learning"] - random) / (0.7441902878 - random)
    np.testing.assert_allclose(compared.scores_of("q-learning")[0], expected, atol=1e-8)
    assert compared.intervals()["q-learning"].estimate == pytest.approx(
        interquartile_mean(compared.scores_of("q-learning")), abs=1e-12
    )


def test_the_summary_has_each_environment_and_all(compared: ComparisonSet, out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["agents"]) == ["q-learning", "slow", "random"]
    assert list(summary["environments"]) == ENVIRONMENTS
    part = summary["environments"]["CliffWalking-v1"]
    own = json.loads((out / part["folder"] / "summary.json").read_text())
    assert part["pairs"] == own["pairs"]
    assert part["agents"] == own["agents"]
    assert (part["best"], part["best_is"]) == (pytest.approx(-13), "optimum")
    for agent in summary["agents"].values():
        low, high = agent["iqm_interval"]
        assert low <= agent["iqm"] <= high
        assert len(agent["profile"]) == len(summary["profile_thresholds"])
        assert agent["seeds"] == 5
    assert {(pair["a"], pair["b"]) for pair in summary["pairs"]} == {
        *(("q-learning", "slow"), ("q-learning", "random"), ("slow", "random")),
    }
    for pair in summary["pairs"]:
        low, high = pair["improvement_interval"]
        assert 0 <= low <= pair["improvement"] <= high <= 1


def test_the_same_call_finds_its_folder_and_another_metric_has_its_own(
    compared: ComparisonSet, out: Path
) -> None:
    again = rlkit.compare(WORDS, ENVIRONMENTS, out=out, **SMALL)
    assert again.folder == compared.folder == out
    other = rlkit.compare(WORDS, ENVIRONMENTS, out=out, metric="area", **SMALL)
    assert other.folder.parent == out
    assert other.summary()["metric"] == "area"
    assert (other.folder / "FrozenLake-v1" / "summary.json").exists()


def test_returns_that_are_never_reached_count_over_environments(out: Path) -> None:
    reached = rlkit.compare(WORDS, ENVIRONMENTS, out=out, metric="steps-to 0.3", **SMALL)
    assert isinstance(reached, ComparisonSet)
    for name in reached.names:
        assert all((one >= 0).all() and (one <= 1).all() for one in reached.scores_of(name))
    assert reached.scores_of("random")[1].tolist() == [0.0] * 5  # never, on the cliff
    assert reached.intervals()["random"].estimate == 0


def test_what_cannot_be_on_several_environments_is_rejected_first(
    compared: ComparisonSet, out: Path
) -> None:
    run = compared.comparisons["FrozenLake-v1"].runs["random"]
    before = sorted(out.rglob("*"))
    for agents, environments, text in (
        ([run, "q-learning"], ENVIRONMENTS, "'random' needs one run on .*, and has 0"),
        (["random"], ["FrozenLake-v1", "NoLake-v1"], "unknown environment 'NoLake-v1'"),
        (["random"], [], "name at least one environment"),
    ):
        with pytest.raises(UsageError, match=text):
            rlkit.compare(agents, environments, out=out, **SMALL)
    with pytest.raises(UsageError, match=r"'q' on MountainCar-v0: .*needs discrete observations"):
        rlkit.compare(["random", "q=q-learning"], ["FrozenLake-v1", "MountainCar-v0"], out=out)
    assert sorted(out.rglob("*")) == before
    with pytest.raises(UsageError, match=r"choose one, as in comparison\.comparisons"):
        compared.environment  # noqa: B018
    with pytest.raises(UsageError, match="regret is drawn for each environment"):
        compared.plot_regret()


def test_a_finished_run_per_environment_is_one_contender(
    compared: ComparisonSet, out: Path
) -> None:
    runs = {name: one.runs["random"] for name, one in compared.comparisons.items()}
    folders = ",".join(str(run.folder) for run in reversed(runs.values()))
    for agents, environments in (
        ([f"old={folders}", "q-learning"], ENVIRONMENTS),
        ({"old": [*runs.values()], "q-learning": "q-learning"}, ENVIRONMENTS),
    ):
        again = rlkit.compare(agents, environments, out=out, **SMALL)
        for name, one in again.comparisons.items():
            assert one.runs["old"].folder == runs[name].folder
    only = rlkit.compare([f"old={folders}", "same=" + folders], out=out / "only")
    assert isinstance(only, ComparisonSet)
    assert set(only.comparisons) == set(runs)
    twice = f"old={runs['FrozenLake-v1'].folder},{runs['FrozenLake-v1'].folder}"
    with pytest.raises(UsageError, match="'old' needs one run on FrozenLake-v1, and has 2"):
        rlkit.compare([twice, "random"], "FrozenLake-v1", out=out, **SMALL)
    with pytest.raises(UsageError, match="expected several runs, one per environment"):
        rlkit.compare({"old": [runs["FrozenLake-v1"], "random"]}, ENVIRONMENTS, out=out, **SMALL)


def test_no_comparison_on_one_environment_is_replaced(tmp_path: Path) -> None:
    small: dict[str, Any] = {"seeds": 2, "steps": 20}
    one = rlkit.compare(["random"], "FrozenLake-v1", out=tmp_path / "FrozenLake-v1", **small)
    before = (one.folder / "summary.json").read_bytes()
    both = rlkit.compare(["random"], ENVIRONMENTS, out=tmp_path, **small)
    assert both.folder.parent == tmp_path
    assert (one.folder / "summary.json").read_bytes() == before


def test_a_list_of_one_environment_is_a_comparison_on_it(tmp_path: Path) -> None:
    one = rlkit.compare(["random"], ["FrozenLake-v1"], out=tmp_path, seeds=2, steps=20)
    assert not isinstance(one, ComparisonSet)
    assert one.environment_name == "FrozenLake-v1"
