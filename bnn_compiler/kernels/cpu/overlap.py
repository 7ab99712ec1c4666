"""The epilogue of a block runs while the tiles of the next one are summed (AMX).

A product of tiles occupies the tile unit for a cycle a row, and a block's epilogue is several
hundred vector instructions that wait for its sums: more than the scheduler of an out-of-order core
holds, so what is behind them in the program cannot start. In turns, both units have work.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

import tvm
import tvm_ffi
from tvm import tirx

from bnn_compiler.kernels.cpu.tiles import TILE, TILE_ROWS, Role
from bnn_compiler.ops.rounding import ceil_div

Values = Mapping[tirx.Var, tvm.ir.Expr]


@tirx.transform.prim_func_pass(opt_level=0)
class OverlapTiles:
    """for block: {sums of block; epilogue of block}
    ->  sums of 0; for block from 1: {sums of block, in turns with epilogue of block - 1};
    epilogue of the last

    For loops annotated as Role.BLOCKS (amx.py). Sums stay in tiles until a block's last product, so
    those in memory are still the block's before, and one buffer is enough.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite every annotated nest of loops."""
        if TILE_ROWS not in f.attrs:
            return f

        def visit(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            if loop.annotations.get(TILE) != Role.BLOCKS:
                return mutator.default_mutate(loop)
            return _pipelined(_Loops.of(loop))

        return tvm_ffi.structural_mutate(f, [(tirx.For, visit)])


@dataclass(frozen=True)
class _Loops:
    """A nest of serial loops as one, around ``body``."""

    variables: tuple[tirx.Var, ...]
    extents: tuple[int, ...]
    body: tirx.Stmt

    @staticmethod
    def of(stmt: tirx.Stmt) -> "_Loops":
        """Those around ``stmt``'s first statement that is no serial loop, or the row of a tile."""
        loops = []
        while isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.SERIAL:
            if stmt.annotations.get(TILE) == Role.ROW:
                break
            loops.append(stmt)
            stmt = stmt.body
        extents = tuple(int(loop.extent) for loop in loops)
        return _Loops(tuple(loop.loop_var for loop in loops), extents, stmt)

    @property
    def count(self) -> int:
        """Iterations."""
        return prod(self.extents)

    def at(self, number: tvm.ir.Expr | int) -> dict[tirx.Var, tvm.ir.Expr]:
        """The variables in iteration ``number``."""
        values: dict[tirx.Var, tvm.ir.Expr] = {}
        inside = self.count
        found = tirx.const(number, "int32") if isinstance(number, int) else number
        for variable, extent in zip(self.variables, self.extents, strict=True):
            inside //= extent
            index = tirx.floordiv(found, inside)
            if values:
                index = tirx.floormod(index, extent)
            values[variable] = index.astype(variable.ty.dtype)
        return values

    def iteration(self, number: tvm.ir.Expr | int, outer: Values) -> tirx.Stmt:
        """The body of iteration ``number``, in one of ``outer`` loops."""
        return _copy(self.body, {**outer, **self.at(number)})


def _pipelined(blocks: _Loops) -> tirx.Stmt:
    held, (zeros, sums, epilogue) = _allocations(blocks.body)
    steps, pixels = _Loops.of(sums), _Loops.of(epilogue)
    more, left = _allocations(steps.body)
    steps = replace(steps, body=_sequence(left))

    def alone(number: int) -> list[tirx.Stmt]:
        found = _loop("step", 0, steps.count, lambda s: steps.iteration(s, blocks.at(number)))
        return [_copy(zeros, blocks.at(number)), _summed(found)]

    def shared(block: tvm.ir.Expr) -> tirx.Stmt:
        found = _turns(steps, blocks.at(block), pixels, blocks.at(block - 1))
        return _sequence([_copy(zeros, blocks.at(block)), _summed(found)])

    end = blocks.at(blocks.count - 1)
    return _sequence(
        [
            *held,
            *more,
            *alone(0),
            *_loop("block", 1, blocks.count, shared),
            *_loop("pixel", 0, pixels.count, lambda p: pixels.iteration(p, end)),
        ]
    )


def _allocations(body: tirx.Stmt) -> tuple[list[tirx.Stmt], list[tirx.Stmt]]:
    """Those of ``body``, which hold nothing from one iteration to the next, and its other parts."""
    stmts = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    held = [s for s in stmts if isinstance(s, tirx.AllocBuffer)]
    return held, [s for s in stmts if not isinstance(s, tirx.AllocBuffer)]


def _turns(steps: _Loops, now: Values, pixels: _Loops, before: Values) -> list[tirx.Stmt]:
    """Steps of the sums and pixels of an epilogue, in turns that are spread evenly."""
    several = ceil_div(pixels.count, steps.count)
    groups = pixels.count // several
    apart = steps.count // groups

    def step(number: tvm.ir.Expr) -> tirx.Stmt:
        return steps.iteration(number, now)

    def pixel(number: tvm.ir.Expr) -> tirx.Stmt:
        return pixels.iteration(number, before)

    def turn(group: tvm.ir.Expr) -> tirx.Stmt:
        products = _loop("step", 0, apart, lambda s: step(group * apart + s))
        return _sequence(
            [*products, *(pixel(group * several + number) for number in range(several))]
        )

    return [
        *_loop("group", 0, groups, turn),
        *_loop("step", groups * apart, steps.count, step),
        *_loop("pixel", groups * several, pixels.count, pixel),
    ]


def _summed(stmts: list[tirx.Stmt]) -> tirx.For:
    """``stmts`` with the products of a sum, behind which its tiles are stored (TileProducts)."""
    (loop,) = _loop("sums", 0, 1, lambda _: _sequence(stmts))
    return tirx.For(
        loop.loop_var, loop.min, loop.extent, loop.kind, loop.body, annotations={TILE: Role.SUM}
    )


def _loop(
    name: str, first: int, end: int, body: Callable[[tvm.ir.Expr], tirx.Stmt]
) -> list[tirx.For]:
    """``body`` of every number from ``first`` to before ``end``; nothing if there are none."""
    if first == end:
        return []
    variable = tirx.Var(name, "int32")
    least, count = (tirx.const(v, "int32") for v in (first, end - first))
    return [tirx.For(variable, least, count, tirx.ForKind.SERIAL, body(variable))]


def _copy(stmt: tirx.Stmt, values: Values) -> tirx.Stmt:
    """``stmt`` with values of variables, and variables of its own for its loops."""
    changed = dict(values)

    def own(loop: tirx.For, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
        changed[loop.loop_var] = tirx.Var(loop.loop_var.name, loop.loop_var.ty)
        return mutator.default_mutate(loop)

    tvm_ffi.structural_mutate(stmt, [(tirx.For, own)])
    return tvm_ffi.structural_mutate(stmt, [(tvm.ir.Var, lambda v, _: changed.get(v, v))])


def _sequence(stmts: list[tirx.Stmt]) -> tirx.Stmt:
    return stmts[0] if len(stmts) == 1 else tirx.SeqStmt(stmts)
