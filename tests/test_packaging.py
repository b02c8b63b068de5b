"""The distribution: built as a user builds it, installed into an empty environment, and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).parents[1]
# What building needs, and no more: no caches, runs or environments of this checkout.
SOURCES = ("rlkit", "envs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD = "import sys\nfrom setuptools import build_meta\nbuild_meta.build_{}(sys.argv[1])"


def build(what: str, source: Path, folder: Path) -> Path:
    """Build an sdist or a wheel with setuptools, as pip does without isolation."""
    command = [sys.executable, "-c", BUILD.format(what), str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = folder.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[what])
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("packaging")
    (folder / "checkout").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "checkout" / name)
    sdist = build("sdist", folder / "checkout", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return build("wheel", source, folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new environment with the wheel; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A line in a .pth file adds a folder, but not what the .pth files in there would add: of an
    # editable rlkit in this environment, nothing can be imported in the new one.
    (packages / "dependencies.pth").write_text(f"{Path(numpy.__file__).parents[1]}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return folder


def run(installed: Path, name: str, *arguments: str, cwd: Path) -> str:
    """Run a program of the new environment, and return what it prints."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [str(installed / "bin" / name), *arguments]
    done = subprocess.run(command, cwd=cwd, env=clean, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_the_wheel_holds_two_packages_with_their_types_and_the_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = archive.read(metadata).decode().split("\n\n")[0].splitlines()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"rlkit", "rlkit_envs"}
    assert {"rlkit/py.typed", "rlkit_envs/py.typed"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert "License-Expression: MIT" in fields
    modules = {
        str(path.relative_to(ROOT)).replace(
            "envs/", "rlkit_envs/", path.is_relative_to(ROOT / "envs")
        )
        for package in ("rlkit", "envs")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == modules


@pytest.mark.torture
def test_ppo_trains_on_the_native_twin_from_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    where = (
        "import rlkit, rlkit_envs, importlib.util as u\n"
        "print(rlkit.__file__, rlkit_envs.__file__, u.find_spec('envs'), sep='\\n')"
    )
    *files, stray = run(installed, "python", "-c", where, cwd=tmp_path).splitlines()
    assert all(Path(file).is_relative_to(installed) for file in files)
    assert stray == "None"  # a name as common as `envs` is the user's
    options = ("--seeds", "2", "--steps", "4096", "--evaluation-episodes", "2")
    run(installed, "rlkit", "train", "ppo", "CartPole-v1", *options, cwd=tmp_path)
    (record,) = tmp_path.glob("runs/*/run.json")
    assert json.loads(record.read_text())["stepped_as"] == "native"
    assert len(list(record.parent.rglob("*.csv"))) == 2
    assert "CartPole-v1" in run(installed, "rlkit", "list", cwd=tmp_path)


@pytest.mark.long
def test_the_bandit_is_found_by_its_id_where_the_package_is_installed(
    installed: Path, tmp_path: Path
) -> None:
    command = ("solve", "BernoulliBandit-v0", "--horizon", "2", "--json")
    solution = json.loads(run(installed, "rlkit", *command, cwd=tmp_path))
    assert solution["optimal_return_under_limit"] == pytest.approx(13 / 12, abs=1e-9)
