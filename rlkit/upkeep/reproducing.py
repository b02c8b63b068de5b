"""`reproduce`: a run trained again elsewhere, and whether the results are the same."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.preferences.person.setting import ANSWERS
from rlkit.errors import UsageError
from rlkit.options import require_count, require_typed
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.runs.checkpoints import list_checkpoints
from rlkit.runs.curves import curve_path
from rlkit.runs.integrity.trust import require_from_here, trusting
from rlkit.runs.kinds import RunKind
from rlkit.runs.latest import named_folder
from rlkit.runs.progress import python_reports
from rlkit.runs.record import RunFolder, target_of
from rlkit.runs.reports import Reports
from rlkit.training.kind import AGENT_RUN
from rlkit.upkeep.verifying import kind_of

if TYPE_CHECKING:
    from rlkit.training.playing.agent import AgentLike

EQUAL, SAME, UNDECIDED, DIFFERENT = "equal bytes", "same in distribution", "undecided", "different"
_MEASURES = ("score", "held_out_loss", "loss")  # of a stage, the first that it has


@dataclass(frozen=True)
class SeedComparison:
    """One seed of both runs.

    Args:
        seed: its index.
        differs_at: the first row that differs, by its steps or updates; None where rows are equal.
        equal_state: whether the last checkpoints are equal to the byte.
    """

    seed: int
    differs_at: int | None
    equal_state: bool

    @property
    def equal(self) -> bool:
        """Whether rows and state are equal."""
        return self.differs_at is None and self.equal_state


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a run and its repetition compare.

    Args:
        original: the folder of the run.
        repetition: the folder of the repetition; None where it was not kept.
        seeds: that were compared.
        unit: what rows are counted in.
        p_value: of a permutation test of the final scores; None where the bytes are equal, or where
            a run has no scores.
        verdict: "equal bytes", "same in distribution", "undecided" or "different".
        changed: what differs in versions and arithmetic: name -> (then, now).
    """

    original: Path
    repetition: Path | None
    seeds: tuple[SeedComparison, ...]
    unit: str
    p_value: float | None
    verdict: str
    changed: Mapping[str, tuple[str, str]]

    @property
    def reproduced(self) -> bool:
        """Whether the results are equal, or the same as far as the seeds tell."""
        return self.verdict in (EQUAL, SAME)

    def __str__(self) -> str:
        number = len(self.seeds)
        seeds = "1 seed" if number == 1 else f"{number} seeds"
        if self.verdict == EQUAL:
            return f"{self.original}: equal bytes, {seeds}"
        lines = [f"{self.original}: {self._meaning(seeds)}"]
        for each in self.seeds:
            if each.differs_at is not None:
                lines.append(f"seed {each.seed} differs from {self.unit} {each.differs_at:,} on")
            elif not each.equal_state:
                lines.append(f"seed {each.seed} has equal rows, but another final state")
        lines += [f"{name}: {then} then, {now} now" for name, (then, now) in self.changed.items()]
        if not self.changed:
            lines.append("versions and processor are those that the run recorded")
        return "\n".join(lines)

    def _meaning(self, seeds: str) -> str:
        test = "" if self.p_value is None else f"permutation test, p = {self.p_value:.2g}, {seeds}"
        if self.verdict == SAME:
            return f"same in distribution as far as the seeds tell ({test})"
        if self.verdict == DIFFERENT:
            return f"different in distribution ({test})"
        return f"other bytes, and {seeds} are too few to tell whether the distribution is the same"

    def as_data(self) -> dict[str, Any]:
        """Return all of it in the types of JSON."""
        return {
            "original": str(self.original),
            "repetition": None if self.repetition is None else str(self.repetition),
            "verdict": self.verdict,
            "p_value": self.p_value,
            "seeds": [dataclasses.asdict(each) | {"equal": each.equal} for each in self.seeds],
            "unit": self.unit,
            "changed": {name: list(pair) for name, pair in self.changed.items()},
        }


@dataclass(frozen=True, kw_only=True)
class _Options:
    """How a run is trained again; see `reproduce`."""

    seeds: int | None
    workers: int
    agent: AgentLike | None
    trust: bool


