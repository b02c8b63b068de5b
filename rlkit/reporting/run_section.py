"""The section of one run of an agent."""

from __future__ import annotations

import math

import numpy as np

from rlkit.reporting import provenance
from rlkit.reporting.charts import Lines, Row, curves_chart, intervals_chart
from rlkit.reporting.films import film_of
from rlkit.reporting.parts import Section, Table, interval_words, make_table, number
from rlkit.training.run import Run


def run_section(run: Run, id: str, *, films: bool = True) -> Section:
    """Return question, verdict, charts, tables and provenance of a run."""
    section = Section(
        f"{run.agent} on {run.environment_name}",
        "run",
        f"What return does {run.agent} reach on {run.environment_name} after "
        f"{run.num_env_steps:,} environment steps?",
        verdict_of(run),
        provenance.shortcomings(run),
        id=id,
    )
    if run.curve.size:
        curve = Lines(run.agent, run.steps, run.curve)
        section.charts.append(
            curves_chart(
                f"Learning curve of {run.agent}",
                *("environment steps per seed", what_is_measured(run)),
                [curve],
                run.references,
                f"{id}-curve",
            )
        )
    if np.isfinite(run.scores).any():
        interval = run.interval()
        row = Row(run.agent, interval.estimate, interval.low, interval.high, run.scores.tolist())
        section.charts.append(
            intervals_chart(
                f"Final performance of {run.agent}",
                "final return",
                [row],
                run.references,
                f"{id}-final",
            )
        )
    section.tables.append(seeds_table(run))
    if films:
        add_film(section, run, run.agent)
    provenance.add_origin(section, run.agent, run)
    return section


def verdict_of(run: Run) -> list[str]:
    """Return what a run says about its question, in sentences."""
    known = run.scores[np.isfinite(run.scores)]
    if not len(known):
        return ["No seed was trained to the end, so there is no answer yet."]
    interval = run.interval()
    if len(known) == 1:
        sentences = [
            f"The one finished seed reached {number(interval.estimate)}. One seed has no interval "
            "and says little about others: train at least 5."
        ]
    else:
        sentences = [
            f"The final return of {len(known)} seeds is {number(interval.estimate)} on average "
            f"(95 % interval {interval_words(interval.low, interval.high)})."
        ]
    lines = dict(run.references)
    optimum, random = lines.get("optimum"), lines.get("random")
    if optimum is not None and optimum > 0:
        share = 100 * interval.estimate / optimum
        sentences.append(f"That is {share:.1f} % of the exact optimum, {number(optimum)}.")
    elif optimum is not None:
        sentences.append(f"The exact optimum is {number(optimum)}.")
    if random is not None:
        above = "above" if interval.low > random else "below" if interval.high < random else ""
        where = f"lies {above}" if above else "does not exclude"
        if math.isfinite(interval.low):
            sentences.append(f"The interval {where} the return of random play, {number(random)}.")
    return sentences


def what_is_measured(run: Run) -> str:
    """Return what a row of the curve holds, for an axis."""
    return "evaluation return" if run.measured == "eval_return" else "training return"


def seeds_table(run: Run) -> Table:
    """Return the final return, the steps and the state of each seed."""
    rows = []
    for seed, score, at in zip(run.seeds, run.scores, run.score_steps, strict=True):
        state = "finished"
        if seed in run.failures:
            state = "failed"
        elif seed in run.unfinished:
            state = f"unfinished, at {run.unfinished[seed]:,} steps"
        elif math.isnan(score):
            state = "without a score"
        rows.append((seed, float(score), float(at), state))
    return make_table("Each seed", ["seed", "final return", "at environment steps", "state"], rows)


def add_film(section: Section, run: Run, name: str) -> None:
    """Add an episode of a run to a section, or say why there is none."""
    film, problem = film_of(run, name)
    if film is not None:
        section.films.append(film)
    else:
        section.film_problems.append(f"{name} is not filmed: {problem}")
