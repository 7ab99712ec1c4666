"""Table look-ups (table.py) by x86 byte shuffles, in the order and with the addresses cores like.

A kernel means the same without these passes, but LLVM would look up one byte at a time.
"""

import tvm
import tvm_ffi
from tvm import tirx
from tvm.script import tirx as T

#: Byte shuffles by vector length: each byte of the result is row[index & 15] of its 16 bytes.
#: The name of the buffer that is looked up, by which a kernel says that it is one.
TABLE = "table"
_SHUFFLES = {32: "llvm.x86.avx2.pshuf.b", 64: "llvm.x86.avx512.pshuf.b.512"}

# LLVM IR, inlined where it is called (TVM leaves no symbol of it). bnn_rotate is the word rotated
# right: of a rotation that it can see, under a mask, LLVM makes a copy and a shift.
# bnn_add_after is s + x, but not before y is known.
_IMPORTED = """\
declare i32 @llvm.fshr.i32(i32, i32, i32)

define i32 @bnn_rotate(i32 %word, i32 %bits) {{
  %rotated = call i32 @llvm.fshr.i32(i32 %word, i32 %word, i32 %bits)
  %opaque = call i32 asm "", "=r,0"(i32 %rotated) nounwind memory(none)
  ret i32 %opaque
}}

define <{lanes} x i8> @bnn_add_after{lanes}(<{lanes} x i8> %s, <{lanes} x i8> %x,
                                            <{lanes} x i8> %y) {{
  %sum = call <{lanes} x i8> asm "vpaddb $2, $1, $0", "=v,v,v,v"
    (<{lanes} x i8> %s, <{lanes} x i8> %x, <{lanes} x i8> %y) nounwind memory(none)
  ret <{lanes} x i8> %sum
}}
"""


