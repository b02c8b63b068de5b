"""`rlkit verify` and `rlkit resume` on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.cli import main
from rlkit.runs.record import read_record, write_record
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run
from tests.cli.commands import output


def test_verify_reports_the_damage_and_the_exit_code(
    trained_folder: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained_folder("random", seeds=2)
    text, _ = output(capsys, "verify", str(folder))
    assert "2 of 2" in text
    assert "sound" in text
    csv = folder / "seed-001.csv"
    csv.write_bytes(csv.read_bytes().replace(b"\n200,", b"\n201,"))
    assert main(["verify", str(out)]) == 1
    text = capsys.readouterr().out
    assert "1 of 2" in text
    assert "seed 1: damaged, at 300 of 300 environment steps" in text
    assert f"damaged: {csv}, line 4: not what was written" in text
    assert main(["verify", str(out), "--json"]) == 1
    (verdict,) = json.loads(capsys.readouterr().out)
    assert [seed["state"] for seed in verdict["seeds"]] == ["complete", "damaged"]
    assert verdict["sound"] is False
    assert main(["verify", str(folder / "checkpoints")]) == 2
    assert main(["verify"]) == 2


@pytest.mark.trap("F68")
def test_escapes_in_a_record_do_not_reach_the_terminal(
    damaged: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = damaged(environment="\x1b[31m[/nope] Lake")
    assert main(["verify", str(folder)]) == 0
    assert main(["resume", str(folder)]) in (0, 2)
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


def test_resume_continues_and_summarises(
    trained_folder: Callable[..., Path],
    out: Path,
    results: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)
    folder = trained_folder("random", seeds=2)
    before = results(folder)
    write_record(folder, {**read_record(folder, AGENT_RUN), "status": "running"})
    shutil.rmtree(folder / "checkpoints" / "seed-001")
    (folder / "seed-001.csv").unlink()
    (out / "unread").mkdir()
    (out / "unread" / "run.json").write_text("{")
    assert main(["resume", str(out)]) == 1
    captured = capsys.readouterr()
    assert "finished" in captured.out
    assert f"{out / 'unread'} cannot be continued: reading" in captured.err
    assert results(folder) == before
    shutil.rmtree(out / "unread")
    assert main(["resume", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "complete"
