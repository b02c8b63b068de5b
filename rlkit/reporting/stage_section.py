"""The section of one run of a stage of RLHF."""

from __future__ import annotations

import numpy as np

from rlkit.reporting import provenance
from rlkit.reporting.charts import Lines, curves_chart
from rlkit.reporting.parts import Section, Table, make_table, number, sentence
from rlkit.rlhf.stages.stage_run import StageRun

# What is drawn, where a stage measures it; everything is in the table.
_DRAWN = {
    "objective": "objective",
    "score": "score",
    "kl": "KL to the reference in nats",
    "held_out_loss": "held-out loss",
    "held_out_accuracy": "held-out accuracy",
    "loss": "loss",
    "response_length": "length of responses in tokens",
}
_ONE_SEED = "one seed has no interval and says little about others"


def stage_section(run: StageRun, id: str) -> Section:
    """Return charts, tables and provenance of a stage."""
    metrics = list(dict.fromkeys(name for columns in run.columns for name in columns))
    metrics = [name for name in metrics if name != "num_updates"]
    section = Section(
        f"{run.stage} on {run.label}",
        "stage of RLHF",
        f"What does {run.stage} reach on {run.label} in {run.num_updates:,} updates?",
        _verdict(run, metrics),
        [*([] if len(run.seeds) > 1 else [_ONE_SEED]), *provenance.shortcomings(run)],
        id=id,
    )
    for name in [name for name in _DRAWN if name in metrics]:
        updates, values = run.metric(name)
        if np.isfinite(values).any():
            section.charts.append(
                curves_chart(
                    f"{sentence(_DRAWN[name])} of {run.stage}",
                    *("updates", _DRAWN[name]),
                    [Lines(run.stage, updates, values)],
                    [],
                    f"{id}-{name}",
                )
            )
    if metrics:
        section.tables.append(_last_table(run, metrics))
    provenance.add_origin(section, run.stage, run)
    return section


def _ends(run: StageRun, name: str) -> tuple[list[float], list[float]]:
    """Return the first and last measurement of a metric of each seed that has one."""
    known = [
        column[np.isfinite(column)] for column in (c.get(name, np.array([])) for c in run.columns)
    ]
    known = [column for column in known if len(column)]
    return [float(c[0]) for c in known], [float(c[-1]) for c in known]


def _verdict(run: StageRun, metrics: list[str]) -> list[str]:
    sentences = []
    for name in [name for name in _DRAWN if name in metrics]:
        first, last = _ends(run, name)
        if last:
            sentences.append(
                f"{sentence(_DRAWN[name])}: {number(float(np.mean(first)))} at first, "
                f"{number(float(np.mean(last)))} at last, the mean over {len(last)} "
                f"seed{'s' * (len(last) != 1)}."
            )
    return sentences or ["No update was recorded, so there is no answer yet."]


def _last_table(run: StageRun, metrics: list[str]) -> Table:
    rows = []
    for seed, columns in zip(run.seeds, run.columns, strict=True):
        last = [
            next((float(x) for x in columns.get(name, [])[::-1] if np.isfinite(x)), None)
            for name in metrics
        ]
        rows.append((seed, *last))
    return make_table("Each seed: the last measurement of each metric", ["seed", *metrics], rows)
