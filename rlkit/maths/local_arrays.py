"""Small arrays inside compiled loops, which the compiler keeps in registers.

An array that is passed to a loop is read from memory and written back at every access, because
another array might be the same memory. A local copy of constant shape is taken apart into its
numbers, which nearly doubles the speed of a loop whose steps take some ten nanoseconds.

The functions made here are parts of the loops of `compose`:

    own = load(outside)      copy the arrays of a named tuple, nested ones included
    store(own, outside)      copy them back
    flat(array)              return the numbers of a contiguous array in one line
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic
from numba.np import arrayobj

types: Any = numba.types
populate_array: Any = arrayobj.populate_array


def local_copies(example: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return `load` and `store` for named tuples whose arrays have the shapes of an example's.

    The arrays of the others must be contiguous and have these shapes, which is not checked.
    """
    shapes = [array.shape for array in _leaves(example)]

    def load(context: Any, outside: Any) -> Any:
        own = _with_shapes(outside, iter(shapes))

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            made = []
            for shape, (kind, value) in zip(
                shapes, _arrays(builder, outside, arguments[0]), strict=True
            ):
                number = context.get_data_type(kind.dtype)
                with builder.goto_entry_block():  # once, and not in each round of a loop
                    block = builder.alloca(ir.ArrayType(number, math.prod(shape)))
                data = builder.bitcast(block, number.as_pointer())
                _copy(builder, _data(context, builder, kind, value), data, math.prod(shape))
                sizes = [context.get_constant(types.intp, size) for size in shape]
                made.append(_array(context, builder, kind.dtype, data, sizes))
            return _rebuilt(context, builder, own, iter(made))

        return own(outside), code

    def store(context: Any, own: Any, outside: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            sources, targets = map(_arrays, [builder] * 2, (own, outside), arguments)
            for shape, source, target in zip(shapes, sources, targets, strict=True):
                data, place = (_data(context, builder, *array) for array in (source, target))
                _copy(builder, data, place, math.prod(shape))
            return context.get_dummy_value()

        return types.void(own, outside), code

    return _part(load, f"load {shapes}"), _part(store, f"store {shapes}")


def _leaves(nested: tuple[Any, ...]) -> Iterator[Any]:
    for item in nested:
        yield from _leaves(item) if isinstance(item, tuple) else (item,)


def _with_shapes(kind: Any, shapes: Iterator[tuple[int, ...]]) -> Any:
    """Return the type of a named tuple whose arrays have other shapes."""
    if not isinstance(kind, types.BaseTuple):
        return types.Array(kind.dtype, len(next(shapes)), "C")
    items = [_with_shapes(item, shapes) for item in kind.types]
    return types.BaseTuple.from_types(items, getattr(kind, "instance_class", None))


def _arrays(builder: Any, kind: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the type and value of each array of a named tuple."""
    if not isinstance(kind, types.BaseTuple):
        yield kind, value
        return
    for i, item in enumerate(kind.types):
        yield from _arrays(builder, item, builder.extract_value(value, i))


def _rebuilt(context: Any, builder: Any, kind: Any, arrays: Iterator[Any]) -> Any:
    if not isinstance(kind, types.BaseTuple):
        return next(arrays)
    items = [_rebuilt(context, builder, item, arrays) for item in kind.types]
    return context.make_tuple(builder, kind, items)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _copy(builder: Any, source: Any, target: Any, size: int) -> None:
    for i in range(size):
        places = [builder.gep(data, [ir.IntType(64)(i)]) for data in (source, target)]
        builder.store(builder.load(places[0]), places[1])


def _flat(context: Any, array: Any) -> Any:
    line = types.Array(array.dtype, 1, "C")

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = context.make_array(array)(context, builder, arguments[0])
        size = context.get_constant(types.intp, 1)
        for i in range(array.ndim):
            size = builder.mul(size, builder.extract_value(given.shape, i))
        return _array(context, builder, array.dtype, given.data, [size])

    return line(array), code


def _array(context: Any, builder: Any, dtype: Any, data: Any, shape: list[Any]) -> Any:
    """Return a contiguous array over some memory."""
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(dtype)))
    strides = [size]
    for number in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], number))
    made = context.make_array(types.Array(dtype, len(shape), "C"))(context, builder)
    populate_array(made, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return made._getvalue()


def _part(function: Callable[..., Any], meaning: str) -> Any:
    made: Any = intrinsic(function)
    made.meaning = meaning  # for the name of what is composed of it
    return made


def _same(context: Any, outside: Any) -> Any:
    return outside(outside), lambda context, builder, signature, arguments: arguments[0]


def _nothing(context: Any, own: Any, outside: Any) -> Any:
    return types.void(own, outside), lambda context, *_: context.get_dummy_value()


# In place of `load` and `store` in loops that work on the arrays themselves, of whatever shape.
GIVEN_ARRAYS = (_part(_same, "same"), _part(_nothing, "nothing"))
flat: Any = _part(_flat, "flat")
