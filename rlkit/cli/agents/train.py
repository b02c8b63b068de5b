"""`rlkit train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlkit.cli.commands import only_imports
from rlkit.cli.forms import (
    EnvArgs,
    Output,
    make_form,
    parse,
    positional,
    positional_words,
    read_env_args,
)
from rlkit.cli.report import (
    announcing,
    note,
    print_json,
    print_runs,
    report_failures,
    show_progress,
)
from rlkit.training.presets import DEFAULT_EVALUATION_EPISODES

if TYPE_CHECKING:
    from rlkit.training.run import Run

REGRET = "regret.png"
_FIRST_FIGURE = "rlkit.cli.agents.first_figure"  # for the process that draws
ENVIRONMENT = "a Gymnasium id, module:Id, or path/to/file.py:Class"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How seeds are trained and evaluated."""

    seeds: int = 10  # number of seeds, >= 1; more than before adds seeds to the same run
    steps: int | None = None  # environment steps per seed, >= 1; None = the preset's
    seed: int = 0  # seed of the experiment, which determines all random numbers, >= 0
    out: Path = Path("runs")  # folder in which each run gets a folder of its own
    workers: int = 1  # processes that share the seeds, >= 1; results are the same for any number
    # processes of each worker that step the environments, for slow ones; 0 = the worker itself
    env_workers: int = 0
    env_timeout: float = 60.0  # seconds that a reset or step of an environment may take, > 0
    env_args: EnvArgs = ()  # arguments of the environment, values in JSON
    evaluate_every: int | None = None  # steps between rows of the curve, >= 1; None = the preset's
    # episodes per evaluation where the return is not known exactly; 0 = no evaluation
    evaluation_episodes: int = DEFAULT_EVALUATION_EPISODES
    # use a batched twin of the environment, or its transition table, if there is one
    native: bool = True
    # use the compiled loop for tables where there is one; the results are the same
    compiled: bool = True
    # divide each number of a Box observation into so many bins, for agents with tables: one number,
    # or one for each dimension; None = the preset's
    bins: tuple[int, ...] | None = None
    # lower limits of the bins: one number or one for each dimension; None = the bounds of the space
    bin_low: tuple[float, ...] | None = None
    # upper limits; values outside fall into the outermost bins
    bin_high: tuple[float, ...] | None = None
    # let the agent act in [-1, 1] where actions of a Box have two bounds
    rescale_actions: bool = False
    # let the agent choose only among the actions that the environment allows by its masks
    action_masks: bool = False
    # also draw regret.png: the exact optimum minus the return of the evaluated policy or, with
    # --evaluation-episodes 0, of the episodes of training since the last row; in bandits, which
    # have one observation, the optimum minus the return, summed over all episodes of training
    regret: bool = False

    def arguments(self) -> dict[str, Any]:
        """Return the options as arguments of `rlkit.train` or `rlkit.compare`."""
        options = {name: value for name, value in vars(self).items() if name != "regret"}
        return {**options, "env_args": read_env_args(self.env_args)}


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainingOptions):
    """How seeds are trained and evaluated."""

    envs: int | None = None  # environments per seed, >= 1; None = the preset's
    # learn from a function of your own, path/to/file.py:function, in place of the environment's
    # reward: reward(observations, actions, next_observations, terminated) gets arrays of several
    # environments and returns an array; None = the environment's. Returns and evaluation stay those
    # of the environment, and own_return is a column of its own
    reward: str | None = None
    # for ppo and reinforce: the policy to stay near, the folder of a run or uniform; --kl-coef is
    # the penalty of each nat of divergence. The run keeps a copy of it
    reference: str | None = None
    reference_seed: int = 0  # the seed of that run whose final policy it is, >= 0
    # for ppo and reinforce with --init RUN: the seed of that run from whose final policy every seed
    # starts, >= 0
    init_seed: int = 0
    # for behaviour-cloning: what it imitates, the folder of a run, a file (.csv, .jsonl, .npz) or
    # minari:NAME of a local dataset; see `rlkit clone`. The run keeps a copy
    demonstrations: str | None = None
    # stop at the first evaluation at which the lower end of the 95 % interval of the mean over
    # seeds is this return or more
    until_return: float | None = None
    # stop when the mean over seeds has not risen for so many evaluations, >= 1
    patience: int | None = None
    # also keep the policy of each seed at its best evaluation, for --which best of evaluate and
    # watch
    keep_best: bool = False
    # write mean and interval of each metric for TensorBoard, in a folder of the run's name in this
    # one, while it is trained; needs the extra `tensorboard`
    tensorboard: Path | None = None
    tensorboard_seeds: bool = False  # with --tensorboard: also write a scalar for each seed
    track: Literal["trackio", "wandb"] | None = None  # send the same scalars to a tracker
    # continue even if versions have changed, which marks the run as not reproducible
    allow_drift: bool = False
    # a name by which the run is found as well as by its folder, and which no other run may have
    name: str | None = None


