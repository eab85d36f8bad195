"""Running sums over rows of float32, sixteen side by side.

Sixteen on every machine, so that sums have the same bits whatever the width of its registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined

LANES = 16
FLOATS = ir.VectorType(ir.FloatType(), LANES)
F32 = NDArray[np.float32]

_I64 = ir.IntType(64)


def multiply_add(builder: Any, value: Any, part: Any, total: Any) -> Any:
    """``value * part + total``, rounded once: the same bits with and without such hardware."""
    function = ir.FunctionType(FLOATS, [FLOATS] * 3)
    fused = cgutils.get_or_insert_function(builder.module, function, "llvm.fma.v16f32")
    return builder.call(fused, [value, part, total])


def _over_rows(addresses: int, results: int, step: Callable[..., Any]) -> Any:
    """An intrinsic ``(*addresses, steps, out)`` over float32 rows of 16 * steps numbers.

    ``step`` takes sixteen numbers of each row and gives ``results`` pairs of factors; their
    products are added up in sixteen running sums each, which end at address ``out``.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *bases, steps, out = arguments

        def at(base: Any, offset: Any) -> Any:
            return builder.inttoptr(builder.add(base, offset), FLOATS.as_pointer())

        nothing = ir.Constant(FLOATS, [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, nothing) for _ in range(results)]
        with cgutils.for_range(builder, steps) as loop:
            offset = builder.mul(loop.index, ir.Constant(_I64, 4 * LANES))
            rows = [builder.load(at(base, offset), align=4) for base in bases]
            for place, (x, y) in zip(sums, step(builder, *rows), strict=True):
                builder.store(multiply_add(builder, x, y, builder.load(place)), place)
        for number, place in enumerate(sums):
            offset = ir.Constant(_I64, 4 * LANES * number)
            builder.store(builder.load(place), at(out, offset), align=4)
        return context.get_dummy_value()

    if addresses == 2:

        @intrinsic
        def over_two(typing_context: Any, x: Any, y: Any, steps: Any, out: Any) -> Any:
            return types.none(*(types.int64,) * 4), emit

        return over_two

    @intrinsic
    def over_three(typing_context: Any, x: Any, y: Any, z: Any, steps: Any, out: Any) -> Any:
        return types.none(*(types.int64,) * 5), emit

    return over_three


def _residual_factors(builder: Any, point: Any, centre: Any, other: Any) -> Any:
    residual = builder.fsub(point, centre)
    return (residual, residual), (residual, other)


def _both(builder: Any, x: Any, y: Any) -> Any:
    return ((x, y),)


def _difference_squared(builder: Any, x: Any, y: Any) -> Any:
    difference = builder.fsub(x, y)
    return ((difference, difference),)


residual_sums = _over_rows(3, 2, _residual_factors)
"""``residual_sums(point, centre, other, steps, out)``: with r = point - centre, sixteen running
sums of r * r and sixteen of r * other."""
inner_sums = _over_rows(2, 1, _both)
"""``inner_sums(x, y, steps, out)``: sixteen running sums of x * y."""
squared_sums = _over_rows(2, 1, _difference_squared)
"""``squared_sums(x, y, steps, out)``: sixteen running sums of (x - y)^2."""


@inlined
def sum_lanes(lanes: F32) -> float:
    """Sum of LANES numbers, halves upon halves."""
    width = LANES // 2
    while width:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2
    return lanes[0]
