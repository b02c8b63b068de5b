"""The direction of dependence, and what a light import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The rooms from the ground up: a module imports from its own room and from those before it.
ROOMS = (
    "rlkit.errors",
    "rlkit.spelling",
    "rlkit.options",
    "rlkit.configuration",
    "rlkit.user_code",
    "rlkit.seeding",
    "rlkit.determinism",
    "rlkit.fingerprint",
    "rlkit.files",
    "rlkit.processes",
    "rlkit.analysis",
    "rlkit.maths",
    "rlkit.nn",
    "rlkit.tabular",
    "rlkit.tabular.evaluation",
    "rlkit.tabular.planning",
    "rlkit.tabular.bandits",
    "rlkit.tabular.grids",
    "rlkit.tabular.reading",
    "rlkit.tabular.solution",
    "rlkit.agent",
    "rlkit.environments",
    "rlkit.rewards",
    "rlkit.loop",
    "rlkit.evaluation",
    "rlkit.agents",
    "rlkit.runs",
    "rlkit.training",
    "rlkit.solving",
    "rlkit.diagnosis",
    "rlkit.rlhf.models",
    "rlkit.rlhf.data",
    "rlkit.rlhf.objectives",
    "rlkit.rlhf.training",
    "rlkit.rlhf.exact",
    "rlkit.rlhf.evaluation",
    "rlkit.rlhf.stages",
    "rlkit.rlhf.exporting",
    "rlkit.rlhf.demo",
    "rlkit.rlhf",
    "rlkit.upkeep",
    "rlkit.reporting",
    "rlkit",  # the public interface
    "rlkit.cli",
    "rlkit.__main__",
)
# A package whose own file lists names from several rooms, and the highest of these rooms.
INTERFACES = {"rlkit.tabular": "rlkit.tabular.solution"}
# Neighbours of which neither knows the other.
STRANGERS = (
    ("rlkit.rlhf.models", "rlkit.rlhf.objectives"),
    ("rlkit.tabular", "rlkit.nn"),
    ("rlkit.agents", "rlkit.runs"),
)
MOST_MODULES = 14
# The modules without a test file of their own name: where their behaviour is tested, or "no code".
WITHOUT_TESTS = {
    "rlkit/__main__.py": "tests/cli/test_main.py",
    "rlkit/cli/rlhf/responses.py": "tests/cli/rlhf/test_evaluate.py",
    **dict.fromkeys(
        (
            *("rlkit/diagnosis/catalogue.py", "rlkit/diagnosis/findings.py"),
            *(f"rlkit/diagnosis/parts/{name}.py" for name in ("effects", "observed")),
            *(f"rlkit/diagnosis/parts/{name}.py" for name in ("practice", "repeats")),
            *(f"rlkit/diagnosis/playing/{name}.py" for name in ("patient", "results", "subject")),
        ),
        "tests/diagnosis/test_examination.py",
    ),
    "rlkit/diagnosis/processes/replay.py": "tests/diagnosis/processes/test_helper.py",
    "rlkit/diagnosis/processes/serving.py": "tests/diagnosis/processes/test_helper.py",
    "rlkit/environments/batch_env.py": "no code",
    "rlkit/environments/stepping/serving.py": "tests/environments/stepping/test_pool.py",
    **dict.fromkeys(
        (
            f"rlkit/fingerprint/{name}.py"
            for name in (
                *("arrays", "bytecode", "code", "data", "graph", "inspection", "instances"),
                *("library", "names", "opened_files", "packages", "walk"),
            )
        ),
        "tests/fingerprint/test_fingerprint.py",
    ),
    "rlkit/rlhf/stages/evaluation/evaluate_best_of_n.py": "tests/cli/rlhf/test_evaluate.py",
    "rlkit/rlhf/stages/evaluation/evaluate_policy.py": "tests/cli/rlhf/test_evaluate.py",
    "rlkit/rlhf/stages/evaluation/evaluate_reward.py": "tests/cli/rlhf/test_evaluate.py",
    "rlkit/rlhf/stages/kind.py": "no code",
    "rlkit/rlhf/training/rollout.py": "no code",
    "rlkit/runs/execution.py": "tests/runs/test_resume.py",
    "rlkit/runs/identity.py": "tests/training/test_specification.py",
    "rlkit/runs/record.py": "tests/runs/test_kinds.py",
    "rlkit/tabular/entries.py": "tests/tabular/test_mdp.py",
    "rlkit/training/comparing/preparing.py": "tests/training/comparing/test_compare.py",
    "rlkit/training/exporting/onnx_graph.py": "tests/training/exporting/test_onnx_policy.py",
    "rlkit/training/kind.py": "tests/runs/test_kinds.py",
    "rlkit/training/presets.py": "tests/training/comparing/test_compare.py",
    "rlkit/training/references.py": "tests/training/test_figures.py",
    "rlkit/training/train.py": "tests/training/test_run.py",
    "rlkit/training/tuning/built_in.py": "tests/training/tuning/test_spaces.py",
}
_NAME = re.compile(r"rlkit(\.[a-z_0-9]+)+")


def _modules(package: str) -> dict[str, Path]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
        for p in paths
    }


RLKIT = _modules("rlkit")


def _room(module: str) -> int | None:
    """The room that a module belongs to; that of the longest name that fits."""
    module = INTERFACES.get(module, module)
    fitting = [
        room
        for room in ROOMS
        if module == room or (room != "rlkit" and module.startswith(room + "."))
    ]
    return ROOMS.index(max(fitting, key=len)) if fitting else None


def _imports(source: str, known: Iterable[str] = RLKIT) -> set[str]:
    """All modules that a file names: imports wherever they stand, and names in strings.

    Imports for type checkers count, and so do the modules in tables such as `_HOME`, which are
    imported when they are first asked for. Docstrings do not.
    """
    known = set(known)
    names: set[str] = set()
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("." * node.level)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in known else node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings and _NAME.fullmatch(node.value):
                names.update({node.value} & known)
        elif isinstance(node, ast.JoinedStr):  # f"rlkit.cli.{module}"
            start = node.values[0]
            if isinstance(start, ast.Constant) and str(start.value).startswith("rlkit."):
                package = str(start.value).rstrip(".")
                names.update(name for name in known if name.startswith(package + "."))
    return names


def _violations(module: str, source: str) -> list[str]:
    own = _room(module)
    if own is None:
        return [f"{module} is in no room"]
    problems = []
    for imported in _imports(source):
        if imported.split(".")[0] in ("", "envs", "rlkit_envs", "experiments", "tests"):
            problems.append(f"{module} imports {imported}")
        if imported.split(".")[0] != "rlkit" or imported == module:
            continue
        room = _room(imported)
        if room is None or room > own:
            problems.append(f"{module} imports {imported}, which stands above it")
        for pair in STRANGERS:
            if {ROOMS[own], ROOMS[room or 0]} == set(pair):
                problems.append(f"{module} imports {imported}; neither should know the other")
    return problems


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import one another, in a circle of any length."""

    def reachable(start: str) -> set[str]:
        seen, ahead = set(), [start]
        while ahead:
            for name in imports.get(ahead.pop(), set()):
                if name not in seen:
                    seen.add(name)
                    ahead.append(name)
        return seen

    beyond = {name: reachable(name) for name in imports}
    groups = {
        tuple(sorted({name} | {other for other in beyond[name] if name in beyond.get(other, ())}))
        for name in imports
        if name in beyond[name]
    }
    return [list(group) for group in sorted(groups)]


