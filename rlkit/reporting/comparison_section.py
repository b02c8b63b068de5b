"""The section of a comparison, from its summary and the runs that are still there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlkit.analysis.comparisons import verdict_in_words
from rlkit.reporting import provenance
from rlkit.reporting.charts import Lines, Row, curves_chart, intervals_chart, shares_chart
from rlkit.reporting.opening import Compared
from rlkit.reporting.parts import (
    Cell,
    Section,
    Table,
    Value,
    interval_words,
    make_table,
    p_words,
    sentence,
)
from rlkit.reporting.run_section import add_film, what_is_measured
from rlkit.training.comparing.comparison import SUMMARY, verify_comparison
from rlkit.training.comparing.metrics import FINAL, Metric, stored_metric
from rlkit.training.comparing.testing import UNDECIDED
from rlkit.training.figures import environment_key
from rlkit.training.run import Run

_MOST_NAMED = 3  # undecided pairs


def comparison_section(compared: Compared, id: str, *, films: bool = True) -> Section:
    """Return question, verdict, charts, tables and provenance of a comparison."""
    summary = compared.summary
    metric = stored_metric(summary)
    if "environments" in summary:
        section = _over_environments(compared, metric, id, films=films)
    else:
        section = _on_environment(summary, compared, metric, id, films=films)
    section.shortcomings += verify_comparison(compared.folder).problems
    runs = compared.runs
    if "environments" not in summary:  # otherwise a contender has several runs
        runs = {name: runs[a["run"]] for name, a in summary["agents"].items() if a["run"] in runs}
    section.codes = provenance.commands(runs)
    section.details += [
        provenance.versions_table(runs),
        provenance.hashes_table(runs, [compared.folder / SUMMARY]),
    ]
    return section


def _on_environment(
    part: Mapping[str, Any], compared: Compared, metric: Metric, id: str, *, films: bool
) -> Section:
    """Return what is known about the contenders on one environment."""
    agents, pairs = part["agents"], part["pairs"]
    runs = {
        name: compared.runs[agent["run"]]
        for name, agent in agents.items()
        if agent["run"] in compared.runs
    }
    environment = str(part["environment"]).rsplit(":", 1)[-1]
    section = Section(
        f"{_listed(list(agents))} on {environment}",
        "comparison",
        f"Which of {_listed(list(agents), 'or')} is best on {environment}, by {metric.label}, "
        f"after {_budget(agents)}?",
        verdict_of(list(agents), pairs),
        _shortcomings(agents, pairs, runs, compared.missing),
        id=id,
    )
    references = next(iter(runs.values())).references if runs else _optimum(part)
    drawn = {name: run for name, run in runs.items() if run.curve.size}
    if drawn:
        section.charts.append(
            curves_chart(
                f"Learning curves on {environment}",
                *("environment steps per seed", what_is_measured(next(iter(drawn.values())))),
                # Each contender has its colour in all charts, also where another has no curve.
                [
                    Lines(name, drawn[name].steps, drawn[name].curve, series)
                    for series, name in enumerate(agents)
                    if name in drawn
                ],
                references,
                f"{id}-curves",
            )
        )
    section.charts.append(
        intervals_chart(
            f"{sentence(metric.label)} on {environment}",
            metric.label,
            [_row(name, agent) for name, agent in agents.items()],
            [] if metric.counts_steps else references,
            f"{id}-final",
        )
    )
    section.tables += [_contenders_table(agents, runs, part, metric), pairs_table(pairs)]
    section.tables.append(_seeds_table(agents))
    if len(runs) > 1:
        differing, shared = provenance.differing_settings(runs)
        section.tables.append(differing)
        section.details.append(shared)
    if films:
        for name, run in runs.items():
            add_film(section, run, name)
    return section


def _over_environments(compared: Compared, metric: Metric, id: str, *, films: bool) -> Section:
    """Return what is known over all environments, with a part for each."""
    summary = compared.summary
    agents, pairs, parts = summary["agents"], summary["pairs"], summary["environments"]
    complete = {name: agent for name, agent in agents.items() if "iqm" in agent}
    section = Section(
        f"{_listed(list(agents))} on {len(parts)} environments",
        "comparison",
        f"Which of {_listed(list(agents), 'or')} is best over {_listed(list(parts))}, by "
        f"{metric.label}?",
        verdict_of(list(complete), pairs),
        [
            *(
                f"{name} has no finished seed on some environment"
                for name in agents
                if name not in complete
            ),
            *_notes(agents),
            *_undecided(pairs),
        ],
        id=id,
    )
    if complete:
        ends = "0 random, 1 best known" if not metric.counts_steps else "0 whole budget, 1 no steps"
        section.charts = [
            intervals_chart(
                "Interquartile means over environments",
                f"normalised score ({ends})",
                [Row(n, a["iqm"], *a["iqm_interval"]) for n, a in complete.items()],
                [],
                f"{id}-iqm",
            ),
            shares_chart(
                "Performance profiles",
                "normalised score",
                summary["profile_thresholds"],
                {name: agent["profile"] for name, agent in complete.items()},
                f"{id}-profile",
            ),
        ]
    section.tables = _tables_over(summary)
    section.parts = [
        _on_environment(part, compared, stored_metric(part, metric), f"{id}-{i}", films=films)
        for i, part in enumerate(parts.values(), 1)
    ]
    return section


def _tables_over(summary: Mapping[str, Any]) -> list[Table]:
    """Return the tables of what is known over all environments."""
    agents, pairs, parts = summary["agents"], summary["pairs"], summary["environments"]
    return [
        make_table(
            "Contenders over all environments",
            ["contender", "seeds each", "interquartile mean", "95 % interval"],
            [
                (
                    name,
                    agent["seeds"],
                    agent.get("iqm"),
                    interval_words(*agent.get("iqm_interval", (None, None))),
                )
                for name, agent in agents.items()
            ],
        ),
        pairs_table(pairs),
        make_table(
            "Scores that count as 0 and 1",
            ["environment", "0 is", "1 is", "which is"],
            [(name, part["random"], part["best"], part["best_is"]) for name, part in parts.items()],
        ),
    ]


def verdict_of(names: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the tests of all pairs say together, and then each decided one, in sentences."""
    better = {(p["a"], p["b"]) for p in pairs if p["verdict"] == "better"}
    better |= {(p["b"], p["a"]) for p in pairs if p["verdict"] == "worse"}
    if len(names) < 2:
        return ["There is nothing to compare with: fewer than two contenders finished a seed."]
    best = [a for a in names if all((a, b) in better for b in names if b != a)]
    if best:
        others = "every other contender" if len(names) > 2 else "the other contender"
        first = f"{best[0]} is best: better than {others}."
    elif pairs and all(pair["verdict"] == "tie" for pair in pairs):
        first = "All are the same: every score is equal."
    elif better:
        first = "None is better than all others, but some pairs are decided."
    else:
        first = "No pair is decided: these seeds do not say which is better."
    decided = [pair for pair in pairs if pair["verdict"] not in UNDECIDED]
    return [first, *(f"{verdict_in_words(p['a'], p['b'], p['verdict'])}." for p in decided)]


