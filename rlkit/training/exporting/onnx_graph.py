"""Policies as ONNX graphs: observations of an environment in, its actions out.

A space has one input or output per leaf, called "observation" or "action" with the keys that lead
to it behind, as in "observation['camera'][0]"; each has a leading axis "batch".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from gymnasium import spaces
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rlkit.environments.bins import Bins
from rlkit.environments.views.action_view import ActionView
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.leaves import AnySpace, Leaf, leaves
from rlkit.environments.views.observations import FlatBox, seen_by_agents
from rlkit.nn.running_statistics import RunningMoments

Array = NDArray[Any]
_OPSET, _IR_VERSION = 17, 8  # what onnxruntime has read since 1.12


class Graph:
    """A graph that is being built; `op` adds a node and returns the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, *inputs: str | Array, **attributes: Any) -> str:
        """Add a node; arrays among its inputs become constants."""
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        result = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, names, [result], **attributes))
        return result

    def cast(self, x: str, dtype: Any) -> str:
        return self.op("Cast", x, to=_type(dtype))

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, np.array(shape, dtype=np.int64))

    def columns(self, x: str, first: int, end: int) -> str:
        """Return columns of a matrix [batch, columns]."""
        one = np.ones(1, dtype=np.int64)
        return self.op("Slice", x, one * first, one * end, one)

    def add_input(self, leaf: Leaf) -> str:
        name = f"observation{leaf.name}"
        self._inputs.append(_value(name, leaf))
        return name

    def add_output(self, leaf: Leaf, x: str) -> None:
        name = f"action{leaf.name}"
        self._nodes.append(helper.make_node("Identity", [x], [name]))
        self._outputs.append(_value(name, leaf))

    def model(self, about: Mapping[str, str]) -> bytes:
        """Return the file, checked, with a description as its metadata."""
        graph = helper.make_graph(
            self._nodes, "policy", self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph,
            producer_name="rlkit",
            producer_version=about.get("rlkit", ""),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        helper.set_model_props(model, dict(about))
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _constant(self, array: Array) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _type(dtype: Any) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _value(name: str, leaf: Leaf) -> onnx.ValueInfoProto:
    shape: list[str | int | None] = ["batch", *(leaf.space.shape or ())]
    return helper.make_tensor_value_info(name, _type(leaf.dtype), shape)


def index_of(graph: Graph, space: AnySpace, bins: Bins | None) -> str:
    """Add the observation as the index that agents see, int64 [batch].

    An observation that is not in the space has an index beyond the last, which looking it up
    rejects.
    """
    if bins is not None:
        return _bin(graph, vector_of(graph, space), bins)
    parts = list(leaves(space))
    digits = [_digits(graph, leaf, graph.add_input(leaf)) for leaf in parts]
    sizes = [size for leaf in parts for size in _sizes(leaf.space)]
    seen = seen_by_agents(space)
    assert isinstance(seen, spaces.Discrete)
    weights = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
    row = digits[0] if len(digits) == 1 else graph.op("Concat", *digits, axis=1)
    index = _sum(graph, graph.op("Mul", row, np.array([weights], dtype=np.int64)))
    inside = _sum(graph, graph.cast(_is_digit(graph, row, sizes), np.int64))
    valid = graph.op("Equal", inside, np.array(len(sizes), dtype=np.int64))
    return graph.op("Where", valid, index, np.array(int(seen.n), dtype=np.int64))


def _bin(graph: Graph, x: str, bins: Bins) -> str:
    counts, low, high = bins.counts.astype(np.float64), *bins.limits
    share = graph.op(
        "Div", graph.op("Sub", graph.cast(x, np.float64), low[None]), (high - low)[None]
    )
    digits = graph.op("Floor", graph.op("Mul", share, counts[None]))
    digits = graph.op("Min", graph.op("Max", digits, np.zeros((1, 1))), counts[None] - 1)
    weights = [math.prod(bins.counts[k + 1 :].tolist()) for k in range(len(counts))]
    return _sum(
        graph, graph.op("Mul", graph.cast(digits, np.int64), np.array([weights], dtype=np.int64))
    )


def _sum(graph: Graph, x: str) -> str:
    """Return the sum of each row of a matrix, [batch]."""
    return graph.op("ReduceSum", x, np.array([1], dtype=np.int64), keepdims=0)


def _sizes(space: AnySpace) -> list[int]:
    """Return how many values each number of a discrete leaf has."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        sizes: list[int] = np.ravel(space.nvec).tolist()
        return sizes
    return [2] * math.prod(space.shape or ())


def _starts(space: AnySpace) -> Array:
    """Return the smallest value of each number of a discrete leaf, int64."""
    start = 0 if isinstance(space, spaces.MultiBinary) else getattr(space, "start", 0)
    return np.broadcast_to(np.ravel(np.asarray(start, dtype=np.int64)), len(_sizes(space)))


def _digits(graph: Graph, leaf: Leaf, x: str) -> str:
    """Return the numbers of a discrete leaf counted from 0, int64 [batch, numbers]."""
    row = graph.reshape(graph.cast(x, np.int64), -1, len(_sizes(leaf.space)))
    return graph.op("Sub", row, _starts(leaf.space)[None])


def _is_digit(graph: Graph, row: str, sizes: Sequence[int]) -> str:
    above = graph.op("GreaterOrEqual", row, np.zeros((1, 1), dtype=np.int64))
    return graph.op("And", above, graph.op("Less", row, np.array([sizes], dtype=np.int64)))


def vector_of(graph: Graph, space: AnySpace) -> str:
    """Add the observation as the vector that agents see, [batch, numbers] of the seen type."""
    seen = seen_by_agents(space)
    parts = []
    for leaf in leaves(space):
        x = graph.add_input(leaf)
        size = math.prod(leaf.space.shape or ())
        if isinstance(leaf.space, spaces.Box | spaces.MultiBinary):
            parts.append(graph.cast(graph.reshape(x, -1, size), seen.dtype))
            continue
        row = _digits(graph, leaf, x)
        for k, number in enumerate(_sizes(leaf.space)):
            vector = _one_hot(graph, graph.columns(row, k, k + 1), number)
            parts.append(graph.cast(vector, seen.dtype))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)


def _one_hot(graph: Graph, digit: str, size: int) -> str:
    """Return vectors [batch, size] for digits [batch, 1]; others than 0 to size - 1 are errors."""
    end = np.array(size, dtype=np.int64)
    known = graph.op("Where", _is_digit(graph, digit, [size]), digit, end)
    checked = graph.op("Gather", np.arange(size, dtype=np.int64), graph.reshape(known, -1))
    return graph.op("OneHot", checked, end, np.array([0.0, 1.0], dtype=np.float32), axis=-1)


def network(
    graph: Graph, x: str, space: AnySpace, arrays: Mapping[str, Array], activation: str
) -> str:
    """Add a network with its normaliser of observations; return its outputs, float32.

    Args:
        graph: to add to.
        x: the observation as a vector.
        space: of the observations as agents see them.
        arrays: "layer 0", "layer 1", ... are weights [in, out] and biases in turn; "moments" are
            those of `RunningMoments.state`.
        activation: of the hidden layers.
    """
    numbers = graph.cast(x, np.float32)
    if "moments" in arrays:
        scaled = _standard_score(graph, x, arrays["moments"])
        is_number = space.is_number[None] if isinstance(space, FlatBox) else None
        numbers = scaled if is_number is None else graph.op("Where", is_number, scaled, numbers)
    layers = [arrays[f"layer {i}"] for i in range(sum(name[:5] == "layer" for name in arrays))]
    for i in range(0, len(layers), 2):
        if i:
            numbers = graph.op({"tanh": "Tanh", "relu": "Relu"}[activation], numbers)
        numbers = graph.op("Add", graph.op("MatMul", numbers, layers[i]), layers[i + 1][None])
    return numbers


def _standard_score(graph: Graph, x: str, state: Array) -> str:
    """Return `standard_score` of observations, which is computed in float64 as there."""
    moments = RunningMoments(1, (len(state) - 1) // 2)
    moments.load(state[None])
    centred = graph.op("Sub", graph.cast(x, np.float64), moments.mean)
    z = graph.op("Div", centred, np.sqrt(moments.variance + 1e-8))
    z = graph.op("Min", graph.op("Max", z, np.full((1, 1), -10.0)), np.full((1, 1), 10.0))
    return graph.cast(z, np.float32)


def likeliest(graph: Graph, outputs: str, layout: ActionLayout) -> str:
    """Return the mode of the distribution that a network's outputs describe, [batch, columns]."""
    parts, first = [], 0
    for number, size in layout.blocks:
        end = first + number * max(1, size)
        own = graph.columns(outputs, first, end)
        if size:
            own = graph.op("ArgMax", graph.reshape(own, -1, number, size), axis=2, keepdims=0)
        parts.append(graph.cast(own, np.float64))
        first = end
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)


