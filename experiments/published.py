"""Are the presets as good as the scores that others have published for the same tasks?

    python -m experiments.published               # every task, 10 seeds: 15 minutes on two cores
    python -m experiments.published --candidates  # settings tried for the presets, on other seeds

The first writes scores and verdicts, and puts the table into docs/published.md. With `--env` it
trains one task and keeps the scores of the others that are in the folder of the results.

Scores of others are constants with their sources. rl-zoo3 published one trained model per task: its
mean and standard deviation are over episodes, so that nothing is known about other seeds of its
training. CleanRL published the mean and the standard deviation over seeds, of training returns.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import rlkit
from rlkit.analysis.statistics import mean_interval
from rlkit.cli.report import show_progress
from rlkit.training.presets import preset
from rlkit.training.run import Run

_ZOO = "https://github.com/DLR-RM/rl-baselines3-zoo/blob/0088472/benchmark.md"
_CLEANRL = "https://github.com/vwxyzjn/cleanrl/blob/7a96de2/docs/rl-algorithms/ppo.md"
_RPO = "https://github.com/vwxyzjn/cleanrl/blob/17a2406/docs/rl-algorithms/rpo.md"
PAGE = Path(__file__).parents[1] / "docs" / "published.md"
_MARKER = "<!-- verdicts -->"
EPISODES = 200  # of each seed's final greedy policy
TABLE_SEED, TUNING_SEED = 0, 1_000  # of the experiments: no seed of one is a seed of the other


@dataclass(frozen=True)
class Score:
    """A published score.

    Args:
        by: who published it, and the algorithm.
        mean: of the episode return.
        std: over episodes of one model, or over seeds.
        num_seeds: 1 where it is of one model.
        num_episodes: that one model was evaluated on.
        steps: environment steps of the training.
        source: where it was published.
    """

    by: str
    mean: float
    std: float
    num_seeds: int
    steps: int
    source: str
    num_episodes: int = 0

    @property
    def error(self) -> float:
        """The standard error of the mean: over episodes of one model, else over seeds."""
        return self.std / math.sqrt(self.num_episodes or self.num_seeds)

    @property
    def words(self) -> str:
        """The score with what is known about its spread."""
        if self.num_episodes:
            low, high = self.mean - 1.96 * self.error, self.mean + 1.96 * self.error
            return f"{self.mean:.1f} ({low:.1f} to {high:.1f}, {self.num_episodes:,} episodes)"
        return f"{self.mean:.1f} ± {self.std:.1f}"


def _zoo(mean: float, std: float, steps: int, episodes: int) -> Score:
    return Score("rl-zoo3, PPO", mean, std, 1, steps, _ZOO, episodes)


PUBLISHED: dict[str, list[Score]] = {
    "CartPole-v1": [
        _zoo(500.0, 0.0, 100_000, 300),
        Score("CleanRL, PPO", 490.04, 6.12, 3, 500_000, _CLEANRL),
    ],
    "Acrobot-v1": [
        _zoo(-73.506, 18.201, 1_000_000, 2_013),
        Score("CleanRL, PPO", -86.36, 1.32, 3, 500_000, _CLEANRL),
    ],
    "Pendulum-v1": [
        _zoo(-172.225, 104.159, 100_000, 750),
        Score("CleanRL, PPO", -1141.98, 135.55, 10, 8_000_000, _RPO),
        Score("CleanRL, RPO", -151.08, 3.73, 10, 8_000_000, _RPO),
    ],
    "MountainCar-v0": [
        _zoo(-110.423, 19.473, 1_000_000, 1_358),
        Score("CleanRL, PPO", -200.0, 0.0, 3, 500_000, _CLEANRL),
    ],
}
_HALF = {"steps": 500_000}  # half of rl-zoo3's budget, to try more
_ANNEALED = {"learning_rate_schedule": "linear"}
# Settings that a preset had before.
_LONGER = {"rollout_length": 256, "num_epochs": 4}
_NEARER = {"learning_rate_schedule": "constant", "activation": "tanh", "discount": 0.9}
_SMALLER = {"rollout_length": 16, "minibatch_size": 64, "num_epochs": 4, "learning_rate": 3e-4}
# Changes of the preset: the rows of "How the presets were chosen" in docs/published.md.
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "Acrobot-v1": [
        _LONGER,
        {},
        _HALF,
        _HALF | {"entropy_coef": 0.03},
        _HALF | {"gae_lambda": 0.98, "activation": "relu"},
    ],
    "Pendulum-v1": [
        _NEARER,
        {},
        _NEARER | _ANNEALED,
        _NEARER | {"rescale_actions": True},
        _NEARER | {"rollout_length": 512},
        _NEARER | _ANNEALED | {"rollout_length": 512},
        _NEARER | {"rollout_length": 512, "scale_rewards": True},
        _NEARER | {"rollout_length": 256},
        _NEARER | {"learning_rate": 2e-3},
    ],
    "MountainCar-v0": [
        _SMALLER,
        {},
        _HALF,
    ],
}


def verdict(ours: np.ndarray[Any, Any], theirs: Score) -> tuple[str, float]:
    """Return what our seeds say about a published score, and the p-value of no difference.

    Against seeds it is Welch's test of two means. One model is taken as a fixed number, known up to
    the error of its episodes: the test asks whether our mean is that number, and not whether the
    training that gave it is as good, which one seed of it cannot say.
    """
    own = float(ours.std(ddof=1) / math.sqrt(len(ours)))
    error = math.hypot(own, theirs.error)
    difference = float(ours.mean()) - theirs.mean
    if error == 0:
        return ("equal", 1.0) if difference == 0 else (_word(difference), 0.0)
    spread = own**4 / (len(ours) - 1)
    if not theirs.num_episodes:
        spread += theirs.error**4 / (theirs.num_seeds - 1)
    freedom = error**4 / spread if spread else math.inf  # Welch-Satterthwaite
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return (_word(difference) if p <= 0.05 else "no evidence of a difference"), p


def _word(difference: float) -> str:
    return "higher" if difference > 0 else "lower"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=str(__doc__).splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=10, help="seeds per task")
    parser.add_argument("--workers", type=int, default=2, help="processes to spread the seeds over")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the budgets, to try it")
    parser.add_argument("--env", choices=tuple(PUBLISHED), help="only this task")
    parser.add_argument("--candidates", action="store_true", help="try settings for the presets")
    parser.add_argument("--out", type=Path, default=Path("results/published"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    options = parser.parse_args()
    names = [options.env] if options.env else list(PUBLISHED)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.candidates:
        _try_candidates(names, options)
        return
    known: dict[str, Any] = {}
    for name in names:
        run = _trained(name, {}, options, seed=TABLE_SEED)
        known[name] = {"steps": run.num_env_steps, "scores": _scores(run).tolist()}
        print(f"{name}: {np.mean(known[name]['scores']):.1f}", flush=True)
    known = with_earlier(known, options.out / "scores.json")
    (options.out / "scores.json").write_text(json.dumps(known, indent=2) + "\n")
    text = table(known)
    (options.out / "table.md").write_text(text)
    print(text)
    if all(
        name in known and known[name]["steps"] == PUBLISHED[name][0].steps for name in PUBLISHED
    ):
        put_into_page(PAGE, text)


def with_earlier(known: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return these scores and those of other tasks in a file, in the order of the table."""
    earlier = json.loads(path.read_text()) if path.exists() else {}
    both = earlier | known
    return {name: both[name] for name in PUBLISHED if name in both}


