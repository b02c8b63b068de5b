"""The figure of a run is drawn in a process of its own, and here where that fails."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlkit.training import drawing


def python(code: str, folder: Path) -> None:
    code = f"if __name__ == '__main__':\n{textwrap.indent(textwrap.dedent(code), '    ')}"
    (folder / "program.py").write_text(code)
    subprocess.run([sys.executable, "program.py"], cwd=folder, check=True)


def test_the_command_draws_the_same_figure_without_importing_matplotlib(tmp_path: Path) -> None:
    python(
        """
        import sys
        from pathlib import Path
        from rlkit.cli import main

        words = "train q-learning FrozenLake-v1 --seeds 2 --steps 2000 --evaluate-every 500"
        assert main(words.split()) == 0
        assert "matplotlib" not in sys.modules
        (figure,) = Path("runs").rglob("learning_curve.png")
        import rlkit
        rlkit.load(figure.parent).plot("here.png")
        assert Path("here.png").read_bytes() == figure.read_bytes()
        """,
        tmp_path,
    )


def test_what_cannot_be_drawn_there_is_drawn_here(tmp_path: Path) -> None:
    python(
        """
        import rlkit
        from pathlib import Path
        from rlkit.training import drawing

        drawing.start_drawing()
        run = rlkit.train("random", "FrozenLake-v1", seeds=2, steps=20)
        content = {"curves": "nonsense"}
        assert not drawing.warm_process(drawing.draw_quietly, content, Path("figure.png"))
        drawing.content_of = lambda runs: content
        drawing.save_curve(run, Path("figure.png"))
        assert Path("figure.png").exists()
        """,
        tmp_path,
    )


def test_a_program_that_started_no_process_draws_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Path] = []
    run: Any = SimpleNamespace(plot=paths.append)
    monkeypatch.setattr(drawing, "_started", [])
    drawing.save_curve(run, Path("figure.png"))
    assert paths == [Path("figure.png")]
