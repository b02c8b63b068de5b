"""Scores responses with any Python function of texts.

    def score(prompts: list[str], responses: list[str]) -> "array [n]": ...

The function gets whole batches of plain texts, without EOS and PAD, and must return one finite
number per response, which is checked on each call. These texts are never encoded again. If it takes
more arguments, `score(prompts, responses, topic)` or `**columns`, it gets the columns of that name
of the prompts' file, a list with the value of each prompt (None where the file has none).
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.determinism import apart
from rlkit.errors import RlkitError, UsageError
from rlkit.rlhf.data.codec import TextCodec, check_codec
from rlkit.rlhf.data.sequences import Sequences
from rlkit.user_code import load_function, place_of, source_digest

ScoreFunction = Callable[..., Any]  # (prompts, responses, **columns) -> [n]

# Rewards are float32 from here on; larger ones would become infinite.
_LARGEST = float(np.finfo(np.float32).max)


class LoadedScore(NamedTuple):
    """A score function with its identity."""

    reference: str  # its name in stored files
    function: ScoreFunction
    digest: str  # sha256 of its file, else of its source; empty where neither is known


class TextScore:
    """A function of texts as a score of batches of ids.

    Args:
        function: the function, "path/to/file.py:function", "module:function", or a result of
            `load_score`.
        codec: turns ids into texts.
        columns: further columns of the prompts' file, by the ids of a prompt.
        ambiguous: those of them that have several values for one prompt, with such a prompt; a
            function may not take them, and `**columns` does not have them.

    Raises:
        UsageError: there is no such function, or it takes other arguments.
    """

    def __init__(
        self,
        function: ScoreFunction | str | LoadedScore,
        codec: TextCodec,
        columns: Mapping[tuple[int, ...], Mapping[str, Any]] | None = None,
        ambiguous: Mapping[str, str] | None = None,
    ) -> None:
        check_codec(codec)
        self._columns = columns or {}
        loaded = function if isinstance(function, LoadedScore) else load_score(function)
        self.reference, self.function, self.digest = loaded
        self.codec = codec
        known = dict.fromkeys(name for row in self._columns.values() for name in row)
        self.notes: list[str] = []  # messages to the user, for whoever makes it
        wanted = _wanted_columns(self.reference, self.function, list(known))
        self._wanted = self._without(ambiguous or {}, wanted)

    def __call__(self, sequences: Sequences) -> NDArray[np.float64]:
        """Score each response of a batch, [B].

        Raises:
            UsageError: the function failed or did not return B finite numbers.
        """
        prompts = self._texts(sequences.prompts, sequences.prompt_mask)
        responses = self._texts(sequences.responses, sequences.response_mask)
        if not self._wanted:
            return self.of_texts(prompts, responses)
        kept = zip(sequences.prompts.tolist(), sequences.prompt_mask.tolist(), strict=True)
        ids = [tuple(i for i, flag in zip(*row, strict=True) if flag) for row in kept]
        return self.of_texts(prompts, responses, self.rows_of(ids))

    def rows_of(self, prompts: Sequence[tuple[int, ...]]) -> list[Mapping[str, Any]]:
        """Return the columns of prompts, each given by its ids without padding."""
        return [self._columns.get(ids, {}) for ids in prompts]

    def of_texts(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        rows: Sequence[Mapping[str, Any]] | None = None,
    ) -> NDArray[np.float64]:
        """Score texts, [n]; raises the errors of a call with a batch.

        Args:
            prompts: [n].
            responses: [n].
            rows: the columns of each prompt; None = there are none, so that each value is None.
        """
        if rows is None:
            rows = [{}] * len(prompts)
        columns = {name: [row.get(name) for row in rows] for name in self._wanted}
        if len(prompts) != len(responses):
            raise ValueError(f"got {len(prompts)} prompts and {len(responses)} responses")
        try:
            # Copies, so that changes by the function do not reach our messages.
            returned = apart(self.function, list(prompts), list(responses), **columns)
        except RlkitError:
            raise
        except (Exception, SystemExit) as error:
            code = getattr(self.function, "__code__", None)
            raise UsageError(
                f"the score function {self.reference} failed on {len(prompts)} responses, the "
                f"first of them {_pair(prompts, responses, 0)}: {error!r}"
                + place_of(error, getattr(code, "co_filename", None))
                + "".join(f". Note: {note}" for note in self.notes)
            ) from error
        return self._checked(returned, prompts, responses)

    def _without(self, ambiguous: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
        """Return the columns that the function gets; reject one that it takes by its name."""
        several = [name for name in wanted if name in ambiguous]
        if not several:
            return list(wanted)
        named = [name for name in several if name in inspect.signature(self.function).parameters]
        what, prompt = (named or several)[0], ambiguous[(named or several)[0]]
        why = f"which has several values for the prompt {prompt[:60]!r}"
        remedy = "give a file in which each prompt occurs once, or make the prompts different"
        if named:
            raise UsageError(
                f"the score function {self.reference} takes the column {what}, {why}: {remedy}"
            )
        others = f" (likewise {', '.join(several[1:])})" if several[1:] else ""
        self.notes.append(
            f"the score function {self.reference} does not get the column {what}, {why}{others}; "
            f"if it needs it, {remedy}"
        )
        return [name for name in wanted if name not in ambiguous]

    def _texts(self, tokens: Any, mask: Any) -> list[str]:
        rows = zip(tokens.tolist(), mask.tolist(), strict=True)
        return [
            self.codec.decode([i for i, kept in zip(ids, flags, strict=True) if kept])
            for ids, flags in rows
        ]

    def _checked(
        self, returned: Any, prompts: Sequence[str], responses: Sequence[str]
    ) -> NDArray[np.float64]:
        n = len(prompts)
        expected = f"the score function {self.reference}: expected {n} numbers, one per response"
        if hasattr(returned, "detach"):  # a tensor of torch, perhaps with a gradient or on a GPU
            returned = returned.detach().cpu()
            returned = returned.double() if returned.is_floating_point() else returned
        if np.ma.is_masked(returned):  # numpy would take what is hidden below the mask
            raise UsageError(f"{expected}, got an array of which some are masked")
        try:
            array = np.asarray(returned)
        except ValueError as error:
            raise UsageError(f"{expected}, got {returned!r:.80}: {error}") from error
        if array.shape != (n,):
            raise UsageError(f"{expected}, got {_described(returned, array)}.{_advice(array, n)}")
        if array.dtype.kind in "biuf":
            scores: NDArray[np.float64] = array.astype(np.float64)
        else:
            # One by one, because numpy would read "1.5" as a number and None as NaN.
            each = enumerate(np.asarray(returned, dtype=object))
            scores = np.array(
                [
                    _number(value, f"{expected}, got", _pair(prompts, responses, i))
                    for i, value in each
                ]
            )
        wrong = np.flatnonzero(~(np.abs(scores) <= _LARGEST))
        if len(wrong):
            i = int(wrong[0])
            raise UsageError(
                f"the score function {self.reference}: expected finite numbers, got {scores[i]:g} "
                f"for {_pair(prompts, responses, i)} ({len(wrong)} of {n} are not finite, or too "
                "large for float32); give such responses a low finite score"
            )
        return scores


def _wanted_columns(reference: str, function: Any, known: Sequence[str]) -> list[str]:
    """Return the columns that a function takes beside prompts and responses.

    Raises:
        UsageError: it cannot be called with them.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of compiled code
        return []
    parameters = list(signature.parameters.values())
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters)
    wanted = [one for one in known if takes_all or one in [each.name for each in parameters[2:]]]
    try:
        signature.bind([], [], **dict.fromkeys(wanted))
    except TypeError as error:
        columns = f"the columns {', '.join(known)}" if known else "none"
        raise UsageError(
            f"the score function {reference}{signature}: expected the parameters (prompts, "
            f"responses), and if you need them columns of the prompts' file by their names, of "
            f"which there are {columns}: {error}"
        ) from error
    names = [one.name.lower().removesuffix("s") for one in parameters[:2]]
    if names[:1] in (["response"], ["completion"]) or names[1:] == ["prompt"]:
        raise UsageError(
            f"the score function {reference}{signature}: it gets the prompts first and the "
            "responses second, and the names of its parameters say otherwise; expected (prompts, "
            "responses)"
        )
    return wanted