def _try_candidates(names: list[str], options: argparse.Namespace) -> None:
    """Train settings that a preset may have, on seeds that the table does not use."""
    lines = ["| task | changed settings | seeds | return (95 %) |", "| --- | --- | ---: | --- |"]
    for name in names:
        for settings in CANDIDATES.get(name, []):
            scores = _scores(_trained(name, settings, options, seed=TUNING_SEED))
            interval = mean_interval(scores)
            mean = f"{scores.mean():.1f} ({interval.low:.1f} to {interval.high:.1f})"
            changed = ", ".join(f"`{key} = {value}`" for key, value in settings.items())
            lines.append(f"| {name} | {changed or 'none'} | {len(scores)} | {mean} |")
            print(lines[-1], flush=True)
            (options.out / "candidates.md").write_text("\n".join(lines) + "\n")


def put_into_page(page: Path, text: str) -> None:
    """Put the table of verdicts behind its marker in a page, in the place of an older one."""
    before, _, after = page.read_text().partition(_MARKER)
    rest = after.partition("<!-- table: results/published/table.md -->")[2].lstrip("\n")
    while rest.startswith("|"):
        rest = rest.partition("\n")[2]
    rest = rest or after
    table_marker = "<!-- table: results/published/table.md -->"
    page.write_text(
        f"{before}{_MARKER}\n\n{table_marker}\n\n{text}\n{rest.lstrip(chr(10))}".rstrip() + "\n"
    )


def _trained(name: str, settings: dict[str, Any], options: argparse.Namespace, *, seed: int) -> Run:
    """Train PPO by its preset, with some settings changed, at the budget of rl-zoo3 or theirs."""
    steps = round(PUBLISHED[name][0].steps * options.scale)
    with show_progress(quiet=False) as reports:
        return rlkit.train(
            "ppo",
            name,
            **{"steps": steps, **settings, "seed": seed},
            evaluate_every=min(steps, preset("ppo", name)["evaluate_every"]),
            seeds=options.seeds,
            workers=options.workers,
            out=options.runs,
            reports=reports,
        )


def _scores(run: Run) -> np.ndarray[Any, Any]:
    """Return the mean return of each seed's final greedy policy."""
    report = run.evaluate(episodes=EPISODES)
    return np.array([row["mean_return"] for row in report["seeds"]])


def table(known: dict[str, Any]) -> str:
    """Return scores and verdicts as Markdown."""
    head = ["task", "preset of rlkit (95 %)", "steps", "published", "seeds", "steps", "source"]
    lines = ["| " + " | ".join([*head, "rlkit is"]) + " |", "|" + " --- |" * (len(head) + 1)]
    for name, one in known.items():
        ours = np.array(one["scores"])
        interval = mean_interval(ours)
        mean = f"{ours.mean():.1f} ({interval.low:.1f} to {interval.high:.1f}), {len(ours)} seeds"
        for score in PUBLISHED[name]:
            text, p = verdict(ours, score)
            cells = [name, mean, f"{one['steps']:,}", score.words, str(score.num_seeds)]
            cells += [f"{score.steps:,}", f"[{score.by}]({score.source})"]
            lines.append("| " + " | ".join([*cells, f"{text} (p = {p:.2g})"]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
