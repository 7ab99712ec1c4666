"""Tensor intrinsics: sixteen compares become one vector compare whose mask is the packed word."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

PACK = {">=": "bnn.pack16_ge", ">": "bnn.pack16_gt"}

_registered = False


@contextmanager
def fast_inspect() -> Iterator[None]:
    """T.prim_func calls inspect.stack(), whose getmodule walks all modules: seconds with torch."""
    real = inspect.getmodule
    inspect.getmodule = lambda *_, **__: None
    try:
        yield
    finally:
        inspect.getmodule = real


def register() -> None:
    """Register with TVM; once per process, later calls do nothing."""
    global _registered
    if _registered:
        return
    _registered = True
    from tvm.s_tir import TensorIntrin

    with fast_inspect():
        from bnn_compiler.kernels.cpu import pack_intrinsics as p

        TensorIntrin.register(PACK[">="], p.greater_equal_desc, p.greater_equal_impl)
        TensorIntrin.register(PACK[">"], p.greater_desc, p.greater_impl)
