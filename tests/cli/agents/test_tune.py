"""`rlkit tune`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlkit.cli import main
from tests.cli.commands import output

TINY = (
    *("--env", "FrozenLake-v1", "--trials", "3", "--seeds", "2", "--confirm-seeds", "2"),
    *("--steps", "400", "--evaluate-every", "100", "--epsilon-steps", "300"),
)


def test_tune_prints_the_trials_the_verdict_and_what_to_paste(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = tmp_path / "space.toml"
    space.write_text('discount = [0.9, 0.99]\nstep_size = ["None", 0.5]\n')
    words = ("tune", "q-learning", *TINY, "--space", str(space), "--out", str(tmp_path / "out"))
    out, err = output(capsys, *words)
    assert "3 trials of 2 seeds: 3 finished, 0 stopped, 0 failed" in out
    assert "fixed: epsilon_steps = 300" in out
    assert "difference" in out
    assert "the chosen one, has a mean of" in out
    assert '("q-learning", "FrozenLake-v1"): {' in out
    assert "rlkit train q-learning FrozenLake-v1 --steps 400 --evaluate-every 100" in out
    assert err.count("finished at 400 steps") == 3
    (folder,) = (tmp_path / "out").iterdir()
    for name in ("study.json", "trials.csv", "trials.png", "options.png"):
        assert f"{folder / name}\n" in out
        assert (folder / name).stat().st_size > 100

    out, err = output(capsys, *words, "--json")
    summary = json.loads(out)
    assert summary["trials"] == {"finished": 3, "stopped": 0, "failed": 0}
    assert summary["fixed"] == {"epsilon_steps": 300}
    assert "trial 0" not in err
    assert set(summary["confirmation"]["agents"]) == {"tuned", "preset"}
    assert summary["command"].startswith("rlkit train q-learning FrozenLake-v1 --steps 400")


def test_scores_are_readable_beside_many_options(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("ppo", "--env", "CartPole-v1", "--trials", "1", "--seeds", "2", "--steps", "256")
    out, _ = output(capsys, "tune", *words, "--confirm-seeds", "2", "--out", str(tmp_path))
    table = json.loads((next(tmp_path.iterdir()) / "study.json").read_text())
    cells = next(line for line in out.splitlines() if line.startswith("│     0 │")).split("│")
    numbers = [f"{table['best'][name]:.4g}" for name in ("objective", "mean")]
    assert [one.strip() for one in cells[2:4]] == numbers
    assert "rollout_length" in cells[4]
    assert "max_gradient_norm" in out
    assert "512 environment steps of trials" in out
    assert "0 environment steps of the final" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("q-learning", *TINY, "--trails", "3"), "Did you mean '--trials'?"),
        (("pppo", *TINY), "Did you mean 'ppo'?"),
        (("random", "--env", "FrozenLake-v1"), "nothing to tune"),
        (("q-learning", "--env", "FrozenLake-v1", "--seeds", "1"), ">= 2, got 1"),
        (("q-learning", "--env", "FrozenLake-v1", "--space", "no.toml"), "reading no.toml"),
    ],
)
def test_a_slip_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    _, err = output(capsys, "tune", *words, code=2)
    assert message in err


def test_the_help_lists_the_options_of_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tune", "q-learning", "--help"])
    text = capsys.readouterr().out
    assert "--confirm-seeds" in text
    assert "--step-size-power" in text
    assert "--regret" not in text
