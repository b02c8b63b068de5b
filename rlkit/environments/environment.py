"""A named recipe for environments, and the grids that are built from it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from rlkit.determinism import apart
from rlkit.environments.batch_env import BatchEnv
from rlkit.environments.bins import Bins
from rlkit.environments.copies import constructed, different_spaces
from rlkit.environments.grids.users import UserGrid
from rlkit.environments.grids.vector import VectorCopies, reason_against
from rlkit.environments.gymnasium_adapter import GymBatchEnv, MakeCopies
from rlkit.environments.probe import Probe, probe
from rlkit.environments.repeatability import Repeatability, check_repeatability
from rlkit.environments.table import TabularBatchEnv
from rlkit.environments.views.action_view import ActionView
from rlkit.environments.views.observations import seen_by_agents
from rlkit.environments.views.view import View
from rlkit.environments.views.viewed_env import ViewedBatchEnv
from rlkit.errors import UsageError
from rlkit.fingerprint import Fingerprint, settle
from rlkit.seeding import SeedStreams, episode_seeder
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.beliefs import Belief, belief_from_env
from rlkit.tabular.reading.model import Model, UnknownModel, examine
from rlkit.user_code import is_patched


def _native_entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="rlkit.native_envs")}


@dataclass(frozen=True)
class Environment:
    """A named recipe for environments.

    Args:
        reference: its name in stored files, such as "CartPole-v1" or "grid.py:Grid".
        args: keyword arguments of each environment.
        source: the fingerprint of its constructor.
        content: the sha256 of its file in runs of format 1, "" where an id names it, and None
            where runs of that format are not looked for.
        meaning: the object of which `source` is the fingerprint.
        view: how agents see it.
        again: finds it in another process.
        make_grid: makes many copies at once: a BatchEnv if `is_batched`, else a vector environment.
        is_batched: whether a user wrote it as a BatchEnv.
    """

    reference: str
    args: Mapping[str, Any]
    constructor: Callable[..., gym.Env[Any, Any]] = field(repr=False)
    source: Fingerprint = field(repr=False)
    content: str | None = None
    meaning: Any = field(default=None, repr=False)
    view: View = field(default_factory=View)
    again: Callable[[], Environment] | None = field(default=None, repr=False)
    make_grid: Callable[..., Any] | None = field(default=None, repr=False)
    is_batched: bool = False

    @property
    def name(self) -> str:
        """A short name for titles and folders."""
        return self.reference.rsplit(":", 1)[-1]

    def make(self, **extra: Any) -> gym.Env[Any, Any]:
        """Build one environment; `extra` adds arguments such as `render_mode`."""
        return constructed(self.built, lambda: self.constructor(**{**self.args, **extra}))

    @property
    def built(self) -> str:
        """What failed, in messages: that one was built, with its arguments."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        return f"building the environment {self.reference}({given})"

    @property
    def source_digest(self) -> str:
        """The digest of its fingerprint, "" where that does not identify it."""
        return "" if self.source.unidentified else self.source.digest

    def require_source(self, digest: str) -> None:
        """Require that this environment is the one that another process found.

        Raises:
            UsageError: its fingerprint is another; "" is that of anything.
        """
        if digest not in ("", self.source.digest):
            raise UsageError(
                f"the environment {self.reference} differs in a worker process: a "
                "global, a class attribute or a file that it uses was changed after it was "
                "defined. Pass the value as env_args, or use workers=1 and env_workers=0"
            )

    @functools.cached_property
    def probe(self) -> Probe:
        """Return the description of one copy: spaces, wrappers and time limit."""
        return probe(self.make, self.reference)

    @functools.cached_property
    def model(self) -> Model:
        """Return the exact model, or why the table that the environment publishes is not used."""
        return examine(self.make) if self.probe.has_table else Model(None, None)

    def seen_as(self, view: View) -> Environment:
        """Return the same environment with another view; what is known of it is kept."""
        if view == self.view:
            return self
        other = dataclasses.replace(self, view=view)
        known = ["probe", "model", "belief", "reason_against_vector"]
        if view.action_masks == self.view.action_masks:
            known.append("repeatability")  # with the same actions
        for name in known:
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @functools.cached_property
    def bins(self) -> Bins | None:
        """Return the division of observations into bins, or None.

        Raises:
            UsageError: it does not fit the observations.
        """
        if self.view.binning is None:
            return None
        return Bins(seen_by_agents(self.probe.observation_space), self.view.binning, self.name)

    @functools.cached_property
    def action_view(self) -> ActionView:
        """Return how agents see its actions.

        Raises:
            UsageError: they have nothing to rescale.
        """
        return ActionView(
            self.probe.action_space,
            numbered=self.view.numbered_actions,
            rescaled=self.view.rescaled_actions,
            name=self.name,
        )

    @property
    def observation_space(self) -> gym.Space[Any]:
        """The space of observations as agents see them."""
        return self.own_observation_space if self.bins is None else self.bins.space

    @property
    def own_observation_space(self) -> gym.Space[Any]:
        """The space of observations before they are divided into bins."""
        return seen_by_agents(self.probe.observation_space)

    @property
    def action_space(self) -> gym.Space[Any]:
        """The space of actions as agents see them."""
        return self.action_view.space

    def with_model(self, model: Model | None) -> Environment:
        """Return the same environment with a model that is known already; None to look for it."""
        known = dataclasses.replace(self)
        if model is not None:
            known.__dict__["model"] = model  # the cached property
        return known

    def with_known(self, repeatability: Repeatability, model: Model) -> Environment:
        """Return the same environment with what another process found out about it."""
        known = self.with_model(model)
        known.__dict__["repeatability"] = repeatability
        return known

    def settle(self) -> None:
        """Accept what its own code has changed since, such as a counter in its class."""
        settle(self.meaning, self.source)
        settle(self.probe.layers, self.probe.made_of)

    @property
    def mdp(self) -> TabularMDP | None:
        """Return the exact model, where the environment publishes one and follows it."""
        return self.model.mdp

    @functools.cached_property
    def belief(self) -> Belief | None:
        """Return the priors of a bandit that is drawn anew each episode, if it follows them."""
        if self.probe.has_table or not self.probe.has_priors:
            return None
        try:
            return belief_from_env(self.make)
        except UnknownModel:
            return None

    @functools.cached_property
    def repeatability(self) -> Repeatability:
        """Return whether copies are determined by their seeds and actions alone."""
        return check_repeatability(self.make, self.reference, action_masks=self.view.action_masks)

    @functools.cached_property
    def reward_threshold(self) -> float | None:
        """Return the episode return at which its authors call it solved."""
        spec = gym.registry.get(self.name)
        return None if spec is None else spec.reward_threshold

    @functools.cached_property
    def kind(self) -> str:
        """Return how a grid of it is stepped by default.

        That is "batch" (of a user), "native", "tabular" or "gymnasium".
        """
        if self.is_batched:
            return "batch"
        if self.has_twin:
            return "native"
        return "gymnasium" if self.mdp is None else "tabular"

    @property
    def has_twin(self) -> bool:
        """Whether it is stepped by a batched twin unless the original is requested."""
        return self._twin() is not None

    def _twin(self) -> Callable[..., BatchEnv] | None:
        point = _native_entry_points().get(self.reference)
        spec = gym.registry.get(self.reference)
        if point is None or spec is None or spec.additional_wrappers:
            return None
        try:
            factory = point.load()
        except ModuleNotFoundError as error:
            raise UsageError(
                f"the batched twin of {self.reference}, {point.value}, cannot be imported: "
                f"{error}. If a file of yours has the name of that package, rename it"
            ) from error
        # An id that somebody registered anew is no longer the environment that the twin equals.
        if spec.entry_point != getattr(factory, "original", spec.entry_point):
            return None
        if is_patched(load_env_creator(str(spec.entry_point))):
            return None
        # It may also have been registered anew with another time limit or other arguments.
        args = {"max_episode_steps": spec.max_episode_steps, **spec.kwargs, **self.args}
        try:
            inspect.signature(factory).bind(None, 1, 1, autoreset=True, **args)
        except TypeError:
            return None
        return functools.partial(factory, **args)

    @functools.cached_property
    def reason_against_vector(self) -> str | None:
        """Return why a vector environment is stepped one copy at a time, None if it is not."""
        make = functools.partial(self.make_grid or self.constructor, **self.args)
        return reason_against(make, self.make, self.name)

    @property
    def is_stepped_together(self) -> bool:
        """Whether it is a vector environment that steps all copies of a seed at once."""
        is_vector = self.make_grid is not None and not self.is_batched
        return is_vector and not self.view.action_masks and self.reason_against_vector is None

    def _vector_copies(self, number: int, size: int) -> VectorCopies:
        assert self.make_grid is not None
        make = functools.partial(self.make_grid, **self.args)
        return VectorCopies(make, number, size, self.name)

    def grid(
        self,
        streams: Sequence[SeedStreams],
        num_envs: int,
        *,
        kind: str,
        purpose: str = "env",
        autoreset: bool = True,
        make_copies: MakeCopies | None = None,
    ) -> BatchEnv:
        """Build S x N environments of the given kind, fed from the seeds' own streams.

        Args:
            make_copies: builds copies that are stepped elsewhere, where the kind is "gymnasium".
        """
        grid = apart(self._own_grid, streams, num_envs, kind, purpose, autoreset, make_copies)
        if self.bins is None and not self.action_view.changes:
            return grid
        return ViewedBatchEnv(grid, self.bins, self.action_view)

    def _own_grid(
        self,
        streams: Sequence[SeedStreams],
        num_envs: int,
        kind: str,
        purpose: str,
        autoreset: bool,
        make_copies: MakeCopies | None,
    ) -> BatchEnv:
        """Build a grid with the environments' own observations."""
        if kind == "native":
            twin = self._twin()
            assert twin is not None
            seeder = episode_seeder(streams, purpose)
            return twin(seeder, len(streams), num_envs, autoreset=autoreset)
        if kind == "batch":
            assert self.make_grid is not None
            make = functools.partial(self.make_grid, **self.args)
            options: dict[str, Any] = {"purpose": purpose, "autoreset": autoreset}
            return UserGrid(make, streams, num_envs, name=self.name, **options)
        if make_copies is None and self.is_stepped_together:
            make_copies = functools.partial(self._vector_copies, size=num_envs)
        if kind == "tabular":
            assert self.mdp is not None
            return TabularBatchEnv(
                self.mdp, streams, num_envs, purpose=purpose, autoreset=autoreset
            )
        env = GymBatchEnv(
            self.make,
            streams,
            num_envs,
            purpose=purpose,
            autoreset=autoreset,
            make_copies=make_copies,
            action_masks=self.view.action_masks,
        )
        # Agents are built for the spaces of the copy that was probed.
        known = self.own_observation_space, self.probe.action_space
        if (env.observation_space, env.action_space) != known:
            env.close()
            raise different_spaces(self.name, known, (env.observation_space, env.action_space))
        return env
