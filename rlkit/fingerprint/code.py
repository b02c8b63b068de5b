"""Functions and their compiled code."""

from __future__ import annotations

import dis
import itertools
import types
from collections.abc import Iterator

from rlkit.fingerprint import library, names
from rlkit.fingerprint.inspection import at_name, short
from rlkit.fingerprint.walk import Part, Walk
from rlkit.user_code import Origin, origin_of_code, origin_of_module


def function(walk: Walk, function: types.FunctionType, place: str) -> Iterator[Part]:
    """Take apart a function, lambda, generator function or coroutine function."""
    code, name = function.__code__, short(function.__qualname__)
    module = function.__globals__.get("__name__")
    origin = origin_of_code(code.co_filename)
    if code.co_filename.startswith("<"):  # generated, perhaps by a library
        origin = origin_of_module(module) if _at_name(function) else Origin.USER
    if origin is not Origin.USER:
        yield from library.named(walk, str(module), code.co_qualname)
        if _at_name(function):
            return
        if module == "functools" and code.co_qualname.startswith("singledispatch."):
            yield walk.refer(vars(function).get("registry"), place)  # the rest is its cache
            return
    else:
        walk.file(code.co_filename)
        yield walk.refer(code, place)
        yield walk.group("globals", names.globals_of(walk, code, function.__globals__))
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    filled = [(free, cell.cell_contents) for free, cell in cells if _filled(cell)]
    yield walk.many(function.__defaults__ or (), f"the default of {name}")
    yield walk.mapping((function.__kwdefaults__ or {}).items(), f"the defaults of {name}")
    yield walk.mapping(filled, f"the closure of {name}")
    own = [(key, value) for key, value in vars(function).items() if key not in library.OF_CLASSES]
    yield walk.mapping(own, f"the attributes of {name}")


def _at_name(function: types.FunctionType) -> bool:
    module = function.__module__
    if type(module) is not str or origin_of_module(module) is Origin.USER:
        return False
    return at_name(function, module, function.__qualname__)


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def code_parts(walk: Walk, code: types.CodeType, place: str) -> Iterator[Part]:
    """Take apart compiled code; names of files and line numbers do not count."""
    instructions, line = _without_line(code)
    yield instructions
    yield code.co_exceptiontable
    words = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    yield f"{words} {counts}".encode("utf-8", "surrogatepass")
    for index, constant in enumerate(code.co_consts):
        if index == 0 and type(constant) is str and not _loads_first_constant(code):
            yield b"documentation"
        elif index == line:
            yield b"line"
        else:
            yield walk.refer(constant, f"a constant of {short(code.co_qualname)}")


def _without_line(code: types.CodeType) -> tuple[bytes, int | None]:
    """Return the instructions of code without the line number of a class, which Python 3.13 stores.

    Where the line is a constant, return its index as well.
    """
    if "__firstlineno__" not in code.co_names:
        return code.co_code, None
    listed = list(dis.get_instructions(code))
    for load, store in itertools.pairwise(listed):
        if store.opname != "STORE_NAME" or store.argval != "__firstlineno__":
            continue
        if load.opname == "LOAD_SMALL_INT":  # Python 3.14
            before, after = code.co_code[: load.offset + 1], code.co_code[load.offset + 2 :]
            return before + b"\0" + after, None
        same = [one for one in listed if one.opcode in dis.hasconst and one.arg == load.arg]
        return code.co_code, load.arg if len(same) == 1 else None
    return code.co_code, None


def _loads_first_constant(code: types.CodeType) -> bool:
    """Return whether the first constant is used, and so is more than a docstring."""
    pairs = zip(code.co_code[::2], code.co_code[1::2], strict=True)
    return any(argument == 0 and operation in _HAS_CONSTANT for operation, argument in pairs)


_HAS_CONSTANT = frozenset(dis.hasconst)
