"""The passes in order, in named phases, with the IR written out after each on request."""

from collections.abc import Callable, Collection
from pathlib import Path

import tvm

from bnn_compiler.passes.binarize_conv import BinarizeConv
from bnn_compiler.passes.binarize_matmul import BinarizeMatmul
from bnn_compiler.passes.byte_input import ByteInput, Normalization
from bnn_compiler.passes.filter_strided_conv import FilterStridedConv
from bnn_compiler.passes.find_sign_products import FindSignProducts
from bnn_compiler.passes.find_signs import FindSigns
from bnn_compiler.passes.fold_affine import FoldAffine
from bnn_compiler.passes.fold_ramps import FoldRamps
from bnn_compiler.passes.fold_threshold import FoldThreshold
from bnn_compiler.passes.fold_tile import FoldTile
from bnn_compiler.passes.fuse_epilogue import FuseEpilogue
from bnn_compiler.passes.group_general import GroupGeneral
from bnn_compiler.passes.halve_floats import HalveFloats
from bnn_compiler.passes.halve_shortcuts import HalveShortcuts
from bnn_compiler.passes.hoist_sign import HoistSign
from bnn_compiler.passes.merge_duplicated_conv import MergeDuplicatedConv
from bnn_compiler.passes.order_weights import OrderWeights
from bnn_compiler.passes.pool_before_scale import PoolBeforeScale
from bnn_compiler.passes.quantize_rest import QuantizeRest, Range
from bnn_compiler.passes.sign_before_pad import SignBeforePad
from bnn_compiler.passes.sign_behind_tokens import SignBehindTokens
from bnn_compiler.passes.unscale_signs import UnscaleSigns

Pass = Callable[[tvm.IRModule], tvm.IRModule]


def phases(
    zero_weight: str = "exact",
    byte_input: Normalization | None = None,
    allow_reorder: bool = False,
    int8: Collection[Range] = (),
    half: bool = False,
) -> tuple[tuple[str, tuple[Pass, ...]], ...]:
    """(phase, its passes) in the order they run."""
    last: list[Pass] = [ByteInput(byte_input)] if byte_input else []
    if half:
        last.append(HalveFloats())
    elif allow_reorder:
        last.append(FilterStridedConv())
    last.append(GroupGeneral())
    if half:
        last.append(HalveShortcuts())
    rest: list[Pass] = [QuantizeRest(int8, byte_input)] if int8 else []
    return (
        (
            "recognise",
            (
                FoldTile(),
                FoldRamps(),
                SignBehindTokens(),
                PoolBeforeScale(),
                SignBeforePad(),
                OrderWeights(),
                FindSigns(),
                FindSignProducts(),
                UnscaleSigns(),
                BinarizeConv(zero_weight),
                BinarizeMatmul(),
            ),
        ),
        ("fold", (FoldAffine(), MergeDuplicatedConv(), HoistSign(), *rest)),
        ("fuse", (FuseEpilogue(), FoldThreshold(), *last)),
    )


def run(
    module: tvm.IRModule,
    *,
    zero_weight: str = "exact",
    byte_input: Normalization | None = None,
    allow_reorder: bool = False,
    int8: Collection[Range] = (),
    half: bool = False,
    dump_dir: Path | None = None,
) -> tvm.IRModule:
    """Every phase in turn; ``dump_dir`` gets 0-import.py, 1-recognise.py, ..."""
    _dump(module, dump_dir, 0, "import")
    for index, (phase, passes) in enumerate(
        phases(zero_weight, byte_input, allow_reorder, int8, half), start=1
    ):
        for one in passes:
            module = one(module)
        _dump(module, dump_dir, index, phase)
    return module


def fold(module: tvm.IRModule, zero_weight: str) -> tvm.IRModule:
    """The phases before the one that fuses: what a pass at the end of "fold" sees."""
    for phase, passes in phases(zero_weight):
        if phase != "fuse":
            for one in passes:
                module = one(module)
    return module


def _dump(module: tvm.IRModule, folder: Path | None, index: int, phase: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index}-{phase}.py").write_text(module.script())
