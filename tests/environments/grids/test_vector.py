"""Vector environments of others give the bytes of single ones, in every autoreset mode."""

from __future__ import annotations

import itertools
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.environments.environment import Environment
from rlkit.environments.grids.singles import OneOfVector
from rlkit.environments.grids.vector import VectorCopies, reason_against
from rlkit.environments.resolve import find_environment
from rlkit.environments.stepping.local import CopyProblem, LocalCopies
from rlkit.environments.stepping.pool import Pool
from rlkit.environments.views.masks import draw_allowed
from rlkit.environments.views.view import View
from rlkit.errors import EnvironmentFault, RlkitWarning, SeedError, UsageError
from rlkit.loop import interact, play
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run
from tests import vector_envs
from tests.faulty_envs import Counter
from tests.vector_envs import AsOne, MaskedWalk, Walks, WalksInNoMode, masked_walks, walks

MODES = [mode.value for mode in AutoresetMode]
STREAMS = (SeedStreams(0, 0), SeedStreams(0, 5))


class Watching(PPO):
    """Keeps what it learns from."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[bytes] = []
        self.num_transitions = 0

    def learn(self, transition: Any) -> Any:
        self.seen += [np.asarray(part).tobytes() for part in transition if part is not None]
        self.num_transitions += transition.reward.size
        return super().learn(transition)


def trained(environment: Environment, num_envs: int, pool: Pool | None = None) -> Any:
    """The transitions, the state of the agent after its updates, and returns of evaluation."""
    from rlkit.agent import Task

    copies = None if pool is None else pool.copies
    options: dict[str, Any] = {"kind": "gymnasium", "make_copies": copies}
    env = environment.grid(STREAMS, num_envs, **options)
    task = Task(env.observation_space, env.action_space, STREAMS, num_envs, 10_000, None)
    agent = Watching(task, PPOConfig(rollout_length=8, minibatch_size=8, hidden_sizes=(4,)))
    for _ in interact(agent, env, 20):
        pass
    evaluation = environment.grid(STREAMS, 2, purpose="evaluation", autoreset=False, **options)
    played = play(agent.actor(), evaluation, max_steps=40)
    state = {name: np.asarray(value).tobytes() for name, value in agent.state_dict().items()}
    counts = [(one.num_steps, one.num_resets) for one in vectors(env)]
    env.close()
    evaluation.close()
    assert agent.num_transitions == 20 * 2 * num_envs
    return agent.seen, state, [part.tobytes() for part in played], counts


def vectors(env: Any) -> list[Any]:
    """The vector environments of a grid that steps several copies at once."""
    return [vector.env for vector in getattr(env._copies, "_vectors", [])]


@pytest.fixture(scope="module")
def single() -> Environment:
    return find_environment(AsOne)


@pytest.mark.trap("T12")
@pytest.mark.parametrize("num_envs", [1, 2, 8])
def test_all_ways_to_step_give_the_same_transitions_updates_and_returns(
    num_envs: int, single: Environment
) -> None:
    expected = trained(single, num_envs)[:3]
    pool = Pool(single, 2, 60.0)
    assert trained(single, num_envs, pool)[:3] == expected
    pool.close()
    for mode, masks in itertools.product(MODES, (True, False)):
        environment = find_environment(Walks, {"mode": mode, "masks": masks})
        assert environment.is_stepped_together == masks
        *results, counts = trained(environment, num_envs)
        assert results == list(expected), (mode, masks)
        assert not masks or [steps for steps, _ in counts] == [20 * num_envs] * 2  # no phantoms


@pytest.mark.parametrize("mode", MODES)
def test_gymnasium_s_own_vector_environments_too(mode: str) -> None:
    environment = find_environment(walks, {"mode": mode})
    assert environment.is_stepped_together
    from tests.faulty_envs import Drifting

    assert trained_random(environment) == trained_random(find_environment(Drifting))


def trained_random(environment: Environment) -> list[bytes]:
    env = environment.grid(STREAMS, 3, kind="gymnasium")
    rng = np.random.default_rng(0)
    seen = [env.reset().tobytes()]
    for _ in range(12):
        seen += [part.tobytes() for part in env.step(rng.integers(3, size=(2, 3)))]
    state = env.state_dict()
    again = environment.grid(STREAMS, 3, kind="gymnasium")
    again.load_state_dict(state)
    assert again.exact_resume  # type: ignore[attr-defined]
    for _ in range(7):
        actions = rng.integers(3, size=(2, 3))
        first, second = env.step(actions), again.step(actions)
        assert [part.tobytes() for part in first] == [part.tobytes() for part in second]
        seen += [part.tobytes() for part in first]
    return seen


def test_every_prefix_of_an_episode_can_be_resumed() -> None:
    environment = find_environment(Walks, {"mode": "Disabled"})
    env = environment.grid(STREAMS, 3, kind="gymnasium")
    env.reset()
    for _ in range(25):
        step = env.step(np.ones((2, 3), int))
        again = environment.grid(STREAMS, 3, kind="gymnasium")
        again.load_state_dict(env.state_dict())
        assert again.exact_resume  # type: ignore[attr-defined]
        assert again.obs.tobytes() == step[4].tobytes()  # type: ignore[attr-defined]


@pytest.mark.trap("T16")
@pytest.mark.parametrize("mode", MODES)
def test_episode_statistics_are_those_of_the_episodes(mode: str) -> None:
    """All walks of 4 steps have length 4, also in the mode in which Gymnasium's wrapper errs."""
    environment = find_environment(walks, {"mode": mode, "length": 4})
    env = environment.grid(STREAMS, 2, kind="gymnasium")
    env.reset()
    steps = [env.step(np.zeros((2, 2), int)) for _ in range(12)]
    ends = np.stack([step[1] | step[2] for step in steps])
    assert np.flatnonzero(ends.all(axis=(1, 2))).tolist() == [3, 7, 11]
    assert ends.sum() == 12
    for step in steps:
        assert (step[3][..., 0] == np.where(step[1], 4, step[4][..., 0])).all()
        assert (step[4][..., 0][step[1]] == 0).all()


