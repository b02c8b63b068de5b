"""The names that compiled code uses, read from its instructions."""

from __future__ import annotations

import dis
import itertools
import types
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Names:
    """The names that code uses."""

    # Each name -> the chains of attributes read from it; `()` for the object itself.
    taken: defaultdict[str, set[tuple[str, ...]]] = field(default_factory=lambda: defaultdict(set))
    loaded: set[str] = field(default_factory=set)  # the globals among them
    # Imports: the variable, the module, its level, the module or package that the variable refers
    # to, and the attributes read from there.
    imported: set[tuple[str, str, int, str, tuple[str, ...]]] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)


def read_names(code: types.CodeType) -> Names:
    """Return the names that code, and the code nested in it, uses."""
    return _read(code, Names())


def _read(code: types.CodeType, names: Names) -> Names:
    listed = [one for one in dis.get_instructions(code) if one.opname != "EXTENDED_ARG"]
    for index, one in enumerate(listed):
        if one.opname.startswith("LOAD_") and one.opcode not in _NOT_NAMES:
            variables = one.argval if isinstance(one.argval, tuple) else (one.argval,)
            for variable in variables:
                names.taken[str(variable)].add(_attributes_taken(listed, index + 1))
            if one.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                names.loaded.add(str(one.argval))
        elif one.opname == "IMPORT_NAME":
            level = listed[index - 2].argval if index >= 2 else 0
            names.imported |= set(_imports(listed, index, int(level or 0)))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _read(constant, names)
        elif type(constant) is str:
            names.texts.add(constant)
        elif type(constant) is tuple:
            names.texts |= {item for item in constant if type(item) is str}
    return names


_NOT_NAMES = {
    dis.opmap[name] for name in ("LOAD_CONST", "LOAD_ATTR", "LOAD_METHOD") if name in dis.opmap
}


def _attributes_taken(listed: list[dis.Instruction], index: int) -> tuple[str, ...]:
    chain = []
    while listed[index].opname in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"):
        chain.append(str(listed[index].argval))
        index += 1
    return tuple(chain)


def _imports(
    listed: list[dis.Instruction], index: int, level: int
) -> Iterator[tuple[str, str, int, str, tuple[str, ...]]]:
    module, members = str(listed[index].argval), listed[index - 1].argval
    rest = listed[index + 1 :]
    if not members:
        renamed = rest[0].opname == "IMPORT_FROM"  # import a.b as c: c is a.b, not a
        variable = next((str(one.argval) for one in rest if one.opname[:6] == "STORE_"), "")
        yield variable, module, level, module if renamed else module.split(".")[0], ()
        return
    for one, following in itertools.pairwise(rest):
        if one.opname == "IMPORT_FROM":
            yield str(following.argval), module, level, module, (str(one.argval),)
        elif one.opname[:6] != "STORE_":
            return