def reproduce(
    place: str | Path,
    *,
    out: str | Path | None = None,
    seeds: int | None = None,
    workers: int = 1,
    agent: AgentLike | None = None,
    trust: bool = False,
    reports: Reports | None = None,
) -> Reproduction:
    """Train a finished run again in another folder and compare the two, seed by seed.

    A seed is equal if every byte of its csv and of its last checkpoint is. Where one is not, the
    final scores of both runs are compared by a permutation test at the level .05.

    Args:
        place: the folder of a run of an agent or of a stage of RLHF.
        out: where to keep the repetition; by default it is deleted.
        seeds: repeat the first so many only; by default all.
        workers: processes over which the seeds are split.
        agent: the user's own agent, if run.json does not name it.
        trust: run the code that the run names although it was not trained on this machine from it.
        reports: where to report progress and notes.

    Raises:
        UsageError: there is no such run, no seed of it is complete, or what it was trained on has
            changed.
    """
    folder = named_folder(place).absolute()
    workers = require_count("workers", workers, at_least=1)
    if out is not None and Path(out).absolute() == folder.parent:
        raise UsageError(f"reproduce: --out {out} is where the run is; choose another folder")
    kind = kind_of(folder)
    again = _again_stage if kind is STAGE_RUN else _again_agent
    with trusting(require_typed("trust", trust, bool)), tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary if out is None else out).absolute()
        options = _Options(seeds=seeds, workers=workers, agent=agent, trust=trust)
        if reports is not None:
            original, repetition = again(folder, target, reports, options)
        else:
            with python_reports() as own:
                original, repetition = again(folder, target, own, options)
        return _compare(kind, original, repetition, kept=out is not None)


def _again_agent(
    folder: Path, out: Path, reports: Reports, options: _Options
) -> tuple[RunFolder, RunFolder]:
    from rlkit.training.prepare import prepare
    from rlkit.training.run import load
    from rlkit.training.train import train_prepared
    from rlkit.training.watching.callbacks import stop_again
    from rlkit.training.watching.watch import Watching

    run = load(folder, agent=options.agent, trust=options.trust)
    num_seeds = _num_seeds(run, AGENT_RUN, options.seeds)
    if run.spec.stop is not None and num_seeds < run.spec.stop.num_seeds:
        raise UsageError(
            f"reproduce: {folder} was trained with a rule that decides on all of its "
            f"{run.spec.stop.num_seeds} seeds, and {num_seeds} are to be repeated; omit --seeds, "
            "and continue the run if it is not finished"
        )
    if "reward" in run.record:
        name = run.record["reward"]["name"]
        require_from_here(folder, run.record, f"the reward function {name}")
    prepared = prepare(run.spec, num_seeds, out, environment=run.environment, allow_drift=True)
    if (folder / ANSWERS).exists():  # of a person, who is not asked again
        prepared.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / ANSWERS, prepared.folder / ANSWERS)
    watching = Watching(callbacks=stop_again(run.record))
    return run, train_prepared(
        prepared, num_seeds, workers=options.workers, watching=watching, reports=reports
    )


def _again_stage(
    folder: Path, out: Path, reports: Reports, options: _Options
) -> tuple[RunFolder, RunFolder]:
    from rlkit.rlhf.stages.launch import stored_spec
    from rlkit.rlhf.stages.run_stage import run_stage
    from rlkit.rlhf.stages.stage_run import load_stage_run

    if options.agent is not None:
        raise UsageError(f"{folder} is the run of a stage of RLHF, which has no agent")
    run = load_stage_run(folder)
    num_seeds = _num_seeds(run, STAGE_RUN, options.seeds)
    spec = stored_spec(run)
    return run, run_stage(spec, num_seeds, out, workers=options.workers, reports=reports)


def _num_seeds(run: RunFolder, kind: RunKind, wanted: int | None) -> int:
    """Return how many seeds are repeated: up to the last that is complete.

    Raises:
        UsageError: none is, or more are wanted than there are.
    """
    complete = _complete(run, kind)
    if not complete:
        raise UsageError(
            f"reproduce: no seed of {run.folder} is complete; `rlkit resume` continues the run"
        )
    if wanted is None:
        return complete[-1] + 1
    wanted = require_count("seeds", wanted, at_least=1)
    if wanted > len(run.seeds) or complete[0] >= wanted:
        raise UsageError(
            f"option seeds (--seeds): expected at most the {len(run.seeds)} seeds of {run.folder}, "
            f"of which seed {complete[0]} is the first that is complete; got {wanted}"
        )
    return wanted


