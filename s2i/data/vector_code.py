"""A function on vectors of float32: written as vectors, compiled for this processor while the process runs.

    code = VectorCode(lanes=8, arrays=2, wholes=1)
    source, target = (array.rows() for array in code.arrays)
    with code.loop(code.wholes[0]) as row:
        target[row] = source[row] * source[row]
    square = code.compile()  # square(source's address, target's, how many rows)

LLVM compiles it, by way of llvmlite, which librosa's numba brings. llvmlite is imported in 20 ms, numba in up
to .4 s; and a loop of numba's is one of vectors only where LLVM can prove that it may be.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from llvmlite import binding, ir

NUMBER, WHOLE = ir.FloatType(), ir.IntType(64)
NAME = "compiled"


class VectorCode:
    """The function while it is written, each operation after the one before it. It returns nothing.

    Attributes:
        lanes: L, numbers of a vector: as wide as the processor's, or a multiple.
        arrays: float32 memory that the function is given; none overlaps another.
        wholes: whole numbers that it is given after them.
    """

    def __init__(self, lanes: int, arrays: int, wholes: int) -> None:
        self.lanes = lanes
        self.vector = ir.VectorType(NUMBER, lanes)
        self.module = ir.Module()
        kind = ir.FunctionType(ir.VoidType(), [NUMBER.as_pointer()] * arrays + [WHOLE] * wholes)
        function = ir.Function(self.module, kind, NAME)
        multiply_add = ir.FunctionType(self.vector, [self.vector] * 3)
        self.multiply_add = ir.Function(self.module, multiply_add, f"llvm.fmuladd.v{lanes}f32")
        for pointer in function.args[:arrays]:
            pointer.add_attribute("noalias")
        self.write = ir.IRBuilder(function.append_basic_block())
        self.arrays = [Array(self, pointer) for pointer in function.args[:arrays]]
        self.wholes = [Whole(self, value) for value in function.args[arrays:]]

    def whole(self, value: Whole | int) -> Whole:
        """A constant as a value of the function."""
        return value if isinstance(value, Whole) else Whole(self, ir.Constant(WHOLE, value))

    def zero(self) -> Vector:
        """Zero in each lane."""
        return Vector(self, ir.Constant(self.vector, [0.0] * self.lanes))

    @contextmanager
    def loop(self, count: Whole | int, sums: list[Vector] | None = None) -> Iterator[Whole]:
        """What is written inside is done for each whole number from 0 below `count`, which is 1 or more.

        Args:
            sums: vectors that turns hand on: inside, what the turn before has put into this list (at first
                what it held); afterwards what the last has.
        """
        write, before = self.write, self.write.block
        body = write.append_basic_block()
        write.branch(body)
        write.position_at_end(body)
        index = write.phi(WHOLE)
        index.add_incoming(ir.Constant(WHOLE, 0), before)
        entering = [write.phi(self.vector) for _ in sums or ()]
        for value, initial in zip(entering, sums or (), strict=True):
            value.add_incoming(initial.value, before)
        if sums is not None:
            sums[:] = [Vector(self, value) for value in entering]
        yield Whole(self, index)
        following = write.add(index, ir.Constant(WHOLE, 1))
        index.add_incoming(following, write.block)
        for value, last in zip(entering, sums or (), strict=True):
            value.add_incoming(last.value, write.block)
        again = write.icmp_signed("<", following, self.whole(count).value)
        after = write.append_basic_block()
        write.cbranch(again, body, after)
        write.position_at_end(after)

    def transposed(self, rows: Sequence[Vector]) -> list[Vector]:
        """L vectors -> L vectors, of which the first holds the first number of each, and so on."""
        half = self.lanes // 2
        for _ in range(half.bit_length()):  # log2 L perfect shuffles of all numbers
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [merged for first, second in pairs for merged in self._interleaved(first, second)]
        return list(rows)

    def _interleaved(self, first: Vector, second: Vector) -> list[Vector]:
        order = tuple(place for lane in range(self.lanes) for place in (lane, self.lanes + lane))
        return [
            Vector(self, self.write.shuffle_vector(first.value, second.value, _indices(places)))
            for places in (order[: self.lanes], order[self.lanes :])
        ]

    def compile(self) -> Callable[..., None]:
        """The function: called with the addresses of the arrays, then the whole numbers."""
        self.write.ret_void()
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine(
            cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), opt=2
        )
        module = binding.parse_assembly(str(self.module))
        engine = binding.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        address = engine.get_function_address(NAME)
        kinds = [ctypes.c_void_p] * len(self.arrays) + [ctypes.c_int64] * len(self.wholes)
        function = ctypes.CFUNCTYPE(None, *kinds)(address)  # it runs without Python's global lock
        function.engine = engine  # what is compiled goes with it
        return function


@dataclass(frozen=True)
class Whole:
    """A whole number of the function, to count and to find places in arrays with."""

    code: VectorCode
    value: ir.Value

    def __add__(self, other: Whole | int) -> Whole:
        return self._with("add", other)

    def __sub__(self, other: Whole | int) -> Whole:
        return self._with("sub", other)

    def __mul__(self, other: Whole | int) -> Whole:
        return self._with("mul", other)

    def _with(self, operation: str, other: Whole | int) -> Whole:
        value = getattr(self.code.write, operation)(self.value, self.code.whole(other).value)
        return Whole(self.code, value)

    def smaller(self, other: Whole) -> Whole:
        """The smaller of both."""
        less = self.code.write.icmp_signed("<", self.value, other.value)
        return Whole(self.code, self.code.write.select(less, self.value, other.value))

    def size(self) -> Whole:
        """Without the sign."""
        opposite = self.code.whole(0) - self
        negative = self.code.write.icmp_signed("<", self.value, opposite.value)
        return Whole(self.code, self.code.write.select(negative, opposite.value, self.value))


@dataclass(frozen=True)
class Vector:
    """L numbers of the function."""

    code: VectorCode
    value: ir.Value

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.code, self.code.write.fadd(self.value, other.value))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.code, self.code.write.fsub(self.value, other.value))

    def __mul__(self, other: Vector) -> Vector:
        return Vector(self.code, self.code.write.fmul(self.value, other.value))

    def plus_product(self, first: Vector, second: Vector) -> Vector:
        """This plus first times second, rounded once where the processor has an instruction for it."""
        arguments = (first.value, second.value, self.value)
        return Vector(self.code, self.code.write.call(self.code.multiply_add, arguments))


@dataclass(frozen=True)
class Array:
    """float32 memory from one place on."""

    code: VectorCode
    pointer: ir.Value

    def at(self, offset: Whole | int) -> Array:
        """The same memory from so many numbers on."""
        places = [self.code.whole(offset).value]
        return Array(self.code, self.code.write.gep(self.pointer, places, inbounds=True))

    def rows(self, stride: int = 1) -> Rows:
        """As rows of L numbers, `stride` such rows from one to the next."""
        return Rows(self, stride)

    def vector(self) -> Vector:
        """The L numbers here."""
        return Vector(self.code, self.code.write.load(self._as_vector(), align=4))

    def put(self, vector: Vector) -> None:
        """Let these be the L numbers here."""
        self.code.write.store(vector.value, self._as_vector(), align=4)

    def everywhere(self) -> Vector:
        """The number here, in each lane."""
        write, nothing = self.code.write, ir.Constant(self.code.vector, ir.Undefined)
        first = write.insert_element(nothing, write.load(self.pointer), ir.Constant(ir.IntType(32), 0))
        return Vector(self.code, write.shuffle_vector(first, nothing, _indices((0,) * self.code.lanes)))

    def whole(self) -> Whole:
        """The number here, which is whole."""
        return Whole(self.code, self.code.write.fptosi(self.code.write.load(self.pointer), WHOLE))

    def _as_vector(self) -> ir.Value:
        return self.code.write.bitcast(self.pointer, self.code.vector.as_pointer())


@dataclass(frozen=True)
class Rows:
    """Memory as rows of L numbers."""

    array: Array
    stride: int

    def __getitem__(self, row: Whole | int) -> Vector:
        return self._at(row).vector()

    def __setitem__(self, row: Whole | int, vector: Vector) -> None:
        self._at(row).put(vector)

    def _at(self, row: Whole | int) -> Array:
        return self.array.at(row * (self.stride * self.array.code.lanes))


@lru_cache(maxsize=8)
def _indices(places: tuple[int, ...]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
