"""What a card says, and that its Python runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import rlkit.rlhf as rlhf
from tests.rlhf.exporting.conftest import Runs

pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


def test_the_python_of_each_kind_of_card_runs_in_its_folder(
    runs_of: Callable[[str], Runs],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = runs_of("GPT2")
    for run, adapter in ((runs.rloo, False), (runs.rloo, True), (runs.reward, False)):
        folder = rlhf.export(run, tmp_path / f"{run.stage}{adapter}", adapter=adapter)
        card = (folder / "README.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        monkeypatch.chdir(folder)
        known: dict[str, object] = {}
        exec(code.replace('"a response"', '"c d"'), known)
        if run is runs.reward:
            prompt = re.findall(r'tokenizer\("([^"]+)", return', code)[0]
            expected = rlhf.score(run, [{"prompt": prompt, "response": "c d"}])[0]
            assert float(str(known["score"]).split("(")[1].split(",")[0]) == pytest.approx(
                expected, abs=1e-3
            )
        assert f"| sft | {runs.sft.folder.name} | 0 | 2 |" in card
        assert str(tmp_path) not in card
    assert capsys.readouterr().out
