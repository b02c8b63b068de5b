"""The section of a comparison: its verdict follows the tests, its numbers are those compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.reporting.comparison_section import comparison_section, pairs_table, verdict_of
from rlkit.reporting.opening import Compared, open_subjects
from rlkit.reporting.parts import Section, Table
from rlkit.runs.integrity.seals import write_sealed


def section_of(folder: Path, *, films: bool = False) -> Section:
    (one,) = open_subjects([folder])
    assert isinstance(one, Compared)
    return comparison_section(one, "s1", films=films)


def table_of(section: Section, caption: str) -> Table:
    (table,) = (one for one in [*section.tables, *section.details] if one.caption == caption)
    return table


def pair(a: str, b: str, verdict: str, **more: Any) -> dict[str, Any]:
    numbers = {"difference": 1.0, "interval": [0.5, None], "p_value": 0.0123}
    return {"a": a, "b": b, "verdict": verdict, **numbers, **more}


@pytest.mark.parametrize(
    ("verdicts", "first", "rest"),
    [
        (("worse", "better", "better"), "b is best: better than every other contender.", 3),
        (("better", "better", "no evidence"), "a is best: better than every other contender.", 2),
        (
            ("better", "no evidence", "too few seeds"),
            "None is better than all others, but some pairs are decided.",
            1,
        ),
        (
            ("too few seeds", "no evidence", "no evidence"),
            "No pair is decided: these seeds do not say which is better.",
            0,
        ),
        (("tie", "tie", "tie"), "All are the same: every score is equal.", 3),
    ],
)
def test_the_verdict_follows_the_tests(
    verdicts: tuple[str, str, str], first: str, rest: int
) -> None:
    ab, ac, bc = verdicts
    pairs = [pair("a", "b", ab), pair("a", "c", ac), pair("b", "c", bc)]
    sentences = verdict_of(["a", "b", "c"], pairs)
    assert sentences[0] == first
    assert len(sentences) == 1 + rest


def test_numbers_are_those_of_the_summary(compared: Path) -> None:
    summary = json.loads((compared / "summary.json").read_text())
    section = section_of(compared)
    seeds = table_of(section, "Each seed")
    for column, name in enumerate(("learner", "chance"), 1):
        assert [row[column].key for row in seeds.rows] == summary["agents"][name]["final"]
    contenders = {row[0].text: row for row in table_of(section, "Contenders").rows}
    assert contenders["learner"][2].key == summary["agents"]["learner"]["mean"]
    (first,) = table_of(section, "Every pair").rows
    assert first[2].key == summary["pairs"][0]["difference"]
    assert first[4].key == summary["pairs"][0]["p_value"]
    assert section.question.startswith("Which of learner or chance is best on FrozenLake-v1, by ")
    assert table_of(section, "Settings that differ").rows[0][0].text == "agent"
    assert section.shortcomings[-1].startswith("learner and chance: too few seeds") or (
        section.verdict[0].startswith("learner is best")
    )


def test_each_contender_is_filmed(compared: Path) -> None:
    section = section_of(compared, films=True)
    assert [film.title for film in section.films] == ["learner", "chance"]


def test_without_the_runs_the_summary_is_shown(compared: Path) -> None:
    for run in compared.glob("*-FrozenLake-v1-*"):
        shutil.rmtree(run)
    section = section_of(compared)
    (text,) = (text for text in section.shortcomings if "is not beside" in text)
    assert text.startswith("learner, chance: the folder of the run is not beside the comparison")
    assert [chart.title for chart in section.charts] == ["Final return on FrozenLake-v1"]
    assert len(table_of(section, "Each seed").rows) == 4


def test_a_summary_that_is_older_than_its_runs_is_noticed(compared: Path) -> None:
    path = compared / "summary.json"
    summary = json.loads(path.read_text())
    summary["agents"]["chance"]["final"][0] = 0.9
    write_sealed(path, summary)
    (text,) = (one for one in section_of(compared).shortcomings if "other final returns" in one)
    assert text.startswith("chance: ")


def test_a_changed_figure_falls_short(compared: Path) -> None:
    figure = compared / "learning_curves.png"
    figure.write_bytes(figure.read_bytes() + b"x")
    assert any(
        "learning_curves.png is damaged" in text for text in section_of(compared).shortcomings
    )


def test_budgets_that_differ_are_named(compared: Path) -> None:
    path = compared / "summary.json"
    summary = json.loads(path.read_text())
    summary["agents"]["chance"]["env_steps"] = 500
    write_sealed(path, summary)
    section = section_of(compared)
    assert section.question.endswith("after budgets that differ?")
    assert any("learner 1,000, chance 500" in text for text in section.shortcomings)


def test_many_undecided_pairs_are_one_sentence_and_the_seeds_stand_in_the_table() -> None:
    pairs = [pair("a", str(i), "too few seeds", seeds_needed=9, more_seeds=7) for i in range(4)]
    table = pairs_table(pairs)
    assert table.rows[0][6].key == 9
    assert table.rows[0][4].text == "0.012"


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two contenders on two environments by the steps to a return."""
    out = tmp_path_factory.mktemp("several")
    rlkit.compare(
        [{"agent": "value-iteration", "name": "model"}, {"agent": "random", "name": "chance"}],
        ["FrozenLake-v1", "CliffWalking-v1"],
        seeds=2,
        steps=400,
        evaluate_every=200,
        metric="steps-to 0.5",
        out=out,
    )
    return out


def test_several_environments_are_parts_under_one_verdict(several: Path) -> None:
    section = section_of(several)
    assert [part.title for part in section.parts] == [
        "model and chance on FrozenLake-v1",
        "model and chance on CliffWalking-v1",
    ]
    assert [chart.title for chart in section.charts] == [
        "Interquartile means over environments",
        "Performance profiles",
    ]
    ids = [one.id for one in (section, *section.parts)]
    assert len(set(ids)) == 3
    pairs = table_of(section, "Every pair")
    assert pairs.columns[2].name == "probability of improvement"


def test_a_seed_that_never_reached_the_return_is_shown_as_such(several: Path) -> None:
    lake = section_of(several).parts[0]
    contenders = {row[0].text: row[-1].text for row in table_of(lake, "Contenders").rows}
    assert contenders == {"model": "2 of 2", "chance": "0 of 2"}
    final = lake.charts[-1]
    assert final.svg.count("<polygon") == 2  # those of chance, at the right end
    seeds = table_of(lake, "Each seed")
    assert [row[2].text for row in seeds.rows] == ["never", "never"]
    assert [row[1].key for row in seeds.rows] == [0.0, 0.0]  # of a planner


def test_a_seed_that_did_not_finish_is_not_one_that_never_got_there(several: Path) -> None:
    (one,) = open_subjects([several])
    assert isinstance(one, Compared)
    agent = one.summary["environments"]["FrozenLake-v1"]["agents"]["chance"]
    agent["final"][1] = None
    lake = comparison_section(one, "s1", films=False).parts[0]
    assert lake.charts[-1].svg.count("<polygon") == 1
    assert [row[2].text for row in table_of(lake, "Each seed").rows] == ["never", "-"]
