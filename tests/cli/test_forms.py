"""How words become options."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro

from rlkit.agents.tabular.q_learning import QLearningConfig
from rlkit.cli.agents.train import ENVIRONMENT, TrainOptions
from rlkit.cli.forms import (
    EnvArgs,
    Output,
    given_options,
    known_flags,
    make_form,
    parse,
    positional,
    positional_words,
    read_env_args,
)
from rlkit.errors import UsageError
from rlkit.rlhf.stages.sources import ModelSource, TaskSource
from rlkit.rlhf.training.configs import PPOConfig
from tests.cli.commands import answer, output


def test_arguments_of_the_environment_can_be_given_in_both_spellings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = answer(
        capsys,
        *("solve", "FrozenLake-v1", "--env-arg=is_slippery=false"),
        *("--env-arg", "max_episode_steps=6", '--env-arg=map_name="4x4"'),
    )
    assert result["optimal_return_under_limit"] == 1.0
    assert result["time_limit"] == 6


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        *(("--n-envs", "--envs"), ("--num_envs", "--envs"), ("--lr", "--learning-rate")),
        *(("--total-timesteps", "--steps"), ("--gamma", "--discount"), ("--n-seeds", "--seeds")),
        *(("--env-kwargs", "--env-arg"), ("--n-jobs", "--workers"), ("--LR", "--learning-rate")),
        *(("--n-epochs", "--num-epochs"), ("--ent-coef", "--entropy-coef")),
    ],
)
def test_options_of_other_libraries_lead_to_ours(
    capsys: pytest.CaptureFixture[str], typed: str, ours: str
) -> None:
    for words in ([typed, "4"], [f"{typed}=4"]):
        err = output(capsys, "train", "ppo", "CartPole-v1", *words, code=2)[1]
        assert f"Did you mean '{ours}'?" in err


@pytest.mark.parametrize(
    "words",
    [
        ["--env-arg", "a=1", "b=2", "--env-arg", "c=3"],
        ["--env-arg=a=1", "--env_arg=b=2", "--env-arg=c=3"],
        ["--env-arg", "a=1", "b=2", "c=3"],
    ],
)
def test_arguments_of_the_environment_are_collected(words: list[str]) -> None:
    form = make_form("Train.", training=TrainOptions)
    parsed = parse(form, words, "train")
    assert parsed.training.arguments()["env_args"] == {"a": 1, "b": 2, "c": 3}


def test_the_last_of_two_equal_arguments_counts_and_no_argument_is_none() -> None:
    assert read_env_args([["a=1"], ["a=[1, 2]"]]) == {"a": [1, 2]}
    assert read_env_args(()) == {}


def test_words_are_distinguished_from_options_and_their_values() -> None:
    args = ["--seeds", "3", "ppo", "--json", "--lr", "1e-3", "--no-native", "CartPole-v1", "-1"]
    assert positional_words(args, TrainOptions, Output) == ["ppo", "CartPole-v1", "-1"]
    args = ["ppo", "CartPole-v1", "--env-arg", "a=1", "b=2", "--seed", "0", "x"]
    assert positional_words(args, TrainOptions) == ["ppo", "CartPole-v1", "x"]


AGENT_FORM = make_form(
    "Train.",
    agent=positional(str, "AGENT", "an agent"),
    environment=positional(str, "ENV", ENVIRONMENT),
    training=TrainOptions,
    q_learning=QLearningConfig(epsilon_end=0.2, epsilon_steps=7),
    output=Output,
)


@dataclass(frozen=True)
class Flat:
    """Options that are no part of a form, as `rlkit solve` has them."""

    env_args: EnvArgs = ()
    baseline: bool | Literal["linear"] = False
    names: tuple[str, ...] | None = None


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (AGENT_FORM, ["q", "e"]),
        (AGENT_FORM, ["q", "--seeds", "3", "e", "--steps=9", "--json", "--no-native"]),
        (AGENT_FORM, ["q", "e", "--epsilon_start", ".5", "--exploration", "boltzmann"]),
        (AGENT_FORM, ["q", "e", "--env-arg", "a=1", "b=2", "--bins", "4", "5", "--out", "x"]),
        (AGENT_FORM, ["q", "e", "--steps", "None", "--name=--json", "--until-return", "-1.5"]),
        (AGENT_FORM, ["q", "e", "--track", "wandb", "--seeds", "1", "--seeds", "2"]),
        (Flat, []),
        (Flat, ["--env-arg", "a=1", "--env-arg", "b=2"]),
        (Flat, ["--baseline", "linear", "--names", "x", "y"]),
    ],
)
def test_only_the_options_that_words_name_are_parsed_and_the_form_is_the_same(
    form: Any, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: Any = {"config": (tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands)}
    expected = tyro.cli(form, args=words, **settings)
    forms: list[Any] = []
    cli = tyro.cli

    def spy(form: Any, **more: Any) -> Any:
        forms.append(form)
        return cli(form, **more)

    monkeypatch.setattr(tyro, "cli", spy)
    parsed = parse(form, words, "train")
    assert parsed == expected
    assert type(parsed) is form
    (small,) = forms
    assert len(fields(small)) <= len(words)


@pytest.mark.parametrize(
    "words", [["q"], ["q", "e", "--steps", "x"], ["q", "e", "--track", "x"], []]
)
def test_what_is_wrong_is_said_by_the_whole_form(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings: Any = {"config": (tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands)}
    with pytest.raises(SystemExit):
        tyro.cli(AGENT_FORM, args=words, prog="rlkit train", **settings)
    expected = capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        parse(AGENT_FORM, words, "train")
    assert capsys.readouterr() == expected
    assert stopped.value.code == 2


def test_options_of_one_name_in_two_parts_are_not_mistaken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @dataclass(frozen=True)
    class First:
        size: Annotated[int, tyro.conf.arg(name="width")] = 1

    @dataclass(frozen=True)
    class Second:
        size: Annotated[int, tyro.conf.arg(name="height")] = 2

    parsed = parse(make_form("Draw.", first=First, second=Second), ["--width", "5"], "draw")
    assert (parsed.first.size, parsed.second.size) == (5, 2)


def test_known_options_are_those_of_the_help() -> None:
    flags = known_flags(make_form("Fine-tune.", task=TaskSource, model=ModelSource))
    assert {"--help", "--model", "--width", "--tied", "--no-tied", "--tokenizer"} <= set(flags)
    hidden = {"--name", "--path", "--digest", "--digests", "--trained-tokenizer"}
    assert not hidden & set(flags)
    with pytest.raises(UsageError, match="rlhf sft has no option --digest"):
        parse(make_form("Fine-tune.", model=ModelSource), ["--digest", "x"], "rlhf sft")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are."""

    out: Path = Path("runs")
    events: str | Path | None = None
    files: tuple[Path, ...] = ()
    title: str = ""
    quick: bool = False


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["a", "--out", ""], "--out: expected a path, got an empty word"),
        (["a", "--out="], "--out: expected a path"),
        (["--events", "", "a"], "--events: expected a path"),
        (["a", "--files", "b", ""], "--files: expected a path"),
        ([""], "draw: expected a name or a path"),
        (["--out", "b", "a", "--title", ""], None),
        (["a", "--title="], None),
        (["a", "--files", "b", "c", "--quick", "--out", "d e"], None),
    ],
)
def test_an_empty_word_is_not_the_current_folder(args: list[str], named: str | None) -> None:
    form = make_form("Draw.", run=positional(Path, "RUN", "a run"), places=Places)
    if named is None:
        assert parse(form, args, "draw").run == Path("a")
        return
    with pytest.raises(UsageError, match=named):
        parse(form, args, "draw")


