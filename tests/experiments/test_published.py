"""Verdicts on published scores, from the numbers that were published."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.published import (
    PAGE,
    PUBLISHED,
    Score,
    put_into_page,
    table,
    verdict,
    with_earlier,
)

OURS = np.array([-80.0, -78.5, -79.0, -81.0, -77.0])


def test_against_seeds_it_is_welchs_test() -> None:
    theirs = Score("x", -86.36, 1.32, 3, 500_000, "")
    expected = stats.ttest_ind_from_stats(
        *(OURS.mean(), OURS.std(ddof=1), 5), *(-86.36, 1.32, 3), equal_var=False
    )
    word, p = verdict(OURS, theirs)
    assert word == "higher"
    assert p == pytest.approx(expected.pvalue, rel=1e-12)
    assert verdict(-OURS, Score("x", 86.36, 1.32, 3, 1, ""))[0] == "lower"


def test_one_model_is_a_number_known_up_to_the_error_of_its_episodes() -> None:
    exact = Score("x", -73.5, 0.0, 1, 1, "", num_episodes=100)
    assert verdict(OURS, exact)[1] == pytest.approx(stats.ttest_1samp(OURS, -73.5).pvalue, rel=1e-9)
    vague = Score("x", -73.5, 50.0, 1, 1, "", num_episodes=25)
    assert verdict(OURS, exact)[0] == "lower"
    assert verdict(OURS, vague)[0] == "no evidence of a difference"
    full = np.full(3, 500.0)
    assert verdict(full, Score("x", 500.0, 0.0, 1, 1, "", num_episodes=300)) == ("equal", 1.0)
    assert verdict(full, Score("x", 400.0, 0.0, 1, 1, "", num_episodes=300)) == ("higher", 0.0)
    word, p = verdict(full, Score("x", 400.0, 600.0, 1, 1, "", num_episodes=36))
    assert (word, p) == ("no evidence of a difference", pytest.approx(2 * stats.norm.sf(1.0)))


def test_the_table_is_put_into_the_page_and_replaces_an_older_one(tmp_path: Path) -> None:
    text = table({name: {"steps": 10, "scores": OURS.tolist()} for name in PUBLISHED})
    assert text.count("\n") == 2 + sum(map(len, PUBLISHED.values()))
    page = tmp_path / "page.md"
    page.write_text("# A\n\n<!-- verdicts -->\n\nThe end.\n")
    put_into_page(page, "| a |\n| --- |\n| 1 |\n")
    put_into_page(page, "| a |\n| --- |\n| 2 |\n")
    assert page.read_text() == (
        "# A\n\n<!-- verdicts -->\n\n<!-- table: results/published/table.md -->\n\n"
        "| a |\n| --- |\n| 2 |\n\nThe end.\n"
    )
    assert PAGE.read_text().count("<!-- verdicts -->") == 1


def test_one_task_anew_keeps_the_scores_of_the_others_in_the_order_of_the_table(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scores.json"
    anew = {"Acrobot-v1": {"steps": 10, "scores": [-70.0]}}
    assert with_earlier(anew, path) == anew
    earlier = {name: {"steps": 5, "scores": [1.0]} for name in reversed(PUBLISHED)}
    path.write_text(json.dumps(earlier))
    both = with_earlier(anew, path)
    assert list(both) == list(PUBLISHED)
    assert both == earlier | anew