def pairs_table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    """Return difference, p-value and verdict of every pair."""
    overall = any("improvement" in pair for pair in pairs)
    effect = "probability of improvement" if overall else "difference of means"
    undecided = any("seeds_needed" in pair for pair in pairs)
    rows: list[Sequence[Value | Cell]] = []
    for pair in pairs:
        key = "improvement" if overall else "difference"
        interval = pair["improvement_interval"] if overall else pair["interval"]
        p = Cell(p_words(pair["p_value"]), pair["p_value"])
        limits = interval_words(*interval)
        needed = pair.get("seeds_needed")
        row = [pair["a"], pair["b"], pair[key], limits, p, pair["verdict"]]
        rows.append([*row, needed] if undecided else row)
    note = (
        "The p-values are of permutation tests, corrected over all tests (Holm): a winner where "
        "there is none is declared in at most 5 % of such comparisons."
    )
    if undecided:
        note += (
            " The last column has, where a pair is undecided, the seeds that would separate such a "
            "difference with 80 % power."
        )
    columns = ["a", "b", effect, "95 % interval", "p", "a is, compared with b"]
    columns += ["seeds each that would decide"] * undecided
    return make_table("Every pair", columns, rows, note=note)


def _row(name: str, agent: Mapping[str, Any]) -> Row:
    low, high = agent["interval"]
    return Row(name, agent["mean"], low, high, [score for score in _scores(agent) if score != "-"])


def _scores(agent: Mapping[str, Any]) -> list[Any]:
    """Return the number of each seed, None for one that never got there, "-" for an unfinished."""
    scores = agent.get("scores", agent["final"])
    return [
        "-" if final is None else score for score, final in zip(scores, agent["final"], strict=True)
    ]


