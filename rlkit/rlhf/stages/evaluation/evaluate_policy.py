"""Evaluate the run of a policy: its samples, and its measured and exact values.

    rlkit.rlhf.sample_run(ppo, num=4)
    rlkit.rlhf.evaluate_run(ppo)["scores"]["gold"]["win_rate"]

All results are plain data. Scores come from the reward model or function that the run was trained
on, or from the one that is given; the gold reward is added where a built-in task has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.determinism import prepared_torch
from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.rlhf.data.preferences import demonstrations_of
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import Sequences, from_arrays
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.evaluation.evaluate import evaluate_policy, sequence_log_probs
from rlkit.rlhf.exact.bayes import Evidence
from rlkit.rlhf.models.device import placing, require_device
from rlkit.rlhf.stages.evaluation.evaluate_reward import evaluate_reward_model
from rlkit.rlhf.stages.evaluation.loaded_policy import (
    EvaluationSettings,
    LoadedPolicy,
    encode_prompts,
    load_for_evaluation,
    read_settings,
)
from rlkit.rlhf.stages.from_python import Texts, text_file
from rlkit.rlhf.stages.sources import is_trained_on
from rlkit.rlhf.stages.stage_run import RunLike, StageRun, as_run
from rlkit.runs.progress import warn


def sample_run(
    run: RunLike,
    *,
    num: int = 8,
    prompts: str | Sequence[str] = (),
    greedy: bool = False,
    chat_template: bool | None = None,
    **settings: Any,
) -> list[dict[str, Any]]:
    """Sample responses of a policy.

    Args:
        run: of a policy.
        num: number of responses; to each of `prompts` if there are any.
        prompts: a text or several; by default prompts of the task, drawn at random.
        greedy: take the likeliest token each time.
        chat_template: whether each of `prompts` is a message, to be put into the chat template;
            None = where the policy was trained on chats.
        settings: fields of `EvaluationSettings`: `run_seed`, `reward`, `reward_seed`, `score`,
            `temperature` and `seed`.

    Returns:
        For each response `prompt`, `response`, `ended` (by EOS, not by the length limit),
        `log_prob` in nats, `reference_log_prob` if the policy has been trained beyond fine-tuning,
        and `scores` by name.
    """
    require_count("num", num, at_least=1)
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if wrong := [prompt for prompt in prompts if not isinstance(prompt, str)]:
        raise UsageError(f"prompts: expected a text or a list of texts, got {wrong[0]!r:.80}")
    read = read_settings(settings)
    with prepared_torch():
        loaded = load_for_evaluation(run, read)
        rng = read.generator()
        action_rng = None if greedy else rng
        return respond(loaded, prompts, num, action_rng, rng, chat_template=chat_template)


def respond(
    loaded: LoadedPolicy,
    prompts: Sequence[str],
    num: int,
    action_rng: np.random.Generator | None,
    prompt_rng: np.random.Generator,
    *,
    of_reference: bool = False,
    chat_template: bool | None = None,
) -> list[dict[str, Any]]:
    """Sample responses of a loaded policy, or of its reference; see `sample_run`."""
    task, model = loaded.task, loaded.reference if of_reference else loaded.policy
    if prompts:
        task, ids = encode_prompts(loaded, prompts, chat_template)
        ids = ids.repeat(num, axis=0)
    else:
        ids = np.asarray(task.sample_prompts(prompt_rng, num))
    samples = generate(model, task, ids, action_rng, temperature=loaded.temperature)
    sequences = samples.sequences
    log_prob = samples.log_prob.double().sum(1).tolist()
    reference = sequence_log_probs(loaded.reference, sequences, loaded.temperature).tolist()
    scores = {name: np.asarray(f(sequences)).tolist() for name, f in loaded.scores.items()}
    rows = []
    for i, (prompt, response) in enumerate(
        zip(sequences.prompts.tolist(), sequences.responses.tolist(), strict=True)
    ):
        row: dict[str, Any] = {
            "prompt": loaded.codec.decode(prompt),
            "response": loaded.codec.decode(response[: int(sequences.lengths[i])]),
            "ended": not bool(samples.truncated[i]),
            "log_prob": log_prob[i],
        }
        if not loaded.is_reference:
            row["reference_log_prob"] = reference[i]
        rows.append(row | {"scores": {name: values[i] for name, values in scores.items()}})
    return rows


def evaluate_run(
    run: RunLike,
    *,
    num_samples: int = 1024,
    demonstrations: Texts | None = None,
    preferences: Texts | None = None,
    kl_coef: float | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Measure a policy against its reference, or a reward model on preferences.

    Args:
        run: of a policy or of a reward model.
        num_samples: number of responses of policy and of reference, or of fresh preferences.
        demonstrations: a file or rows of held-out ones, for a policy of your own texts.
        preferences: a file or rows of held-out pairs or labels, for a reward model of your own
            texts.
        kl_coef: of the exact objective; None = the one that the policy was trained with.
        settings: as for `sample_run`.

    Returns:
        For a policy everything that `evaluate_policy` returns, and `exact` where all responses can
        be listed: KL, rewards, how far the objective is below its optimum, and, in nats,
        `log_evidence`, `elbo` and `posterior_kl`, the first being the sum of the others
        (`exact.bayes`); None without a kl_coef. For a reward model see `evaluate_reward_model`.
    """
    require_count("num_samples", num_samples, at_least=2)
    read, run = read_settings(settings), as_run(run)
    demonstrations = text_file(demonstrations, "demonstrations", run.folder.parent)
    preferences = text_file(preferences, "preferences", run.folder.parent)
    with prepared_torch():
        if run.stage == "reward":
            _require_no_policy_options(run, demonstrations, read)
            with placing(require_device(read.device)):
                return evaluate_reward_model(
                    run, read.run_seed, read.generator(), num_samples, preferences
                )
        if preferences is not None:
            raise UsageError(
                f"{run.folder} is a policy; preferences evaluate a reward model, so omit "
                "preferences (--preferences)"
            )
        loaded = load_for_evaluation(run, read, held_out=demonstrations)
        rng = read.generator()
        held_out = _demonstrations(loaded, demonstrations, rng, num_samples)
        if demonstrations is not None and is_trained_on(run, "demonstrations", demonstrations):
            warn(
                f"{demonstrations} is what {run.folder.name} was fine-tuned on, so its perplexity "
                "and the overlap with its responses say little of new texts; give a file of others"
            )
        return _evaluate_policy(loaded, held_out, num_samples, kl_coef, rng)