def check_score(
    score: TextScore,
    prompts: Sequence[str],
    responses: Sequence[str] | None = None,
    *,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> NDArray[np.float64]:
    """Call a score function before training, so that its errors cost no training.

    Args:
        score: the function.
        prompts: a few prompts, at least one.
        responses: one for each; None = the prompts themselves, and the empty response, because a
            policy may end at once.
        rows: the columns of each prompt.

    Returns:
        The scores [n] of the responses, or of prompts and empty responses in turn.

    Raises:
        UsageError: the function fails or does not return finite numbers, for all together or for
            one alone.
    """
    if not prompts:
        raise UsageError("check_score needs at least one prompt")
    tried_prompts, tried_responses = list(prompts), list(responses or ())
    tried_rows = list(rows or [{}] * len(prompts))
    if responses is None:
        tried_prompts = [prompt for prompt in tried_prompts for _ in range(2)]
        tried_responses = [text for prompt in prompts for text in (prompt, "")]
        tried_rows = [row for row in tried_rows for _ in range(2)]
    scores = score.of_texts(tried_prompts, tried_responses, tried_rows)
    # A batch may be as small as one.
    score.of_texts(tried_prompts[:1], tried_responses[:1], tried_rows[:1])
    return scores


NOTEBOOK = "notebook"  # in place of the module of a function that cannot be imported
# Such functions of this process, by reference and digest: a cell that is run again may have another
# function of the same name. The latest is last.
_KEPT: dict[str, dict[str, LoadedScore]] = {}


def keep_score(reference: str, function: ScoreFunction, digest: str) -> None:
    """Let `load_score` find a function that cannot be imported, as long as this process lives."""
    kept = _KEPT.setdefault(reference, {})
    kept.pop(digest, None)
    kept[digest] = LoadedScore(reference, function, digest)


def load_score(function: ScoreFunction | str, digest: str = "") -> LoadedScore:
    """Load a score function.

    Args:
        function: the function, "path/to/file.py:function" or "module:function".
        digest: of the one that is wanted, where a notebook has had several of one name; without
            it, or if that is gone, it is the latest.

    Raises:
        UsageError: there is no such file, module or function, or running the file failed.
    """
    if not isinstance(function, str):
        if not callable(function):
            weight = "; a weight stands before its function, as in (0.5, function)"
            raise UsageError(
                f"score: expected a function, got {function!r:.80}"
                + (weight if isinstance(function, tuple) else "")
            )
        module = getattr(function, "__module__", "__main__")
        name = getattr(function, "__qualname__", type(function).__name__)
        return LoadedScore(f"{module}:{name}", function, source_digest(function))
    if kept := _KEPT.get(function):
        return kept.get(digest) or list(kept.values())[-1]
    if function.startswith(f"{NOTEBOOK}:"):
        raise UsageError(
            f"the score {function} was a function of a notebook or script that has ended; give it "
            "again, as score=..."
        )
    loaded, digest = load_function(function, "score")
    return LoadedScore(function, loaded, digest or source_digest(loaded))


def _number(value: Any, expected: str, pair: str) -> float:
    if not isinstance(value, numbers.Real):
        raise UsageError(
            f"{expected} {value!r:.80} for {pair}; return a number, such as 0.0, for every response"
        )
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _pair(prompts: Sequence[str], responses: Sequence[str], i: int) -> str:
    if i >= len(prompts):
        return "none"
    return f"number {i}: prompt {_short(prompts[i])}, response {_short(responses[i])}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _described(returned: Any, array: NDArray[Any]) -> str:
    if returned is None:
        return "None"
    what = type(returned).__name__
    return f"a {what} of shape {array.shape}" if array.shape else f"{returned!r:.80} ({what})"


def _advice(array: NDArray[Any], n: int) -> str:
    if array.dtype == object and not array.shape:
        return " Return a list or an array"
    if array.size == n and array.ndim > 1:
        return " Flatten it, as in scores.reshape(-1)"
    if not array.shape:
        return " The function gets lists of prompts and responses: return a list of numbers"
    return " Return the scores in the order of the responses, and omit none"


Score = Callable[[Sequences], Any]  # a batch of B -> scores [B]


class WeightedScores:
    """A weighted sum of scores, whose parts are known as well.

    Args:
        parts: by name, the weight and the score that it multiplies.
    """

    def __init__(self, parts: Mapping[str, tuple[float, Score]]) -> None:
        self._parts = dict(parts)
        self.names = tuple(parts)
        # Of the latest two batches, so that nobody who asks for each part runs all functions again.
        self._kept: list[tuple[Sequences, dict[str, NDArray[np.float64]]]] = []

    @property
    def notes(self) -> list[str]:
        """The messages of its parts to the user."""
        return [note for _, part in self._parts.values() for note in getattr(part, "notes", [])]

    def __call__(self, sequences: Sequences) -> NDArray[np.float64]:
        """Return the sum of each response, [B]; raises the errors of `parts`."""
        parts = self.parts(sequences)
        terms = [weight * parts[name] for name, (weight, _) in self._parts.items()]
        total: NDArray[np.float64] = np.sum(terms, axis=0)
        wrong = np.flatnonzero(~(np.abs(total) <= _LARGEST))
        if len(wrong):
            i = int(wrong[0])
            each = ", ".join(f"{name} {parts[name][i]:g}" for name in self.names)
            raise UsageError(
                f"the weighted sum of the scores of response {i} is {total[i]:g} ({each}), too "
                "large for float32; give smaller weights"
            )
        return total

    def parts(self, sequences: Sequences) -> dict[str, NDArray[np.float64]]:
        """Return each score of each response, by name [B], without its weight.

        Raises:
            UsageError: a score did not return B finite numbers; the message names it.
        """
        for kept, values in self._kept:
            if kept is sequences:
                return values
        n = len(sequences.responses)
        values = {}
        for name, (_, score) in self._parts.items():
            array = np.asarray(score(sequences), dtype=np.float64)
            if array.shape != (n,) or not (np.abs(array) <= _LARGEST).all():
                what = f"shape {array.shape}" if array.shape != (n,) else "some that are not"
                raise UsageError(
                    f"{name}: expected {n} finite numbers, one per response, got {what}"
                )
            values[name] = array
        self._kept = [(sequences, values), *self._kept[:1]]
        return values

    def part(self, name: str) -> Score:
        """Return one of the scores by its name."""
        return lambda sequences: self.parts(sequences)[name]
