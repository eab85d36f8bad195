"""How kernels are compiled, and the few operations that numba lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function without the interpreter's lock, cached on disk.

    No ``fastmath``: the order of floating-point operations is part of the index (a vector's
    codes must be the same bits alone or in any batch), so LLVM may not reorder them.
    """
    compiled: Callable[P, R] = njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function into the body of every kernel that calls it."""
    compiled: Callable[P, R] = njit(nogil=True, cache=True, error_model="numpy", forceinline=True)(
        function
    )
    return compiled


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    """``pointer(address)``: an int64 address as an untyped pointer, for ``numba.carray``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """``prefetch(address)``: begin to load the cache line of an int64 address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer_type = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        function = ir.FunctionType(ir.VoidType(), [pointer_type, number, number, number])
        load = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]  # read, keep, data
        builder.call(load, [builder.inttoptr(arguments[0], pointer_type), *flags])
        return context.get_dummy_value()

    return types.none(types.int64), generate


@intrinsic
def half(typing_context: Any, bits: Any) -> Any:
    """``half(bits)``: the float32 value of an IEEE half-precision number given as uint16."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.bitcast(arguments[0], ir.HalfType())
        return builder.fpext(number, ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def add_mismatches(
    typing_context: Any, total: Any, words: Any, p0: Any, p1: Any, p2: Any, p3: Any
) -> Any:
    """``add_mismatches(total, words, p0, p1, p2, p3)``: one sketch word of eight entries.

    Adds to eight uint64 at address ``total`` the weighted mismatches of the eight uint64 at
    address ``words`` with the query's four bit planes: the sum over p of
    ``2^p * popcount(word ^ plane_p)``. Written as vector operations, because the compiler
    does not find them in a loop of scalar popcounts (four times slower).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(64), 8)

        def at(address: Any) -> Any:
            return builder.inttoptr(address, vector.as_pointer())

        def everywhere(value: Any) -> Any:
            one = builder.insert_element(
                ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
            )
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
            return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

        count_bits = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector]), "llvm.ctpop.v8i64"
        )
        result = builder.load(at(arguments[0]), align=8)
        word = builder.load(at(arguments[1]), align=8)
        for weight, plane in enumerate(arguments[2:]):
            differing = builder.call(count_bits, [builder.xor(word, everywhere(plane))])
            shift = ir.Constant(vector, [weight] * 8)
            result = builder.add(result, builder.shl(differing, shift))
        builder.store(result, at(arguments[0]), align=8)
        return context.get_dummy_value()

    numbers = (types.uint64,) * 4
    return types.none(types.int64, types.int64, *numbers), generate
