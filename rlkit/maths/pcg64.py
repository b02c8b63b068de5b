"""NumPy's PCG64 written into compiled loops, which keep its state in registers.

A call of `Generator.random` takes three times as long, because it is a call. The numbers are the
same: a linear congruential generator of 128 bits, of which each step gives a word of 64 bits by
XSL-RR (O'Neill 2014, section 6.3.1), and the upper 53 bits of that a number in [0, 1).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from rlkit.maths.compiled import part
from rlkit.seeding import PCG64_MULTIPLIER

types: Any = numba.types
_WORD, _STATE = ir.IntType(64), ir.IntType(128)


def _next_state(context: Any, state: Any, increment: Any) -> Any:
    """Return the type and the code of one step, state * multiplier + increment modulo 2^128."""
    halves = types.UniTuple(types.uint64, 2)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def whole(pair: Any) -> Any:
            high, low = (builder.zext(builder.extract_value(pair, i), _STATE) for i in range(2))
            return builder.or_(builder.shl(high, ir.Constant(_STATE, 64)), low)

        state, increment = map(whole, arguments)
        product = builder.mul(state, ir.Constant(_STATE, PCG64_MULTIPLIER))
        following = builder.add(product, increment)
        high = builder.trunc(builder.lshr(following, ir.Constant(_STATE, 64)), _WORD)
        return context.make_tuple(builder, halves, (high, builder.trunc(following, _WORD)))

    return halves(halves, halves), code


# (state, increment) -> the next state; each is a pair of words, the upper half first.
next_state: Any = intrinsic(_next_state)


@part
def uniform(state: tuple[Any, Any]) -> float:
    """Return the number in [0, 1) of a state; the generator makes its step before."""
    high, low = state
    mixed, turn = high ^ low, high >> np.uint64(58)
    mixed = (mixed >> turn) | (mixed << ((np.uint64(64) - turn) & np.uint64(63)))
    number: float = np.float64(mixed >> np.uint64(11)) * (1.0 / 9007199254740992.0)  # 2^53
    return number
