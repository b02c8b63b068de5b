"""Two configurations, an agent of one's own, a finished run and a model of Stable-Baselines3 in one
comparison; several environments.

    python -m experiments.comparing

The agent of one's own is the first on the page docs/writing-an-agent.md. Everything is small: it
takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path

import rlkit
from rlkit.cli import main as rlkit_command
from rlkit.training.comparing.comparison_set import ComparisonSet

PAGE = Path(__file__).parents[1] / "docs" / "writing-an-agent.md"
ENVIRONMENTS = ("FrozenLake-v1", "CliffWalking-v1", "Taxi-v4")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="seeds per contender")
    parser.add_argument("--steps", type=int, default=20_000, help="environment steps per seed")
    parser.add_argument("--out", type=Path, default=Path("results/comparing"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        sizes = ["--seeds", str(options.seeds), "--steps", str(options.steps)]
        sizes += ["--evaluate-every", str(options.steps // 20)]
        one_environment(runs, sizes, options.out / "contenders")
        several_environments(runs, sizes, options.out / "environments")


def one_environment(runs: Path, sizes: list[str], out: Path) -> None:
    """Compare two configurations, an agent in a file, a finished run and a model trained elsewhere.

    By another metric it is without the model, which has no curve.
    """
    agent = write_agent(runs / "my_agent.py")
    finished = rlkit.train(
        *("dyna-q", "FrozenLake-v1"),
        seeds=int(sizes[1]),
        steps=int(sizes[3]),
        evaluate_every=int(sizes[5]),
        out=runs / "before",
    )
    words = ["q-learning", "slow=q-learning --step-size 0.01", f"own={agent}:ExpectedSarsa"]
    words += [f"finished={finished.folder}"]
    model = f"theirs=sb3:{train_elsewhere(runs / 'model.zip', int(sizes[3]))}"
    rest = ["--env", "FrozenLake-v1", *sizes]
    for metric, name, more in (
        ("final", "final", [model, "--trust"]),
        ("steps-to 0.5", "steps_to", []),
    ):
        folder = runs / name
        rlkit_command(["compare", *words, *more, *rest, f"--metric={metric}", "--out", str(folder)])
        keep(folder, out / name)
    write_tables(out / "final" / "summary.json", out)


def train_elsewhere(path: Path, steps: int) -> Path:
    """Train PPO with Stable-Baselines3, with its own defaults."""
    import torch
    from stable_baselines3 import PPO

    torch.set_num_threads(1)  # more only wait for each other in networks of this size
    PPO("MlpPolicy", "FrozenLake-v1", seed=0, device="cpu").learn(steps).save(path)
    return path


def write_tables(summary: Path, out: Path) -> None:
    """Write the contenders of a comparison and the verdicts on them as Markdown."""
    content = json.loads(summary.read_text())
    lines = ["| contender | seeds | final return | 95 % interval |", "| --- | ---: | ---: | ---: |"]
    for name, one in content["agents"].items():
        low, high = one["interval"]
        interval = "-" if low is None else f"{low:.3f} to {high:.3f}"
        lines.append(f"| {_short(name)} | {len(one['final'])} | {one['mean']:.3f} | {interval} |")
    (out / "table.md").write_text("\n".join(lines) + "\n")
    lines = ["| pair | difference | p | verdict |", "| --- | ---: | ---: | --- |"]
    for pair in content["pairs"]:
        p = "-" if pair["p_value"] is None else f"{pair['p_value']:.2g}"
        both = f"{_short(pair['a'])}, {_short(pair['b'])}"
        lines.append(f"| {both} | {pair['difference']:+.3f} | {p} | {pair['verdict']} |")
    (out / "verdicts.md").write_text("\n".join(lines) + "\n")


def _short(name: str) -> str:
    return name.partition("=")[0]


def several_environments(runs: Path, sizes: list[str], out: Path) -> None:
    """Compare three agents over three environments."""
    folder = runs / "environments"
    compared = rlkit.compare(
        ["q-learning", "slow=q-learning --step-size 0.01", "sarsa"],
        ENVIRONMENTS,
        seeds=int(sizes[1]),
        steps=int(sizes[3]),
        evaluate_every=int(sizes[5]),
        out=folder,
    )
    assert isinstance(compared, ComparisonSet)
    keep(folder, out)
    lines = ["| agent | interquartile mean | 95 % interval |", "| --- | ---: | ---: |"]
    for name, one in compared.intervals().items():
        lines.append(f"| {name} | {one.estimate:.3f} | {one.low:.3f} to {one.high:.3f} |")
    lines += [
        "",
        "| pair | probability of improvement | p | verdict |",
        "| --- | ---: | ---: | --- |",
    ]
    for pair in compared.summary()["pairs"]:
        low, high = pair["improvement_interval"]
        lines.append(
            f"| {pair['a']}, {pair['b']} | {pair['improvement']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {pair['p_value']:.2g} | {pair['verdict']} |"
        )
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text)
    print(text)


def write_agent(path: Path) -> Path:
    """Write the first agent of the page on writing agents into a file."""
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        if "class ExpectedSarsa" in block:
            path.write_text(block[: block.index("\nrun = ")])
            return path
    raise SystemExit(f"{PAGE} has no class ExpectedSarsa")


def keep(folder: Path, out: Path) -> None:
    """Copy summaries and figures, but no runs."""
    shutil.rmtree(out, ignore_errors=True)
    for path in sorted(folder.rglob("*")):
        in_run = any((part / "run.json").exists() for part in path.parents)
        if not in_run and path.suffix in (".json", ".png"):
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


if __name__ == "__main__":
    main()
