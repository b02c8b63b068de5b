"""The direction of dependence, and what a light import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A module may import from its own floor and from those below it.
FLOORS = {
    "rlkit.errors": 0,
    "rlkit.fingerprint": 0,
    "rlkit.seeding": 0,
    "rlkit.user_code": 0,
    "rlkit.spelling": 0,
    "rlkit.options": 0,
    "rlkit.fingerprint.opened_files": 0,
    "rlkit.maths": 1,
    "rlkit.nn.layers": 1,
    "rlkit.nn.running_statistics": 1,
    "rlkit.training.presets": 1,
    "rlkit.environments.spaces": 1,
    "rlkit.environments.actions": 1,
    "rlkit.environments.copies": 1,
    "rlkit.agent": 2,
    "rlkit.environments.batch_env": 2,
    "rlkit.loop": 2,
    "rlkit.tabular": 2,
    "rlkit.environments.resolve": 2,
    "rlkit.environments.checks": 2,
    "rlkit.evaluation": 2,
    "rlkit.agents": 3,
    "rlkit.rlhf": 3,
    "rlkit.analysis": 4,
    "rlkit.runs": 4,
    "rlkit.solving": 5,
    "rlkit.cli": 5,
}
PURE_MATHS = ("rlkit.maths",)


def _floor(module: str) -> int | None:
    if module == "rlkit":
        return 6  # the public interface stands on everything
    fitting = [name for name in FLOORS if module == name or module.startswith(name + ".")]
    return FLOORS[max(fitting, key=len)] if fitting else None


def _modules(package: str) -> list[tuple[str, Path]]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return [
        (".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), p)
        for p in paths
        if p.name != "__main__.py"
    ]


def _imports(source: str) -> set[str]:
    """The modules that a file imports when it runs; not those for type checkers only."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def _violations(module: str, source: str) -> list[str]:
    own = _floor(module)
    if own is None:
        return [f"{module} stands on no floor"]
    problems = []
    for imported in _imports(source):
        if imported.split(".")[0] in ("envs", "experiments", "tests"):
            problems.append(f"{module} imports {imported}")
        elif imported.startswith("rlkit."):
            floor = _floor(imported)
            if floor is not None and floor > own:
                problems.append(f"{module} (floor {own}) imports {imported} (floor {floor})")
            if (
                module in PURE_MATHS
                and _floor(imported) == 1
                and not imported.startswith(PURE_MATHS)
            ):
                problems.append(f"{module} is pure maths and imports {imported}")
    return problems


@pytest.mark.parametrize(("module", "path"), _modules("rlkit"), ids=lambda x: str(x))
def test_imports_run_downwards_only(module: str, path: Path) -> None:
    assert _violations(module, path.read_text()) == []


def test_an_import_that_runs_upwards_is_noticed() -> None:
    assert _violations("rlkit.maths.losses", "from rlkit.agents.ppo import PPO")
    assert _violations("rlkit.loop", "def f():\n    import rlkit.training.train")
    assert _violations("rlkit.agents.ppo", "from envs.cartpole import BatchedCartPole")
    assert not _violations("rlkit.agents.ppo", "from rlkit.maths.returns import gae")


@pytest.mark.parametrize(("module", "path"), _modules("envs"), ids=lambda x: str(x))
def test_environments_do_not_know_the_toolkit(module: str, path: Path) -> None:
    allowed = {"gymnasium", "numpy", "numba", "envs"} | set(sys.stdlib_module_names)
    assert {name.split(".")[0] for name in _imports(path.read_text())} <= allowed


@pytest.mark.parametrize(
    "statement",
    [
        "import rlkit",
        "from rlkit.cli import main; main(['--help'])",
        "from rlkit.cli import main; main(['list'])",
        "from rlkit.cli import main; main(['list', '--json'])",
        "import rlkit.tabular.solvers",
        "import rlkit.agents.q_learning",
    ],
)
def test_what_needs_no_network_does_not_import_torch(statement: str) -> None:
    code = f"{statement}\nimport sys\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
