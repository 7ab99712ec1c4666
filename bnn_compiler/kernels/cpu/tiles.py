"""Sums of products of bytes as tile instructions (AMX), which LLVM does not find.

Of eight tiles 0 to 3 hold sums, 4 and 5 pixels, 6 and 7 weights. Whoever calls a kernel configures
them (deploy/cpu/runtime/bnn_tiles.c): the first six have as many rows as the kernel's TILE_ROWS.
"""

from enum import StrEnum

import tvm
import tvm_ffi
from tvm import tirx
from tvm.script import tirx as T
from tvm.target import Target as TvmTarget
from tvm.target.codegen import target_has_features
from tvm.tirx.buffer import buffer_data_pointer_type

from bnn_compiler.target import Target

#: Rows of a tile at most, and bytes of one: taps that a product sums.
ROWS, DEPTH = 16, 64
#: Tiles of sums.
SUMS = 4
_PIXELS, _WEIGHTS = (4, 5), (6, 7)
#: Attribute of a kernel that uses tiles: the pixels of one.
TILE_ROWS = "bnn.tile_rows"
#: Annotation of the loops that tiles replace.
TILE = "bnn.tile"

#: The instructions, and the functions that mean the same (tests/kernels/cpu/tiles.c).
_INSTRUCTIONS = {
    "bnn_tile_zero": "llvm.x86.tilezero",
    "bnn_tile_load": "llvm.x86.tileloadd64",
    "bnn_tile_store": "llvm.x86.tilestored64",
    "bnn_tile_dot_ss": "llvm.x86.tdpbssd",
    "bnn_tile_dot_us": "llvm.x86.tdpbusd",
}


class Role(StrEnum):
    """What an annotated loop is: around all of a sum, or over one dimension of its tiles.

    BLOCKS is the outermost of the loops around a sum and its epilogue, if those overlap.
    """

    BLOCKS = "blocks"
    SUM = "sum"
    ROW = "row"
    VECTOR = "vector"
    PIXEL = "pixel"
    OUTPUT = "output"
    QUAD = "quad"
    BYTE = "byte"


def tile_rows(function: tirx.PrimFunc) -> int:
    """How its caller has to configure tiles; 0 for a kernel without."""
    return int(function.attrs.get(TILE_ROWS, 0)) if function.attrs else 0


def has_tiles(target: Target) -> bool:
    """Whether LLVM makes tile instructions for ``target``; else they are calls."""
    return bool(target_has_features("amx-int8", TvmTarget(dict(target.tvm))))


