"""How kernels are compiled, and the few operations that numba lacks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from llvmlite import ir
from llvmlite.binding import get_default_triple, get_host_cpu_features
from numba import njit, types
from numba.core import cgutils, config
from numba.extending import intrinsic

P = ParamSpec("P")
R = TypeVar("R")


def _sources_digest() -> str:
    """SHA-256 over all kernels' sources."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


_SOURCES = _sources_digest()


def _compiled(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    """Compile a function without the interpreter's lock, cached on disk.

    No ``fastmath``: the order of floating-point operations is part of the index (a vector's
    codes must be the same bits alone or in any batch), so LLVM may not reorder them.
    """
    compiled = njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    # numba would go on using what it compiled before as long as the function's own file is the
    # same, though a function that it inlined from another file had changed.
    compiled._cache._cache_file._source_stamp = _SOURCES
    result: Callable[P, R] = compiled
    return result


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function, to be called from Python or by other kernels."""
    return _compiled(function)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function into the body of every kernel that calls it."""
    return _compiled(function, forceinline=True)


def has_feature(name: str) -> bool:
    """Whether kernels are compiled for this very machine, and it has a feature of LLVM's name."""
    chosen = config.CPU_NAME is not None or config.CPU_FEATURES is not None
    return not chosen and bool(config.ENABLE_AVX) and get_host_cpu_features().get(name, False)


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    """``pointer(address)``: an int64 address as an untyped pointer, for ``numba.carray``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


CACHE_LINE = 64
"""Bytes that ``prefetch`` brings."""


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
def score_eight(
    typing_context: Any,
    block: Any,
    planes: Any,
    delta: Any,
    base: Any,
    lanes: Any,
    scores: Any,
) -> Any:
    """``score_eight(block, planes, delta, base, lanes, scores)``: one entry block.

    Scores the entries of the block at address ``block`` and writes eight float32 to address
    ``scores``: minus infinity for those whose bit in ``lanes`` is off, entry 0 lowest.
    ``planes`` is a tuple of sixteen uint64: for each of the four words the query's four bit
    planes. A score is ``base + (a + f * (delta * (SIGNS - 2 m)))`` where m is the sum over words
    and planes of ``2^p * popcount(word ^ plane_p)``. Written as vector operations, because the
    compiler does not find them in a loop of scalar popcounts (four times slower).
    """
    words, count = 4, 8
    longs, floats = ir.VectorType(ir.IntType(64), count), ir.VectorType(ir.FloatType(), count)
    shorts = ir.VectorType(ir.IntType(16), count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block, planes, delta, base, lanes, scores = arguments

        def at(offset: int, kind: Any) -> Any:
            place = builder.add(block, ir.Constant(ir.IntType(64), offset))
            return builder.load(builder.inttoptr(place, kind.as_pointer()), align=8)

        count_bits = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(longs, [longs]), "llvm.ctpop.v8i64"
        )
        totals: list[Any] = [None] * 4
        for k in range(words):
            word = at(64 * k, longs)
            for p in range(4):
                plane = everywhere(builder, builder.extract_value(planes, 4 * k + p), count)
                differing = builder.call(count_bits, [builder.xor(word, plane)])
                totals[p] = differing if k == 0 else builder.add(totals[p], differing)
        mismatch = totals[3]
        for p in (2, 1, 0):  # ((8 t3 + 4 t2) + 2 t1) + t0, by doubling
            mismatch = builder.add(builder.add(mismatch, mismatch), totals[p])
        twice = builder.sitofp(builder.add(mismatch, mismatch), floats)
        full = ir.Constant(floats, [float(15 * 64 * words)] * count)
        along = builder.fmul(everywhere(builder, delta, count), builder.fsub(full, twice))
        f = _from_halves(builder, at(64 * words, shorts))
        a = _from_halves(builder, at(64 * words + 16, shorts))
        own = builder.fadd(a, builder.fmul(f, along))
        score = builder.fadd(everywhere(builder, base, count), own)
        bits = builder.trunc(lanes, ir.IntType(count))
        chosen = builder.bitcast(bits, ir.VectorType(ir.IntType(1), count))
        nothing = ir.Constant(floats, [-math.inf] * count)
        result = builder.select(chosen, score, nothing)
        builder.store(result, builder.inttoptr(scores, floats.as_pointer()), align=4)
        return context.get_dummy_value()

    numbers = types.UniTuple(types.uint64, 16)
    single = types.float32
    return types.none(types.int64, numbers, single, single, types.int64, types.int64), generate


def _from_halves(builder: Any, bits: Any) -> Any:
    """Eight half-precision numbers as float32, while code is being emitted."""
    floats = ir.VectorType(ir.FloatType(), 8)
    if has_feature("f16c") or "x86" not in get_default_triple():
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), 8)), floats)
    # Without the instruction LLVM calls a function that is not there. The bits of a finite half,
    # moved to where a float32 has them, are 2^112 times too small.
    numbers = ir.VectorType(ir.IntType(32), 8)

    def all_lanes(value: int) -> Any:
        return ir.Constant(numbers, [value] * 8)

    wide = builder.zext(bits, numbers)
    size = builder.shl(builder.and_(wide, all_lanes(0x7FFF)), all_lanes(13))
    scaled = builder.fmul(builder.bitcast(size, floats), ir.Constant(floats, [2.0**112] * 8))
    sign = builder.shl(builder.and_(wide, all_lanes(0x8000)), all_lanes(16))
    return builder.bitcast(builder.or_(builder.bitcast(scaled, numbers), sign), floats)


@intrinsic
def at_least(typing_context: Any, values: Any, threshold: Any) -> Any:
    """``at_least(values, threshold)``: which of sixteen float32 at an address are no less, as bits.

    The first is the lowest bit of the int64 that is returned.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        floats = ir.VectorType(ir.FloatType(), 16)
        loaded = builder.load(builder.inttoptr(arguments[0], floats.as_pointer()), align=4)
        passes = builder.fcmp_ordered(">=", loaded, everywhere(builder, arguments[1], 16))
        return builder.zext(builder.bitcast(passes, ir.IntType(16)), ir.IntType(64))

    return types.int64(types.int64, types.float32), generate


@intrinsic
def at_most(typing_context: Any, values: Any, bound: Any) -> Any:
    """``at_most(values, bound)``: which of sixteen int32 at an address are no more, as bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = ir.VectorType(ir.IntType(32), 16)
        loaded = builder.load(builder.inttoptr(arguments[0], numbers.as_pointer()), align=4)
        passes = builder.icmp_signed("<=", loaded, everywhere(builder, arguments[1], 16))
        return builder.zext(builder.bitcast(passes, ir.IntType(16)), ir.IntType(64))

    return types.int64(types.int64, types.int32), generate


@intrinsic
def least_of(typing_context: Any, values: Any) -> Any:
    """``least_of(values)``: the smallest of sixteen int32 at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = ir.VectorType(ir.IntType(32), 16)
        loaded = builder.load(builder.inttoptr(arguments[0], numbers.as_pointer()), align=4)
        least = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(32), [numbers]),
            "llvm.vector.reduce.smin.v16i32",
        )  # fmt: skip
        return builder.call(least, [loaded])

    return types.int32(types.int64), generate


@intrinsic
def lowest_bit(typing_context: Any, bits: Any) -> Any:
    """``lowest_bit(bits)``: place of the lowest bit that is on in an int64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


def everywhere(builder: Any, value: Any, lanes: int) -> Any:
    """A value in all lanes of a vector, while code is being emitted."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, nothing, zeros)
