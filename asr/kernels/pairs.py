"""Vector instructions on pairs of 16-bit integers, for weights of 8 bits.

In: memory addresses (integers) and sizes. Out: numba intrinsics. Needs numba only.

A lane of 32 bits holds two neighbouring integers of a column. One instruction (x86: pmaddwd)
multiplies both pairs and adds the two products, twice as many as float32 has in a register. Sums of
integers are exact: their order changes no bit. `tile` is that of `asr.kernels.simd`.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from asr.kernels import simd
from asr.kernels.simd import BYTES, FLOAT, INT, LANES, Vector, fused, load, splat, store

WORD = ir.IntType(32)
WORDS = ir.VectorType(WORD, LANES)
SHORTS = ir.VectorType(ir.IntType(16), 2 * LANES)
SHORT_BYTES = 2


FUSED_NAME = "llvm.x86.avx512.vpdpwssd.512"  # multiplies and adds to the sum


def _instruction_name() -> str:
    """LLVM's name of the instruction; "": LLVM finds one for the processor by itself."""
    features = llvm.get_host_cpu_features()
    if config.CPU_NAME:  # another processor than this one
        return ""
    if LANES == 16 and features.get("avx512vnni"):
        return FUSED_NAME
    for lanes, feature, name in ((16, "avx512bw", "avx512.pmaddw.d.512"),
                                 (8, "avx2", "avx2.pmadd.wd"), (4, "sse2", "sse2.pmadd.wd")):
        if lanes == LANES and features.get(feature):
            return f"llvm.x86.{name}"
    return ""


NAME = _instruction_name()


def pair_sum(a: Vector, b: Vector, c: Vector) -> Vector:
    """Sum c + a0 b0 + a1 b1 in every lane: a and b are pairs of int16, c is int32.

    The vectors have the type of float32, as all that a tile loads; their bits are integers.
    """
    builder = a.builder
    if NAME == FUSED_NAME:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(WORDS, [WORDS] * 3), NAME)
        total = builder.call(function, [builder.bitcast(v.value, WORDS) for v in (c, a, b)])
        return Vector(builder, builder.bitcast(total, c.value.type))
    left, right = (builder.bitcast(vector.value, SHORTS) for vector in (a, b))
    if NAME:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(WORDS, [SHORTS, SHORTS]), NAME)
        both = builder.call(function, [left, right])
    else:
        wide = ir.VectorType(WORD, 2 * LANES)
        products = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
        index = ir.VectorType(WORD, LANES)
        even, odd = (builder.shuffle_vector(
            products, ir.Constant(wide, ir.Undefined),
            ir.Constant(index, [2 * lane + first for lane in range(LANES)])) for first in (0, 1))
        both = builder.add(even, odd)
    total = builder.add(both, builder.bitcast(c.value, WORDS))
    return Vector(builder, builder.bitcast(total, c.value.type))


def integer_sum(a: Vector, b: Vector) -> Vector:
    """Sum a + b in every lane, int32 with the type of float32."""
    builder = a.builder
    total = builder.add(builder.bitcast(a.value, WORDS), builder.bitcast(b.value, WORDS))
    return Vector(builder, builder.bitcast(total, a.value.type))


tile1, tile2, tile4, tile8 = (simd.tile(rows, 1, pair_sum, integer_sum) for rows in (1, 2, 4, 8))
wide1, wide2 = (simd.tile(rows, 4, pair_sum, integer_sum) for rows in (1, 2))


def _loop(builder, count):
    return cgutils.for_range_slice(builder, ir.Constant(INT, 0), count, ir.Constant(INT, LANES))


def _at(builder, address, index, size: int):
    return builder.add(address, builder.mul(index, ir.Constant(INT, size)))


def _vector_function(builder, name: str, kind, arguments):
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [one.type for one in arguments]), name)
    return builder.call(function, arguments)


@intrinsic
def largest(typingctx, count, address):
    """The largest magnitude of `count` float32, a multiple of LANES; NaN if one is NaN."""
    def codegen(context, builder, signature, arguments):
        count, address = arguments
        most = cgutils.alloca_once_value(builder, ir.Constant(WORDS, [0] * LANES))
        mask = ir.Constant(WORDS, [0x7FFFFFFF] * LANES)
        with _loop(builder, count) as (index, _):
            bits = builder.bitcast(load(builder, _at(builder, address, index, BYTES)).value, WORDS)
            bits, before = builder.and_(bits, mask), builder.load(most)
            builder.store(builder.select(builder.icmp_signed(">", bits, before), bits, before),
                          most)
        bits = _vector_function(builder, f"llvm.vector.reduce.smax.v{LANES}i32", WORD,
                                [builder.load(most)])
        return builder.bitcast(bits, FLOAT)
    return types.float32(types.int64, types.int64), codegen


@intrinsic
def quantize(typingctx, count, source, target, factor):
    """Store round(x * factor) of `count` float32, a multiple of LANES, as int16."""
    def codegen(context, builder, signature, arguments):
        count, source, target, factor = arguments
        scale = splat(builder, factor)
        with _loop(builder, count) as (index, _):
            x = load(builder, _at(builder, source, index, BYTES)) * scale
            nearest = _vector_function(builder, f"llvm.rint.v{LANES}f32", x.value.type, [x.value])
            kind = ir.VectorType(ir.IntType(16), LANES)
            shorts = builder.trunc(builder.fptosi(nearest, WORDS), kind)
            to = builder.inttoptr(_at(builder, target, index, SHORT_BYTES), kind.as_pointer())
            builder.store(shorts, to, align=SHORT_BYTES)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64, types.float32), codegen


@intrinsic
def add_scaled(typingctx, count, target, sums, scales, factor):
    """Compute target += sums * scales * factor of `count` int32 sums, the others float32."""
    def codegen(context, builder, signature, arguments):
        count, target, sums, scales, factor = arguments
        row = splat(builder, factor)
        with _loop(builder, count) as (index, _):
            at, sums_at, scales_at = (_at(builder, address, index, BYTES)
                                      for address in (target, sums, scales))
            integers = builder.bitcast(load(builder, sums_at).value, WORDS)
            numbers = Vector(builder, builder.sitofp(integers, row.value.type))
            store(builder, at, fused(numbers, load(builder, scales_at) * row, load(builder, at)))
        return context.get_dummy_value()
    return types.void(types.int64, types.int64, types.int64, types.int64, types.float32), codegen
