"""The policy of a run as the reference of another."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agents.heads import make_head
from rlkit.agents.reference.policy import policy_of, probabilities_of, require_fit
from rlkit.environments.environment import Environment
from rlkit.environments.probe import told_apart
from rlkit.environments.views.view import View
from rlkit.errors import RlkitError, UsageError
from rlkit.nn.reference import UNIFORM, ReferencePolicy
from rlkit.runs.latest import named_folder
from rlkit.tabular.mdp import TabularMDP
from rlkit.training.playing.environment import stored_view
from rlkit.training.run import Run

Array = NDArray[Any]


def load_reference(place: str, seed: int, environment: Environment, name: str) -> ReferencePolicy:
    """Return the exploring policy that a seed of a run ended with.

    Args:
        place: the folder of the run, or "uniform" for actions that are all equally likely.
        seed: whose policy it is.
        environment: what another agent is to be trained in, as that agent sees it.
        name: of the other agent, for messages.

    Raises:
        UsageError: it is no finished run, or does not act in such an environment.
    """
    if place == UNIFORM:
        policy = ReferencePolicy("uniform")
    else:
        policy = policy_of_run(place, seed, environment, name)
    head = make_head(environment.action_space)
    require_fit(policy, environment.observation_space, environment.action_space, head)
    return policy


def reference_probabilities(place: str, environment: Environment, mdp: TabularMDP) -> Array:
    """Return the probabilities of seed 0 of a run in the states of its environment's model.

    Raises:
        UsageError: as `load_reference`, or the run acts on something other than those states.
    """
    states, actions = environment.observation_space, environment.action_space
    if (
        not isinstance(states, spaces.Discrete)
        or not isinstance(actions, spaces.Discrete)
        or (states.n, actions.n) != (mdp.num_states, mdp.num_actions)
    ):
        raise UsageError(
            f"reference {place}: the model of {environment.reference} has {mdp.num_states} states "
            f"and {mdp.num_actions} actions, and its agents see {states} and {actions}; give "
            "uniform, or in Python an array of probabilities"
        )
    policy = load_reference(place, 0, environment, "the optimum")
    return probabilities_of(policy, states, actions)


def policy_of_run(
    place: str, seed: int, environment: Environment, name: str, option: str = "reference"
) -> ReferencePolicy:
    """Return the exploring policy that a seed of a run ended with, as plain arrays.

    Args, raises: as `load_reference`; `option` names the run, for messages.
    """
    run, seen = acting_run(place, seed, environment, name, option, f"{option}_seed")
    actor = run.batch_actor([seed], greedy=False)
    return policy_of(actor, seen.observation_space, seen.action_space, place, option)


def acting_run(
    place: str, seed: int, environment: Environment, name: str, option: str, seed_option: str
) -> tuple[Run, Environment]:
    """Return a run whose policy can act in the environment of another agent.

    Args:
        place: its folder.
        seed: of its policy.
        environment: of the other agent, as that agent sees it.
        name: of the other agent, for messages.
        option: that named the run, for messages.
        seed_option: that named the seed.

    Returns:
        the run, opened in that environment as its own agent sees it, and that environment.

    Raises:
        UsageError: it is no finished run, or does not act in such an environment.
    """
    what = f"option {option} (--{option}) = {place}"
    try:
        folder = named_folder(place, "agent")
        run = Run(folder)
    except RlkitError as error:
        others = {"reference": ", or uniform", "init": ", or orthogonal or xavier"}.get(option, "")
        raise UsageError(
            f"{what}: {error}; give the folder of a run of rlkit train{others}"
        ) from error
    if seed not in run.seeds:
        raise UsageError(
            f"option {seed_option} (--{seed_option.replace('_', '-')}) = {seed}: {folder} has the "
            f"seeds 0 to {len(run.seeds) - 1}"
        )
    if seed in run.unfinished:
        raise UsageError(
            f"{what}: its seed {seed} was trained for {run.unfinished[seed]:,} of "
            f"{run.num_env_steps:,} environment steps ({run.status}); train it to the end first"
        )
    numbered = run.spec.traits.needs_discrete_actions
    seen = environment.seen_as(stored_view(run.record, numbered))
    _require_same_spaces(run, seen, environment, what, name)
    # Its own environment is not opened: that of the other agent has the same spaces.
    return Run(folder, environment=seen), seen


def _require_same_spaces(
    run: Run, seen: Environment, environment: Environment, what: str, name: str
) -> None:
    """Require that a run acts on the observations and with the actions of another agent."""
    trained, now = run.record.get("environment_details"), environment.probe.details
    for part in ("observation_space", "action_space"):
        if trained is not None and trained[part] != now[part]:
            before, after = told_apart(trained[part], now[part])
            raise UsageError(
                f"{what}: it was trained with the {part.replace('_', ' ')} {before}, but "
                f"{environment.reference} has {after}"
            )
    own, other = (View(**{**vars(e.view), "action_masks": False}) for e in (seen, environment))
    if (own.binning, own.rescaled_actions) != (other.binning, other.rescaled_actions):
        raise UsageError(
            f"{what}: it was trained with {_described(own)}, and {name} is to be trained with "
            f"{_described(other)}; use the same options of bins and rescale_actions"
        )
    if seen.action_space != environment.action_space:
        raise UsageError(
            f"{what}: {run.agent} numbers the combinations of actions, as {seen.action_space}, and "
            f"{name} chooses their parts; use a run of ppo or reinforce"
        )


def _described(view: View) -> str:
    rescaled = "" if view.rescaled_actions else "out"
    return f"{view.binning or 'no bins'} and with{rescaled} rescale_actions"