def test_an_id_with_nothing_but_a_vector_entry_point_is_trained(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    gym.register("Walks-v0", vector_entry_point=Walks, kwargs={"mode": "SameStep"})
    monkeypatch.setitem(gym.registry, "Walks-v0", gym.registry.pop("Walks-v0"))
    run = small("random-probe", environment="Walks-v0", seeds=2, steps=60, evaluate_every=20)
    again = small(
        "random-probe",
        environment=Walks,
        env_args={"mode": "Disabled"},
        seeds=2,
        steps=60,
        evaluate_every=20,
    )
    assert run.status == "finished"
    assert run.curve.tolist() == again.curve.tolist()
    assert run.environment_name == "Walks-v0"


def test_a_vector_environment_without_resets_of_one_copy_says_so(small: Callable[..., Run]) -> None:
    with pytest.warns(match=r"stepped one by one, because .*NotImplementedError\('no masks'\)"):
        small("random-probe", environment=Walks, env_args={"masks": False}, seeds=1, steps=20)


@pytest.mark.trap("T15")
def test_an_engine_of_gymnasium_is_stepped_one_by_one() -> None:
    environment = find_environment(CartPoleVectorEnv)
    assert environment.reason_against_vector is not None
    env = environment.grid(STREAMS, 2, kind="gymnasium")
    env.reset()
    lengths, elapsed = [], np.zeros((2, 2), int)
    for _ in range(60):
        step = env.step(np.ones((2, 2), int))
        elapsed += 1
        last = step[1] | step[2]
        lengths += elapsed[last].tolist()
        elapsed[last] = 0
    assert 8 <= min(lengths) <= max(lengths) <= 11  # pushing one way, no phantom step


# --- what is rejected ----------------------------------------------------------------------


@pytest.mark.trap("T13")
def test_a_mode_that_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match=r'metadata\["autoreset_mode"\] = None, expected one of'):
        find_environment(WalksInNoMode)


@pytest.mark.trap("T13")
@pytest.mark.parametrize(("mode", "text"), [("Sometimes", "'Sometimes'"), (3, "3")])
def test_an_unknown_mode_is_named(mode: Any, text: str) -> None:
    class Odd(Walks):
        def __init__(self, num_envs: int = 1) -> None:
            super().__init__(num_envs)
            self.metadata = {"autoreset_mode": mode}

    with pytest.raises(UsageError, match=rf'metadata\["autoreset_mode"\] = {text}, expected'):
        find_environment(Odd)


@pytest.mark.trap("T14")
@pytest.mark.parametrize(
    ("final", "hint"), [("final_observation", "before 1.0"), ("other", "copy")]
)
@pytest.mark.parametrize("masks", [True, False])
def test_a_missing_final_observation_is_a_fault(final: str, hint: str, masks: bool) -> None:
    args = {"mode": "SameStep", "final": final, "masks": masks}
    env = find_environment(Walks, args).grid(STREAMS, 2, kind="gymnasium")
    env.reset()
    place = r"environment .*Walks, copy \d, episode 0, step \d+, action \d: "
    with pytest.raises(EnvironmentFault, match=place + rf'.*info\["final_obs"\].*{hint}'):
        stepped(env, 200)


def stepped(env: Any, num_steps: int) -> None:
    for _ in range(num_steps):
        env.step(np.ones((2, 2), int))


def test_a_vector_environment_in_place_of_what_makes_one_is_rejected() -> None:
    env: Any = Walks(2)
    with pytest.raises(UsageError, match="give a function of num_envs that returns one"):
        find_environment(env)