def unscaled(graph: Graph, row: str, view: ActionView) -> str:
    """Return an agent's numbers as those of the environment's layout; see `ActionView`."""
    if view.scaling is None:
        return row
    bounded, low, half, whole = (column[None] for column in view.scaling)
    limit = np.where(bounded, 1.0, np.inf)
    row = graph.op("Min", graph.op("Max", row, -limit), limit)
    row = graph.op("Add", row, np.where(bounded, 1.0, 0.0))
    row = graph.op("Add", graph.op("Mul", row, half), low)
    return graph.op("Where", whole, graph.op("Round", row), row)


def give_actions(graph: Graph, row: str, space: AnySpace) -> None:
    """Add the outputs: rows of the environment's layout, float64 [batch, columns], as actions."""
    first = 0
    for leaf in leaves(space):
        shape = leaf.space.shape or ()
        end = first + math.prod(shape)
        own = graph.columns(row, first, end)
        first = end
        if isinstance(leaf.space, spaces.Box):
            low, high = (
                np.ravel(side).astype(np.float64)[None]
                for side in (leaf.space.low, leaf.space.high)
            )
            own = graph.op("Min", graph.op("Max", own, low), high)
        else:
            own = graph.op("Add", graph.cast(own, np.int64), _starts(leaf.space)[None])
        graph.add_output(leaf, graph.reshape(graph.cast(own, leaf.dtype), -1, *shape))