def _evaluate_policy(
    loaded: LoadedPolicy,
    demonstrations: Sequences | None,
    num_samples: int,
    kl_coef: float | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    metrics = evaluate_policy(
        loaded.policy,
        loaded.reference,
        loaded.task,
        rng,
        scores=loaded.scores,
        demonstrations=demonstrations,
        num_samples=num_samples,
        temperature=loaded.temperature,
        decode=loaded.codec.decode if isinstance(loaded.task, TextTask) else None,
    )
    for comparison in metrics["scores"].values():
        for side in ("policy", "reference"):
            quantiles = comparison[side]["quantiles"]
            comparison[side]["quantiles"] = {f"{p:g}": v for p, v in quantiles.items()}
    return {
        **loaded.description("policy"),
        "is_reference": loaded.is_reference,
        **metrics,
        "exact": _exact_values(loaded, kl_coef),
    }


def _require_no_policy_options(
    run: StageRun, demonstrations: str | Path | None, settings: EvaluationSettings
) -> None:
    score = settings.score or None
    options = {"demonstrations": demonstrations, "reward": settings.reward, "score": score}
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"{run.folder} is a reward model, which preferences evaluate; omit {name} "
                f"(--{name})"
            )


def _demonstrations(
    loaded: LoadedPolicy, file: str | Path | None, rng: np.random.Generator, n: int
) -> Sequences | None:
    """Return held-out demonstrations: those of a file, or n drawn from a built-in task."""
    task = loaded.task
    if not isinstance(task, TextTask):
        return demonstrations_of(task, rng, n)
    return None if file is None else from_arrays(*task.demonstrations(), pad=task.pad)


def _exact_values(loaded: LoadedPolicy, kl_coef: float | None) -> dict[str, Any] | None:
    """Return the exact values of a policy, and how far its objective is below the optimum."""
    if loaded.key is None:
        return None
    key = loaded.key_at_temperature()
    name = next(iter(loaded.tables))
    if kl_coef is None:
        kl_coef = _trained_kl_coef(loaded, name)
    if kl_coef is not None and not 0 <= kl_coef < np.inf:
        raise UsageError(f"option kl_coef (--kl-coef): expected a number >= 0, got {kl_coef}")
    is_known = kl_coef is not None
    log_prob = key.log_probs(loaded.policy)
    values = key.values(log_prob, loaded.tables[name], kl_coef or 0.0)
    evidence: dict[str, Any] = dict.fromkeys(Evidence._fields)
    if kl_coef:
        evidence = key.evidence(log_prob, loaded.tables[name], kl_coef)._asdict()
    return {
        "maximised": name,
        "kl": values.kl,
        "gold": values.gold,
        "proxy": values.proxy,
        "kl_coef": kl_coef,
        "objective": values.objective if is_known else None,
        "gap": values.gap if is_known else None,
        **evidence,
    }


def _trained_kl_coef(loaded: LoadedPolicy, maximised: str) -> float | None:
    """Return the KL coefficient at the end of training, for the score that was maximised."""
    if loaded.run.stage == "sft":
        return None
    if loaded.run.stage == "dpo":
        config = loaded.run.content["config"]
        # Its loss is least at the optimum for the reward that the preferences follow.
        return config["beta"] if config["loss"] == "dpo" and maximised == "gold" else None
    return float(loaded.run.curve(loaded.seed)["kl_coef"][-1])
