"""Fingerprints of code in files: the user's modules and packages, and those of libraries."""

import contextlib
import copy
import importlib
import os
import site
import sys
import textwrap
import types
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit import user_code
from rlkit.fingerprint import Fingerprint, fingerprint
from rlkit.user_code import run_file


@contextlib.contextmanager
def importable(folder: Path, files: Mapping[str, str] | None = None) -> Iterator[None]:
    """Let Python import from a folder, as it would in a new process."""
    for name, source in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    loaded, path = dict(sys.modules), list(sys.path)
    for name in files or {}:
        sys.modules.pop(Path(name).stem, None)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode, writes = True, sys.dont_write_bytecode
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = writes
        for name in set(sys.modules) - set(loaded):
            del sys.modules[name]
        sys.modules.update(loaded)


def imported(folder: Path, files: Mapping[str, str], then: str = "") -> Fingerprint:
    """Return the fingerprint of `env.it`, after doing something to the modules."""
    with importable(folder, files):
        module = importlib.import_module("env")
        exec(textwrap.dedent(then), {"env": module})
        return fingerprint(module.it)


# Files, of which one has a `$`; and what is done before the fingerprint is taken.
MODULES: dict[str, tuple[dict[str, str], str]] = {
    "an attribute of a module": (
        {"env.py": "import config\ndef it(): return config.GAIN", "config.py": "GAIN = $"},
        "",
    ),
    "an attribute set at run time": (
        {"env.py": "import config\ndef it(): return config.GAIN", "config.py": "GAIN = 0"},
        "env.config.GAIN = $",
    ),
    "a name taken from a module": (
        {"env.py": "from config import GAIN\ndef it(): return GAIN", "config.py": "GAIN = $"},
        "",
    ),
    "a function of a module": (
        {
            "env.py": "import helper\ndef it(): return helper.f()",
            "helper.py": "import config\ndef f(): return config.GAIN",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "a module as a whole": (
        {
            "env.py": "import config\ndef it(): return getattr(config, 'GA' + 'IN')",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "a module in an attribute": (
        {
            "env.py": "import config\nclass it:\n c = config\n def f(self): return self.c.GAIN",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "a module under another name": (
        {
            "env.py": "import config\ndef it():\n c = config\n return c.GAIN",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "a module in a closure": (
        {
            "env.py": "def f():\n import config\n return lambda: config.GAIN\nit = f()",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "imported inside": (
        {"env.py": "def it():\n import config\n return config.GAIN", "config.py": "GAIN = $"},
        "",
    ),
    "imported inside, set at run time": (
        {"env.py": "def it():\n import config\n return config.GAIN", "config.py": "GAIN = 0"},
        "import config\nconfig.GAIN = $",
    ),
    "imported inside under another name": (
        {"env.py": "def it():\n import config as c\n return c.GAIN", "config.py": "GAIN = $"},
        "",
    ),
    "imported inside and used in a nested function": (
        {
            "env.py": "def it():\n import config\n return lambda: config.GAIN",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "a name imported inside": (
        {"env.py": "def it():\n from config import GAIN\n return GAIN", "config.py": "GAIN = $"},
        "",
    ),
    "a name imported inside under another name": (
        {
            "env.py": "def it():\n from config import A, GAIN as G\n return G",
            "config.py": "A, GAIN = 0, $",
        },
        "",
    ),
    "a class imported inside": (
        {
            "env.py": "def it():\n from envs import Env\n return Env()",
            "envs.py": "class Env:\n def step(self): return $",
        },
        "",
    ),
    "a submodule": (
        {
            "env.py": "import pack.sub\ndef it(): return pack.sub.GAIN",
            "pack/__init__.py": "",
            "pack/sub.py": "GAIN = $",
        },
        "",
    ),
    "a submodule imported inside": (
        {
            "env.py": "def it():\n import pack.sub\n return pack.sub.GAIN",
            "pack/__init__.py": "",
            "pack/sub.py": "GAIN = $",
        },
        "",
    ),
    "a submodule imported inside under another name": (
        {
            "env.py": "def it():\n import pack.sub as s\n return s.GAIN",
            "pack/__init__.py": "",
            "pack/sub.py": "GAIN = $",
        },
        "",
    ),
    "a submodule taken from its package inside": (
        {
            "env.py": "def it():\n from pack import sub\n return sub.GAIN",
            "pack/__init__.py": "",
            "pack/sub.py": "GAIN = $",
        },
        "",
    ),
    "a package without __init__": (
        {"env.py": "def it():\n import pack.sub\n return pack.sub.GAIN", "pack/sub.py": "GAIN = $"},
        "",
    ),
    "a relative import": (
        {
            "env.py": "from pack.env import it",
            "pack/__init__.py": "",
            "pack/env.py": "from .config import GAIN\ndef it(): return GAIN",
            "pack/config.py": "GAIN = $",
        },
        "",
    ),
    "a relative import inside": (
        {
            "env.py": "from pack.env import it",
            "pack/__init__.py": "",
            "pack/env.py": "def it():\n from . import config\n return config.GAIN",
            "pack/config.py": "GAIN = $",
        },
        "",
    ),
    "a relative import from above, inside": (
        {
            "env.py": "from pack.sub.env import it",
            "pack/__init__.py": "",
            "pack/sub/__init__.py": "",
            "pack/sub/env.py": "def it():\n from ..config import GAIN\n return GAIN",
            "pack/config.py": "GAIN = $",
        },
        "",
    ),
    "a module's own __getattr__": (
        {
            "env.py": "import config\ndef it(): return config.GAIN",
            "config.py": "def __getattr__(name): return $",
        },
        "",
    ),
    "a module named by text": (
        {
            "env.py": "import importlib\ndef it(): return importlib.import_module('config').GAIN",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "a module in sys.modules": (
        {
            "env.py": "import sys, config\ndef it(): return sys.modules['config'].GAIN",
            "config.py": "GAIN = $",
        },
        "",
    ),
    "a module that is not there": (
        {"env.py": "def it():\n import absent$\n return 1"},
        "",
    ),
    "a file named like a module of Python": (
        {"env.py": "import queue\ndef it(): return queue.GAIN", "queue.py": "GAIN = $"},
        "",
    ),
    "a class of a file named like a module of Python": (
        {
            "env.py": "from queue import Queue as it",
            "queue.py": "class Queue:\n def step(self): return $",
        },
        "",
    ),
    "an environment that a module registers": (
        {
            "env.py": """
                import gymnasium as gym
                import envs
                gym.envs.registration.registry.pop("Walk-v7", None)
                gym.register("Walk-v7", "envs:Walk")
                def it(): return gym.make("Walk-v7")
                """,
            "envs.py": "class Walk:\n def step(self): return $",
        },
        "",
    ),
    "an argument with which a module registers": (
        {
            "env.py": """
                import functools, gymnasium as gym
                gym.envs.registration.registry.pop("Walk-v7", None)
                gym.register("Walk-v7", "math:sin", kwargs={"size": $})
                it = functools.partial(gym.make, "Walk-v7")
                """,
        },
        "",
    ),
    "module:Id": (
        {
            "env.py": "import gymnasium as gym\ndef it(): return gym.make('walks:Walk-v7')",
            "walks.py": """
                import gymnasium as gym
                gym.envs.registration.registry.pop("Walk-v7", None)
                gym.register("Walk-v7", "walks:Walk")
                class Walk:
                    def step(self): return $
                """,
        },
        "",
    ),
    "a variable of the process": (
        {"env.py": "import os\ndef it(): return os.environ['RLKIT_GAIN']"},
        "import os\nos.environ['RLKIT_GAIN'] = '$'",
    ),
    "a variable of the process with a default": (
        {"env.py": "from os import getenv\ndef it(): return getenv('RLKIT_GAIN', 1)"},
        "import os\nos.environ['RLKIT_GAIN'] = '$'",
    ),
    "an argument of the process": (
        {"env.py": "import sys\ndef it(): return sys.argv[1]"},
        "import sys\nsys.argv[1:] = ['$']",
    ),
    "a module that cannot be imported": (
        {"env.py": "def it():\n import config", "config.py": "import absent_module\nGAIN = $"},
        "",
    ),
    "a function that is put into a library": (
        {"env.py": "import math\ndef it(): return math.patched()"},
        "import math\nmath.patched = lambda: $",
    ),
}


def _filled_in(case: tuple[dict[str, str], str], text: str) -> tuple[dict[str, str], str]:
    files, then = case
    return {name: source.replace("$", text) for name, source in files.items()}, then.replace(
        "$", text
    )


@pytest.mark.parametrize("case", MODULES.values(), ids=MODULES.keys())
def test_modules_count_by_what_code_takes_from_them(
    case: tuple[dict[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLKIT_GAIN", "0")
    monkeypatch.setattr("sys.argv", ["rlkit"])
    monkeypatch.setattr("math.patched", None, raising=False)
    one, nine, other = (
        imported(tmp_path / n, *_filled_in(case, t)) for n, t in zip("abc", "191", strict=True)
    )
    assert one.unidentified == nine.unidentified == ()
    assert one.digest != nine.digest
    assert one.digest == other.digest


@pytest.mark.parametrize("case", MODULES.values(), ids=MODULES.keys())
def test_what_is_imported_when_it_runs_counts_the_same_before_and_after(
    case: tuple[dict[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLKIT_GAIN", "0")
    monkeypatch.setattr("sys.argv", ["rlkit"])
    monkeypatch.setattr("math.patched", None, raising=False)
    files, then = _filled_in(case, "1")
    before = imported(tmp_path, files, then)
    modules = [name[:-3].replace("/", ".").removesuffix(".__init__") for name in files]
    loading = "import " + ", ".join(modules)
    loading = f"try: {loading}\nexcept ImportError: pass"
    run = "\ntry: env.it()\nexcept Exception: pass"
    assert imported(tmp_path, files, f"{loading}\n{then}{run}").digest == before.digest


def test_the_files_of_a_user_are_named(tmp_path: Path) -> None:
    files = {
        "env.py": "import config\nfrom base import Base\n"
        "class it(Base):\n def f(self): return config.G",
        "config.py": "G = 1",
        "base.py": "class Base: pass",
        "other.py": "",
    }
    named = imported(tmp_path, files).files
    assert set(named) == {str(tmp_path / f"{name}.py") for name in ("env", "config", "base")}
    assert named[str(tmp_path / "config.py")] == user_code.content_digest(
        str(tmp_path / "config.py")
    )


def test_a_file_is_equal_in_another_folder_under_another_name(tmp_path: Path) -> None:
    source = "GAIN = {}\nclass Env:\n def step(self): return GAIN\ndef make(): return Env()\n"
    for folder, name, text in [("a", "env", "1"), ("b", "other", "1"), ("c", "env", "9")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(source.format(text))
    modules = [run_file(tmp_path / f, "it")[0] for f in ("a/env.py", "b/other.py", "c/env.py")]
    for name in ("Env", "make"):
        first, moved, edited = (fingerprint(getattr(module, name)).digest for module in modules)
        assert first == moved != edited


def test_a_module_of_a_zipped_package_counts_as_the_users(tmp_path: Path) -> None:
    digests = []
    for text in "19":
        archive = tmp_path / f"{text}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("pack/__init__.py", "")
            file.writestr("pack/env.py", f"GAIN = {text}\ndef it(): return GAIN")
        with importable(archive):
            result = fingerprint(importlib.import_module("pack.env").it)
        assert result.unidentified == ()
        digests.append(result.digest)
    assert digests[0] != digests[1]


# --- libraries ------------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder in which packages are installed."""
    folder = tmp_path / "venv" / "lib" / "site-packages"
    folder.mkdir(parents=True)
    return folder


INSTALLED = {
    "a class": (
        "from pack import Env as it",
        {"pack/__init__.py": "class Env:\n def step(self): return $"},
    ),
    "a function": ("from pack import it", {"pack/__init__.py": "def it(): return $"}),
    "a module": ("from pack import it", {"pack.py": "def it(): return $"}),
    "a helper": (
        "from pack import it",
        {
            "pack/__init__.py": "from pack.help import f\ndef it(): return f()",
            "pack/help.py": "def f(): return $",
        },
    ),
    "a base": (
        "from pack import Base\nclass it(Base): pass",
        {"pack/__init__.py": "from base import Base", "base.py": "class Base:\n x = $"},
    ),
    "used by a lambda": (
        "import pack\nit = lambda: pack.Env()",
        {"pack/__init__.py": "class Env: x = $"},
    ),
    "imported inside": (
        "def it():\n import pack.sub\n return pack.sub.Env()",
        {"pack/__init__.py": "", "pack/sub.py": "class Env: x = $"},
    ),
    "an instance": (
        "import pack\nit = pack.Env()",
        {"pack/__init__.py": "class Env:\n def f(self): return $"},
    ),
    "a closure in it": (
        "import pack\nit = pack.make($)",
        {"pack/__init__.py": "def make(x): return lambda: x"},
    ),
    "a decorator in it": (
        "import pack\n@pack.twice\ndef it(): return $",
        {
            "pack/__init__.py": "import functools\ndef twice(f):\n @functools.wraps(f)\n"
            " def g(): return 2 * f()\n return g"
        },
    ),
    "a class made in it": (
        "import pack\nit = pack.make($)",
        {"pack/__init__.py": "def make(k):\n class A:\n  def f(s): return k\n return A"},
    ),
}


@pytest.mark.parametrize("case", INSTALLED.values(), ids=INSTALLED.keys())
def test_an_installed_package_counts_by_its_content(
    case: tuple[str, dict[str, str]], packages: Path, tmp_path: Path
) -> None:
    source, files = case
    digests = []
    for text in "1911":
        with importable(packages, {n: s.replace("$", text) for n, s in files.items()}):
            result = imported(tmp_path / "own", {"env.py": source.replace("$", text)})
        assert result.unidentified == ()
        assert result.packages
        assert not any("site-packages" in file for file in result.files)
        digests.append(result.digest)
    assert digests[0] != digests[1]
    assert digests[0] == digests[2] == digests[3]


def test_an_editable_package_counts_as_the_users_and_a_virtual_environment_does_not() -> None:
    origin = user_code.origin_of_code
    assert origin("/home/me/project/pack/env.py") is user_code.Origin.USER
    assert (
        origin("/home/me/project/.venv/lib/python3.11/site-packages/pack/env.py")
        is user_code.Origin.PACKAGE
    )
    assert (
        origin("/home/me/project/venv/lib/python3/dist-packages/pack.py")
        is user_code.Origin.PACKAGE
    )
    assert origin(gym.spaces.__file__) is user_code.Origin.LIBRARY
    assert origin(os.__file__) is user_code.Origin.LIBRARY
    assert origin(user_code.__file__) is user_code.Origin.LIBRARY
    assert origin(__file__) is user_code.Origin.USER
    assert origin(sys.modules[CartPoleEnv.__module__].__file__ or "") is user_code.Origin.PACKAGE
    assert origin("<stdin>") is user_code.Origin.USER
    assert site.getsitepackages()


class Own(CartPoleEnv):
    pass


def _imports_inside() -> gym.Env[Any, Any]:
    from gymnasium.envs.classic_control import CartPoleEnv

    return CartPoleEnv()


PATCHES: list[tuple[Any, str, Any]] = [
    (CartPoleEnv, "step", lambda self, action: None),
    (CartPoleEnv, "_added", lambda self: 1),
    (CartPoleEnv, "state", property(lambda self: 1)),
    (CartPoleEnv, "gain", 3),
    (CartPoleEnv, "metadata", {"render_fps": 7}),
    (gym.Env, "close", lambda self: None),
    (gym.Env, "made", staticmethod(lambda: 1)),
]


@pytest.mark.parametrize(
    "thing",
    [CartPoleEnv, Own, lambda: gym.make("CartPole-v1"), lambda: CartPoleEnv(), _imports_inside],
    ids=["class", "subclass", "id", "lambda", "imported inside"],
)
@pytest.mark.parametrize("patch", PATCHES, ids=[patch[1] for patch in PATCHES])
def test_values_put_into_a_library_count(
    patch: tuple[Any, str, Any], thing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(thing)
    monkeypatch.setattr(*patch, raising=False)
    assert fingerprint(thing).digest != before.digest
    monkeypatch.undo()
    assert fingerprint(thing) == before


def test_a_library_enters_by_name_and_its_version_is_noted() -> None:
    result = fingerprint(CartPoleEnv)
    assert result.packages == {"gymnasium": gym.__version__}
    assert result.files == {}
    assert result.unidentified == ()


def test_a_notebooks_own_names_do_not_count() -> None:
    digests = []
    for cells in (["a"], ["a", "b"]):
        namespace = {"__name__": "__main__", "G": 1, "In": cells, "_i1": cells, "_": 3}
        exec("def it(): return globals()['G']", namespace)
        digests.append(fingerprint(namespace["it"]).digest)
    assert digests[0] == digests[1]


def test_a_class_that_a_cell_replaces_differs_from_the_one_before() -> None:
    main = types.ModuleType("__main__")
    digests = []
    for reward in (1, 9):
        exec(f"class Env:\n def step(self): return {reward}\nmake = lambda: Env()", vars(main))
        digests.append((fingerprint(main.Env).digest, fingerprint(main.make).digest))
    assert digests[0][0] != digests[1][0]
    assert digests[0][1] != digests[1][1]


def test_a_librarys_class_is_equal_after_it_was_used() -> None:
    before = fingerprint(CartPoleEnv)
    env = CartPoleEnv()
    env.reset(seed=1)
    env.step(env.action_space.sample())
    copy.deepcopy(env)
    assert fingerprint(env).unidentified == ()
    assert fingerprint(CartPoleEnv) == before
