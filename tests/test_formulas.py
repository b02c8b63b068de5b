"""docs/formulas.md against the formulas that were asked for, and against what commands call.

A row of the page names the functions of its formula and a command that uses them. The commands are
run here with small sizes, and a function that its command does not call is an error.
"""

from __future__ import annotations

import cProfile
import importlib
import inspect
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlkit_envs.enumerable import EnumerableTask
from tests.pages import links_of, rows_of

MISSING, UNUSED = "not yet", "only to be called"

# The beginnings of the rows, in the order in which the formulas were asked for.
FORMULAS = (
    *("linear layer", "ReLU", "sigmoid", "tanh", "softmax"),
    *("cross-entropy", "mean squared error", "gradient descent", "Adam", "attention"),
    *("sinusoidal positions", "layer normalisation", "feed-forward"),
    *("Kullback-Leibler divergence", "chain rule (backpropagation)", "convolution"),
    *("Bellman equation", "Q-learning", "REINFORCE", "multi-head attention", "Xavier"),
    *("dropout", "perplexity", "L2 regularisation", "batch normalisation", "reward model"),
    *("diffusion", "VAE loss", "LoRA", "normal density", "cosine similarity", "PPO-clip"),
    *("BLEU", "FlashAttention", "neural tangent kernel", "ROUGE-N", "ELBO"),
    *("matrix product", "dot product", "eigenvalues", "Bayes' theorem", "return"),
    *("variance and standard deviation", "chain rule of probability", "linear regression"),
)

_AGENT = "--seeds 1 --evaluation-episodes 0"
_SUPERVISED = "--num-pairs 8 --num-epochs 1 --batch-size 8"
_POLICY = "--num-updates 1 --batch-size 8 --minibatch-size 8"
# The commands of the page, each with the options that make it small. They are run in this order,
# in one folder; `...` at the end of a path stands for the rest of the first folder that fits.
COMMANDS = {
    "rlkit train ppo CartPole-v1": f"{_AGENT} --steps 256",
    "rlkit train ppo CartPole-v1 --activation relu --init xavier": f"{_AGENT} --steps 256",
    "rlkit train ppo CartPole-v1 --weight-decay 0.01": f"{_AGENT} --steps 256",
    "rlkit train ppo CartPole-v1 --reference uniform --kl-coef 0.1": f"{_AGENT} --steps 256",
    "rlkit train ppo CartPole-v1 --value-clip 0.2 --scale-rewards": f"{_AGENT} --steps 256",
    "rlkit train ppo Pendulum-v1 --normalise-observations": (
        f"{_AGENT} --steps 64 --envs 4 --rollout-length 16"
    ),
    "rlkit clone runs/ppo-Pendulum-v1-... Pendulum-v1 --method diffusion": (
        "--seeds 1 --steps 1 --evaluation-episodes 1 --updates-per-step 2 --episodes 2 "
        "--diffusion-steps 2"
    ),
    "rlkit train reinforce CartPole-v1 --optimiser sgd": f"{_AGENT} --steps 1024",
    "rlkit train q-learning FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit train sarsa FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit train sarsa FrozenLake-v1 --trace-decay 0.8": "--seeds 1 --steps 64",
    "rlkit train expected-sarsa FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit train double-q-learning FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit train n-step-sarsa FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit train dyna-q FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit train monte-carlo FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit train thompson BernoulliBandit-v0": f"{_AGENT} --steps 64",
    "rlkit train ucb BernoulliBandit-v0": f"{_AGENT} --steps 64",
    "rlkit train psrl FrozenLake-v1": "--seeds 1 --steps 64",
    "rlkit solve FrozenLake-v1 --reference uniform --kl-coef 0.1": "",
    "rlkit solve CliffWalking-v1 --reference uniform --kl-coef 0.1": "",
    "rlkit solve BernoulliBandit-v0 --horizon 10": "",
    "rlkit train lspi FrozenLake-v1": "--seeds 1 --steps 64 --steps-per-update 32",
    "rlkit evaluate runs/q-learning-FrozenLake-v1-... --visits": "--episodes 1",
    "rlkit solve FrozenLake-v1": "",
    "rlkit solve FrozenLake-v1 --discount 1": "",
    "rlkit solve CliffWalking-v1": "",
    "rlkit rlhf sft enumerable": "--num-demonstrations 8 --num-epochs 1 --width 8",
    "rlkit rlhf sft enumerable --activation relu": (
        "--num-demonstrations 8 --num-epochs 1 --width 8"
    ),
    "rlkit rlhf sft enumerable --positions sinusoidal --dropout 0.1": (
        "--num-demonstrations 8 --num-epochs 1 --width 8"
    ),
    "rlkit rlhf reward runs/sft-enumerable-...": f"{_SUPERVISED} --min-updates 1",
    "rlkit rlhf reward runs/sft-enumerable-... --loss pointwise": (
        f"{_SUPERVISED} --min-updates 1"
    ),
    "rlkit rlhf ppo runs/sft-enumerable-... --reward runs/reward-enumerable-...": _POLICY,
    "rlkit rlhf ppo runs/sft-enumerable-... --adapter-rank 8": _POLICY,
    "rlkit rlhf rloo runs/sft-enumerable-...": _POLICY,
    "rlkit rlhf grpo runs/sft-enumerable-... --kl-estimator full": _POLICY,
    "rlkit rlhf grpo runs/sft-enumerable-...": _POLICY,
    "rlkit rlhf dpo runs/sft-enumerable-...": _SUPERVISED,
    "rlkit rlhf dpo runs/sft-enumerable-... --loss ipo": _SUPERVISED,
    "rlkit rlhf evaluate runs/ppo-enumerable-...": "--num-samples 16",
    "rlkit rlhf best-of-n runs/sft-enumerable-... --reward runs/reward-enumerable-...": (
        "--num-prompts 2 --n 1 2"
    ),
}

