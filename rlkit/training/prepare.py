"""Checks made before a run is trained, and the request that results from them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlkit.agent import AgentTraits, Transition
from rlkit.agents import AGENTS, find_agent
from rlkit.environments.environment import Environment
from rlkit.environments.repeatability import GlobalGenerators
from rlkit.errors import RlkitError, UsageError
from rlkit.fingerprint import settle
from rlkit.loop import interact
from rlkit.nn.reference import UNIFORM
from rlkit.rewards import try_reward
from rlkit.runs.execution import RunRequest, require_continuable
from rlkit.runs.identity import versions
from rlkit.runs.record import RECORD, read_record
from rlkit.seeding import SeedStreams
from rlkit.tabular.memory import available_bytes
from rlkit.tabular.reading.wrappers import TRANSPARENT
from rlkit.training.cloning.origins import with_start_and_demonstrations
from rlkit.training.kind import AGENT_RUN
from rlkit.training.seed_trainer import Training
from rlkit.training.specification import RunSpec
from rlkit.training.watching.rules import HINT

SEED_BYTES = 20_000  # of the streams, environments and files of one seed, measured
TRIED_STEPS = 3  # with which a user's reward function is called before training
CHECKED_STEPS = 32  # of a user's agent, to check that its random streams determine it


@dataclass(frozen=True)
class Prepared:
    """A run that can be trained: every check that needs no training has passed."""

    spec: RunSpec
    environment: Environment
    folder: Path
    request: RunRequest

    def settle(self) -> None:
        """Accept what running the user's code changed in its own globals: the user did not."""
        self.environment.settle()
        if self.spec.agent_source is not None:
            settle(self.spec.agent, self.spec.agent_source)
        if self.spec.own_reward is not None:
            self.spec.own_reward.settle()


def prepare(
    spec: RunSpec,
    num_seeds: int,
    out: Path,
    *,
    environment: Environment | None = None,
    allow_drift: bool = False,
) -> Prepared:
    """Find the environment and the folder of a run, and make all early checks.

    Nothing is trained or written.

    Raises:
        UsageError: the agent cannot be used in the environment, or the run in the folder cannot be
            continued.
    """
    out = Path(os.path.abspath(out))  # an environment may change the working directory
    if environment is None:
        environment = spec.resolve_safely()
    environment = environment.seen_as(spec.view)
    spec, origin = _with_reference(spec, environment)
    spec, more = with_start_and_demonstrations(spec, environment)
    unidentified = spec.unidentified(environment)
    _require_own_reward_used(spec)
    remarks = [*origin, *more, *_require_fit(spec, environment, num_seeds)]
    caveats = _irreproducible(spec, environment)
    if environment.make_grid is not None and not environment.is_batched:
        reason = (
            "the run uses action masks" if spec.action_masks else environment.reason_against_vector
        )
        if reason is not None:
            remarks.append(
                f"{environment.name} is a vector environment whose copies are stepped one by one, "
                f"because {reason}; the results are the same"
            )
    if all(layer in TRANSPARENT for layer in environment.probe.layers[:-1]):
        # Under other wrappers the table is not expected to hold; `solve` reports why it does not.
        remarks += [environment.model.problem] if environment.model.problem else []
    if unidentified:
        remarks.append(
            f"rlkit cannot identify {'; '.join(unidentified)}, so this run gets a new folder, "
            "which is never reused or continued. To make the run resumable, pass it as env_args "
            "(numbers, text), or name the environment by file.py:Class or module:Class"
        )
    folder = _folder(spec, environment, out)
    request = RunRequest(
        kind=AGENT_RUN,
        name=spec.agent_name,
        task=environment.name,
        identity=spec.identity(environment),
        sources=_sources(spec, environment),
        names={"agent_reference": spec.agent_reference} if spec.agent_reference else {},
        target=spec.num_env_steps,
        versions={**environment.source.packages, **versions()},
        work=Training(spec, environment),
        worker_imports=_worker_imports(spec),
        caveats=caveats,
        notes=remarks,
        reproducible=not caveats,
        resumable=not unidentified,
        stoppers={} if spec.stop is None else dict.fromkeys(spec.stop.names, HINT),
    )
    if (folder / RECORD).exists():
        record = read_record(folder, AGENT_RUN)
        if record["num_env_steps"] < spec.num_env_steps or record["num_seeds"] < num_seeds:
            require_continuable(request, folder, record, allow_drift=allow_drift)
    prepared = Prepared(spec, environment, folder, request)
    prepared.settle()  # the checks built copies of the environment
    return prepared


