"""Checks that an environment repeats itself where it should, and only there."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from rlkit.diagnosis.findings import Fault
from rlkit.diagnosis.playing.outcomes import Difference, Episode, Outcome, difference, same_bytes
from rlkit.diagnosis.playing.patient import Patient
from rlkit.diagnosis.playing.subject import Subject
from rlkit.environments.copies import require_separate
from rlkit.environments.repeatability import GlobalGenerators
from rlkit.errors import UsageError

MOST_STEPS = 200  # of an episode that is repeated
_UNSEEDED_STEPS = 30
_SEEDS, _COPIES = 6, 4


def check_copies(patient: Patient) -> None:
    """Check that copies are separate environments with equal spaces."""
    with patient.copy() as one, patient.copy() as other:
        try:
            require_separate([one.env, other.env], patient.environment.name)
        except UsageError as error:
            raise Fault("copies-are-one", f"{error}.") from error
        for role in ("observation_space", "action_space"):
            a, b = getattr(one, role), getattr(other, role)
            if a != b:
                raise Fault("spaces-differ", f"Two copies have the {role} {a} and {b}.")
            one.reset(0)
            if (after := getattr(one.env, role)) != a:
                raise Fault("spaces-differ", f"The {role} {a} is {after} after a reset.")


def check_repeats(patient: Patient, subject: Subject) -> None:
    """Play episodes again, on the copy that played them and on fresh ones.

    Args:
        patient: has the episodes.
        subject: the copy that played them.
    """
    first, later = patient.episodes[0], _latest(patient.episodes)
    until = patient.until(0.1)
    again = _differ(subject, first, until)
    with patient.copy() as fresh:
        elsewhere = _differ(fresh, first, until)
        once_more = None if elsewhere is None else _repeat_differs(fresh, first, until)
    if again and elsewhere is None:
        _leak(patient, first, again, "after other episodes", "in a fresh copy")
    elif elsewhere and again is None and once_more is None:
        patient.findings.add(
            "copies-differ",
            f"{elsewhere.text} in a second copy that was reset with the seed {first.seed} "
            "and given the same actions; each copy repeats its own episode.",
        )
    elif again or elsewhere:
        worst = again or elsewhere
        assert worst is not None
        code = "step-ignores-seed" if worst.step else "reset-ignores-seed"
        patient.findings.add(
            code, f"{worst.text} when the episode of seed {first.seed} was played again."
        )
    elif later is not first:
        with patient.copy() as fresh:
            leaked = _differ(fresh, later, until)
        if leaked:
            _leak(patient, later, leaked, "in a fresh copy", "after other episodes")
        patient.repeatable = leaked is None
    else:
        patient.repeatable = True


def _leak(patient: Patient, episode: Episode, where: Difference, now: str, before: str) -> None:
    patient.findings.add(
        "leaks-between-episodes",
        f"In the episode of seed {episode.seed}, {where.text}, when it was played {now} rather "
        f"than {before}.",
    )


def _latest(episodes: Sequence[Episode]) -> Episode:
    """Return the last episode of a few steps, or the first."""
    long = [episode for episode in episodes if episode.length > 1]
    return (long or list(episodes))[-1]


def _differ(subject: Subject, episode: Episode, until: float) -> Difference | None:
    """Play an episode again and return where it differs."""
    again = subject.play(episode.seed, episode.rows, most=MOST_STEPS, until=until)
    return difference(episode.outcomes, again.outcomes)


def _repeat_differs(subject: Subject, episode: Episode, until: float) -> Difference | None:
    """Play an episode twice on one copy and return where the second time differs."""
    plays = [
        subject.play(episode.seed, episode.rows, most=MOST_STEPS, until=until) for _ in range(2)
    ]
    return difference(plays[0].outcomes, plays[1].outcomes)


def check_beside(patient: Patient) -> None:
    """Check that a copy is not disturbed by another that is stepped beside it."""
    episode, until = patient.episodes[0], patient.until(0.1)
    with patient.copy() as one, patient.copy() as other:
        outcomes = [one.reset(episode.seed)]
        other.reset(1)
        assert other.source is not None
        other_is_over = False
        for number, row in enumerate(episode.rows[:MOST_STEPS], start=1):
            if other_is_over:
                other.reset(number + 1)
            other_is_over = other.step(other.source.draw(other.mask), 1).is_last
            outcomes.append(one.step(row, number))
            if patient.until(0) > until:
                break
    where = difference(episode.outcomes, outcomes)
    if where:
        patient.repeatable = False
        patient.findings.add(
            "copies-disturb-each-other",
            f"{where.text}, in the episode of seed {episode.seed}, while a second copy was "
            "stepped beside it.",
        )


class GeneratorWatch:
    """Notes which global generators move in resets and in steps, for a number of calls."""

    def __init__(self, calls: int) -> None:
        self._left, self._generators = calls, GlobalGenerators()
        self.moved: dict[str, set[str]] = {"reset": set(), "step": set()}

    def __call__(self, call: str) -> None:
        if self._left:
            self._left -= 1
            self.moved[call] |= self._generators.moved()

    def report(self, patient: Patient) -> None:
        """Report global generators that moved."""
        by_name = {
            name: [call for call in ("reset", "step") if name in self.moved[call]]
            for name in sorted(self.moved["reset"] | self.moved["step"])
        }
        if by_name:
            uses = [f"{name} in {' and '.join(calls)}" for name, calls in by_name.items()]
            patient.findings.add(
                "global-generator",
                f"It draws from or seeds a generator of the whole process: {'; '.join(uses)}.",
            )


def _beginnings(
    subject: Subject, seeds: Sequence[int | None], until: float
) -> list[Sequence[Outcome]]:
    """Play the beginning of one episode after another, with the same actions."""
    plays: list[Sequence[Outcome]] = []
    for seed in seeds:
        subject.draw_again()  # the same, as far as masks allow them
        plays.append(subject.play(seed, None, most=_UNSEEDED_STEPS, until=until).outcomes)
    return plays


def _num_different(
    plays: Sequence[Sequence[Outcome]], beside: Sequence[Sequence[Outcome]]
) -> tuple[int, int]:
    """Return how many of two groups differ, as far as all go that ended for lack of time."""
    lengths = [len(play) for play in (*plays, *beside) if not play[-1].is_last]
    length = min(lengths, default=None)
    one, other = ({same_bytes(play[:length]) for play in group} for group in (plays, beside))
    return len(one), len(other)


def check_seeds(patient: Patient) -> None:
    """Check what seeds change, and what resets without one do."""
    until = patient.until(0.1)
    with patient.copy() as subject:
        seeded = _beginnings(subject, range(_SEEDS), until)
        unseeded = _beginnings(subject, [None] * _SEEDS, until)
        after_seed = [_beginnings(subject, [0, None], until)[1] for _ in range(2)]
    unlike, unlike_unseeded = _num_different(seeded, unseeded)
    if unlike == 1:
        patient.findings.add(
            "seed-without-effect",
            f"{_SEEDS} seeds gave the same episodes of up to {_UNSEEDED_STEPS} steps with the same "
            "actions.",
        )
    if unlike < _SEEDS - 1:  # they differ too rarely to judge
        return
    if unlike_unseeded == 1:
        patient.findings.add(
            "reset-repeats",
            f"{_SEEDS} resets without a seed, one after another, began the same episode, while "
            f"{_SEEDS} seeds gave {unlike} different ones.",
        )
        return
    if _num_different(after_seed, ())[0] > 1:
        patient.findings.add(
            "reset-forgets-seed",
            "After reset(seed=0), the episode that reset() began was another one each time.",
        )
    fresh: list[Sequence[Outcome]] = []
    for _ in range(_COPIES):
        with patient.copy() as subject:
            fresh += _beginnings(subject, [None], until)
    unlike, unlike_fresh = _num_different(seeded, fresh)
    if unlike >= _SEEDS - 1 and unlike_fresh == 1:
        patient.findings.add(
            "unseeded-copies-alike",
            f"{len(fresh)} new copies began the same episode when they were reset without a seed.",
        )


def check_end(patient: Patient) -> None:
    """Look at what happens where an episode ends, and after it."""
    ended = [episode for episode in patient.ended if episode.length <= 1000]
    if not ended:
        return
    episode = min(ended, key=lambda one: one.length)
    with patient.copy(is_reported=False) as subject:  # after the end anything may be returned
        inner, resets = subject.env.unwrapped, 0
        original, inside = inner.reset, False

        def counted(*args: object, **options: object) -> object:
            nonlocal resets
            resets += inside
            return original(*args, **options)  # type: ignore[arg-type]

        with contextlib.suppress(TypeError):  # it may have no dictionary of attributes
            vars(inner)["reset"] = counted
        subject.reset(episode.seed)
        inside = True
        for number, row in enumerate(episode.rows, start=1):
            last = subject.step(row, number)
        if resets:
            patient.findings.add(
                "step-calls-reset",
                f"step {episode.length} of the episode of seed {episode.seed}, which ended it, "
                "called reset.",
            )
        inside = False
        if last.is_last and not resets:
            with contextlib.suppress(Fault):  # an error is welcome there
                if not subject.step(episode.rows[-1], episode.length + 1).is_last:
                    patient.findings.add(
                        "step-after-end",
                        f"After the end of the episode of seed {episode.seed} at step "
                        f"{episode.length}, one more step returned terminated=False.",
                    )
