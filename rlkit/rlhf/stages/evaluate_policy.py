"""What a run of RLHF is worth: its samples, its measures beside the exact ones, its best of n.

    rlkit.rlhf.sample_run(ppo, num=4)
    rlkit.rlhf.evaluate_run(ppo)["scores"]["gold"]["win_rate"]
    rlkit.rlhf.best_of_n_run(sft, reward=reward)["rows"]

All of it is plain data. Scores come from the reward model or function that the run was trained on,
or from the one that is given; the gold reward is added where a built-in task has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.analysis.statistics import standard_error
from rlkit.determinism import prepared_torch
from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.rlhf.data.preferences import demonstrations_of
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import from_arrays
from rlkit.rlhf.evaluation import best_of
from rlkit.rlhf.evaluation.evaluate import evaluate_policy, sequence_log_probs
from rlkit.rlhf.exact import best_of_n
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.exact.answer_key import AnswerKey
from rlkit.rlhf.exact.bayes import Evidence
from rlkit.rlhf.stages.evaluate_reward import evaluate_reward_model
from rlkit.rlhf.stages.loading import Judging, Opened, RunLike, open_policy, opened_run, prompts_of
from rlkit.seeding import SeedStreams

POWERS = (1, 2, 4, 8, 16, 32, 64)


def sample_run(
    run: RunLike,
    *,
    num: int = 8,
    prompts: Sequence[str] = (),
    greedy: bool = False,
    **judging: Any,
) -> list[dict[str, Any]]:
    """Responses of a policy.

    Args:
        run: of a policy.
        num: responses; to each of `prompts` if there are any.
        prompts: texts; the task's own, drawn at random, if left out.
        greedy: take the likeliest token each time.
        judging: fields of `Judging`: `run_seed`, `reward`, `score`, `temperature`, `seed`.

    Returns:
        For each response `prompt`, `response`, `ended` (by EOS, not by the length limit),
        `log_prob` in nats, `reference_log_prob` where the policy has been trained beyond
        fine-tuning, and `scores` by name.
    """
    require_count("num", num, at_least=1)
    options = Judging(**judging)
    with prepared_torch():
        opened = open_policy(run, options)
        rng = generator_of(options)
        return respond(opened, prompts, num, None if greedy else rng, rng)


def respond(
    opened: Opened,
    prompts: Sequence[str],
    num: int,
    action_rng: np.random.Generator | None,
    prompt_rng: np.random.Generator,
    *,
    of_reference: bool = False,
) -> list[dict[str, Any]]:
    """Responses of an opened policy, or of its reference; see `sample_run`."""
    task, model = opened.task, opened.reference if of_reference else opened.policy
    if prompts:
        task, ids = prompts_of(opened, prompts)
        ids = ids.repeat(num, axis=0)
    else:
        ids = np.asarray(task.sample_prompts(prompt_rng, num))
    samples = generate(model, task, ids, action_rng, temperature=opened.temperature)
    sequences = samples.sequences
    log_prob = samples.log_prob.double().sum(1).tolist()
    theirs = sequence_log_probs(opened.reference, sequences, opened.temperature).tolist()
    scores = {name: np.asarray(f(sequences)).tolist() for name, f in opened.scores.items()}
    rows = []
    for i, (prompt, response) in enumerate(
        zip(sequences.prompts.tolist(), sequences.responses.tolist(), strict=True)
    ):
        row: dict[str, Any] = {
            "prompt": opened.codec.decode(prompt),
            "response": opened.codec.decode(response[: int(sequences.lengths[i])]),
            "ended": not bool(samples.truncated[i]),
            "log_prob": log_prob[i],
        }
        if not opened.is_reference:
            row["reference_log_prob"] = theirs[i]
        rows.append(row | {"scores": {name: values[i] for name, values in scores.items()}})
    return rows


def evaluate_run(
    run: RunLike,
    *,
    num_samples: int = 1024,
    demonstrations: str | Path | None = None,
    preferences: str | Path | None = None,
    kl_coef: float | None = None,
    **judging: Any,
) -> dict[str, Any]:
    """Measure a policy against its reference, or a reward model against preferences.

    Args:
        run: of a policy or of a reward model.
        num_samples: responses of policy and of reference, or fresh preferences.
        demonstrations: a file of held-out ones, for a policy of your own texts.
        preferences: a file of held-out pairs or labels, for a reward model of your own texts.
        kl_coef: of the exact objective; None = the one that the policy was trained with.
        judging: as for `sample_run`.

    Returns:
        For a policy all that `evaluate_policy` finds, and `exact` where all responses can be
        listed: KL, rewards, how far the objective is below its optimum, and, in nats,
        `log_evidence`, `elbo` and `posterior_kl`, whose sum the first is (`exact.bayes`); None
        without a kl_coef. For a reward model see `evaluate_reward_model`.
    """
    require_count("num_samples", num_samples, at_least=2)
    options, run = Judging(**judging), opened_run(run)
    with prepared_torch():
        if run.stage == "reward":
            given = {"demonstrations": demonstrations, "reward": options.reward}
            for name, value in {**given, "score": options.score}.items():
                if value is not None:
                    raise UsageError(
                        f"{run.folder} is a reward model, which is judged by preferences; leave "
                        f"out {name} (--{name})"
                    )
            return evaluate_reward_model(
                run, options.run_seed, generator_of(options), num_samples, preferences
            )
        if preferences is not None:
            raise UsageError("preferences judge a reward model; this is a policy's run")
        opened = open_policy(run, options, held_out=demonstrations)
        rng, shown = generator_of(options), None
        if demonstrations is not None:
            shown = from_arrays(*opened.task.demonstrations(), pad=opened.task.pad)
        elif hasattr(opened.task, "gold"):
            shown = demonstrations_of(opened.task, rng, num_samples)
        found = evaluate_policy(
            opened.policy,
            opened.reference,
            opened.task,
            rng,
            scores=opened.scores,
            demonstrations=shown,
            num_samples=num_samples,
            temperature=opened.temperature,
        )
        for comparison in found["scores"].values():
            for who in ("policy", "reference"):
                quantiles = comparison[who]["quantiles"]
                comparison[who]["quantiles"] = {f"{p:g}": v for p, v in quantiles.items()}
        return {
            **_place(opened, "policy"),
            "is_reference": opened.is_reference,
            **found,
            "exact": _exact(opened, kl_coef),
        }


def best_of_n_run(
    run: RunLike,
    *,
    n: Sequence[int] = POWERS,
    num_prompts: int = 256,
    **judging: Any,
) -> dict[str, Any]:
    """What the best of n samples is worth: no training, the reward decides.

    Args:
        run: of the policy that samples.
        n: how many are sampled.
        num_prompts: prompts; each gets the largest n of samples.
        judging: as for `sample_run`.

    Returns:
        `chosen_by`, and `rows` with one entry for each n: `kl_bound`, which the KL divergence from
        the policy never exceeds, `scores` by name with the mean over prompts and its standard
        error, and `exact` with `kl` and scores where all responses can be listed.
    """
    ns = sorted({int(each) for each in n})
    if not ns or ns[0] < 1:
        raise UsageError(f"option n (--n): expected whole numbers >= 1, got {list(n)}")
    require_count("num_prompts", num_prompts, at_least=2)
    options = Judging(**judging)
    with prepared_torch():
        opened = open_policy(run, options)
        if not opened.scores:
            raise UsageError(
                f"nothing says which response is the best: the task {opened.task.name} has no gold "
                "reward; give a reward model (--reward RUN) or a function (--score file.py:name)"
            )
        rng = generator_of(options)
        chosen_by = next(iter(opened.scores))
        prompts = np.asarray(opened.task.sample_prompts(rng, num_prompts))
        best = best_of.best_of_n(
            opened.policy,
            opened.task,
            prompts,
            opened.scores[chosen_by],
            ns[-1],
            rng,
            temperature=opened.temperature,
        )
        values: dict[str, NDArray[np.float64]] = {chosen_by: best.all_scores}
        for name, score in opened.scores.items():
            if name != chosen_by:
                scored = np.asarray(score(best.all_sequences), dtype=np.float64)
                values[name] = scored.reshape(best.all_scores.shape)
        exactly = _exact_best(opened, chosen_by, ns)
    rows = []
    for i, each in enumerate(ns):
        scores = {}
        for name, table in values.items():
            expected = best_of.expected_best(best.all_scores, table, each)
            scores[name] = {
                "mean": float(expected.mean()),
                "standard_error": standard_error(expected),
            }
        bound = float(best_of_n.best_of_n_kl_bound(each))
        rows.append({"n": each, "kl_bound": bound, "scores": scores, "exact": exactly[i]})
    return {
        **_place(opened, "best of n"),
        "num_prompts": num_prompts,
        "chosen_by": chosen_by,
        "rows": rows,
    }


def _exact(opened: Opened, kl_coef: float | None) -> dict[str, Any] | None:
    """The exact values of a policy, and how far its objective is below the optimum."""
    if opened.key is None:
        return None
    key = _at(opened)
    name, config = next(iter(opened.tables)), opened.run.content["config"]
    if kl_coef is None and opened.run.stage == "dpo":
        # Its loss is least at the optimum for the reward that the preferences follow.
        kl_coef = config["beta"] if config["loss"] == "dpo" and name == "gold" else None
    elif kl_coef is None and opened.run.stage != "sft":
        kl_coef = float(opened.run.curve(opened.seed)["kl_coef"][-1])
    coefficient = 0.0 if kl_coef is None else kl_coef
    if not 0 <= coefficient < np.inf:
        raise UsageError(f"option kl_coef (--kl-coef): expected a number >= 0, got {kl_coef}")
    log_prob = key.log_probs(opened.policy)
    values = key.values(log_prob, opened.tables[name], coefficient)
    found: dict[str, Any] = {"maximised": name, "kl": values.kl, "gold": values.gold}
    found["proxy"] = values.proxy
    known = kl_coef is not None
    found |= {
        "kl_coef": kl_coef,
        "objective": values.objective if known else None,
        "gap": values.gap if known else None,
    }
    if coefficient > 0:
        return found | key.evidence(log_prob, opened.tables[name], coefficient)._asdict()
    return found | dict.fromkeys(Evidence._fields)


def _exact_best(opened: Opened, chosen_by: str, ns: Sequence[int]) -> list[dict[str, Any] | None]:
    if opened.key is None:
        return [None] * len(ns)
    log_prob = _at(opened).log_probs(opened.policy)
    rows: list[dict[str, Any] | None] = []
    for n in ns:
        law = best_of_n.best_of_n(log_prob, opened.tables[chosen_by], n)
        row: dict[str, Any] = {"kl": float(exact.kl(law, log_prob).mean())}
        for name, table in opened.tables.items():
            row[name] = float(exact.expectation(law, table).mean())
        rows.append(row)
    return rows


def _at(opened: Opened) -> AnswerKey:
    """The answer key at the temperature of sampling, with gold as it was standardised."""
    assert opened.key is not None
    if opened.temperature == opened.key.temperature:
        return opened.key
    key = AnswerKey(opened.task, opened.reference, temperature=opened.temperature)
    key.gold = opened.key.gold
    return key


def _place(opened: Opened, kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "run": str(opened.run.folder),
        "stage": opened.run.stage,
        "task": opened.run.label,
        "run_seed": opened.seed,
        "temperature": opened.temperature,
    }


def generator_of(options: Judging) -> np.random.Generator:
    """Where the randomness of judging comes from."""
    if isinstance(options.seed, bool) or options.seed < 0:
        raise UsageError(f"option seed (--seed): expected a whole number >= 0, got {options.seed}")
    # No stage draws from this purpose, so nothing here was seen in training.
    return SeedStreams(options.seed, options.run_seed).generator("evaluation")
