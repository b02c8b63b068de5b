"""A model card: what was trained, how well it does over seeds, and what falls short."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable
from typing import Any

from rlkit.analysis.intervals import Interval
from rlkit.training.run import Run


def model_card(run: Run) -> str:
    """Return a card in Markdown, with the header that a model hub reads.

    Its result is the mean of the final returns over seeds, with the 95 % interval of that mean, and
    not that of the best seed.
    """
    record = run.record
    interval = run.interval()
    finished = [seed for seed, score in zip(run.seeds, run.scores, strict=True) if score == score]
    parts = [
        _header(run, interval),
        f"# {run.agent} on {run.environment_name}",
        f"Trained with rlkit {record['versions'].get('rlkit', '')} for {run.num_env_steps:,} "
        f"environment steps of each of {len(run.seeds)} seeds.",
        markdown_table(
            ("final return", "95 % interval of the mean", "seeds", *(n for n, _ in run.references)),
            [
                (
                    _number(interval.estimate),
                    _range(interval),
                    f"{len(finished)} of {len(run.seeds)}",
                    *(_number(value) for _, value in run.references),
                )
            ],
        ),
        f"The final return of a seed is the last {_measured(run)}.",
        markdown_table(
            ("seed", "final return"),
            [(k, _number(score)) for k, score in zip(run.seeds, run.scores, strict=True)],
        ),
        _shortcomings(run, len(finished), interval),
        "## Settings",
        markdown_table(("option", "value"), _settings(run)),
        "## To train and to use it",
        f"```sh\n{shlex.join(['rlkit', *map(str, record['command'][1:])])}\n```"
        if len(record["command"]) > 1
        else "",
        "```python\nimport rlkit\n\n"
        f"run = rlkit.load({json.dumps(run.folder.name)})  # the folder of the run\n"
        "actor = run.actor(seed=0)\naction = actor.act(observation)\n```",
        "## Versions",
        markdown_table(("package", "version"), sorted(record["versions"].items())),
        f"The digest of everything that the results depend on is `{record.get('identity', '-')}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(run: Run, interval: Interval) -> str:
    """Return the YAML that a model hub reads; JSON strings are YAML strings."""
    value = _number(interval.estimate)
    if math.isfinite(interval.low):
        value += f" ({_range(interval)})"
    name, environment = json.dumps(run.agent), json.dumps(run.environment_name)
    return f"""\
---
library_name: rlkit
tags: [reinforcement-learning, {name}, {environment}]
model-index:
- name: {name}
  results:
  - task: {{type: reinforcement-learning, name: reinforcement-learning}}
    dataset: {{name: {environment}, type: {environment}}}
    metrics:
    - {{type: mean_reward, value: {json.dumps(value)}, name: mean_reward, verified: false}}
---"""


def _measured(run: Run) -> str:
    if run.measured == "eval_return":
        episodes = run.record["evaluation_episodes"]
        return f"mean return of its greedy policy over {episodes} episodes, exact where known"
    return "mean return of the episodes of training"


def _shortcomings(run: Run, finished: int, interval: Interval) -> str:
    """Return what a reader must know before using the result."""
    listed = [f"seed {seed} failed: {text}" for seed, text in run.failures.items()]
    listed += [
        f"seed {seed} was trained for {steps:,} steps only"
        for seed, steps in run.unfinished.items()
        if seed not in run.failures
    ]
    if interval.note:
        listed.append(interval.note)
    if not run.record["reproducible"]:
        listed.append("it is not reproducible to the byte")
    listed += run.caveats
    return "" if not listed else "## What falls short\n\n" + "\n".join(f"- {t}" for t in listed)


def _settings(run: Run) -> list[tuple[str, str]]:
    names = ("num_envs", "experiment_seed", "evaluate_every", "evaluation_episodes", "env_args")
    config: dict[str, Any] = run.record["config"] or {}
    rest = {name: run.record[name] for name in names if run.record[name] not in ({}, None)}
    return [(name, f"`{json.dumps(value)}`") for name, value in {**config, **rest}.items()]


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table in Markdown."""
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *(list(map(str, row)) for row in rows)]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _range(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return "-"
    return f"{_number(interval.low)} to {_number(interval.high)}"