def test_a_factory_that_ignores_num_envs_is_stepped_one_by_one_or_rejected() -> None:
    def three(num_envs: int) -> Any:
        return Walks(3)

    with pytest.raises(UsageError, match="expected 1 copies from num_envs=1, got 3"):
        find_environment(three)


def test_an_error_of_all_copies_names_the_seed_and_the_actions() -> None:
    class Breaks(Walks):
        def step(self, actions: Any) -> Any:
            if self.num_steps >= 8 and len(actions) == 2:
                raise ZeroDivisionError("in a kernel")
            return super().step(actions)

    environment = find_environment(Breaks, {"mode": "Disabled"})
    assert environment.is_stepped_together
    env = environment.grid(STREAMS, 2, kind="gymnasium")
    env.reset()
    with pytest.raises(SeedError, match=r"seed 0: .*raised ZeroDivisionError.*of all 2 copies"):
        stepped(env, 9)


class Misshapen(Walks):
    """Returns a part of another form.

    Args:
        part: its position in what step returns; 5 = one value less.
        value: what it is replaced by, a function of it.
    """

    def __init__(self, num_envs: int = 1, part: int = 5, value: Any = None) -> None:
        super().__init__(num_envs, "Disabled")
        self.part, self.value = part, value

    def step(self, actions: Any) -> Any:
        result = list(super().step(actions))
        if self.part == 5:
            return tuple(result[:4])
        result[self.part] = self.value(result[self.part])
        return tuple(result)


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        (0, lambda obs: obs[:-1], "there are 1 observations, expected 2"),
        (1, lambda rewards: 1.0, "the rewards of a step are 1.0 of type float, expected one per"),
        (1, lambda rewards: rewards[:-1], r"shape \(1,\).*expected one per copy, 2"),
        (1, lambda rewards: rewards + [np.nan] * len(rewards), "the reward is nan; it must be fin"),
        (2, lambda flags: False, "the terminations of a step are False"),
        (3, lambda flags: None, "the truncations of a step are None"),
        (5, None, "step returned a tuple of 4, expected"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_results_of_another_form_are_faults(
    part: int, value: Any, text: str, together: bool
) -> None:
    if together:
        copies: Any = VectorCopies(partial(Misshapen, part=part, value=value), 4, 2, "Misshapen")
    else:
        make = partial(OneOfVector, Misshapen, "Misshapen", part=part, value=value)
        copies, text = LocalCopies(make, 2), text.replace(" 2", " 1").replace(" 1 obs", " 0 obs")
        text = text.replace(r"(1,\)", r"(0,\)")
    assert len(dict(copies.reset({0: 3, 1: 4}, None))) == 2
    with pytest.raises(CopyProblem) as caught:
        list(copies.step({0: np.int64(1), 1: np.int64(1)}, None))
    assert re.search(text, str(caught.value.problem))


def test_a_constructor_that_fails_for_many_copies_is_named() -> None:
    def few(num_envs: int) -> Any:
        if num_envs > 3:
            sys.exit("too many")
        return Walks(num_envs, "Disabled")

    environment = find_environment(few)
    text = r"building the vector environment .*few with num_envs=4 failed: SystemExit\('too many'\)"
    with pytest.raises(UsageError, match=text):
        environment.grid(STREAMS, 4, kind="gymnasium")


def test_what_close_of_a_vector_environment_raises_is_a_warning() -> None:
    class Stuck(Walks):
        def close(self, **options: Any) -> None:
            raise SystemExit("close")

    env = find_environment(Stuck, {"mode": "Disabled"}).grid(STREAMS, 2, kind="gymnasium")
    with pytest.warns(RlkitWarning, match="the vector environment .*Stuck raised SystemExit"):
        env.close()


def test_copies_that_depend_on_each_other_are_stepped_one_by_one() -> None:
    class Coupled(Walks):
        def step(self, actions: Any) -> Any:
            obs, reward, *rest = super().step(actions)
            return obs, reward + self.num_envs, *rest

    def one() -> gym.Env[Any, Any]:
        return find_environment(Coupled).make()

    assert "step 1 has another result" in str(reason_against(Coupled, one, "Coupled"))


@pytest.mark.trap("T17")
def test_the_options_of_a_reset_are_made_anew_each_time() -> None:
    copies = VectorCopies(Walks, 4, 2, "Walks")
    dict(copies.reset({0: 1, 1: 2, 2: 3, 3: 4}, None))
    for seed in (5, 6):
        before = [one.num_resets for one in vectors_of(copies)]
        dict(copies.reset({1: seed}, None))
        assert [one.num_resets for one in vectors_of(copies)] == [before[0] + 1, before[1]]


def vectors_of(copies: VectorCopies) -> list[Any]:
    return [vector.env for vector in copies._vectors]


def test_a_module_of_vector_environments_works_in_workers(small: Callable[..., Run]) -> None:
    options: dict[str, Any] = {"seeds": 2, "steps": 40, "evaluate_every": 20}
    reference = f"{vector_envs.__file__}:Walks"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = small("random-probe", environment=reference, env_workers=1, **options)
        other = small("random-probe", environment=reference, **options, out=run.folder / "other")
    assert run.folder.name == other.folder.name
    assert run.curve.tolist() == other.curve.tolist()


# --- action masks ---------------------------------------------------------------------------------


def masked_steps(make: Any, num_envs: int, args: Any = None, *, workers: int = 0) -> list[bytes]:
    """All that agents see in some steps of allowed actions, and again after resuming."""
    environment = find_environment(make, args or {}).seen_as(View(action_masks=True))
    assert environment.probe.offers_masks
    pool = Pool(environment, workers, 60.0) if workers else None
    copies = None if pool is None else pool.copies
    env: Any = environment.grid(STREAMS, num_envs, kind="gymnasium", make_copies=copies)
    rng, seen = np.random.default_rng(0), [env.reset(), env.action_masks]
    for t in range(40):
        if t == 20:  # in the middle of episodes
            state = env.state_dict()
            env.close()
            env = environment.grid(STREAMS, num_envs, kind="gymnasium", make_copies=copies)
            env.load_state_dict(state)
            assert env.exact_resume
        codes = env.action_masks @ [1, 2, 4, 8]
        assert (codes == env.obs[..., 1]).all()  # the mask of what is acted on
        step = env.step(draw_allowed(env.action_masks, rng.random(env.obs.shape[:2])))
        codes = env.next_action_masks @ [1, 2, 4, 8]
        assert ((codes == step.next_obs[..., 1]) | step.terminated).all()  # of the true successor
        seen += [*step, env.action_masks, env.next_action_masks]
    env.close()
    if pool is not None:
        pool.close()
    return [np.asarray(part).tobytes() for part in seen]


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("form", ["array", "list"])
def test_masks_of_vector_environments_are_those_of_single_ones_in_every_mode(
    num_envs: int, form: str
) -> None:
    expected = masked_steps(MaskedWalk, num_envs)
    for mode in MODES:
        args = {"mode": mode, "form": form}
        assert masked_steps(masked_walks, num_envs, args) == expected, mode


def test_masks_of_vector_environments_come_from_workers_as_well() -> None:
    args = {"mode": "SameStep"}
    assert masked_steps(masked_walks, 2, args, workers=1) == masked_steps(MaskedWalk, 2)


def test_a_missing_mask_of_a_last_observation_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match=r"there is no info.*SAME_STEP mode.*final_info"):
        masked_steps(masked_walks, 2, {"mode": "SameStep", "form": "no final"})
    for mode in ("NextStep", "Disabled"):  # where they come with the observation
        masked_steps(masked_walks, 2, {"mode": mode, "form": "no final"})


