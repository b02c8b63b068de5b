"""The text and the data of a report."""

from __future__ import annotations

import json
from pathlib import Path

from rlkit.diagnosis.catalogue import KINDS
from rlkit.diagnosis.findings import finding
from rlkit.diagnosis.learnability import Learnability
from rlkit.diagnosis.report import WIDTH, Report

FACTS = {
    "observation_space": "Box(" + "0.123456 " * 30 + ")",
    "action_space": "Discrete(2)",
    "steps": 5000,
    "episodes": 40,
    "episode_length": 12.34,
    "random_return": -1.5,
    "random_return_std": 0.25,
    "time_limit": 500,
    "step_seconds": 1e-4,
    "reset_seconds": 2e-3,
}


def report() -> Report:
    found = [finding(code, "Seen 3 times. " * 9) for code in ("prints", "hangs", "reward-sparse")]
    learned = Learnability("ppo", True, "It learns.", 100, 2.0, (1.0, 2.0, 3.0), 0.5)
    return Report("my.py:Env", tuple(found), FACTS, learned, "rlkit train ppo my.py:Env")


def test_the_text_has_errors_first_and_fits_80_columns() -> None:
    text = str(report())
    assert max(map(len, text.splitlines())) <= WIDTH
    order = [text.index(code) for code in ("hangs", "reward-sparse", "prints")]
    assert order == sorted(order)
    assert "1 error, 1 warning, 1 note" in text
    assert "10,000 steps per second, 2 ms per reset" in text
    assert text.endswith("Start with\n  rlkit train ppo my.py:Env")


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = str(Report("a\x1b[31m", (finding("hangs", "it said \x1b[2J"),)))
    assert "\x1b" not in text


def test_the_data_is_json() -> None:
    data = json.loads(json.dumps(report().as_dict()))
    assert data["errors"] == 1
    assert [one["code"] for one in data["findings"]] == ["prints", "hangs", "reward-sparse"]
    assert set(data["findings"][0]) == {"code", "severity", "seen", "cause", "cure"}
    assert data["learnability"]["returns"] == [1.0, 2.0, 3.0]
    assert data["facts"]["episodes"] == 40


def test_a_report_without_findings_says_so() -> None:
    assert "nothing is wrong with it" in str(Report("E", ()))


def test_causes_and_cures_are_sentences() -> None:
    for code, kind in KINDS.items():
        for text in (kind.cause, kind.cure):
            names = ("reset", "step", "close", "info", "terminated", "observation_space")
            assert text[0].isupper() or text.startswith(names), code
            assert text.endswith("."), code


def test_the_page_lists_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    rows = [
        f"| `{code}` | {kind.severity} | {kind.cause} | {kind.cure} |"
        for code, kind in KINDS.items()
    ]
    assert "\n".join(rows) in page