# --- switches with further choices ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Switches:
    """A switch that can also be a word."""

    baseline: bool | Literal["linear"] = True  # what to subtract
    steps: int = 3


@pytest.mark.parametrize(
    ("args", "baseline"),
    [
        ([], True),
        (["--baseline"], True),
        (["--no-baseline"], False),
        (["--no_baseline"], False),
        (["--baseline", "linear"], "linear"),
        (["--baseline=linear"], "linear"),
        (["--baseline", "False"], False),
        (["--baseline", "--steps", "4"], True),
        (["--steps", "4", "--baseline"], True),
        (["--no-baseline", "--baseline", "linear"], "linear"),
    ],
)
def test_a_switch_can_stand_alone_or_have_a_word(args: list[str], baseline: Any) -> None:
    form = make_form("A test.", options=Switches)
    assert parse(form, args, "test").options.baseline == baseline
    assert {"--baseline", "--no-baseline"} <= set(known_flags(form))


def test_the_word_of_a_switch_is_not_positional_and_what_follows_a_bare_one_is() -> None:
    form = make_form("A test.", options=Switches)
    assert positional_words(["a", "--baseline", "linear", "b"], form) == ["a", "b"]
    assert positional_words(["a", "--baseline", "b"], form) == ["a", "b"]
    assert positional_words(["a", "--no-baseline", "b"], form) == ["a", "b"]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ([], set()),
        (["--batch-size", "64"], {"batch_size"}),  # although 64 is the default
        (["--batch_size=64", "--no-check-ratio", "--seeds", "3"], {"batch_size", "check_ratio"}),
    ],
)
def test_given_options_are_those_among_the_words(args: list[str], names: set[str]) -> None:
    given = given_options(PPOConfig(), args)
    assert given == {name: getattr(PPOConfig(), name) for name in names}