@tirx.transform.prim_func_pass(opt_level=0)
class TileProducts:
    """for row, vector, pixel, output: s = 0; for ...: s += x * w  ->  tile instructions.

    The loops are annotated with their roles (amx.py) and stay where they are but for the six of a
    tile. x has bytes of one sign or none, w signed ones; both lie as the instruction wants them.
    """

    def __init__(self, target: Target) -> None:
        self.instructions = has_tiles(target)

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every annotated sum."""
        if TILE_ROWS not in f.attrs:
            return f

        def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            role = loop.annotations.get(TILE)
            if role == Role.SUM:
                return self._sums(loop)
            if role == Role.ROW:
                return self._zeros(_Nest.of(loop))
            return mutator.default_mutate(loop)

        return tvm_ffi.structural_mutate(f, [(tirx.For, visit)])

    def _zeros(self, nest: "_Nest") -> tirx.Stmt:
        return _sequence([self._do("bnn_tile_zero", [t]) for t in range(nest.sums)])

    def _sums(self, loop: tirx.For) -> tirx.Stmt:
        found: list[_Nest] = []

        def visit(inner: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            if inner.annotations.get(TILE) != Role.ROW:
                return mutator.default_mutate(inner)
            found.append(_Nest.of(inner))
            return self._products(found[-1])

        changed = tvm_ffi.structural_mutate(loop, [(tirx.For, visit)])
        stored = found[0].store
        sums = tirx.BufferLoad(stored.buffer, stored.indices)
        ends = [
            self._do("bnn_tile_store", [tile, *found[0].place(sums, Role.PIXEL, row, vector)])
            for tile, (row, vector) in enumerate(found[0].tiles)
        ]
        return _sequence([_bare(changed), *ends])

    def _products(self, nest: "_Nest") -> tirx.Stmt:
        """A step: every tile of pixels and of weights is loaded once."""
        product = nest.store.value.b
        x, w = product.a.value, product.b.value
        dot = {"int8": "bnn_tile_dot_ss", "uint8": "bnn_tile_dot_us"}[str(x.ty.dtype)]
        done = []
        for tile, (row, vector) in enumerate(nest.tiles):
            pixels, weights = _PIXELS[row % 2], _WEIGHTS[vector % 2]
            if vector == 0:
                place = nest.place(x, Role.PIXEL, row, 0)
                done.append(self._do("bnn_tile_load", [pixels, *place]))
            if row == 0:
                place = nest.place(w, Role.QUAD, 0, vector)
                done.append(self._do("bnn_tile_load", [weights, *place]))
            done.append(self._do(dot, [tile, pixels, weights]))
        return _sequence(done)

    def _do(self, name: str, arguments: list[object]) -> tirx.Stmt:
        tiles = [tirx.const(a, "int8") if isinstance(a, int) else a for a in arguments]
        if self.instructions:
            return tirx.Evaluate(tirx.call_llvm_intrin("void", _INSTRUCTIONS[name], *tiles))
        return tirx.Evaluate(tirx.call_extern("void", name, *tiles))


class _Nest:
    """The loops of the tiles of one step, from that over rows inwards."""

    def __init__(self, loops: dict[str, tirx.For], store: tirx.BufferStore) -> None:
        self._loops, self.store = loops, store
        self._analyzer = tvm.sym.Analyzer()

    @staticmethod
    def of(stmt: tirx.Stmt) -> "_Nest":
        """That of annotated loops around one store."""
        loops = {}
        while isinstance(stmt, tirx.For):
            loops[str(stmt.annotations[TILE])] = stmt
            stmt = stmt.body
        assert isinstance(stmt, tirx.BufferStore), stmt
        return _Nest(loops, stmt)

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """(row, vector) of each tile of sums."""
        rows, vectors = (int(self._loops[r].extent) for r in (Role.ROW, Role.VECTOR))
        return [(row, vector) for row in range(rows) for vector in range(vectors)]

    @property
    def sums(self) -> int:
        """How many there are."""
        assert len(self.tiles) <= SUMS
        return len(self.tiles)

    def place(
        self, load: tirx.BufferLoad, along: Role, row: int, vector: int
    ) -> tuple[tvm.ir.Expr, tvm.ir.Expr]:
        """Where a tile of ``load``'s buffer begins, and the bytes from row to row of it."""

        def at(step: int) -> list[tvm.ir.Expr]:
            values = {Role.ROW: row, Role.VECTOR: vector, along: step}
            placed = {
                loop.loop_var: tirx.const(values.get(Role(role), 0), loop.loop_var.ty.dtype)
                for role, loop in self._loops.items()
            }
            changed = [
                tvm_ffi.structural_mutate(i, [(tvm.ir.Var, lambda v, _: placed.get(v, v))])
                for i in load.indices
            ]
            return [self._analyzer.simplify(i) for i in changed]

        first, second = at(0), at(1)
        size = int(tvm.DataType(load.ty.dtype).itemsize)
        # The same wherever the tile is: there is no other loop whose variable matters.
        apart = self._analyzer.simplify(_at_zero(_offset(load, second) - _offset(load, first)))
        address = tirx.address_of(tirx.BufferLoad(load.source, first))
        return address, tirx.const(int(apart) * size, "int64")


def _offset(load: tirx.BufferLoad, indices: list[tvm.ir.Expr]) -> tvm.ir.Expr:
    """Elements in front of that at ``indices``."""
    offset: tvm.ir.Expr = tirx.const(0, "int32")
    for index, extent in zip(indices, load.source.ty.shape, strict=True):
        offset = offset * extent + index
    return offset