def _worker_imports(spec: RunSpec) -> tuple[str, ...]:
    """Return the modules of the agent that take long to import."""
    if isinstance(spec.agent, str):
        return (AGENTS[spec.agent][0],)
    return ("torch",) if "torch" in sys.modules else ()


def _irreproducible(spec: RunSpec, environment: Environment) -> list[str]:
    """Return why the run will not be reproducible, a sentence for each reason that was found.

    Raises:
        UsageError: the user's own reward cannot be computed.
    """
    kind = spec.stepped_as(environment)
    problems = [
        None if kind in ("native", "tabular") else environment.repeatability.problem,
        check_agent(spec, environment),
    ]
    if spec.own_reward is not None:
        tried: list[Transition] = []
        with contextlib.suppress(Exception):  # training raises the same
            tried = _transitions(spec, environment, kind, TRIED_STEPS)
        problems.append(try_reward(spec.own_reward, environment, tried))
    return [problem for problem in problems if problem is not None]


def _sources(spec: RunSpec, environment: Environment) -> dict[str, str]:
    own = {} if spec.agent_source is None else spec.agent_source.files
    rewards = {} if spec.own_reward is None else spec.own_reward.source.files
    return {**environment.source.files, **own, **rewards}


def _folder(spec: RunSpec, environment: Environment, out: Path) -> Path:
    """Return the folder of a run: that of an older format if it already has results."""
    folder = out / spec.folder_name(environment)
    old = None if spec.unidentified(environment) else spec.old_folder_name(environment)
    if old is not None and not folder.exists() and (out / old / RECORD).exists():
        return out / old
    return folder


def _require_fit(spec: RunSpec, environment: Environment, num_seeds: int) -> list[str]:
    """Build the agent for one seed, before anything is written; return its remarks."""
    available = available_bytes()
    if available is not None and num_seeds * SEED_BYTES > available:
        raise UsageError(
            f"{num_seeds:,} seeds need about {num_seeds * SEED_BYTES / 1e9:,.2g} GB of memory "
            f"whatever the agent, and {available / 1e9:,.2g} GB are available; use fewer"
        )
    streams = (SeedStreams(spec.experiment_seed, 0),)
    masks = _require_masks(spec, environment)
    task = spec.task(environment, streams, environment.mdp)
    try:
        spec.build_agent(dataclasses.replace(task, planned_seeds=num_seeds))
    except MemoryError as error:
        raise UsageError(
            f"building {spec.agent_name} for {environment.name}: its arrays do not fit into memory "
            f"({error}); choose smaller options, or another agent"
        ) from error
    except UsageError as error:
        if environment.model.problem is None or "transition table" not in str(error):
            raise
        raise UsageError(
            f"{spec.agent_name} plans with the model of the environment, and "
            f"{environment.model.problem}. Use q-learning, which needs none."
        ) from error
    return [*spec.traits.remarks(task, spec.config), *masks]


def _with_reference(spec: RunSpec, environment: Environment) -> tuple[RunSpec, list[str]]:
    """Return the specification with the policy of its reference, and a sentence on its origin."""
    penalised = getattr(spec.config, "kl_coef", None) is not None
    if spec.reference is None:
        if penalised:
            raise UsageError(
                f"option kl_coef (--kl-coef) = {spec.config.kl_coef}: the divergence is from a "
                "reference; give one, as --reference runs/ppo-... or --reference uniform"
            )
        return spec, []
    if not spec.traits.takes_reference:
        able = [name for name in AGENTS if AgentTraits.of(find_agent(name)).takes_reference]
        raise UsageError(
            f"option reference (--reference): {spec.agent_name} takes none; of the agents of rlkit "
            f"{', '.join(able)} do"
        )
    if not penalised:
        raise UsageError(
            f"option reference (--reference) = {spec.reference}: give the penalty of a nat of "
            "divergence, in units of reward, as --kl-coef 0.1; 0 only measures it"
        )
    if not isinstance(spec.reference, str):
        return spec, []
    from rlkit.training.playing.reference_run import load_reference  # imports torch

    place, seed = spec.reference, spec.reference_seed
    policy = load_reference(place, seed, environment, spec.agent_name)
    origin = [] if place == UNIFORM else [f"the reference is the policy of seed {seed} of {place}"]
    return dataclasses.replace(spec, reference=policy), origin


