"""Damaged files are reported, the sound ones are used, and nothing is deleted to hide a loss."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.runs import checkpoints, curves
from rlkit.runs.execution import Interrupted
from rlkit.runs.reports import Reports
from rlkit.training.figures import content_of
from rlkit.training.run import Run, load
from rlkit.training.train import train
from tests.run_fixtures import SMALL


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def overwrite(path: Path) -> None:
    path.write_bytes(b"something else")


@pytest.mark.trap("F21")
@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip_a_bit, truncate, overwrite])
@pytest.mark.parametrize("steps", [400, 600])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    damage: Callable[[Path], None],
    steps: int,
    small: Callable[..., Run],
    results: Any,
    reference: Any,
) -> None:
    run = small("ppo", seeds=2, steps=steps)
    damaged = checkpoints.list_checkpoints(run.folder, 1)[0][1]
    damage(damaged)
    notes: list[str] = []
    run = small("ppo", seeds=2, reports=Reports(note=notes.append))
    before = f"at {steps - 200:,} environment steps"
    for reported in (notes, run.record["notes"]):
        assert any(
            str(damaged) in note and "damaged" in note and before in note for note in reported
        )
    assert run.status == "finished"
    expected = reference("ppo", seeds=10)
    assert results(run.folder) == {seed: expected[seed] for seed in range(2)}


@pytest.mark.trap("F22")
@pytest.mark.slow
def test_a_seed_without_a_sound_checkpoint_is_rejected_and_nothing_is_deleted(
    small: Callable[..., Run], results: Any, reference: Any, tmp_path: Path
) -> None:
    run = small("ppo", seeds=2, steps=400)
    paths = [path for _, path in checkpoints.list_checkpoints(run.folder, 1)]
    assert len(paths) == 2
    for path in paths:
        flip_a_bit(path)
    files = {path: path.read_bytes() for path in run.folder.glob("**/seed-*") if path.is_file()}
    with pytest.raises(RlkitError, match="Nothing was deleted") as caught:
        small("ppo", seeds=2)
    assert caught.value.exit_code == 1
    assert all(str(path) in str(caught.value) for path in paths)
    assert {path: path.read_bytes() for path in files} == files
    assert load(run.folder).status == "failed"
    for path in paths:  # what the message proposes
        path.rename(tmp_path / path.name)
    run = small("ppo", seeds=2)
    expected = reference("ppo", seeds=10)
    assert results(run.folder) == {seed: expected[seed] for seed in range(2)}


@pytest.mark.slow
def test_the_policy_of_a_seed_without_a_sound_checkpoint_names_the_files(
    small: Callable[..., Run],
) -> None:
    run = small("q-learning", seeds=2, steps=100)
    (_, path), *_ = checkpoints.list_checkpoints(run.folder, 1)
    overwrite(path)
    with pytest.raises(RlkitError, match=str(path)):
        run.actor(1)
    run.actor(0)


@pytest.mark.trap("F23")
def test_a_half_written_row_is_dropped_and_written_again(
    small: Callable[..., Run], results: Any, reference: Any
) -> None:
    run = small("q-learning", seeds=1, steps=300)
    with open(curves.curve_path(run.folder, 0), "ab") as file:
        file.write(b"350,12,0,0.12")
    assert load(run.folder).steps.tolist() == [0, 100, 200, 300]
    run = small("q-learning", seeds=1)
    assert results(run.folder) == {0: reference("q-learning", seeds=10)[0]}


def test_a_csv_that_lost_rows_stops_the_run_before_it_is_made_worse(
    small: Callable[..., Run],
) -> None:
    run = small("q-learning", seeds=2, steps=300)
    path = curves.curve_path(run.folder, 1)
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    with pytest.raises(RlkitError, match=f"{path}, line 5: not what was written"):
        small("q-learning", seeds=2)
    assert path.read_bytes() == data[:-7]
    path.write_bytes(data)
    assert small("q-learning", seeds=2).status == "finished"


@pytest.mark.trap("F24")
def test_a_damaged_row_is_named_when_the_curve_is_read(small: Callable[..., Run]) -> None:
    run = small("q-learning", seeds=2, steps=300)
    path = curves.curve_path(run.folder, 1)
    path.write_bytes(path.read_bytes().replace(b"\n200,", b"\n2\x0000,"))
    with pytest.raises(RlkitError, match=f"{path}, line 4: "):
        _ = load(run.folder).curve


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "reading .* failed"),
        (b'{"format": 1', "reading .* failed"),
        (b"\xff\xfe", "reading .* failed"),
        (b"[]", "not the record of a run"),
        (b'{"format": 3}', "not the record of a run in a format that is known"),
        (b"{}", "not the record of a run"),
    ],
)
def test_a_record_of_another_form_is_rejected_and_kept(
    content: bytes, message: str, small: Callable[..., Run]
) -> None:
    folder = small("q-learning", seeds=1, steps=100).folder
    (folder / "run.json").write_bytes(content)
    with pytest.raises(RlkitError, match=message):
        load(folder)
    with pytest.raises(RlkitError, match=message):
        small("q-learning", seeds=1)
    assert (folder / "run.json").read_bytes() == content


def test_a_folder_without_a_record_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"it has no run\.json"):
        load(tmp_path)


@pytest.mark.trap("T78")
def test_a_run_with_counters_beyond_32_bits_continues_exactly(
    small: Callable[..., Run], results: Any
) -> None:
    far = 2**31 - 10
    near = small("q-learning", seeds=1, steps=300, envs=1, evaluate_every=10, epsilon_steps=1)
    steps, state, _ = checkpoints.newest_checkpoint(near.folder, 0)
    for entry in ("tracker/num_env_steps", "tracker/num_episodes", "agent/num_env_steps"):
        state[entry] = state[entry] + (far - steps)
    state["agent/visits"] = state["agent/visits"] + 2**31
    checkpoints.save_checkpoint(near.folder, 0, far, state)
    checkpoints.adopt(near.folder, 0, near.record["identity"])
    run = small("q-learning", seeds=1, steps=far + 40, envs=1, evaluate_every=10, epsilon_steps=1)
    rows = run.columns[0]["num_env_steps"]
    first = 10 * (far // 10 + 1)
    expected = [*range(first, far + 40, 10), far + 40]
    assert rows[rows > 300].tolist() == expected
    assert np.all(np.diff(rows) > 0)
    assert run.columns[0]["num_episodes"][-1] > 2**31 - 400
    assert f"\n{expected[-1]}," in curves.curve_path(run.folder, 0).read_text()
    _, state, _ = checkpoints.newest_checkpoint(run.folder, 0)
    assert int(state["tracker/num_env_steps"]) == far + 40
    assert run.status == "finished"


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def change(path: Path, before: bytes, after: bytes) -> None:
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, after, 1))


CSV, CHECKPOINTS = "seed-001.csv", "checkpoints/seed-001"
# What is done to a finished run, and what its curves then say.
OF_CURVES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "edited": (lambda f: change(f / CSV, b"\n200,", b"\n201,"), "line 4: not what was written"),
    "flipped": (lambda f: flip_a_bit(f / CSV), "line .*"),
    "cut": (lambda f: (f / CSV).write_bytes((f / CSV).read_bytes()[:-20]), "line 5: "),
    "emptied": (lambda f: (f / CSV).write_bytes(b""), "line 1: expected .* bytes .*rows were lost"),
    "gone": (lambda f: (f / CSV).unlink(), "line 1: expected .* bytes .*rows were lost"),
    "swapped": (lambda f: swap(f / CSV, f / "seed-000.csv"), "line .*: not what was written"),
    "seeds swapped": (
        lambda f: swap(f / CHECKPOINTS, f / "checkpoints/seed-000"),
        "holds the checkpoints of another seed: expected those of",
    ),
    "sums": (lambda f: flip_a_bit(f / CHECKPOINTS / "sums.json"), "sums.json is damaged"),
    "no sums": (lambda f: (f / CHECKPOINTS / "sums.json").unlink(), "sums.json is missing"),
}


@pytest.mark.parametrize("damage", OF_CURVES)
def test_no_damaged_row_of_a_finished_run_is_used(
    damage: str, trained_folder: Callable[..., Path], small: Callable[..., Run]
) -> None:
    folder = trained_folder("random", seeds=2)
    act, message = OF_CURVES[damage]
    act(folder)
    files = {path: path.read_bytes() for path in folder.rglob("*.*") if path.name[0] != "."}
    for use in (
        lambda: load(folder).curve,
        lambda: load(folder).scores,
        lambda: load(folder).evaluate(2),
        lambda: small("random", seeds=2),
    ):
        with pytest.raises(RlkitError, match=message) as caught:
            use()
        assert str(folder) in str(caught.value)
        assert "restore" in str(caught.value)
    assert {path: path.read_bytes() for path in files if path.exists()} == files


@pytest.mark.parametrize("damage", ["edited", "gone"])
def test_what_the_message_proposes_trains_the_seed_again_to_the_same_results(
    damage: str, trained_folder: Callable[..., Path], small: Callable[..., Run], results: Any
) -> None:
    folder = trained_folder("random", seeds=2)
    before = results(folder)
    OF_CURVES[damage][0](folder)
    (folder / CSV).unlink(missing_ok=True)
    (folder / CHECKPOINTS).rename(folder.parent / "away")
    small("random", seeds=2)
    assert results(folder) == before


def test_checkpoints_of_other_settings_are_not_played(
    trained_folder: Callable[..., Path], small: Callable[..., Run]
) -> None:
    folder = trained_folder("q-learning", seeds=1)
    other = trained_folder("q-learning", seeds=1, initial_value=1.0)
    (own, *_), (foreign, *_) = (checkpoints.list_checkpoints(f, 0) for f in (folder, other))
    own[1].unlink()
    (folder / "checkpoints/seed-000" / foreign[1].name).write_bytes(foreign[1].read_bytes())
    with pytest.warns(RlkitWarning, match="was not written by seed 0 of this run"):
        load(folder).evaluate(2)
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(other / "checkpoints", folder / "checkpoints")
    for use in (lambda: load(folder).evaluate(2), lambda: small("q-learning", seeds=1)):
        with pytest.raises(RlkitError, match="checkpoints of another run: expected those of"):
            use()
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    with pytest.raises(UsageError, match="holds another run: expected the identity"):
        small("q-learning", seeds=1)


@pytest.mark.trap("F20")
def test_an_edited_record_is_rejected(
    trained_folder: Callable[..., Path], small: Callable[..., Run]
) -> None:
    folder = trained_folder("random", seeds=1)
    data = (folder / "run.json").read_bytes()
    for before, after in (
        (b'"experiment_seed": 0', b'"experiment_seed": 1'),
        (b'"sha256": "', b'"sha257": "'),
        (b'"identity": "', b'"iddntity": "'),
        (b"\n}\n", b"\n}"),
    ):
        (folder / "run.json").write_bytes(data.replace(before, after))
        for use in (lambda: load(folder), lambda: small("random", seeds=1)):
            with pytest.raises(RlkitError, match=r"run\.json is damaged: .*restore the file"):
                use()
    (folder / "run.json").write_bytes(data)
    assert load(folder).curve.shape[0] == 1


def test_rows_that_no_checkpoint_covers_are_not_used(small: Callable[..., Run]) -> None:
    folder = small("random", seeds=1, steps=200).folder
    with open(folder / "seed-000.csv", "ab") as file:
        file.write(b"300,9,0,9.0,9.0,9.0,\n400,9,0,9.0,9.0,9.0,\n401")
    with pytest.warns(RlkitWarning, match=r"seed-000\.csv: the rows from line 5 on are not used"):
        assert load(folder).steps.tolist() == [0, 100, 200]


def test_a_damaged_figure_is_drawn_again(small: Callable[..., Run], figures: None) -> None:
    folder = small("random", seeds=1).folder
    path, sound = folder / "learning_curve.png", (folder / "learning_curve.png").read_bytes()
    flip_a_bit(path)
    notes: list[str] = []
    small("random", seeds=1, reports=Reports(note=notes.append))
    assert path.read_bytes() == sound
    assert any("learning_curve.png is damaged: expected the sha256" in note for note in notes)
    record = (folder / "run.json").read_bytes()
    small("random", seeds=1)
    assert (folder / "run.json").read_bytes() == record


def plain(value: Any) -> Any:
    """Return results in a form that can be compared: NaN equals NaN."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value.tolist()) if isinstance(value, np.ndarray) else repr(value)


