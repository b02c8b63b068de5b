"""The agents, one file per algorithm, and how to find each by name.

An agent is imported when it is first asked for, so that listing them is quick.
"""

from __future__ import annotations

import importlib

from rlkit.agent import ConfiguredAgent
from rlkit.errors import UsageError
from rlkit.spelling import closest

# name -> (module, class, a few words on it)
AGENTS: dict[str, tuple[str, str, str]] = {
    "value-iteration": (
        "rlkit.agents.tabular.value_iteration",
        "ValueIteration",
        "plans with the model of a finite MDP",
    ),
    "q-learning": (
        "rlkit.agents.tabular.q_learning",
        "QLearning",
        "learns a table of action values",
    ),
    "sarsa": (
        "rlkit.agents.tabular.sarsa",
        "Sarsa",
        "learns the action values of its exploring policy",
    ),
    "expected-sarsa": (
        "rlkit.agents.tabular.sarsa",
        "ExpectedSarsa",
        "Sarsa with the mean over the next action",
    ),
    "double-q-learning": (
        "rlkit.agents.tabular.double_q_learning",
        "DoubleQLearning",
        "Q-learning without its bias, on two tables",
    ),
    "n-step-sarsa": (
        "rlkit.agents.tabular.n_step_sarsa",
        "NStepSarsa",
        "Sarsa with returns of n rewards",
    ),
    "monte-carlo": (
        "rlkit.agents.tabular.monte_carlo",
        "MonteCarlo",
        "averages the returns of whole episodes",
    ),
    "dyna-q": (
        "rlkit.agents.tabular.dyna_q",
        "DynaQ",
        "Q-learning that also plans with a learned model",
    ),
    "psrl": (
        "rlkit.agents.tabular.psrl",
        "PSRL",
        "plans in models sampled from its posterior",
    ),
    "thompson": (
        "rlkit.agents.tabular.thompson",
        "Thompson",
        "samples arms from the posterior of a bandit",
    ),
    "ucb": ("rlkit.agents.tabular.ucb", "UCB", "upper confidence bounds for bandits, UCB1"),
    "lspi": ("rlkit.agents.linear.lspi", "LSPI", "least-squares policy iteration"),
    "reinforce": ("rlkit.agents.reinforce", "Reinforce", "Monte-Carlo policy gradient"),
    "ppo": ("rlkit.agents.ppo", "PPO", "proximal policy optimisation, clipped"),
    "preference-ppo": (
        "rlkit.agents.preferences.preference_ppo",
        "PreferencePPO",
        "PPO on a reward learned from preferences",
    ),
    "behaviour-cloning": (
        "rlkit.agents.cloning.behaviour_cloning",
        "BehaviourCloning",
        "imitates demonstrations",
    ),
    "random": ("rlkit.agents.random", "Random", "acts at random"),
}

# Other names of the same methods, in lower case with hyphens.
_ALSO_CALLED = {
    "vi": "value-iteration",
    "planning": "value-iteration",
    "ql": "q-learning",
    "tabular-q": "q-learning",
    "tabular-q-learning": "q-learning",
    "watkins": "q-learning",
    "q-lambda": "q-learning",
    "sarsa-lambda": "sarsa",
    "sarsa(lambda)": "sarsa",
    "sarsa-0": "sarsa",
    "expectedsarsa": "expected-sarsa",
    "double-q": "double-q-learning",
    "dql": "double-q-learning",
    "n-step": "n-step-sarsa",
    "n-step-td": "n-step-sarsa",
    "nstep-sarsa": "n-step-sarsa",
    "mc": "monte-carlo",
    "monte-carlo-control": "monte-carlo",
    "first-visit-monte-carlo": "monte-carlo",
    "every-visit-monte-carlo": "monte-carlo",
    "dyna": "dyna-q",
    "dynaq": "dyna-q",
    "posterior-sampling": "psrl",
    "thompson-sampling": "thompson",
    "ts": "thompson",
    "ucb1": "ucb",
    "epsilon-greedy": "q-learning",
    "least-squares-policy-iteration": "lspi",
    "pg": "reinforce",
    "vpg": "reinforce",
    "policy-gradient": "reinforce",
    "monte-carlo-policy-gradient": "reinforce",
    "prefer": "preference-ppo",
    "preferences": "preference-ppo",
    "bc": "behaviour-cloning",
    "clone": "behaviour-cloning",
    "cloning": "behaviour-cloning",
    "behavior-cloning": "behaviour-cloning",
    "behavioral-cloning": "behaviour-cloning",
    "behavioural-cloning": "behaviour-cloning",
    "imitation": "behaviour-cloning",
    "proximal-policy-optimisation": "ppo",
    "proximal-policy-optimization": "ppo",
}


def find_agent(name: str) -> type[ConfiguredAgent]:
    """Return the agent class with this name.

    Raises:
        UsageError: there is none; the message names the closest.
    """
    if name not in AGENTS:
        plain = "-".join(name.lower().replace("_", " ").replace("-", " ").split())
        hint = closest(_ALSO_CALLED.get(plain, plain), AGENTS)
        raise UsageError(f"unknown agent {name!r}; there are {', '.join(AGENTS)}.{hint}")
    module, attribute, _ = AGENTS[name]
    agent_class: type[ConfiguredAgent] = getattr(importlib.import_module(module), attribute)
    return agent_class