@tirx.transform.prim_func_pass(opt_level=0)
class ShuffleTables:
    """table[broadcast(16 * row) + index] -> byte_shuffle(table[row], index), on vectors.

    Also byte sums are widened to 16 bits by a shift and a mask: LLVM would shuffle them.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite the loads of every buffer called TABLE, and casts of every other byte."""
        vectors: set[int] = set()

        def look_up(load: tvm.ir.TensorLoad, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
            if load.source.name != TABLE:
                return mutator.default_mutate(load)
            (at,) = load.indices
            row, index = (at.a, at.b) if isinstance(at.a, tirx.Broadcast) else (at.b, at.a)
            lanes = int(row.lanes)
            vectors.add(lanes)
            values = tirx.BufferLoad(load.source, [tirx.Ramp(_offset(row.value), 1, lanes)])
            return tirx.call_llvm_pure_intrin(
                f"uint8x{lanes}", _SHUFFLES[lanes], values, index.value
            )

        changed = tvm_ffi.structural_mutate(
            f, [(tvm.ir.TensorLoad, look_up), (tirx.Cast, _widen_alternate)]
        )
        if not vectors:
            return f
        (lanes,) = vectors
        text = tvm.ir.StringImm(_IMPORTED.format(lanes=lanes))
        body = tirx.AttrStmt(tirx.IntImm("int32", 0), "pragma_import_llvm", text, changed.body)
        return tirx.PrimFunc(changed.params, body, changed.ret_type, attrs=changed.attrs)


def _offset(row: tvm.ir.Expr) -> tvm.ir.Expr:
    """i32(word >> shift & 15) * length  ->  i32(rotate(word, shift - log2(length)) & 15 * length).

    One instruction less: loops of short vectors wait for the decoder, those of 64 bytes do not.
    """
    if not (isinstance(row, tirx.Mul) and isinstance(row.a, tirx.Cast)):
        return row
    bits, length = row.a.value, int(row.b)
    if length > 32 or not (isinstance(bits, tirx.BitwiseAnd) and isinstance(bits.a, tirx.RShift)):
        return row
    by = bits.a.b + tirx.const(33 - length.bit_length(), "uint32")
    rotated = tirx.call_pure_extern("uint32", "bnn_rotate", bits.a.a, by)
    return (rotated & tirx.const(15 * length, "uint32")).astype("int32")


def _widen_alternate(cast: tirx.Cast, mutator: tvm_ffi.StructuralMutator) -> tvm.ir.Expr:
    """u16(bytes[ramp(i, 2, n)])  ->  one half of each of n pairs of bytes."""
    load = cast.value
    if not isinstance(load, tvm.ir.TensorLoad) or str(load.source.ty.dtype) != "uint8":
        return mutator.default_mutate(cast)
    ramp = load.indices[0]
    if not isinstance(ramp, tirx.Ramp) or int(ramp.stride) != 2:
        return mutator.default_mutate(cast)
    lanes = int(ramp.lanes)
    if str(cast.ty.dtype) != f"uint16x{lanes}":
        return mutator.default_mutate(cast)
    odd = tirx.floormod(ramp.base, 2)
    both = tirx.BufferLoad(load.source, [tirx.Ramp(ramp.base - odd, 1, 2 * lanes)])
    shift = tirx.Broadcast((8 * odd).astype("uint16"), lanes)
    low = tirx.Broadcast(tirx.const(255, "uint16"), lanes)
    return tirx.shift_right(T.reinterpret(f"uint16x{lanes}", both), shift) & low


@tirx.transform.prim_func_pass(opt_level=0)
class PairLookUps:
    """s += look-up; t += look-up'  ->  both look-ups, then both sums.

    In turns, Zen 4 sends sums to the pipes that shuffles need, and reaches 80 % (roofline.c). Runs
    after loops are unrolled; a pair reads the same row. Needs ShuffleTables, which imports the sum.
    """

    def transform_function(
        self, f: tirx.PrimFunc, mod: tvm.IRModule, ctx: tvm.transform.PassContext
    ) -> tirx.PrimFunc:
        """Rewrite neighbouring sums."""

        def visit(found: tirx.SeqStmt, mutator: tvm_ffi.StructuralMutator) -> tirx.Stmt:
            changed = mutator.default_mutate(found)
            if not isinstance(changed, tirx.SeqStmt):
                return changed
            out: list[tirx.Stmt] = []
            for stmt in changed.seq:
                if out and _same_row(out[-1], stmt):
                    out += _paired(out.pop(), stmt)
                else:
                    out.append(stmt)
            return tirx.SeqStmt(out)

        return tvm_ffi.structural_mutate(f, [(tirx.SeqStmt, visit)])


def _row(stmt: tirx.Stmt) -> tvm.ir.Expr | None:
    """The row that ``stmt`` looks up, if it is a sum of a look-up."""
    if not isinstance(stmt, tirx.BufferStore) or not isinstance(stmt.value, tirx.Add):
        return None
    shuffle = stmt.value.b
    if not isinstance(shuffle, tvm.ir.Call):
        return None
    loads = [a for a in shuffle.args if isinstance(a, tvm.ir.TensorLoad)]
    return next((load for load in loads if load.source.name == TABLE), None)


def _same_row(one: tirx.Stmt, other: tirx.Stmt) -> bool:
    rows = _row(one), _row(other)
    return None not in rows and tvm_ffi.structural_equal(*rows)


def _paired(one: tirx.BufferStore, other: tirx.BufferStore) -> list[tirx.Stmt]:
    counts = [tirx.Var("count", s.value.b.ty) for s in (one, other)]
    lanes = str(one.value.ty.dtype).removeprefix("uint8x")
    sums = [
        tirx.BufferStore(
            store.buffer,
            tirx.call_pure_extern(
                f"uint8x{lanes}", f"bnn_add_after{lanes}", store.value.a, count, then
            ),
            store.indices,
        )
        for store, count, then in zip((one, other), counts, reversed(counts), strict=True)
    ]
    binds = [tirx.Bind(c, s.value.b) for c, s in zip(counts, (one, other), strict=True)]
    return [*binds, *sums]
