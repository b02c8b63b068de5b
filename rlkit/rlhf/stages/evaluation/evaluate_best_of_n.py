"""Estimate the best of n samples of a policy, chosen by a score without any training.

rlkit.rlhf.best_of_n_run(sft, reward=reward)["rows"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.analysis.statistics import standard_error
from rlkit.determinism import prepared_torch
from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.rlhf.evaluation import best_of
from rlkit.rlhf.exact import best_of_n
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.stages.evaluation.loaded_policy import (
    EvaluationSettings,
    LoadedPolicy,
    load_for_evaluation,
    read_settings,
)
from rlkit.rlhf.stages.stage_run import RunLike

Floats = NDArray[np.float64]
POWERS = (1, 2, 4, 8, 16, 32, 64)


def best_of_n_run(
    run: RunLike,
    *,
    n: int | Sequence[int] = POWERS,
    num_prompts: int = 256,
    **settings: Any,
) -> dict[str, Any]:
    """Estimate the scores of the best of n samples, chosen by a score without any training.

    Args:
        run: of the policy that samples.
        n: number of samples to choose from, or several.
        num_prompts: number of prompts; each gets the largest n of samples.
        settings: as for `sample_run`.

    Returns:
        `chosen_by`, and `rows` with one entry for each n: `kl_bound`, which the KL divergence from
        the policy never exceeds, `scores` by name with the mean over prompts and its standard
        error, and `exact` with `kl` and scores where all responses can be listed.
    """
    given = list(n) if isinstance(n, Sequence) else [n]
    ns = sorted({require_count("n", each, at_least=1) for each in given})
    if not ns:
        raise UsageError(f"option n (--n): expected whole numbers >= 1, got {given}")
    require_count("num_prompts", num_prompts, at_least=2)
    read = read_settings(settings)
    with prepared_torch():
        loaded = load_for_evaluation(run, read)
        if not loaded.scores:
            raise UsageError(
                f"there is no score to choose the best response by: the task {loaded.task.name} "
                "has no gold reward; give a reward model (--reward RUN) or a function (--score "
                "file.py:name)"
            )
        chosen_by = next(iter(loaded.scores))
        best, tables = _sample_best(loaded, chosen_by, ns[-1], num_prompts, read)
        exact_rows = _exact_best(loaded, chosen_by, ns)
    rows = []
    for each, exact_row in zip(ns, exact_rows, strict=True):
        bound = float(best_of_n.best_of_n_kl_bound(each))
        scores = {name: _expected_best(best, table, each) for name, table in tables.items()}
        rows.append({"n": each, "kl_bound": bound, "scores": scores, "exact": exact_row})
    return {
        **loaded.description("best of n"),
        "num_prompts": num_prompts,
        "chosen_by": chosen_by,
        "rows": rows,
    }


def _sample_best(
    loaded: LoadedPolicy, chosen_by: str, n: int, num_prompts: int, settings: EvaluationSettings
) -> tuple[best_of.BestOfN, dict[str, Floats]]:
    """Return the best of n samples for some prompts, and every score of all samples."""
    rng = settings.generator()
    prompts = np.asarray(loaded.task.sample_prompts(rng, num_prompts))
    best = best_of.best_of_n(
        loaded.policy,
        loaded.task,
        prompts,
        loaded.scores[chosen_by],
        n,
        rng,
        temperature=loaded.temperature,
    )
    tables: dict[str, Floats] = {chosen_by: best.all_scores}
    for name, score in loaded.scores.items():
        if name != chosen_by:
            scores = np.asarray(score(best.all_sequences), dtype=np.float64)
            tables[name] = scores.reshape(best.all_scores.shape)
    return best, tables


def _expected_best(best: best_of.BestOfN, table: Floats, n: int) -> dict[str, float]:
    expected = best_of.expected_best(best.all_scores, table, n)
    return {"mean": float(expected.mean()), "standard_error": standard_error(expected)}


def _exact_best(
    loaded: LoadedPolicy, chosen_by: str, ns: Sequence[int]
) -> list[dict[str, Any] | None]:
    if loaded.key is None:
        return [None] * len(ns)
    log_prob = loaded.key_at_temperature().log_probs(loaded.policy)
    rows: list[dict[str, Any] | None] = []
    for n in ns:
        best_log_prob = best_of_n.best_of_n(log_prob, loaded.tables[chosen_by], n)
        row: dict[str, Any] = {"kl": float(exact.kl(best_log_prob, log_prob).mean())}
        for name, table in loaded.tables.items():
            row[name] = float(exact.expectation(best_log_prob, table).mean())
        rows.append(row)
    return rows
