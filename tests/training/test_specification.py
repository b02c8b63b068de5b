"""What a run is made of decides its folder: nothing else, and nothing less."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit.agents.ppo import PPOConfig
from rlkit.agents.random import Random
from rlkit.agents.reinforce import ReinforceConfig
from rlkit.errors import UsageError
from rlkit.rlhf.training.configs import PPOConfig as RLHFConfig
from rlkit.runs.identity import versions
from rlkit.training.run import Run
from rlkit.training.specification import ARGUMENTS, RunSpec, make_spec
from rlkit.training.train import train


class Plain:
    """An agent without options, which is not built here."""

    act = learn = actor = state_dict = load_state_dict = lambda self: None


class Odd(Plain):
    """An agent whose options are in no dataclass."""

    class Config:
        a = 1


def name_of(spec: RunSpec) -> str:
    return spec.folder_name(spec.resolve())


def make(**changes: Any) -> RunSpec:
    options = changes.pop("options", {"learning_rate_schedule": "constant"})
    settings = {"agent": "reinforce", "environment": "CartPole-v1", "steps": 100} | changes
    return make_spec(**settings, options=options)


BASE = make()
DIFFERENT = {
    "agent": {"agent": "ppo"},
    "environment": {"environment": "Acrobot-v1"},
    "seed": {"seed": 1},
    "envs": {"envs": 2},
    "evaluate_every": {"evaluate_every": 7},
    "evaluation_episodes": {"evaluation_episodes": 7},
    "native": {"native": False},
    "env_args": {"env_args": {"max_episode_steps": 10}},
    "option": {"options": {"discount": 0.5}},
    "close option": {"options": {"discount": 0.99 + 1e-15}},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_every_option_that_changes_the_results_changes_the_folder(what: str) -> None:
    assert name_of(make(**DIFFERENT[what])) != name_of(BASE)


def test_no_two_differences_share_a_folder() -> None:
    names = [name_of(make(**changes)) for changes in DIFFERENT.values()]
    assert len(set(names)) == len(names)


def test_the_number_of_steps_is_part_of_the_name_only_under_a_schedule() -> None:
    assert name_of(make(steps=200)) == name_of(BASE)
    linear = {"learning_rate_schedule": "linear"}
    assert name_of(make(options=linear)) != name_of(make(options=linear, steps=200))


@pytest.mark.slow
def test_the_order_and_the_way_of_giving_options_do_not_matter() -> None:
    options = {"discount": 0.5, "hidden_sizes": (4,)}
    names = {
        name_of(make_spec("ppo", "CartPole-v1", options=options)),
        name_of(make_spec("ppo", "CartPole-v1", options=dict(reversed(options.items())))),
    }
    preset = make_spec("ppo", "CartPole-v1").config
    whole = dataclasses.replace(preset, **options)
    names.add(name_of(make_spec("ppo", "CartPole-v1", config=whole)))
    assert len(names) == 1
    arguments = {"map_name": "8x8", "is_slippery": False}
    lakes = {
        name_of(make_spec("random", "FrozenLake-v1", env_args=dict(items)))
        for items in itertools.permutations(arguments.items())
    }
    assert len(lakes) == 1


def test_the_folder_is_the_same_in_another_process(tmp_path: Path, forks: Any) -> None:
    script = (
        "from rlkit.training.specification import make_spec\n"
        "spec = make_spec('reinforce', 'CartPole-v1', steps=100,"
        " options={'learning_rate_schedule': 'constant'})\n"
        "print(spec.folder_name(spec.resolve()))"
    )
    assert forks.python("-c", script, cwd=tmp_path).stdout.strip() == name_of(BASE)


ODD = [
    *("../x", "/etc/x", "a/b", "..", "x" * 300, "nul\0", "new\nline", "CON"),
    *("\N{GRINNING FACE}", "\N{RIGHT-TO-LEFT OVERRIDE}gpj", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
]


@pytest.mark.trap("T98", "F62")
@pytest.mark.slow
@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_an_odd_name_stays_inside_of_the_folder_of_runs(
    name: str, small: Callable[..., Run], out: Path
) -> None:
    def pole() -> Any:
        return gym.make("CartPole-v1")

    pole.__qualname__ = name
    before = set(out.parent.iterdir())
    run = small("random", environment=pole, seeds=1, steps=100)
    assert set(out.parent.iterdir()) - before == {out}
    assert [path.name for path in out.iterdir()] == [run.folder.name]
    assert len(run.folder.name) < 100
    assert run.folder.name.isascii()
    assert run.folder.name.isprintable()
    assert small("random", environment=pole, seeds=1, steps=100).folder == run.folder


@pytest.mark.trap("F62")
def test_an_agent_class_with_an_odd_name_stays_inside_too(
    small: Callable[..., Run], out: Path
) -> None:
    from rlkit.agents.random import Random

    class Mine(Random):
        pass

    Mine.__name__ = "../../" + "y" * 300
    run = small("random", agent=Mine, seeds=1, steps=100)
    assert run.folder.parent == out
    assert run.status == "finished"


def test_two_agent_classes_of_one_name_have_two_folders() -> None:
    def first() -> Any:
        class Mine(Plain):
            bias = 1

        return Mine

    def second() -> Any:
        class Mine(Plain):
            bias = 2

        return Mine

    names = {name_of(make_spec(agent(), "CartPole-v1")) for agent in (first, second)}
    assert len(names) == 2


@pytest.mark.slow
def test_a_changed_environment_of_ones_own_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "lake.py"
    names = set()
    for limit in (10, 20):
        path.write_text(
            "import gymnasium as gym\n"
            f"def make(): return gym.make('FrozenLake-v1', max_episode_steps={limit})\n"
        )
        names.add(name_of(make_spec("random", f"{path}:make")))
    assert len(names) == 2


@pytest.mark.trap("F57")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": "pp0"}, "unknown agent 'pp0'.*Did you mean 'ppo'"),
        ({"options": {"gama": 0.9}}, "no option 'gama'"),
        ({"options": {"learning_rat": 0.9}}, "Did you mean 'learning_rate'"),
        ({"options": {"discount": 1.0001}}, "discount"),
        ({"steps": 0}, "option steps .*>= 1, got 0"),
        ({"steps": 1e5}, "option steps .*got 100000.0"),
        ({"steps": True}, "option steps"),
        ({"steps": 2**63}, "option steps"),
        ({"envs": 0}, "option envs"),
        ({"seed": -1}, "option seed .*>= 0, got -1"),
        ({"evaluate_every": 0}, "--evaluate-every"),
        ({"evaluation_episodes": -1}, "option evaluation_episodes"),
        ({"env_args": {"map": np.zeros(2)}}, "env_args .*plain numbers, strings and lists"),
        ({"env_args": {"x": float("nan")}}, "env_args"),
        ({"config": PPOConfig(), "options": {"discount": 1.0}}, "either a config or individual"),
        (
            {"config": {"discount": 1.0}, "options": {"discount": 1.0}},
            "either a config or individual",
        ),
        ({"config": {"gamma": 0.9}, "options": {}}, "Did you mean 'discount'"),
        ({"config": {3: 0.9}, "options": {}}, "no option 3"),
        (
            {"config": {"steps": 9}, "options": {}},
            "'steps' is not one of its .* beside config",
        ),
        ({"config": PPOConfig(), "options": {}}, "expected a ReinforceConfig.*got a PPOConfig"),
        ({"config": ReinforceConfig, "options": {}}, "got the class ReinforceConfig"),
        ({"config": 3, "options": {}}, "expected a ReinforceConfig.*got a int"),
        ({"agent": "ppo", "config": RLHFConfig(), "options": {}}, "agents.ppo.PPOConfig.*rlhf"),
        ({"agent": Plain, "config": PPOConfig(), "options": {}}, "Plain has no Config"),
        ({"agent": Plain, "config": {"a": 1}, "options": {}}, "Plain has no options, got a"),
        ({"agent": Odd, "options": {"a": 1}}, "expected its Config to be a dataclass"),
        ({"options": {"n_envs": 4}}, "no option 'n_envs'. Did you mean 'envs'"),
        (
            {"options": {"baseline": "no"}},
            "option baseline .*True or False or one of 'linear', got 'no'",
        ),
        ({"native": "no"}, "option native .*True or False, got 'no'"),
        ({"native": 0}, "option native"),
        ({"env_args": [("a", 1)]}, "env_args .*expected a mapping"),
        ({"env_args": {"layout": {0: "a"}}}, "the key 0 would be stored as a string"),
    ],
    ids=str,
)
def test_unusable_values_are_rejected_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**changes)


def test_the_arguments_that_are_suggested_are_those_of_train() -> None:
    own = [name for name in inspect.signature(train).parameters if name != "options"]
    assert own == ["agent", "environment", *sorted(ARGUMENTS, key=own.index)]


@pytest.mark.slow
def test_equal_meanings_have_one_folder_and_plain_numbers() -> None:
    base = make_spec("ppo", "FrozenLake-v1", steps=64, envs=2, options={"discount": 1.0})
    other = make_spec(
        "ppo",
        "FrozenLake-v1",
        steps=np.int64(64),
        envs=np.array(2),
        seed=np.uint8(0),
        evaluate_every=np.int32(base.evaluate_every),
        evaluation_episodes=np.int16(base.evaluation_episodes),
        native=np.True_,
        options={"discount": 1, "hidden_sizes": [64, np.int64(64)], "scale_rewards": np.False_},
    )
    mapping = make_spec(
        "ppo", "FrozenLake-v1", steps=64, envs=2, config={"discount": np.float32(1)}
    )
    for spec in (other, mapping):
        assert spec == base
        assert name_of(spec) == name_of(base)
        assert json.dumps(spec.identity(spec.resolve())) == json.dumps(
            base.identity(base.resolve())
        )
    lakes = [
        make_spec("random", "FrozenLake-v1", env_args={"is_slippery": no, "max_episode_steps": n})
        for no, n in ((False, 9), (np.False_, np.int64(9)))
    ]
    assert name_of(lakes[0]) == name_of(lakes[1])


def test_an_option_that_was_added_later_is_part_of_the_identity_only_where_it_is_set() -> None:
    def config_of(**options: Any) -> dict[str, Any]:
        spec = make_spec("ppo", "FrozenLake-v1", options=options)
        config: dict[str, Any] = spec.identity(spec.resolve())["config"]
        return config

    assert config_of().keys().isdisjoint({"weight_decay", "decay"})
    assert config_of(weight_decay=0.0, decay="l2") == config_of()
    assert config_of(weight_decay=0.01) == config_of() | {"weight_decay": 0.01}
    both = {"weight_decay": 0.01, "decay": "decoupled"}
    assert config_of(**both) == config_of() | both


@dataclasses.dataclass
class OwnConfig:
    width: int = 8
    rate: float = 1
    names: tuple[str, ...] = ()
    loose: int = None  # type: ignore[assignment]
    schedule: Any = None


class Own(Random):
    Config = OwnConfig  # type: ignore[assignment]


def test_options_of_agents_of_ones_own_are_taken_by_their_types() -> None:
    options = {"width": np.int64(8), "rate": np.float32(1), "names": ["a"], "loose": None}
    schedule = object()
    config = make_spec(Own, "CartPole-v1", options={**options, "schedule": schedule}).config
    assert config == OwnConfig(8, 1.0, ("a",), None, schedule)  # type: ignore[arg-type]
    assert (type(config.width), type(config.rate)) == (int, float)
    defaults = make_spec(Own, "CartPole-v1")
    assert name_of(defaults) == name_of(make_spec(Own, "CartPole-v1", options={"rate": 1.0}))
    assert name_of(defaults) == name_of(make_spec(Own, "CartPole-v1", config=OwnConfig()))
    for wrong in ({"width": "8"}, {"width": 8.0}, {"rate": True}, {"names": "abc"}):
        (name,) = wrong
        for given in ({"options": wrong}, {"config": wrong}, {"config": OwnConfig(**wrong)}):
            with pytest.raises(UsageError, match=f"option {name} "):
                make_spec(Own, "CartPole-v1", **given)  # type: ignore[arg-type]


def test_a_configuration_of_ones_own_that_raises_is_one_sentence() -> None:
    @dataclasses.dataclass(frozen=True)
    class Config:
        width: int

        def __post_init__(self) -> None:
            if self.width > 8:
                raise ValueError("too wide")

    class Wide(Random):
        pass

    Wide.Config = Config  # type: ignore[assignment,misc]
    with pytest.raises(UsageError, match=r"agent Wide: .*width=9.*too wide"):
        make_spec(Wide, "CartPole-v1", options={"width": 9})
    with pytest.raises(UsageError, match=r"agent Wide: .*missing 1 required.*'width'"):
        make_spec(Wide, "CartPole-v1")


@pytest.mark.parametrize("option", ["seeds", "workers", "allow_drift"])
def test_arguments_of_train_are_checked_and_taken_by_their_types(
    option: str, small: Callable[..., Run]
) -> None:
    with pytest.raises(UsageError, match=f"option {option} "):
        small("random", **{option: "no"})
    run = small("random", steps=50, **{option: {"allow_drift": np.False_}.get(option, np.int64(1))})
    assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("option", ["seeds", "workers"])
def test_no_seeds_and_no_workers_are_rejected(option: str, small: Callable[..., Run]) -> None:
    with pytest.raises(UsageError, match=f"option {option} "):
        small("random", **{option: 0})


def test_the_record_says_what_the_run_is_and_with_what_it_was_made(
    small: Callable[..., Run],
) -> None:
    run = small("q-learning", seeds=2, seed=3)
    record = json.loads((run.folder / "run.json").read_text(), parse_constant=pytest.fail)
    assert record["agent"] == "q-learning"
    assert record["environment"] == "FrozenLake-v1"
    assert record["stepped_as"] == "tabular"
    assert record["config"]["epsilon_steps"] == 500
    assert (record["num_seeds"], record["num_env_steps"], record["num_envs"]) == (2, 600, 2)
    assert record["experiment_seed"] == 3
    assert record["versions"] == versions()
    assert (record["status"], record["reproducible"], record["failures"]) == ("finished", True, {})
    assert str(run.folder.parent) not in (run.folder / "run.json").read_text()


@pytest.mark.parametrize("agent", ["ppo", "reinforce"])
def test_near_a_reference_presets_have_no_bonus_for_entropy(agent: str) -> None:
    plain = make_spec(agent, "FrozenLake-v1")
    near = make_spec(agent, "FrozenLake-v1", reference="uniform", options={"kl_coef": 0.1})
    assert plain.config.entropy_coef == 0.01
    assert near.config.entropy_coef == 0.0
    assert (near.num_envs == 32) == (agent == "ppo")
    own = {"kl_coef": 0.1, "entropy_coef": 0.5}
    given = make_spec(agent, "FrozenLake-v1", reference="uniform", options=own)
    assert given.config.entropy_coef == 0.5
