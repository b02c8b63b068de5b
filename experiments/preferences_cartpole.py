"""When does optimising a learned reward stop helping on CartPole?

    python -m experiments.preferences_cartpole

The reference is an early policy of PPO, which keeps the pole up for about 160 of 500 steps. Rewards
are learned from few and from many preferences between segments of its episodes. PPO starts from the
reference and maximises each learned reward, less a penalty of the divergence that becomes smaller
and smaller. True return, learned return and divergence of the final exploring policies are means
over episodes, both returns in standard deviations of the reference's episodes, as in the figures
for FrozenLake and for language. Each seed has its own preferences, reward and policies.

Segments are short and the labeller is far from rational: few segments contain a fall, and what a
label says about two segments without one is a coin toss.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rlkit
from experiments.labelled_episodes import FixedPolicy, label, record
from experiments.report import arguments
from rlkit.agent import Transition
from rlkit.agents.networks import NetworkActor
from rlkit.agents.preferences.preference_ppo import PreferencePPOConfig
from rlkit.agents.preferences.reward_model import RewardEnsemble
from rlkit.agents.preferences.segments import Recorder
from rlkit.agents.preferences.store import stacked
from rlkit.analysis.figure import save_figure
from rlkit.analysis.intervals import standard_error
from rlkit.analysis.overoptimisation import seeds_figure
from rlkit.cli.report import show_progress
from rlkit.determinism import prepared_torch
from rlkit.environments.resolve import find_environment
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.tabular.planning.soft import divergence
from rlkit.training.run import Run

Array = NDArray[Any]

ENVIRONMENT = "CartPole-v1"
PREFERENCES = (100, 500, 2_500)
RATIONALITY = 0.1  # a whole segment wins against one that falls at once in 71 of 100
KL_COEFS = (10.0, 3.0, 1.0, 0.3, 0.1)  # in units of the learned reward
REFERENCE_STEPS, STEPS = 12_000, 32_768  # of PPO: for the reference, and for each policy
RECORDED, ENVS, LENGTH = 2_000, 8, 10  # steps of each environment; steps of a segment
EPISODES, LONGEST = 64, 500  # that measure a policy; steps of an episode
# Shorter training than the preset of PPO; as that of preference-ppo, it looks further ahead.
PPO = {"discount": 0.99, "gae_lambda": 0.95, "entropy_coef": 0.0, "num_epochs": 10}


def reference_of(run: Run, streams: Sequence[SeedStreams]) -> FixedPolicy:
    """Return the exploring policy of a run of one seed."""
    actor = run.batch_actor([0], greedy=False)
    assert isinstance(actor, NetworkActor)

    def probabilities(obs: Array) -> Array:
        return np.concatenate([actor.probabilities(own[None]) for own in obs])

    return FixedPolicy(probabilities, streams)


class LearnedReward:
    """The learned reward of each seed; see `rlkit.rewards.SeedRewards`."""

    def __init__(self, ensembles: Sequence[RewardEnsemble]) -> None:
        self._ensembles = ensembles
        content = (x.tobytes() for own in ensembles for x in own.state_dict().values())
        self.identity = hashlib.sha256(b"".join(content)).hexdigest()

    def for_seeds(self, seeds: Sequence[int]) -> Callable[..., Array]:
        own = [self._ensembles[seed] for seed in seeds]

        def reward(obs: Array, actions: Array, *_: Array) -> Array:
            each = (ensemble(obs[[s]], actions[[s]]) for s, ensemble in enumerate(own))
            return np.concatenate(list(each))

        return reward


def learn(recorder: Recorder, streams: Sequence[SeedStreams], count: int) -> LearnedReward:
    """Return the rewards that the seeds learned from `count` preferences each."""
    env = find_environment(ENVIRONMENT, {}).grid(streams, ENVS, kind="auto")
    labelled = label(recorder, streams, count, length=LENGTH, rationality=RATIONALITY)
    ensembles = []
    for stream, own in zip(streams, labelled, strict=True):
        known, options = stacked([own]), PreferencePPOConfig().reward_options
        ensemble = RewardEnsemble(env.observation_space, env.action_space, 1, options)
        ensemble.fit([stream], count, known.pairs, known.preferred)
        ensembles.append(ensemble)
    return LearnedReward(ensembles)


class _Watched:
    """A policy whose probabilities of the latest step are kept."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def act(self, obs: Array) -> Array:
        self.probabilities = self._actor.probabilities(obs)
        actions: Array = self._actor.act(obs)
        return actions

    def learn(self, transition: Transition) -> dict[str, Array]:
        return {}