def opened(folder: Path, name: str, notes: list[str], place: Path) -> dict[str, Callable[[], Any]]:
    """Return the ways to open a run, each with a result that damage must not change silently."""

    def again() -> Any:
        run = train(**(SMALL[name] | {"out": folder.parent, "seeds": 2, **ENDS}), reports=silent)
        return plain([run.scores, _all_results(folder)])

    silent = Reports(note=notes.append)
    return {
        "load": lambda: plain([load(folder).curve, load(folder).scores, load(folder).columns]),
        "evaluate": lambda: plain(load(folder).evaluate(2)),
        "plot": lambda: plain(vars(content_of([load(folder)])["curves"][0])),
        "the same command": again,
    }


ENDS = {"steps": 600}


def _all_results(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("*.csv"), *folder.rglob("*.npz"), *folder.glob("*.png")]
    newest = [max(seed.glob("*.npz")) for seed in (folder / "checkpoints").iterdir()]
    return {p.name: p.read_bytes() for p in paths if p.suffix != ".npz" or p in newest}


def flips_of(folder: Path, name: str, number: int, draws: random.Random, place: Path) -> list[str]:
    """Flip bits at random places over all files of a run; return those that were not reported."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    expected: dict[str, Any] = {}
    missed = []
    for trial in range(-1, number):  # at first none
        target = place / str(trial) / folder.name
        shutil.copytree(folder, target)
        file = target / draws.choice(files).relative_to(folder)
        data = bytearray(file.read_bytes())
        position, bit = draws.randrange(len(data)), draws.randrange(8)
        if trial >= 0:
            data[position] ^= 1 << bit
            file.write_bytes(data)
        names = (file.name, f"checkpoints/{file.parent.name}")
        reported = False
        notes: list[str] = []
        for way, use in opened(target, name, notes, place).items():
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always")
                try:
                    result = use()
                except RlkitError as error:
                    result, told = None, [str(error)]
                else:
                    told = []
            told += [str(one.message) for one in raised] + notes
            is_told = any(any(part in text for part in names) for text in told if "damaged" in text)
            is_told |= result is None and any(names[0] in text for text in told)
            if trial < 0:
                assert not is_told, told
                expected[way] = result
            elif not is_told and result != expected[way]:
                missed.append(f"{way} used {file.relative_to(target)}, byte {position}, bit {bit}")
            reported |= is_told
        if trial >= 0 and not reported:
            missed.append(f"{file.relative_to(target)}, byte {position}, bit {bit}: not reported")
        shutil.rmtree(place / str(trial))
    return missed


def interrupted(name: str, out: Path) -> Path:
    """Train a run until its second row, and let it save and stop."""
    rows = [0]

    def progress(seeds: Sequence[int], steps: int) -> None:
        rows[0] = max(rows[0], steps)

    reports = Reports(progress=progress, stop=lambda: rows[0] >= 220)
    with pytest.raises(Interrupted):
        train(**(SMALL[name] | {"out": out, "seeds": 2, **ENDS}), reports=reports)
    (folder,) = out.iterdir()
    return folder


def whole(name: str, out: Path) -> Path:
    return train(**(SMALL[name] | {"out": out, "seeds": 2, **ENDS}), reports=Reports()).folder


@pytest.mark.parametrize("make", [whole, interrupted])
def test_flipped_bits_are_reported_and_none_is_used(
    make: Callable[[str, Path], Path], tmp_path: Path
) -> None:
    folder = make("random", tmp_path / "runs")
    assert flips_of(folder, "random", 4, random.Random(3), tmp_path / "flips") == []


FLIPS = 75  # of each of four runs


@pytest.mark.trap("F19")
@pytest.mark.torture
@pytest.mark.parametrize("make", [whole, interrupted])
@pytest.mark.parametrize("name", ["q-learning", "ppo"])
def test_three_hundred_flipped_bits_are_reported_and_none_is_used(
    name: str, make: Callable[[str, Path], Path], tmp_path: Path, figures: None
) -> None:
    folder = make(name, tmp_path / "runs")
    draws = random.Random(f"{name} {make.__name__}")
    assert flips_of(folder, name, FLIPS, draws, tmp_path / "flips") == []