class HasMethod(Walks):
    def action_masks(self) -> Any:
        return np.ones((self.num_envs, 3), bool)


def test_masks_that_a_vector_environment_does_not_give_in_its_infos_are_rejected(
    small: Callable[..., Run],
) -> None:
    with pytest.raises(
        UsageError, match=r"no info\[.action_mask.\], which is where .* many copies"
    ):
        small("random-probe", environment=HasMethod, action_masks=True)


def test_a_run_with_masks_steps_a_vector_environment_one_by_one_and_says_so(
    small: Callable[..., Run],
) -> None:
    options = {"seeds": 1, "steps": 40, "evaluate_every": 20, "action_masks": True}
    with pytest.warns(match="stepped one by one, because the run uses action masks"):
        run = small("random-probe", environment=masked_walks, **options)
    single = small("random-probe", environment=MaskedWalk, **options)
    assert np.array_equal(run.curve, single.curve)


class Gradients(SyncVectorEnv):
    """Its observations are tensors that have a gradient, from step `at` on."""

    at = 2

    def step(self, actions: Any) -> Any:
        obs, *others = super().step(actions)
        self.count = getattr(self, "count", 0) + 1
        return (torch.tensor(obs, requires_grad=self.count >= self.at), *others)


@pytest.mark.trap("F49")
def test_an_observation_that_raises_when_it_is_read_is_a_problem_of_its_copy() -> None:
    copies = VectorCopies(lambda num_envs: Gradients([Counter] * num_envs), 2, 2, "Named")
    dict(copies.reset({0: 1, 1: 2}, None))
    dict(copies.step({0: 0, 1: 0}, None))
    with pytest.raises(CopyProblem) as caught:
        dict(copies.step({0: 0, 1: 0}, None))
    assert caught.value.copy == 0
    text = str(caught.value.problem)
    assert text.startswith("reading the observation raised RuntimeError")
    assert "requires grad" in text
    copies.close()
