"""Where results come from: settings, commands, versions, hashes; and what falls short in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.reporting.parts import Code, Section, Table, Value, make_table
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.runs.curves import curve_path
from rlkit.runs.integrity.verify import verify_run
from rlkit.runs.record import RECORD, command_line
from rlkit.training.kind import AGENT_RUN
from rlkit.training.playing.environment import changed_sources
from rlkit.training.run import Run
from rlkit.user_code import content_digest

AnyRun = Run | StageRun
_NAMES = (
    *("agent", "environment", "env_args", "num_env_steps", "num_envs", "num_seeds"),
    *("experiment_seed", "evaluate_every", "evaluation_episodes", "stepped_as", "binning"),
    *("rescale_actions", "action_masks", "reward", "reference"),
)
_NAMES_OF_STAGE = ("stage", "label", "num_updates", "num_seeds", "experiment_seed")


def settings_of(run: AnyRun) -> dict[str, str]:
    """Return the options of a run, those of the agent or stage among them, as text."""
    record = run.record
    if isinstance(run, StageRun):
        given = {name: record[name] for name in _NAMES_OF_STAGE} | _flat(record["content"])
    else:
        given = {name: record[name] for name in _NAMES if name in record}
        given |= record["config"] or {}
    return {name: _in_words(value) for name, value in given.items() if value not in ({}, None)}


def _in_words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested options as a flat mapping, with dots in the names."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def add_origin(section: Section, name: str, run: AnyRun) -> None:
    """Add command, settings, versions and hashes of one run to its section."""
    settings = settings_of(run).items()
    section.codes = commands({name: run})
    section.details = [
        make_table("Settings", ["option", "value"], settings, folded=True),
        versions_table({name: run}),
        hashes_table({name: run}),
    ]


def differing_settings(runs: Mapping[str, AnyRun]) -> tuple[Table, Table]:
    """Return the settings in which runs differ, and those that all share."""
    settings = {name: settings_of(run) for name, run in runs.items()}
    options = dict.fromkeys(option for one in settings.values() for option in one)
    differing: list[Sequence[Value]] = []
    shared: list[Sequence[Value]] = []
    for option in options:
        values = [one.get(option) for one in settings.values()]
        if len(set(values)) == 1:
            shared.append((option, values[0]))
        else:
            differing.append((option, *values))
    return (
        make_table("Settings that differ", ["option", *runs], differing),
        make_table("Settings that all share", ["option", "value"], shared, folded=True),
    )


def versions_table(runs: Mapping[str, AnyRun]) -> Table:
    """Return the versions that runs were begun with; one column where they are the same."""
    versions = {name: run.record["versions"] for name, run in runs.items()}
    packages = sorted({package for one in versions.values() for package in one})
    first: dict[str, str] = next(iter(versions.values()), {})
    if all(one == first for one in versions.values()):
        versions = {"version": first}
    rows = [(package, *(one.get(package) for one in versions.values())) for package in packages]
    return make_table("Versions", ["package", *versions], rows, folded=True)


def hashes_table(runs: Mapping[str, AnyRun], others: Sequence[Path] = ()) -> Table:
    """Return the identity of each run, and the sha256 of record and rows as they are now."""
    rows: list[Sequence[Value]] = []
    for path in others:
        rows.append((path.parent.name, path.name, content_digest(str(path))))
    for run in runs.values():
        name = run.folder.name
        rows.append((name, "everything that the results depend on", run.record.get("identity")))
        for path in (run.folder / RECORD, *(curve_path(run.folder, seed) for seed in run.seeds)):
            rows.append((name, path.name, content_digest(str(path))))
    return make_table("Hashes", ["folder", "of", "sha256"], rows, folded=True)


def commands(runs: Mapping[str, AnyRun]) -> list[Code]:
    """Return the commands that began the runs, each once."""
    texts: dict[str, list[str]] = {}
    for name, run in runs.items():
        texts.setdefault(command_line(run.record), []).append(name)
    return [Code(f"Command that trained {', '.join(names)}", text) for text, names in texts.items()]


def shortcomings(run: AnyRun) -> list[str]:
    """Return what a reader must know of a run before believing its result, as sentences."""
    texts = []
    if isinstance(run, Run):
        texts += [
            f"seed {seed} was trained for {done:,} of {run.num_env_steps:,} steps only"
            for seed, done in run.unfinished.items()
            if seed not in run.failures
        ]
        if run.stopped is not None:
            target = run.record["num_env_steps"]
            texts.append(
                f"it was stopped at {run.num_env_steps:,} of {target:,} steps by {run.stopped}"
            )
        note = run.interval().note
        texts += [note] if note else []
        changed = changed_sources(run.record)
        if changed:
            texts.append(f"the source has changed since it was trained: {', '.join(changed)}")
        texts += run.caveats
    elif run.status not in ("finished", "failed"):
        texts.append(f"the run is {run.status}, so some of its seeds are not at the end")
    failures = [f"seed {k} failed: {why}" for k, why in run.failures.items() if k in run.seeds]
    if not run.record["reproducible"]:
        texts.append("it is not reproducible to the byte")
    kind = AGENT_RUN if isinstance(run, Run) else STAGE_RUN
    verdict = verify_run(run.folder, kind)
    return [*failures, *texts, *verdict.problems]
