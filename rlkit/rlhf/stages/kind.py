"""The kind of run that trains a stage of RLHF: the keys of its run.json, and what it counts."""

from __future__ import annotations

from rlkit.runs.kinds import MAPPING, NAME, RunKind, whole

STAGE_RUN = RunKind(
    name="stage",
    format=1,
    counter="num_updates",
    unit="updates",
    keys={
        "stage": NAME,
        "label": NAME,
        "content": MAPPING,
        "record_every": whole(1),
        "num_updates": whole(1),
    },
    surplus="{target:,} were requested, and nothing is removed",
    others={
        None: "is the run of the agent {agent!r} on {environment!r}, not of a stage of RLHF; "
        "open it with rlkit.load"
    },
    worker_imports=("torch",),
)
