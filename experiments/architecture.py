"""Draw the map of the package, docs/architecture.svg: its rooms, and arrows for real imports.

    python -m experiments.architecture

The places of the boxes are chosen here; the arrows are read from the imports. An arrow that other
arrows imply is omitted, as are those to the ground floor, on which everything stands.
"""

from __future__ import annotations

import argparse
import ast
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[1]
BLUE, ORANGE, GREY = ("#dbe7f5", "#3b6ea8"), ("#fbe5d0", "#c46a1b"), ("#ececec", "#777777")


@dataclass(frozen=True)
class Box:
    """A box of the picture: the modules that it stands for, and where it is."""

    modules: tuple[str, ...]  # of rlkit; with everything below them
    text: str
    x: float
    y: float
    width: float
    colours: tuple[str, str]
    height: float = 0.95


BOXES = {
    "cli": Box(
        ("cli", "reporting", "upkeep", "diagnosis", "__main__", ""),
        "rlkit train, compare, solve, evaluate, doctor, rlhf ...",
        0.2,
        7.3,
        11.6,
        GREY,
        0.75,
    ),
    "training": Box(
        ("training", "solving"),
        "a run of an agent: specification,\nseeds, curve, comparison, figures",
        0.2,
        5.95,
        4.8,
        BLUE,
    ),
    "rlhf/stages": Box(
        ("rlhf", "rlhf.stages", "rlhf.demo"),
        "a run of a stage: SFT, reward model,\nPPO, RLOO, GRPO, DPO",
        7.6,
        5.95,
        4.2,
        ORANGE,
    ),
    "runs": Box(("runs",), "any run on disk:\nresume, workers", 5.35, 4.6, 1.9, GREY),
    "rlhf/exact": Box(("rlhf.exact",), "optimum, posterior,\nbest of n", 7.6, 4.6, 1.9, ORANGE),
    "rlhf/evaluation": Box(
        ("rlhf.evaluation",), "gain, divergence,\nBLEU, perplexity", 9.8, 4.6, 2.0, ORANGE
    ),
    "rlhf/training": Box(
        ("rlhf.training",), "what learns, and\nits options", 8.95, 3.3, 2.85, ORANGE
    ),
    "agents": Box(
        ("agents",),
        "one file per algorithm: value iteration,\nQ-learning, REINFORCE, PPO, random\n\n"
        "policy and value networks\n\n"
        "the clipped update,\nwhich also trains language models",
        0.2,
        2.0,
        4.4,
        BLUE,
        2.25,
    ),
    "loop": Box(
        ("loop", "evaluation", "rewards"), "act, step, learn;\nwhole episodes", 5.35, 2.0, 1.9, GREY
    ),
    "rlhf/data": Box(("rlhf.data",), "tasks, tokens,\npreferences", 7.6, 2.0, 1.9, ORANGE),
    "rlhf/objectives": Box(
        ("rlhf.objectives",), "preference losses,\nKL penalty", 9.8, 2.0, 2.0, ORANGE
    ),
    "nn": Box(("nn",), "layers, optimisers\nwith a seed axis", 0.2, 0.7, 1.9, BLUE),
    "tabular": Box(("tabular",), "finite MDPs,\nexact answers", 2.7, 0.7, 1.9, BLUE),
    "environments": Box(("environments",), "Gymnasium,\ntwins, tables", 5.35, 0.7, 1.9, BLUE),
    "rlhf/models": Box(
        ("rlhf.models",), "transformer, LoRA,\nHugging Face", 7.95, 0.7, 2.0, ORANGE
    ),
    "maths": Box(
        ("maths",), "returns, losses, divergences, distributions", 0.2, -0.45, 11.6, GREY, 0.75
    ),
}
# Everything stands on these.
GROUND = (
    *("analysis", "agent", "seeding", "options", "configuration"),
    *("errors", "spelling", "files", "fingerprint", "user_code", "determinism", "processes"),
)
COLUMNS = {  # where arrows that would cross a box run
    ("rlhf/data", "maths"): 7.78,
    ("training", "runs"): 4.9,
    ("training", "loop"): 4.8,
}


def imports_of_modules() -> dict[str, set[str]]:
    """The modules of rlkit that each module imports, wherever in it; names without `rlkit.`."""
    paths = {_module(path): path for path in sorted((ROOT / "rlkit").rglob("*.py"))}
    imports: dict[str, set[str]] = {}
    for module, path in paths.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
                names.add(node.module)
        own = {name.removeprefix("rlkit").removeprefix(".") for name in names if "rlkit" in name}
        imports[module] = own & paths.keys() - {module, ""}
    return imports