def _bare(loop: tirx.For) -> tirx.For:
    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, loop.body)


def _sequence(stmts: list[tirx.Stmt]) -> tirx.Stmt:
    return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)


def _at_zero(expr: tvm.ir.Expr) -> tvm.ir.Expr:
    """With every variable 0."""

    def zero(var: tirx.Var, _: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
        return tirx.const(0, var.ty.dtype)

    return tvm_ffi.structural_mutate(expr, [(tvm.ir.Var, zero)])


@tirx.transform.prim_func_pass(opt_level=0)
class ExpandBits:
    """int8(broadcast(word) >> (0, 1, 2, ...) & 1)  ->  select(bits of the word, 1, 0)."""

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every such cast."""
        if TILE_ROWS not in f.attrs:
            return f

        def visit(cast: tirx.Cast, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            word = _word(cast)
            if word is None:
                return mutator.default_mutate(cast)
            lanes = int(tvm.DataType(word.ty.dtype).bits)
            one, zero = (tirx.Broadcast(tirx.const(v, "int8"), lanes) for v in (1, 0))
            bits = T.reinterpret(f"uint1x{lanes}", word)
            none = tirx.Broadcast(tirx.const(0, "uint1"), lanes)
            return tirx.Select(tirx.NE(bits, none), one, zero)

        return tvm_ffi.structural_mutate(f, [(tirx.Cast, visit)])


def _word(cast: tirx.Cast) -> tvm.ir.Expr | None:
    """The word whose bits are cast to bytes, if they are."""
    bits = cast.value
    if not str(cast.ty.dtype).startswith("int8x") or not isinstance(bits, tirx.BitwiseAnd):
        return None
    shifted = bits.a
    if not isinstance(shifted, tirx.RShift) or not isinstance(shifted.a, tirx.Broadcast):
        return None
    word = shifted.a.value
    same = int(tvm.DataType(word.ty.dtype).bits) == int(shifted.a.lanes)
    return word if same else None


# LLVM IR, inlined where it is called: the first line of the cache behind a pointer.
_ALIGNED = """\
declare ptr @llvm.ptrmask.p0.i64(ptr, i64)

define ptr @bnn_line_behind(ptr %p) alwaysinline {
  %last = getelementptr i8, ptr %p, i64 63
  %line = call ptr @llvm.ptrmask.p0.i64(ptr %last, i64 -64)
  ret ptr %line
}
"""


@tirx.transform.prim_func_pass(opt_level=0)
class AlignTiles:
    """alloc(buffer)  ->  alloc(64 bytes more), and the buffer at the first cache line of it.

    TVM aligns what is on the stack to 16 bytes; a row of a tile would lie in two lines.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every allocation of a kernel that uses tiles."""
        if TILE_ROWS not in f.attrs:
            return f

        def visit(alloc: tirx.AllocBuffer, _: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            buffer = alloc.buffer
            (extent,) = buffer.ty.shape
            size = tvm.DataType(buffer.ty.dtype).itemsize
            held = tirx.decl_buffer(
                [int(extent) + DEPTH // size], buffer.ty.dtype, f"{buffer.name}_held", scope="local"
            )
            start = tirx.address_of(tirx.BufferLoad(held, [0]))
            pointer = buffer_data_pointer_type(buffer)
            place = tirx.Var(f"{buffer.name}_p", pointer)
            return tirx.SeqStmt(
                [
                    tirx.AllocBuffer(held, alloc.annotations),
                    tirx.Bind(place, tirx.call_extern(pointer, "bnn_line_behind", start)),
                    tirx.DeclBuffer(buffer, data=place),
                ]
            )

        changed = tvm_ffi.structural_mutate(f, [(tirx.AllocBuffer, visit)])
        text = tvm.ir.StringImm(_ALIGNED)
        body = tirx.AttrStmt(tirx.IntImm("int32", 0), "pragma_import_llvm", text, changed.body)
        return tirx.PrimFunc(changed.params, body, changed.ret_type, attrs=changed.attrs)
