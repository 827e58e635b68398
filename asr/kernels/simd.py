"""Vector instructions for the compiled kernels, written as LLVM vectors of float32.

In: memory addresses (integers) and sizes. Out: numba intrinsics. Needs numba only.

LLVM's automatic vectoriser gives up on a matrix tile and on a loop over ten arrays that might
overlap. Here the vectors are explicit: `Vector` overloads + - * / so that a gate reads like its
equation, and `tile(rows)` keeps a whole block of a matrix product in registers.

Every address is trusted: asr.kernels.cpu checks shapes before it calls anything here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

FLOAT = ir.FloatType()
INT = ir.IntType(64)
BYTES = 4  # of one float32


def _instruction(definition: Callable) -> Callable[..., Any]:
    """A numba intrinsic; inside compiled code it is called without the typing context."""
    return intrinsic(definition)


def _register_shape() -> tuple[int, int]:
    """(float32 per vector, rows of a tile) that fill this processor's registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 8  # 32 registers of 16: 8 x 2 accumulators
    if features.get("avx"):
        return 8, 4  # 16 registers of 8: 4 x 2 accumulators
    return 4, 8 if features.get("neon") else 4


LANES, ROWS = _register_shape()
PANEL = 2 * LANES  # columns of a tile


class Vector:
    """LANES float32 in one register, with the arithmetic of a number."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value):
        self.builder, self.value = builder, value

    def _wrap(self, other):
        return other if isinstance(other, Vector) else splat(self.builder, other)

    def __add__(self, other):
        return Vector(self.builder, self.builder.fadd(self.value, self._wrap(other).value))

    def __sub__(self, other):
        return Vector(self.builder, self.builder.fsub(self.value, self._wrap(other).value))

    def __rsub__(self, other):
        return self._wrap(other) - self

    def __mul__(self, other):
        return Vector(self.builder, self.builder.fmul(self.value, self._wrap(other).value))

    def __truediv__(self, other):
        return Vector(self.builder, self.builder.fdiv(self.value, self._wrap(other).value))

    __radd__, __rmul__ = __add__, __mul__

    def clip(self, low: float, high: float) -> Vector:
        """Clamp to [low, high]; NaN stays NaN, so a broken input shows in the output."""
        value = self.value
        for order, bound in (("<", low), (">", high)):
            limit = splat(self.builder, bound).value
            value = self.builder.select(self.builder.fcmp_ordered(order, value, limit), limit,
                                        value)
        return Vector(self.builder, value)


def fused(a: Vector, b: Vector, c: Vector) -> Vector:
    """The number a * b + c, in one instruction where the processor has it."""
    kind = a.value.type
    function = cgutils.get_or_insert_function(
        a.builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{LANES}f32")
    return Vector(a.builder, a.builder.call(function, [a.value, b.value, c.value]))


def splat(builder: ir.IRBuilder, number) -> Vector:
    """The same number in every lane; `number` is a Python float or an LLVM float."""
    kind = ir.VectorType(FLOAT, LANES)
    if not isinstance(number, ir.Value):
        return Vector(builder, ir.Constant(kind, [float(number)] * LANES))
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number,
                                   ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return Vector(builder, builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), lanes))


def _pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def load(builder, address) -> Vector:
    """LANES consecutive float32 from an address that need not be aligned."""
    value = builder.load(_pointer(builder, address, ir.VectorType(FLOAT, LANES)), align=BYTES)
    return Vector(builder, value)


def store(builder, address, vector: Vector) -> None:
    """LANES consecutive float32 to an address that need not be aligned."""
    builder.store(vector.value, _pointer(builder, address, vector.value.type), align=BYTES)


def _offset(builder, address, number_of_floats: int):
    return builder.add(address, ir.Constant(INT, number_of_floats * BYTES))


# tanh(x) = x P(x^2) / Q(x^2) for |x| <= 7.9, the minimax fit of Eigen (MPL 2.0), exact to a few
# units in the last place; beyond, float32 tanh is +-1. One division, no exponential.
_TANH_LIMIT = 7.90531110763549805
_TANH_P = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11,
           5.12229709037114e-08, 1.48572235717979e-05, 6.37261928875436e-04,
           4.89352455891786e-03)
_TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03,
           4.89352518554385e-03)


def _polynomial(x: Vector, coefficients) -> Vector:
    total = splat(x.builder, coefficients[0])
    for coefficient in coefficients[1:]:
        total = fused(total, x, splat(x.builder, coefficient))
    return total


def tanh(x: Vector) -> Vector:
    """Hyperbolic tangent of every lane."""
    x = x.clip(-_TANH_LIMIT, _TANH_LIMIT)
    square = x * x
    return x * _polynomial(square, _TANH_P) / _polynomial(square, _TANH_Q)


def sigmoid(x: Vector) -> Vector:
    """1 / (1 + exp(-x)) of every lane, as (1 + tanh(x / 2)) / 2."""
    return fused(tanh(x * 0.5), splat(x.builder, 0.5), splat(x.builder, 0.5))


def total_of(a: Vector, b: Vector) -> Vector:
    """The sum a + b."""
    return a + b


def tile(rows: int, panels: int = 1, combine: Callable = fused, join: Callable = total_of):
    """Intrinsic: C[rows, columns] += A[rows, depth] B[depth, columns], C held in registers.

    `columns` is `panels` times PANEL. One or two rows need several panels: a sum waits four
    cycles for its last addition, so that eight of them keep the processor busy. C is
    added when the sum is complete: small terms lose less beside each other than beside C.
    `combine` is a * b + c of three
    vectors and `join` a + b; `asr.kernels.pairs` has those of integers.

    Arguments of the intrinsic, all int64: address of A, bytes between its rows, bytes between
    its columns, address of B (panels of depth x PANEL, one after the other), address of C, bytes
    between its panels, bytes between its rows, depth.
    """
    halves = [(panel, half * LANES) for panel in range(panels) for half in (0, 1)]

    @_instruction
    def product(typingctx, a, a_row, a_column, b, c, c_panel, c_row, depth):
        def codegen(context, builder, signature, arguments):
            a, a_row, a_column, b, c, c_panel, c_row, depth = arguments
            row = [ir.Constant(INT, r) for r in range(max(rows, panels))]
            c_at = [[_offset(builder, builder.add(builder.add(c, builder.mul(r, c_row)),
                                                  builder.mul(row[panel], c_panel)), half)
                     for panel, half in halves] for r in row[:rows]]
            a_at = [builder.add(a, builder.mul(r, a_row)) for r in row[:rows]]
            zero = splat(builder, 0.0)
            b_panel = builder.mul(depth, ir.Constant(INT, PANEL * BYTES))
            b_at = [builder.add(b, builder.mul(row[panel], b_panel)) for panel in range(panels)]

            before = builder.basic_block
            loop = builder.append_basic_block("depth")
            after = builder.append_basic_block("store")
            builder.cbranch(builder.icmp_signed(">", depth, row[0]), loop, after)
            builder.position_at_end(loop)
            step = builder.phi(INT)
            b_shift, a_shift = builder.phi(INT), builder.phi(INT)
            for phi in (step, b_shift, a_shift):
                phi.add_incoming(row[0], before)
            total = [[builder.phi(zero.value.type) for _ in several] for several in c_at]
            right = [load(builder, _offset(builder, builder.add(b_at[panel], b_shift), half))
                     for panel, half in halves]
            result = []
            for r in range(rows):
                at = builder.add(a_at[r], a_shift)
                left = splat(builder, builder.load(_pointer(builder, at, FLOAT), align=BYTES))
                result.append([combine(left, right[n], Vector(builder, total[r][n]))
                               for n in range(len(halves))])
            step_next = builder.add(step, ir.Constant(INT, 1))
            step.add_incoming(step_next, loop)
            b_shift.add_incoming(_offset(builder, b_shift, PANEL), loop)
            a_shift.add_incoming(builder.add(a_shift, a_column), loop)
            builder.cbranch(builder.icmp_signed("<", step_next, depth), loop, after)
            builder.position_at_end(after)
            for r in range(rows):
                for n in range(len(halves)):
                    phi, last = total[r][n], result[r][n]
                    phi.add_incoming(zero.value, before)
                    phi.add_incoming(last.value, loop)
                    final = builder.phi(phi.type)
                    final.add_incoming(zero.value, before)
                    final.add_incoming(last.value, loop)
                    result[r][n] = Vector(builder, final)
            for r in range(rows):
                for n in range(len(halves)):
                    store(builder, c_at[r][n],
                          join(load(builder, c_at[r][n]), result[r][n]))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), codegen

    return product


def _each_vector(body):
    """Intrinsic that runs `body(builder, *addresses)` on LANES floats at a time.

    The intrinsic's arguments are the number of floats (a multiple of LANES) and the addresses.
    """
    count = body.__code__.co_argcount - 1

    def codegen(context, builder, signature, arguments):
        total = builder.mul(arguments[0], ir.Constant(INT, BYTES))
        with cgutils.for_range_slice(builder, ir.Constant(INT, 0), total,
                                     ir.Constant(INT, LANES * BYTES)) as (shift, _):
            body(builder, *[builder.add(address, shift) for address in arguments[1:]])
        return context.get_dummy_value()

    signature = types.void(*[types.int64] * (count + 1))
    makers = {  # numba reads the parameter list, so *addresses would not do
        2: lambda typingctx, n, a, b: (signature, codegen),
        7: lambda typingctx, n, a, b, c, d, e, f, g: (signature, codegen),
        12: lambda typingctx, n, a, b, c, d, e, f, g, h, i, j, k, m: (signature, codegen),
    }
    return _instruction(makers[count])


def _cell_forward(builder, i_at, f_at, g_at, o_at, c_before_at, c_at, h_at):
    i, f, o = (sigmoid(load(builder, at)) for at in (i_at, f_at, o_at))
    g = tanh(load(builder, g_at))
    c = fused(f, load(builder, c_before_at), i * g)
    for at, value in ((i_at, i), (f_at, f), (g_at, g), (o_at, o), (c_at, c), (h_at, o * tanh(c))):
        store(builder, at, value)


def _cell_backward(builder, i_at, f_at, g_at, o_at, c_before_at, c_at, dh_at, dc_at,
                   di_at, df_at, dg_at, do_at):
    i, f, g, o = (load(builder, at) for at in (i_at, f_at, g_at, o_at))
    squashed = tanh(load(builder, c_at))
    dh = load(builder, dh_at)
    dc = fused(dh * o, 1.0 - squashed * squashed, load(builder, dc_at))
    store(builder, do_at, dh * squashed * o * (1.0 - o))
    store(builder, di_at, dc * g * i * (1.0 - i))
    store(builder, df_at, dc * load(builder, c_before_at) * f * (1.0 - f))
    store(builder, dg_at, dc * i * (1.0 - g * g))
    store(builder, dc_at, dc * f)


def _add(builder, target_at, source_at):
    store(builder, target_at, load(builder, target_at) + load(builder, source_at))


# cell_forward(units, i, f, g, o, c_before, c, h): pre-activations in, activations out, in place.
cell_forward = _each_vector(_cell_forward)
# cell_backward(units, i, f, g, o, c_before, c, dh, dc, di, df, dg, do): dc is carried on.
cell_backward = _each_vector(_cell_backward)
# add(floats, target, source): target += source.
add = _each_vector(_add)


@_instruction
def read(typingctx, address):
    """The float32 at an address."""
    def codegen(context, builder, signature, arguments):
        return builder.load(_pointer(builder, arguments[0], FLOAT), align=BYTES)
    return types.float32(types.int64), codegen


@_instruction
def write(typingctx, address, number):
    """Store a float32 at an address."""
    def codegen(context, builder, signature, arguments):
        builder.store(arguments[1], _pointer(builder, arguments[0], FLOAT), align=BYTES)
        return context.get_dummy_value()
    return types.void(types.int64, types.float32), codegen


@_instruction
def copy(typingctx, target, source, floats):
    """Copy floats between addresses that do not overlap."""
    def codegen(context, builder, signature, arguments):
        target, source, floats = arguments
        byte = ir.IntType(8)
        cgutils.raw_memcpy(builder, _pointer(builder, target, byte),
                           _pointer(builder, source, byte), floats, BYTES)
        return context.get_dummy_value()
    return types.void(*[types.int64] * 3), codegen


@_instruction
def clear(typingctx, target, floats):
    """Zero floats at an address."""
    def codegen(context, builder, signature, arguments):
        target, floats = arguments
        size = builder.mul(floats, ir.Constant(INT, BYTES))
        cgutils.memset(builder, _pointer(builder, target, ir.IntType(8)), size, 0)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64), codegen


@_instruction
def signal(typingctx, address, number):
    """Store an int64 that other threads wait for; all that was stored before is seen with it."""
    def codegen(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], _pointer(builder, arguments[0], INT), "release", 8)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64), codegen


@_instruction
def signalled(typingctx, address):
    """The int64 that another thread signalled last at that address."""
    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_pointer(builder, arguments[0], INT), "acquire", 8)
    return types.int64(types.int64), codegen


@_instruction
def call(typingctx, address):
    """The number that the C function at an address returns for the argument 0."""
    def codegen(context, builder, signature, arguments):
        function = _pointer(builder, arguments[0], ir.FunctionType(INT, [INT]))
        return builder.call(function, [ir.Constant(INT, 0)])
    return types.int64(types.int64), codegen