@pytest.mark.parametrize("module", RLKIT)
def test_imports_run_downwards_only(module: str) -> None:
    assert _violations(module, RLKIT[module].read_text()) == []


@pytest.mark.slow
def test_no_files_import_one_another_in_a_circle() -> None:
    imports = {
        name: {other for other in _imports(path.read_text()) if other in RLKIT and other != name}
        for name, path in RLKIT.items()
    }
    assert circles(imports) == []


def test_a_circle_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_an_import_that_runs_upwards_is_noticed() -> None:
    assert _violations("rlkit.maths.losses", "from rlkit.agents.ppo import PPO")
    assert _violations("rlkit.loop", "def f():\n    import rlkit.training.train")
    assert _violations("rlkit.agents.ppo", "from rlkit_envs.cartpole import BatchedCartPole")
    assert _violations("rlkit.agents.ppo", "from .. import training")
    assert _violations("rlkit.runs.store", "_HOME = {'train': 'rlkit.training.train'}")
    assert _violations("rlkit.rlhf.objectives.rewards", "import rlkit.rlhf.training.policy")
    assert _violations("rlkit.rlhf.models.gpt", "import rlkit.rlhf.objectives.rewards")
    assert _violations("rlkit.runs.workers", "def f(x):\n    load(f'rlkit.training.{x}')")
    checked = "if TYPE_CHECKING:\n    from rlkit.cli.forms import parse"
    assert _violations("rlkit.training.run", checked)
    assert not _violations("rlkit.agents.ppo", "from rlkit.maths.returns import gae")
    listed = "_HOME = {'solve': 'rlkit.tabular.solution'}"
    assert not _violations("rlkit.tabular", listed)
    assert _violations("rlkit.tabular.mdp", listed)
    assert _violations("rlkit.tabular.reading.model", "from rlkit.tabular import solve")