def _module(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT / "rlkit").with_suffix("").parts)
    return name.removesuffix("__init__").removesuffix(".")


def box_of(module: str) -> str | None:
    """The box that stands for a module; None for the ground floor."""
    if module.split(".")[0] in GROUND:
        return None
    names = {prefix: name for name, box in BOXES.items() for prefix in box.modules}
    fitting = [p for p in names if module == p or (p and module.startswith(f"{p}."))]
    return names[max(fitting, key=len)]


def arrows() -> set[tuple[str, str]]:
    """The imports between boxes that no longer path implies."""
    direct: dict[str, set[str]] = {name: set() for name in BOXES}
    for module, imported in imports_of_modules().items():
        above = box_of(module)
        for name in imported:
            below = box_of(name)
            if above is not None and below is not None and above != below:
                direct[above].add(below)

    def reachable(name: str) -> set[str]:
        return direct[name].union(*(reachable(below) for below in direct[name]))

    return {
        (above, below)
        for above, all_below in direct.items()
        for below in all_below
        if not any(below in reachable(other) for other in all_below - {below})
    }


def figure(edges: set[tuple[str, str]]) -> Figure:
    """Draw the boxes, the ground floor and the arrows."""
    picture = Figure(figsize=(9.6, 7.2))
    axes = picture.add_axes((0.005, 0.005, 0.99, 0.99))
    axes.set(xlim=(0.1, 11.9), ylim=(-1.4, 8.15))
    axes.axis("off")
    for name, box in BOXES.items():
        _draw_box(axes, box)
        middle, top = box.x + box.width / 2, box.y + box.height
        label = f"{name}.py" if name == "loop" else f"{name}/"
        axes.text(middle, top - 0.1, label, ha="center", va="top", fontsize=10, weight="bold")
        axes.text(middle, top - 0.42, box.text, ha="center", va="top", fontsize=8, linespacing=1.2)
    ground = Box((), "", 0.2, -1.3, 11.6, GREY, 0.5)
    _draw_box(axes, ground)
    names = ", ".join(name.replace("_", " ") for name in GROUND)
    axes.text(6, ground.y + 0.24, names, ha="center", va="center", fontsize=8.5)
    for above, below_name in sorted(edges):
        start, end = _ends(above, below_name)
        style = {"arrowstyle": "-|>", "color": "#444444", "linewidth": 0.9, "mutation_scale": 9}
        arrow = axes.annotate("", end, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})
        arrow.arrow_patch.set_gid(f"arrow:{above}:{below_name}".replace("/", "."))
    return picture


def _draw_box(axes: Axes, box: Box) -> None:
    face, edge = box.colours
    shape = "round,pad=0,rounding_size=0.08"
    corner = (box.x, box.y)
    patch = FancyBboxPatch(
        corner, box.width, box.height, boxstyle=shape, facecolor=face, edgecolor=edge
    )
    axes.add_patch(patch)


def _ends(above: str, below: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves the upper box and where it meets the lower one."""
    upper, lower = BOXES[above], BOXES[below]
    if lower.y + lower.height > upper.y:  # beside each other
        height = max(upper.y, lower.y) + 0.475
        right = upper.x > lower.x
        start = upper.x if right else upper.x + upper.width
        return (start, height), (lower.x + lower.width if right else lower.x, height)
    left = max(upper.x, lower.x)
    right_end = min(upper.x + upper.width, lower.x + lower.width)
    top = lower.y + lower.height
    if left < right_end:  # one above the other
        column = COLUMNS.get((above, below), (left + right_end) / 2)
        return (column, upper.y), (column, top)
    if lower.x > upper.x:
        start = COLUMNS.get((above, below), upper.x + upper.width - 0.15)
        return (start, upper.y), (lower.x + 0.15, top)
    return (upper.x + 0.15, upper.y), (lower.x + lower.width - 0.15, top)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "architecture.svg")
    out: Path = parser.parse_args().out
    with matplotlib.rc_context({"svg.hashsalt": "rlkit", "font.family": "DejaVu Sans"}):
        metadata = {"Date": None} if out.suffix == ".svg" else None
        figure(arrows()).savefig(out, metadata=metadata, dpi=150)


if __name__ == "__main__":
    main()