def train_command(args: list[str]) -> int:
    """Train an agent on an environment."""
    with only_imports():
        if args and not {"--help", "-h"} & set(args):
            _start_processes(args)
        name = agent_name(args, TrainOptions)
        form = _train_form(name, args)
        parsed = parse(form, args, f"train {name}" if name else "train", help_of="train AGENT")
        from rlkit.training.train import train

    if parsed.training.regret:
        from rlkit.environments.resolve import find_environment
        from rlkit.training.references import require_optimum

        env_args = read_env_args(parsed.training.env_args)
        require_optimum(find_environment(parsed.environment, env_args))
    with show_progress(quiet=parsed.output.json) as reports, announcing():
        run = train(
            parsed.agent,
            parsed.environment,
            **parsed.training.arguments(),
            config=getattr(parsed, agent_field(name), None) if name else None,
            reports=reports,
        )
    if parsed.training.regret:
        from rlkit.runs.record import record_file
        from rlkit.training.kind import AGENT_RUN

        run.plot(run.folder / REGRET, regret=True)
        record_file(run.folder, AGENT_RUN, REGRET)
    if parsed.output.json:
        print_json(_summary(run))
    else:
        print_runs({run.agent: run})
        print(f"\n{run.folder}/learning_curve.png")
        if parsed.training.regret:
            print(f"{run.folder}/{REGRET}")
    code = report_failures([run])
    for sentence in _doubts(run):
        note(sentence)
    return code


def _doubts(run: Run) -> list[str]:
    """Return what the user should know before trusting the result."""
    from rlkit.diagnosis.unlearned import learned_nothing

    doubts = [learned_nothing(run)]
    if run.agent == "preference-ppo":
        from rlkit.training.preferences import uninformative_answers

        doubts.append(uninformative_answers(run))
    return [sentence for sentence in doubts if sentence]


def _start_processes(args: list[str]) -> None:
    """Start the process that draws, and which the workers are forked from, if there are any."""
    from rlkit.training.figures import start_drawing

    if "--workers" not in args:
        start_drawing((_FIRST_FIGURE,))
        return
    from rlkit.agents import AGENTS
    from rlkit.training.kind import AGENT_RUN

    name = agent_name(args, TrainOptions)
    agent = (AGENTS[name][0],) if name in AGENTS else ()
    start_drawing((*AGENT_RUN.worker_imports, *agent, _FIRST_FIGURE))


def agent_name(args: list[str], options: type[TrainingOptions]) -> str | None:
    """Return the agent that the words name, whose options they may hold; None = none yet."""
    from rlkit.agents import AGENTS, find_agent

    words = positional_words(args, options, Output)
    if words and words[0] not in AGENTS and ":" not in words[0]:
        find_agent(words[0])  # raises the error that names the closest
    return words[0] if words else None


def _train_form(name: str | None, args: list[str]) -> type[Any]:
    """Return the form of `rlkit train`, with the options of an agent if it is named.

    Their defaults are those of the preset, so the form depends on the environment as well.
    """
    from rlkit.agents import AGENTS

    about = (
        "Train an agent on an environment, for many seeds. Run the same command again to continue "
        "after an interruption."
    )
    own = "or one of your own: path/to/file.py:Class or module:Class"
    parts = {
        "agent": positional(str, "AGENT", f"one of {', '.join(AGENTS)}, {own}"),
        "environment": positional(str, "ENV", ENVIRONMENT),
        "training": TrainOptions,
    }
    if name is None:
        about += " `rlkit train AGENT --help` also lists the options of that agent."
        return make_form(about, **parts, output=Output)
    config_class = config_class_of(name)
    if config_class is None:
        return make_form(about, **parts, output=Output)
    words = positional_words(args, TrainOptions, Output, config_class)
    near = any(word.partition("=")[0] == "--reference" for word in args)
    config = agent_config(name, words[1] if len(words) > 1 else "", near=near)
    return make_form(about, **parts, **{agent_field(name): config}, output=Output)


def config_class_of(agent: str) -> Any:
    """Return the class of an agent's options, or None if it has none."""
    from rlkit.agent import AgentTraits
    from rlkit.training.specification import find_agent_class

    return AgentTraits.of(find_agent_class(agent)).Config


def agent_config(agent: str, environment: str, *, near: bool = False) -> Any:
    """Return the options of an agent as its preset for an environment has them, or None."""
    from rlkit.training.specification import default_config, find_agent_class

    return default_config(find_agent_class(agent), agent, environment, {}, near=near)


def agent_field(agent: str) -> str:
    """Return the name under which the options of an agent stand in the form and in the help."""
    own = agent.rpartition(":")[2]
    return agent.replace("-", "_") if own == agent else f"{own}_"


def _summary(run: Run) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "status": run.status,
        "stopped": run.stopped,
        "seeds": len(run.seeds),
        "num_env_steps": run.num_env_steps,
        "env_steps_per_second": run.env_steps_per_second,
        "final": run.scores.tolist(),
    }