def _complete(run: RunFolder, kind: RunKind) -> list[int]:
    """Return the seeds that were trained to the end."""
    target = target_of(run.record, kind)
    newest = {seed: list_checkpoints(run.folder, seed)[:1] for seed in run.seeds}
    return [
        seed
        for seed in run.seeds
        if seed not in run.failures and newest[seed] and newest[seed][0][0] >= target
    ]


def _compare(
    kind: RunKind, original: RunFolder, repetition: RunFolder, *, kept: bool
) -> Reproduction:
    both = sorted(set(_complete(original, kind)) & set(_complete(repetition, kind)))
    if not both:
        listed = "; ".join(f"seed {k}: {text}" for k, text in repetition.failures.items())
        raise UsageError(f"reproduce: no seed could be trained again ({listed})")
    seeds = tuple(_compare_seed(kind, original, repetition, seed) for seed in both)
    p_value, verdict = None, EQUAL
    if not all(each.equal for each in seeds):
        p_value, verdict = _test(_scores(original, both), _scores(repetition, both))
    return Reproduction(
        original=original.folder,
        repetition=repetition.folder if kept else None,
        seeds=seeds,
        unit=kind.unit.removesuffix("s"),
        p_value=p_value,
        verdict=verdict,
        changed=_changed(original.record, repetition.record),
    )


def _compare_seed(
    kind: RunKind, original: RunFolder, repetition: RunFolder, seed: int
) -> SeedComparison:
    folders = original.folder, repetition.folder
    states = [list_checkpoints(folder, seed)[0][1].read_bytes() for folder in folders]
    equal_rows = len({curve_path(folder, seed).read_bytes() for folder in folders}) == 1
    differs_at = None
    if not equal_rows:
        a, b = (run.columns[run.seeds.index(seed)] for run in (original, repetition))
        differs_at = _first_difference(a, b, kind.counter)
    return SeedComparison(seed, differs_at, states[0] == states[1])


def _first_difference(
    a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]], counter: str
) -> int:
    """Return the count of the first row that is not the same in both."""
    number = min(len(a[counter]), len(b[counter]))
    differs = np.zeros(number, dtype=bool)
    for name in set(a) | set(b):
        if name not in a or name not in b:
            return int(a[counter][0])
        differs |= ~((a[name] == b[name]) | (np.isnan(a[name]) & np.isnan(b[name])))[:number]
    if differs.any():
        return int(a[counter][np.argmax(differs)])
    longer = max(a[counter], b[counter], key=len)
    return int(longer[min(number, len(longer) - 1)])


def _scores(run: RunFolder, seeds: Sequence[int]) -> NDArray[Any]:
    """Return the final scores of some seeds; of a stage, the last value of what it measures."""
    scores: Any = getattr(run, "scores", None)
    if scores is not None:
        return np.asarray(scores)[[run.seeds.index(seed) for seed in seeds]]
    columns = [run.columns[run.seeds.index(seed)] for seed in seeds]
    name = next((name for name in _MEASURES if name in columns[0]), None)
    if name is None:
        return np.full(len(seeds), np.nan)
    known = [values[name][np.isfinite(values[name])] for values in columns]
    return np.array([values[-1] if len(values) else np.nan for values in known])


def _test(then: NDArray[Any], now: NDArray[Any]) -> tuple[float | None, str]:
    """Return the p-value of the difference of the scores, and the verdict."""
    from rlkit.analysis.comparisons import compare_pairs

    if not (np.isfinite(then).all() and np.isfinite(now).all()):
        return None, UNDECIDED
    (pair,) = compare_pairs({"then": then, "now": now})
    verdicts = {"too few seeds": UNDECIDED, "no evidence": SAME, "tie": SAME}
    return pair.p_value, verdicts.get(pair.verdict, DIFFERENT)


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what differs in versions and arithmetic."""
    old, new = ({**record["versions"], **record.get("arithmetic", {})} for record in (then, now))
    return {
        name: (old.get(name, "none"), new.get(name, "none"))
        for name in sorted(set(old) | set(new))
        if old.get(name) != new.get(name)
    }