def _require_own_reward_used(spec: RunSpec) -> None:
    """Reject a reward of the user's own for an agent that cannot learn from it."""
    if spec.own_reward is not None and spec.traits.knows_rewards:
        raise UsageError(
            f"option reward (--reward): {spec.agent_name} reads the rewards off the model of the "
            "environment, so it cannot learn from others; use q-learning, or change the environment"
        )


def _require_masks(spec: RunSpec, environment: Environment) -> list[str]:
    """Require what action masks need, if they are used; return a remark if they could be."""
    offered, taken = environment.probe.offers_masks, spec.traits.takes_action_masks
    if not spec.action_masks:
        if not (offered and taken):
            return []
        return [
            f"{environment.reference} offers action masks, which this run does not use; with "
            f"--action-masks (action_masks=True) {spec.agent_name} chooses among the allowed "
            "actions only"
        ]
    if not offered:
        method = (
            ", which is where an environment that steps many copies at once has them; methods of "
            "its copies are not called"
            if environment.make_grid is not None
            else ", and it has no method action_masks()"
        )
        raise UsageError(
            f"option action_masks (--action-masks): {environment.reference} offers none: its reset "
            f'returns no info["action_mask"]{method}. Omit the option'
        )
    if not taken:
        able = [name for name in AGENTS if AgentTraits.of(find_agent(name)).takes_action_masks]
        raise UsageError(
            f"option action_masks (--action-masks): {spec.agent_name} takes none; of the agents of "
            f"rlkit {', '.join(able)} do"
        )
    return []


def check_agent(spec: RunSpec, environment: Environment) -> str | None:
    """Run two identical agents for the same steps; return a difference as one sentence.

    Agents of rlkit are covered by its tests. An agent that raises is skipped here, because training
    reports where, and so is an agent in an environment that is not repeatable itself.
    """
    kind = spec.stepped_as(environment)
    if isinstance(spec.agent, str) or (kind == "gymnasium" and environment.repeatability.problem):
        return None
    generators = GlobalGenerators()
    try:
        first, again = (
            [step.action for step in _transitions(spec, environment, kind, CHECKED_STEPS)]
            for _ in range(2)
        )
    except RlkitError:
        return None
    except Exception:  # the user's code; training raises the same
        return None
    moved = " and ".join(sorted(generators.moved()))
    advice = (
        "Draw from task.streams, as in task.streams[s].generator('action'); the run is not "
        "reproducible"
    )
    for step, (a, b) in enumerate(zip(first, again, strict=True), start=1):
        if a.tobytes() != b.tobytes():
            source = f" It draws from the global generator of {moved}." if moved else ""
            return (
                f"{spec.agent_name} is not determined by its random streams: with the same ones it "
                f"chose other actions at step {step} when the same steps were repeated.{source} "
                f"{advice}"
            )
    if moved and kind != "gymnasium":  # a twin or a table uses none of them
        return f"{spec.agent_name} draws from the global generator of {moved}. {advice}"
    return None


def _transitions(
    spec: RunSpec, environment: Environment, kind: str, num_steps: int
) -> list[Transition]:
    """Return the first transitions of seed 0."""
    streams = (SeedStreams(spec.experiment_seed, 0),)
    env = environment.grid(streams, spec.num_envs, kind=kind)
    try:
        agent = spec.build_agent(spec.task(env, streams, environment.mdp))
        steps = interact(agent, env, num_steps)
        return [Transition(*map(np.array, transition)) for transition, _ in steps]
    finally:
        with contextlib.suppress(Exception):
            env.close()
