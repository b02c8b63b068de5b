"""The kinds of findings: their severity, cause and cure, by code."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """What all findings of one code have in common."""

    severity: str
    cause: str
    cure: str


_SEED = (
    "Call super().reset(seed=seed) first in reset and draw all random numbers from self.np_random."
)
_API = "See gymnasium.Env: reset returns (observation, info), step returns (observation, reward, "
_API += "terminated, truncated, info)."

ERRORS = {
    # --- it cannot be played ---
    "constructor-raises": (
        "The class or function that makes the environment raised an exception.",
        "Fix the constructor, or pass the arguments that it needs: --env-arg name=value "
        "(env_args={...} in Python).",
    ),
    "not-an-environment": (
        "The function returned something other than a gymnasium.Env.",
        "Return the environment from the function, and let its class derive from gymnasium.Env.",
    ),
    "space-missing": (
        "observation_space or action_space is not set by the constructor, or is not a space.",
        "Set both in the constructor, before the first reset.",
    ),
    "space-unsupported": (
        "No agent of rlkit can use this kind of space.",
        "Wrap the environment as the message says, and name a function that returns the result.",
    ),
    "running-statistics": (
        "A wrapper keeps statistics that outlive an episode, so each copy scales differently.",
        "Remove the wrapper; ppo has --normalise-observations and --scale-rewards.",
    ),
    "reset-signature": (
        "reset does not accept the keyword seed, as environments of the old Gym did not.",
        "Define reset(self, *, seed=None, options=None) and call super().reset(seed=seed).",
    ),
    "reset-raises": ("reset raised an exception.", "Fix reset at the place that is named."),
    "reset-without-seed": (
        "reset() raised an exception, while reset(seed=0) did not: it needs a seed.",
        "Let seed be None by default, and call super().reset(seed=seed).",
    ),
    "reset-result": ("reset returns something other than a pair.", _API),
    "step-raises": ("step raised an exception.", "Fix step at the place that is named."),
    "step-result": (
        "step returns something other than five values; the old Gym had four.",
        _API,
    ),
    "unreadable": (
        "What reset or step returns, or an attribute, raises an exception when it is read: a torch "
        "tensor that has a gradient or is on a GPU, a property, an object of its own.",
        "Return NumPy arrays, numbers and booleans (of a tensor, tensor.detach().cpu().numpy()); "
        "raise AttributeError for what is not there.",
    ),
    "hangs": (
        "A call waits for something that never comes, or loops without end.",
        "Fix the call that is named, or raise --env-timeout if it needs more time.",
    ),
    "ends-process": (
        "Code of the environment ended its process: a crash of compiled code, exit, or a lack of "
        "memory.",
        "Fix it. Until then --env-workers 1 limits the damage to one seed.",
    ),
    "too-slow": (
        "Constructor, reset or step take so long that little could be tried.",
        "Make them faster, or look at a smaller version of the environment; more --seconds help.",
    ),
    "info-type": (
        "The info of reset or step is not a dictionary.",
        "Return {} where there is none.",
    ),
    "reward-type": (
        "The reward is not a number.",
        "Return a float; from an array of one entry, float(reward[0]).",
    ),
    "flag-type": (
        "terminated or truncated is neither a bool nor an integer.",
        "Return bool(...) for each of them.",
    ),
    "observation-invalid": (
        "The observation does not fit observation_space: another shape, type or number.",
        "Make the space describe what reset and step return, or the reverse.",
    ),
    "observation-not-finite": (
        "The observation has NaN or infinity: a division by zero, an overflow, a diverged "
        "simulation.",
        "Find the first such step (it is named), and end the episode before it comes to that.",
    ),
    "reward-not-finite": (
        "The reward is NaN or infinite: a division by zero, a logarithm of zero, an overflow.",
        "Bound what the reward is computed from.",
    ),
    "mask-invalid": (
        "The action mask has another shape or type than the actions, or allows none.",
        "Give one boolean per action, at least one of them True, in info['action_mask'].",
    ),
    # --- it is not what it seems ---
    "copies-are-one": (
        "The function returns the same environment each time, or copies that share a part.",
        "Make a new environment in every call.",
    ),
    "spaces-differ": (
        "The constructor chooses the spaces at random, or reset changes them.",
        "Fix the spaces in the constructor; pass sizes as arguments.",
    ),
    "reset-ignores-seed": (
        "The first observation depends on something other than the seed: an unseeded generator, "
        "the clock, a counter of episodes.",
        _SEED,
    ),
    "step-ignores-seed": (
        "Steps depend on something other than the seed and the actions: an unseeded generator, "
        "the clock, a device.",
        _SEED,
    ),
    "leaks-between-episodes": (
        "Something outlives an episode: a list that reset does not empty, a counter of episodes, "
        "running statistics, a curriculum.",
        "Set everything that an episode changes in reset.",
    ),
    "copies-differ": (
        "The constructor draws something at random, such as a map, so each copy is another "
        "environment.",
        "Draw it in reset from self.np_random, or pass it as an argument.",
    ),
    "copies-disturb-each-other": (
        "Copies share an object: a class attribute, a default argument, a global variable or "
        "generator.",
        "Keep everything that changes in attributes that the constructor or reset makes.",
    ),
    "processes-differ": (
        "Something depends on the process: the order of a set, hash() of text, an id, a file that "
        "is written.",
        "Sort sets before iterating over them, and use hashlib in place of hash().",
    ),
    "step-calls-reset": (
        "step starts the next episode itself when one ends, so the last observation is lost.",
        "Return the last observation; whoever calls step calls reset.",
    ),
    "table-not-followed": (
        "The attribute P describes transitions, and step makes other ones.",
        "Correct the table or step, or set P = None so that nothing relies on it.",
    ),
    "training-fails": (
        "The environment failed in training, although it did not with random actions before.",
        "Fix what the message names.",
    ),
    "gymnasium-checker": (
        "Gymnasium's own checker (gymnasium.utils.env_checker.check_env) rejects the environment.",
        "Do what its message says.",
    ),
}

WARNINGS = {
    "close-raises": ("close raised an exception.", "Fix close; it may be called more than once."),
    "observation-type": (
        "The observation is a list, a number or another type than its space holds.",
        "Return np.array(..., dtype=self.observation_space.dtype).",
    ),
    "observation-dtype": (
        "The observation has another type of numbers than its space, and is converted each time.",
        "Return observation.astype(self.observation_space.dtype), or give the space its type.",
    ),
    "observation-outside-space": (
        "The bounds of observation_space are too narrow, or the observation is not clipped.",
        "Widen the bounds to what can happen; agents and wrappers may rely on them.",
    ),
    "arrays-change-later": (
        "step returns its own array and changes it in place afterwards.",
        "Return self.state.copy(), so that what was stored stays as it was.",
    ),
    "action-modified": (
        "step changes the array that it was given.",
        "Copy the action before changing it: action = np.array(action).",
    ),
    "global-generator": (
        "Random numbers come from a generator that everything in the process shares.",
        _SEED,
    ),
    "reset-repeats": (
        "reset() without a seed seeds the generator again, with a constant.",
        "Pass seed=None on to super().reset(seed=seed), which then leaves the generator alone.",
    ),
    "unseeded-copies-alike": (
        "The constructor seeds the generator with a constant.",
        "Leave it unseeded until reset(seed=...) is called.",
    ),
    "reset-forgets-seed": (
        "reset() without a seed makes a new generator, so the episodes after a seeded one cannot "
        "be repeated.",
        "Pass seed=None on to super().reset(seed=seed), which then leaves the generator alone.",
    ),
    "observation-constant": (
        "The observation does not depend on what happens.",
        "Check that step updates what it returns. If the task has a single state, this is right.",
    ),
    "observation-badly-scaled": (
        "Networks learn badly from numbers whose scales are very large or very different.",
        "Use --normalise-observations, or divide each number by its typical size.",
    ),
    "reward-always-zero": (
        "Random actions never reach a reward, or there is none.",
        "Check that the goal can be reached; reward progress, start nearer to the goal, or make "
        "episodes longer.",
    ),
    "return-never-varies": (
        "Random actions never make a difference to the return: the goal is too far, or the reward "
        "does not depend on the actions.",
        "Check that the goal can be reached; reward progress, start nearer to the goal, or make "
        "episodes longer.",
    ),
    "reward-sparse": (
        "Random actions reach a reward rarely, so there is little to learn from at first.",
        "Train for more steps and explore longer, or reward progress on the way.",
    ),
    "reward-large": (
        "Rewards are far from 1, and value networks learn numbers near 1 best.",
        "Use --scale-rewards with ppo, or divide the reward by its typical size.",
    ),
    "reward-tiny": (
        "Rewards are far below 1, so that errors of value networks hide them.",
        "Use --scale-rewards with ppo, or multiply the reward.",
    ),
    "never-ends": (
        "Nothing ends the episodes, and there is no time limit.",
        "Wrap it: gymnasium.wrappers.TimeLimit(env, max_episode_steps=...).",
    ),
    "time-limit-as-termination": (
        "A time limit is reported as terminated. Agents then take the future after it to be worth "
        "nothing.",
        "Return terminated=False and truncated=True at the limit, or use "
        "gymnasium.wrappers.TimeLimit. If the task is over after exactly so many steps, and the "
        "observation shows the time, this is right.",
    ),
    "action-without-effect": (
        "step does not use the action, or not this part of it.",
        "Check that step reads it. Remove a part that is not needed.",
    ),
    "action-clipped": (
        "step clips actions more narrowly than the space says.",
        "Give the action space the bounds that step uses.",
    ),
    "action-range": (
        "Actions have bounds far from 1, and policies start with a standard deviation near 1.",
        "Use --rescale-actions, or --initial-std.",
    ),
    "info-huge": (
        "info holds large arrays or ever more entries, which are copied at every step.",
        "Return only small things in info.",
    ),
    "changes-process": (
        "The environment changes settings that belong to the whole process.",
        "Leave them as they are, or restore them before step returns.",
    ),
    "slow-steps": (
        "A step computes for long, so the environment and not the agent decides how long a run "
        "takes.",
        "Let other processes step it: --env-workers, as in the command below.",
    ),
    "slow-resets": (
        "Most of the time goes into resets.",
        "Keep what does not change from episode to episode, and build it in the constructor.",
    ),
    "not-learned": (
        "The time was too short, the reward too rare, or the observation does not show what "
        "matters.",
        "Train longer with the command below, and look at the warnings above first.",
    ),
}

NOTES = {
    "only-length-varies": (
        "Each episode earns the same when it ends, so that only discounting makes shorter ones "
        "better.",
        "Nothing for agents with a discount below 1. A small cost of each step shows in returns, "
        "too.",
    ),
    "no-choice": (
        "The action space has one action, so that there are values to learn but no policy.",
        "Nothing, if that is intended, as for a random walk.",
    ),
    "gymnasium-advice": (
        "Gymnasium's own checker remarks on it.",
        "Follow it where it fits; nothing is wrong otherwise.",
    ),
    "seed-without-effect": (
        "The environment has no randomness, or ignores the seed altogether.",
        "Nothing, if that is intended. Otherwise draw from self.np_random in reset.",
    ),
    "observation-unbounded": (
        "observation_space has no bounds for some numbers.",
        "Nothing for networks; agents with tables need --bin-low and --bin-high there.",
    ),
    "observation-part-constant": (
        "Some numbers of the observation never changed.",
        "Nothing, if random actions do not reach them. Otherwise remove or fix them.",
    ),
    "no-time-limit": (
        "An episode may be endless under some policies, and evaluation must stop it somewhere.",
        "Wrap it: gymnasium.wrappers.TimeLimit(env, max_episode_steps=...).",
    ),
    "actions-unbounded": (
        "The action space has no bounds for some numbers.",
        "Give it the bounds that make sense, or choose --initial-std.",
    ),
    "actions-alike": (
        "Two actions do the same, or differ only where random actions rarely lead.",
        "Remove one of them if they are the same.",
    ),
    "step-after-end": (
        "A step after the end of an episode is answered as if the episode continued.",
        "Nothing for rlkit, which never does that; raise an error to help others.",
    ),
    "cannot-be-sent": (
        "Other processes cannot import what makes the environment: a lambda, or something defined "
        "in a function, a notebook or the main program.",
        "Define it at the top level of a file or module, for --workers and --env-workers.",
    ),
    "known-model": (
        "All transitions are known.",
        "Run `rlkit solve` for the exact optimum; runs are compared with it.",
    ),
    "offers-masks": (
        "The environment says which actions are allowed.",
        "Use --action-masks, so that the agent chooses among these only.",
    ),
    "prints": (
        "The environment writes to the standard output, which costs time and floods the terminal.",
        "Remove the print, or log it at a level that is off by default.",
    ),
}

KINDS: dict[str, Kind] = {
    code: Kind(severity, *text)
    for severity, kinds in (("error", ERRORS), ("warning", WARNINGS), ("note", NOTES))
    for code, text in kinds.items()
}