def test_every_room_is_there() -> None:
    assert [room for room in ROOMS if room not in RLKIT] == []


@pytest.mark.parametrize("folder", sorted({path.parent for path in RLKIT.values()}), ids=str)
def test_a_folder_can_be_seen_at_a_glance(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MOST_MODULES


def _own_test(module: str) -> str:
    """Return the test file of a module: tests/a/test_b.py for rlkit/a/b.py."""
    path = Path(module.removeprefix("rlkit/"))
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


def test_every_module_has_a_test_file_of_its_own_name() -> None:
    modules = [
        path.relative_to(ROOT).as_posix()
        for package in ("rlkit", "envs")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    without = [module for module in modules if not (ROOT / _own_test(module)).exists()]
    assert without == sorted(WITHOUT_TESTS)
    elsewhere = set(WITHOUT_TESTS.values()) - {"no code"}
    assert [path for path in sorted(elsewhere) if not (ROOT / path).exists()] == []


def test_the_name_of_a_test_file_mirrors_its_module() -> None:
    assert _own_test("rlkit/loop.py") == "tests/test_loop.py"
    assert _own_test("rlkit/rlhf/data/task.py") == "tests/rlhf/data/test_task.py"
    assert _own_test("envs/cartpole.py") == "tests/envs/test_cartpole.py"


def _code_lines(function: ast.FunctionDef, lines: list[str]) -> int:
    """The lines of a function, without its docstring, empty lines and comments."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = range(first.lineno, (first.end_lineno or 0) + 1) if is_docstring else range(0)
    return sum(
        1
        for number in range(function.lineno, (function.end_lineno or 0) + 1)
        if number not in docstring
        and lines[number - 1].strip()
        and not lines[number - 1].strip().startswith("#")
    )


@pytest.mark.slow
@pytest.mark.parametrize("module", RLKIT)
def test_no_function_has_more_than_sixty_lines_of_code(module: str) -> None:
    source = RLKIT[module].read_text()
    lengths = {
        node.name: _code_lines(node, source.splitlines())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.py")), ids=lambda path: path.stem)
def test_environments_do_not_know_the_toolkit(path: Path) -> None:
    # Among themselves they are relative: the folder is installed under another name, rlkit_envs.
    allowed = {"gymnasium", "numpy", "numba", "."} | set(sys.stdlib_module_names)
    names = _imports(path.read_text(), ())
    assert {name.split(".")[0] or name for name in names} <= allowed


@pytest.mark.parametrize(
    "statement",
    [
        "import rlkit",
        "from rlkit.cli import main; main(['--help'])",
        "from rlkit.cli import main; main(['list'])",
        "from rlkit.cli import main; main(['list', '--json'])",
        "from rlkit.tabular import mdp_from_env, solve, value_iteration",
        "import rlkit.agents.tabular.q_learning",
    ],
)
def test_parts_without_a_network_do_not_import_torch(statement: str) -> None:
    code = f"{statement}\nimport sys\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


def test_a_table_is_trained_without_what_takes_long_to_load(tmp_path: Path) -> None:
    code = """
import sys
from rlkit.cli import main
words = ["train", "q-learning", "FrozenLake-v1", "--steps", "100", "--seeds", "2", "--json"]
assert main([*words, "--out", sys.argv[1]]) == 0
"""
    look = """
from numba.core.runtime.nrt import rtsys
heavy = {"torch", "scipy.sparse", "matplotlib", "rich", "typeguard", "asyncio"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert not rtsys._init, "a kernel that makes arrays was loaded"
"""
    for then in ("", look):  # the first may have to compile
        out = str(tmp_path / f"{len(then)}")
        command = [sys.executable, "-c", code + then, out]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