def play(
    actor: Any, reference: FixedPolicy, reward: LearnedReward, streams: Sequence[SeedStreams]
) -> Array:
    """Return true return, learned return and divergence of episodes, [3, S, EPISODES].

    The divergence of an episode is the sum of KL(policy || reference) of its steps, exact in each.
    """
    env = find_environment(ENVIRONMENT, {}).grid(streams, EPISODES, kind="auto")
    learned = reward.for_seeds([stream.index for stream in streams])
    sums = np.zeros((3, len(streams), EPISODES))
    runs_on = np.ones((len(streams), EPISODES), dtype=np.bool_)  # the first episode of each copy
    watched = _Watched(actor)
    for step, _ in interact(watched, env, LONGEST):
        own, other = watched.probabilities, reference.probabilities(step.obs)
        kl = divergence(own, other)
        for row, value in zip(sums, (step.reward, learned(step.obs, step.action), kl), strict=True):
            row += np.where(runs_on, value, 0.0)
        runs_on &= ~(step.terminated | step.truncated)
        if not runs_on.any():
            break
    return sums


def optimise(
    count: int, recorder: Recorder, run: Run, streams: Sequence[SeedStreams], args: Any
) -> dict[str, Any]:
    """Return returns and divergences of PPO on rewards learned from `count` preferences.

    Each is [penalties, S]; "gold" and "proxy" are in standard deviations of the reference.
    """
    with prepared_torch():
        reward = learn(recorder, streams, count)
        base = play(reference_of(run, streams), reference_of(run, streams), reward, streams)
    rows = []
    for kl_coef in KL_COEFS:
        with show_progress(quiet=False) as reports:
            near = rlkit.train(
                "ppo",
                ENVIRONMENT,
                seeds=len(streams),
                seed=args.seed,
                steps=STEPS,
                reward=reward,
                reference=run,
                init=run,
                kl_coef=kl_coef,
                evaluation_episodes=0,
                workers=args.workers,
                out=args.runs,
                reports=reports,
                **PPO,
            )
        with prepared_torch():
            actor = near.batch_actor(near.seeds, greedy=False)
            rows.append(play(actor, reference_of(run, streams), reward, streams).mean(axis=-1))
    means = np.stack(rows, axis=1)  # [3, penalties, S]
    gold, proxy = ((means[k] - base[k].mean(-1)) / base[k].std(-1) for k in (0, 1))
    of_reference = base[0].mean(axis=-1)
    return {"kl": means[2], "gold": gold, "proxy": proxy, "return": means[0], "of": of_reference}


def table(results: dict[int, dict[str, Any]]) -> str:
    """Return the means over seeds, and their standard errors, as a Markdown table."""
    lines = [
        "| preferences | penalty per nat | KL per episode | learned return, std of the reference "
        "| true return, likewise | true return, steps | seeds worse than the reference |",
        "| --- " * 7 + "|",
    ]
    for count, rows in results.items():
        for k, kl_coef in enumerate(KL_COEFS):
            proxy, gold, steps = (rows[name][k] for name in ("proxy", "gold", "return"))
            cells = [f"{count:,}", f"{kl_coef:g}", f"{rows['kl'][k].mean():.1f}"]
            cells += [f"{x.mean():.2f} ± {standard_error(x):.2f}" for x in (proxy, gold)]
            cells += [f"{steps.mean():.0f} ± {standard_error(steps):.0f}"]
            cells += [f"{(gold < 0).sum()} of {len(gold)}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    question = "When does optimising a learned reward stop helping on CartPole?"
    parser = arguments(question, seeds=8, out="results/preferences")
    parser.add_argument("--seed", type=int, default=1, help="of all but the reference")
    args = parser.parse_args()
    streams = tuple(SeedStreams(args.seed, seed) for seed in range(args.seeds))
    with show_progress(quiet=False) as reports:
        run = rlkit.train(
            "ppo", ENVIRONMENT, seeds=1, steps=REFERENCE_STEPS, out=args.runs, reports=reports
        )
    with prepared_torch():
        recorder = record(reference_of(run, streams), ENVIRONMENT, streams, ENVS, RECORDED)
    results = {count: optimise(count, recorder, run, streams, args) for count in PREFERENCES}
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "cartpole.md").write_text(table(results))
    plain = {
        count: {name: np.round(x, 4).tolist() for name, x in rows.items()}
        for count, rows in results.items()
    }
    content = {"kl_coef": KL_COEFS, "preferences": plain}
    (out / "cartpole.json").write_text(json.dumps(content) + "\n")
    title = f"{ENVIRONMENT}: PPO on learned rewards, mean of {args.seeds} seeds ± standard error"
    panels = {f"{count:,} preferences": rows for count, rows in results.items()}
    save_figure(seeds_figure(panels, title=title), out / "cartpole.png")
    print(table(results))
    print(*(out / name for name in ("cartpole.md", "cartpole.json", "cartpole.png")), sep="\n")


if __name__ == "__main__":
    main()
