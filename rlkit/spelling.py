"""Finds the known name that was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Names of options and agents in other libraries, in the form of `_plain`. Of several meanings, the
# first that is known in the place of use is suggested.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    # how long, how often, where
    **dict.fromkeys(("nenvs", "numenvs", "nenv", "numenv", "numenvironments"), ("envs",)),
    **dict.fromkeys(
        (
            *("totaltimesteps", "timesteps", "numtimesteps", "ntimesteps", "totalsteps"),
            *("numenvsteps", "totalenvsteps", "maxsteps", "trainingsteps", "trainsteps", "budget"),
        ),
        ("steps",),
    ),
    **dict.fromkeys(("nseeds", "numseeds", "nruns", "numruns"), ("seeds",)),
    **dict.fromkeys(("randomseed", "randomstate", "experimentseed"), ("seed",)),
    **dict.fromkeys(("nworkers", "numworkers", "njobs", "nprocs", "processes"), ("workers",)),
    **dict.fromkeys(
        ("envkwargs", "envconfig", "envargs", "maxepisodesteps"), ("env_args", "env_arg")
    ),
    **dict.fromkeys(("evalfreq", "evalevery", "evaluationinterval"), ("evaluate_every",)),
    **dict.fromkeys(("nevalepisodes", "numevalepisodes", "evalepisodes"), ("evaluation_episodes",)),
    **dict.fromkeys(("outdir", "outputdir", "savedir", "logdir", "savepath"), ("out",)),
    **dict.fromkeys(("nepisodes", "numepisodes"), ("episodes",)),
    **dict.fromkeys(("envid", "envname"), ("env",)),
    # rollouts and gradient steps
    **dict.fromkeys(("nsteps", "numsteps"), ("rollout_length", "return_steps", "steps")),
    "rolloutfragmentlength": ("rollout_length",),
    **dict.fromkeys(
        ("nepochs", "updateepochs", "epochs", "numsgditer", "ppoepochs"), ("num_epochs",)
    ),
    **dict.fromkeys(("batchsize", "sgdminibatchsize"), ("minibatch_size", "episodes_per_update")),
    "lr": ("learning_rate", "step_size"),
    "alpha": ("step_size", "learning_rate"),
    "learningrate": ("step_size",),
    "stepsize": ("learning_rate",),
    **dict.fromkeys(("anneallr", "lrschedule"), ("learning_rate_schedule",)),
    **dict.fromkeys(("optim", "optimiserclass"), ("optimiser",)),
    "maxgradnorm": ("max_gradient_norm",),
    # returns and losses
    "gamma": ("discount",),
    **dict.fromkeys(("lam", "lambda", "gaelam"), ("gae_lambda", "trace_decay")),
    **dict.fromkeys(("cliprange", "clipcoef", "clipparam", "clipratio"), ("clip_epsilon",)),
    **dict.fromkeys(("cliprangevf", "clipvloss", "vfclipparam"), ("value_clip",)),
    **dict.fromkeys(("entcoef", "entropycoeff", "entropycoefficient"), ("entropy_coef",)),
    **dict.fromkeys(("vfcoef", "vfcoeff", "vflosscoeff", "valuelosscoef"), ("value_coef",)),
    **dict.fromkeys(("normaliseadvantage", "normadv"), ("standardise_advantages",)),
    **dict.fromkeys(("normobs", "normaliseobs"), ("normalise_observations",)),
    **dict.fromkeys(("normreward", "normalisereward", "normaliserewards"), ("scale_rewards",)),
    "epsilon": ("epsilon_start", "clip_epsilon"),
    "eps": ("epsilon_start", "clip_epsilon", "tolerance"),
    **dict.fromkeys(("explorationinitialeps", "epsstart", "starte"), ("epsilon_start",)),
    **dict.fromkeys(("explorationfinaleps", "epsend", "ende"), ("epsilon_end",)),
    **dict.fromkeys(("explorationfraction", "epsdecay", "epsilondecay"), ("epsilon_steps",)),
    **dict.fromkeys(("temperature", "tau"), ("temperature_start",)),
    **dict.fromkeys(("tol", "theta"), ("tolerance",)),
    # networks
    **dict.fromkeys(("netarch", "hiddensise", "hiddenlayers", "layers"), ("hidden_sizes",)),
    "activationfn": ("activation",),
    # agents
    **dict.fromkeys(
        ("vi", "planning", "dynamicprogramming", "policyiteration"), ("value-iteration",)
    ),
    **dict.fromkeys(("q", "ql", "tabularq", "tabularqlearning"), ("q-learning",)),
    **dict.fromkeys(("policygradient", "vpg", "pg", "vanillapolicygradient"), ("reinforce",)),
    **dict.fromkeys(("ppo2", "ppoclip", "proximalpolicyoptimisation"), ("ppo",)),
    **dict.fromkeys(("randomagent", "randompolicy", "uniform"), ("random",)),
}


_VERSION = re.compile(r"-v\d+$")


def closest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or an empty string.

    Case, `-`, `_`, spaces and leading dashes are ignored. The name of the same thing in another
    library takes precedence over similar spelling, as does the newest version of an environment
    whose name is right.
    """
    candidates = list(dict.fromkeys(known))
    by_plain: dict[str, str] = {}
    for word in candidates:
        by_plain.setdefault(_plain(word), word)
    wanted = _plain(name)
    synonyms = (by_plain.get(_plain(ours)) for ours in _SYNONYMS.get(wanted, ()))
    match = by_plain.get(wanted) or next(filter(None, synonyms), None) or _newest(name, candidates)
    if match is None and wanted not in _SYNONYMS:
        # A name nearest to one without a meaning here is not similar to a known name.
        offered: dict[str, str | None] = {}
        for theirs, meanings in _SYNONYMS.items():
            if len(theirs) > 3:
                ours = filter(None, (by_plain.get(_plain(word)) for word in meanings))
                offered[theirs] = next(ours, None)
        offered |= by_plain
        near = difflib.get_close_matches(wanted, list(offered), n=1, cutoff=0.6)
        match = offered[near[0]] if near else None
    return f" Did you mean {match!r}?" if match is not None else ""


def _plain(name: str) -> str:
    """Return a name without variations of spelling."""
    return re.sub(r"[-_\s]", "", name).casefold().replace("ize", "ise").replace("izi", "isi")


def _newest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the highest version of the environment with this name."""
    stem = _plain(_VERSION.sub("", name, count=1))
    versions = [
        word
        for word in candidates
        if _VERSION.search(word) and _plain(_VERSION.sub("", word)) == stem
    ]
    return max(versions, key=lambda word: int(word.rpartition("-v")[2]), default=None)