# What is compiled into a loop cannot be seen in a profile; who passes its arguments can.
_TABULAR = "rlkit.agents.tabular"
COMPILED = {
    f"{_TABULAR}.q_learning.learn": "QLearning._kernel_state",
    f"{_TABULAR}.sarsa.learn": "Sarsa._kernel_state",
    f"{_TABULAR}.sarsa.learn_expected": "ExpectedSarsa._kernel_state",
    f"{_TABULAR}.double_q_learning.learn": "DoubleQLearning._kernel_state",
    f"{_TABULAR}.n_step_sarsa.learn": "NStepSarsa._kernel_state",
    f"{_TABULAR}.dyna_q.learn": "DynaQ._kernel_state",
    f"{_TABULAR}.monte_carlo.learn": "MonteCarlo._kernel_state",
    f"{_TABULAR}.learning.traces.update_traced": "traces_of",
}


def commands_of(row: dict[str, str]) -> list[str]:
    return re.findall(r"`(rlkit [^`]+)`", row["used by"])


def functions_of(row: dict[str, str]) -> dict[str, Any]:
    """The functions that a row names: those that it links to, and those of torch, by name."""
    functions: dict[str, Any] = {}
    for text, target in links_of(row["function"]):
        module = target.removeprefix("../").removesuffix(".py").replace("/", ".")
        name = f"{module}.{text.strip('`')}"
        functions[name] = _attribute(module, COMPILED.get(name, text.strip("`")))
    for name in re.findall(r"`(torch\.[\w.]+)`", row["function"]):
        functions[name] = _attribute("torch", name.removeprefix("torch."))
    return functions


def _attribute(module: str, path: str) -> Any:
    value: Any = importlib.import_module(module)
    for part in path.split("."):
        value = getattr(value, part)
    return inspect.unwrap(value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a task whose responses are listed quickly."""
    sizes = {"num_content": 3, "num_prompts": 2, "max_new_tokens": 4}
    monkeypatch.setattr(EnumerableTask.__init__, "__kwdefaults__", sizes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calls(command: str, folder: Path, functions: dict[str, Any]) -> Counter[str]:
    """How often a command calls each of the functions, whatever names they are bound to."""
    from rlkit.cli import main

    words = [_path(word, folder) for word in shlex.split(f"{command} {COMMANDS[command]}")]
    profile = cProfile.Profile()
    profile.enable()
    try:
        code = main(words[1:])
    finally:
        profile.disable()
    assert code == 0, command
    names: dict[Any, str] = {_profiled(function): name for name, function in functions.items()}
    return Counter({names[e.code]: e.callcount for e in profile.getstats() if e.code in names})


def _profiled(function: Any) -> Any:
    """Return the name by which a profile knows a function."""
    if inspect.isfunction(function):
        return function.__code__
    return f"<built-in method {function.__module__ or 'torch'}.{function.__name__}>"


def _path(word: str, folder: Path) -> str:
    if not word.endswith("..."):
        return word
    return str(min(folder.glob(word.replace("...", "*")), key=_began))


def _began(run: Path) -> float:
    """When the first file of a run was written."""
    return min(path.stat().st_mtime for path in run.rglob("*"))


def test_there_is_a_row_for_each_formula_in_order() -> None:
    rows = [row for row in rows_of("formulas.md") if "number" in row]
    assert [row["number"] for row in rows] == [str(number) for number in range(1, 46)]
    assert len(FORMULAS) == 45
    for row, name in zip(rows, FORMULAS, strict=True):
        assert re.match(rf"{re.escape(name)}(?!\w)", row["formula"]), row


def test_a_row_says_which_command_uses_it_or_that_none_does() -> None:
    for row in rows_of("formulas.md"):
        state = row["used by"]
        assert bool(commands_of(row)) + state.startswith((MISSING, UNUSED)) == 1, row
        assert state.startswith(MISSING) == (not row["function"]), row


@pytest.mark.long
def test_the_commands_of_a_row_call_its_functions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in rows_of("formulas.md") if commands_of(row)]
    wanted = [command for row in rows for command in commands_of(row)]
    assert sorted(set(wanted)) == sorted(COMMANDS)
    functions = {name: value for row in rows for name, value in functions_of(row).items()}
    counted = {command: calls(command, folder, functions) for command in COMMANDS}
    never = [
        f"{row['formula']}: {name} is not called by {commands_of(row)}"
        for row in rows
        for name in functions_of(row)
        if not any(counted[command][name] for command in commands_of(row))
    ]
    idle = [
        f"{row['formula']}: {command} calls none of {list(functions_of(row))}"
        for row in rows
        for command in commands_of(row)
        if not any(counted[command][name] for name in functions_of(row))
    ]
    assert never + idle == []


@pytest.mark.slow
def test_a_function_that_is_not_called_is_noticed(folder: Path) -> None:
    row = {
        "function": "[`value_iteration`](../rlkit/tabular/planning/solvers.py), "
        "[`gae`](../rlkit/maths/returns.py), `torch.relu_`"
    }
    counts = calls("rlkit solve FrozenLake-v1", folder, functions_of(row))
    assert counts["rlkit.tabular.planning.solvers.value_iteration"] > 0
    assert counts["rlkit.maths.returns.gae"] == counts["torch.relu_"] == 0