def _contenders_table(
    agents: Mapping[str, Any], runs: Mapping[str, Run], part: Mapping[str, Any], metric: Metric
) -> Table:
    best = part.get("optimum")
    of_best = best is not None and best > 0 and metric == FINAL
    columns = ["contender", "seeds finished", metric.label, "95 % interval", "IQM"]
    columns += ["% of optimum"] * of_best + ["env steps per seed"] + ["env steps/s"] * bool(runs)
    columns += ["reached"] * metric.counts_steps
    rows = []
    for name, agent in agents.items():
        finished = sum(score is not None for score in agent["final"])
        row: list[Value] = [name, finished, agent["mean"], interval_words(*agent["interval"])]
        row.append(agent["iqm"])
        if of_best:
            row.append(None if agent["mean"] is None else 100 * agent["mean"] / best)
        rate = runs[name].env_steps_per_second if name in runs else None
        row.append(agent["env_steps"])
        if runs:
            row.append(None if not rate else round(rate))
        if metric.counts_steps:
            row.append(f"{agent['reached']} of {finished}")
        rows.append(row)
    return make_table("Contenders", columns, rows)


def _seeds_table(agents: Mapping[str, Any]) -> Table:
    """Return the number of each seed, a column for each contender."""
    values = [["never" if x is None else x for x in _scores(agent)] for agent in agents.values()]
    rows = [
        (seed, *(one[seed] if seed < len(one) else None for one in values))
        for seed in range(max(map(len, values), default=0))
    ]
    return make_table(
        "Each seed", ["seed", *agents], rows, note="A dash is a seed that did not finish."
    )


def _shortcomings(
    agents: Mapping[str, Any],
    pairs: Sequence[Mapping[str, Any]],
    runs: Mapping[str, Run],
    missing: Mapping[str, str],
) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for name, agent in agents.items():
        if agent["run"] in missing:
            reasons.setdefault(missing[agent["run"]], []).append(name)
    texts = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
    if len({agent["env_steps"] for agent in agents.values()}) > 1:
        each = ", ".join(f"{name} {agent['env_steps']:,}" for name, agent in agents.items())
        texts.append(f"the budgets differ, in environment steps per seed: {each}")
    if len({environment_key(run.record) for run in runs.values()}) > 1:
        texts.append("the runs are on environments that differ in source, arguments or spaces")
    for name, run in runs.items():
        own = [
            note for note in provenance.shortcomings(run) if note not in _own_notes(agents[name])
        ]
        texts += [f"{name}: {text}" for text in own]
        if not _same(run.scores.tolist(), agents[name]["final"]):
            texts.append(
                f"{name}: the run has other final returns now than when it was compared; make the "
                "comparison again"
            )
    return [*texts, *_notes(agents), *_undecided(pairs)]


def _own_notes(agent: Mapping[str, Any]) -> list[str]:
    return [str(note) for note in agent.get("notes", [])]


def _notes(agents: Mapping[str, Any]) -> list[str]:
    """Return the notes on the intervals and environments, each once with those that it is of."""
    of: dict[str, list[str]] = {}
    for name, agent in agents.items():
        for note in dict.fromkeys(_own_notes(agent)):
            of.setdefault(note, []).append(name)
    return [f"{', '.join(names)}: {note}" for note, names in of.items()]


def _undecided(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which pairs are undecided, and the seeds that it would take."""
    undecided = [pair for pair in pairs if pair["verdict"] in UNDECIDED]
    if len(undecided) > _MOST_NAMED:
        return [f"{len(undecided)} of {len(pairs)} pairs are undecided: see the table of all pairs"]
    texts = []
    for pair in undecided:
        text = verdict_in_words(pair["a"], pair["b"], pair["verdict"])
        if "seeds_needed" in pair:
            text += (
                f"; about {pair['seeds_needed']:,} seeds each, {pair['more_seeds']:,} more, would "
                "separate a difference of this size with 80 % power"
            )
        texts.append(text)
    return texts


def _same(now: Sequence[float], then: Sequence[float | None]) -> bool:
    was = [math.nan if value is None else value for value in then]
    return len(now) == len(was) and bool(np.array_equal(now, was, equal_nan=True))


def _budget(agents: Mapping[str, Any]) -> str:
    steps = {int(agent["env_steps"]) for agent in agents.values()}
    return f"{steps.pop():,} environment steps" if len(steps) == 1 else "budgets that differ"


def _optimum(part: Mapping[str, Any]) -> list[tuple[str, float]]:
    best = part.get("optimum")
    return [] if best is None else [("optimum", float(best))]


def _listed(names: Sequence[str], word: str = "and") -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"
