"""An ONNX file, read: its graph in float32, its nodes with what they need to be translated."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import InputError, ModelError
from bnn_compiler.frontend.onnx.constants import DTYPES
from bnn_compiler.frontend.onnx.package import onnx as load_onnx

log = logging.getLogger("bnn_compiler")
#: The least version of ONNX; older files have other forms of many operators.
_OLDEST = 11
#: ONNX's numbers of float32 and of the halves, which are widened to it.
_FLOAT, _HALVES = 1, (10, 16)
_SUFFIX = ".onnx"
#: What numpy has itself. Floats of 8 bits are of another package.
_READABLE = {
    *("float16", "bfloat16", "float32", "float64", "bool"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


@dataclass(frozen=True)
class OnnxInput:
    """A size is None where the file leaves it open."""

    name: str
    sizes: tuple[int | None, ...] | None
    dtype: str


@dataclass(frozen=True)
class OnnxFile:
    """``proto`` is the model, functions inlined, in float32; ``constants`` its initialisers."""

    path: str
    proto: Any
    constants: Mapping[str, NDArray[Any]]
    inputs: Sequence[OnnxInput]
    outputs: Sequence[str]

    @property
    def opsets(self) -> dict[str, int]:
        """Domain -> version."""
        return {
            "" if o.domain == "ai.onnx" else o.domain: int(o.version)
            for o in self.proto.opset_import
        }


def recognises(spec: Any) -> bool:
    """Whether ``read`` knows what to do with it."""
    is_model = type(spec).__name__ == "ModelProto" and type(spec).__module__.startswith("onnx")
    if isinstance(spec, OnnxFile) or is_model:
        return True
    return isinstance(spec, str | Path) and str(spec).lower().endswith(_SUFFIX)


def read(spec: Any) -> OnnxFile:
    """Read a path, or an ``onnx.ModelProto``. Raises ModelError for what is no ONNX model."""
    if isinstance(spec, OnnxFile):
        return spec
    path = str(spec) if isinstance(spec, str | Path) else "the ONNX model"
    onnx = load_onnx(path)
    proto = _load(onnx, path) if isinstance(spec, str | Path) else _copy(spec)
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), _OLDEST)
    if version < _OLDEST:
        raise ModelError(
            f"{path} has opset {version}; {_OLDEST} is the oldest that can be read (export again,"
            " or use onnx.version_converter)"
        )
    _check(onnx, path, proto)
    if len(proto.functions):
        proto = onnx.inliner.inline_local_functions(proto)
    if _widen(onnx, proto):
        log.warning(f"{path} is in half precision; it is compiled in float32")
    constants = {i.name: _array(onnx, path, i) for i in proto.graph.initializer}
    if len(proto.graph.sparse_initializer):
        raise ModelError(f"{path} has sparse initialisers; store them dense")
    given = [i for i in proto.graph.input if i.name not in constants]
    return OnnxFile(
        path,
        proto,
        constants,
        tuple(_input(path, i) for i in given),
        tuple(o.name for o in proto.graph.output),
    )


def _load(onnx: Any, path: str) -> Any:
    if not Path(path).is_file():
        raise ModelError(f"no file {path}")
    try:
        return onnx.load(path)
    # protobuf, and readers of external data, raise unrelated types for damaged files.
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ModelError(f"{path} is not a readable ONNX model: {reason}") from e


def _copy(proto: Any) -> Any:
    copied = type(proto)()
    copied.CopyFrom(proto)
    return copied


def _check(onnx: Any, path: str, proto: Any) -> None:
    try:
        # Initialisers are not looked at, and may be larger than a message can be.
        bare = _copy_without_data(proto) if proto.ByteSize() > 2**30 else proto
        onnx.checker.check_model(bare)
    except (onnx.checker.ValidationError, ValueError) as e:
        reason = " ".join(str(e).split())
        raise ModelError(f"{path} is not a valid ONNX model: {reason[:300]}") from e
    if not len(proto.graph.output):
        raise ModelError(f"{path} has no output")


def _copy_without_data(proto: Any) -> Any:
    copied = type(proto)()
    copied.CopyFrom(proto)
    for tensor in copied.graph.initializer:
        for name in ("raw_data", "float_data"):
            tensor.ClearField(name)
        del tensor.dims[:]
        tensor.dims.append(0)
    return copied


def _array(onnx: Any, path: str, tensor: Any) -> NDArray[Any]:
    try:
        value = onnx.numpy_helper.to_array(tensor)
    except (TypeError, ValueError, KeyError, NotImplementedError) as e:
        raise ModelError(f"{path}: initialiser {tensor.name!r} cannot be read: {e}") from e
    if plain(value).dtype.name not in _READABLE:
        raise ModelError(
            f"{path}: initialiser {tensor.name!r} is {value.dtype.name}; floats of 16, 32 and 64"
            " bits, integers and truth values can be read"
        )
    return plain(value)


def plain(value: NDArray[Any]) -> NDArray[Any]:
    """``value`` in a dtype of numpy: integers of 2 and 4 bits are of 8."""
    name = value.dtype.name
    if name in ("int4", "int2"):
        return value.astype(np.int8)
    if name in ("uint4", "uint2"):
        return value.astype(np.uint8)
    return np.array(value)


def _input(path: str, value: Any) -> OnnxInput:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in DTYPES:
        raise ModelError(f"{path}: input {value.name!r} is no tensor of numbers")
    sizes = None
    if kind.HasField("shape"):
        sizes = tuple(
            int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in kind.shape.dim
        )
    return OnnxInput(value.name, sizes, str(DTYPES[kind.elem_type]).removeprefix("torch."))


def _widen(onnx: Any, proto: Any) -> bool:
    """Turn halves into float32, in place; whether there were any."""
    found = False
    for tensor in _tensors(proto.graph):
        if tensor.data_type in _HALVES:
            found = True
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    values = (proto.graph.input, proto.graph.output, proto.graph.value_info)
    for value in (v for kind in values for v in kind):
        if value.type.tensor_type.elem_type in _HALVES:
            found = True
            value.type.tensor_type.elem_type = _FLOAT
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype", "output_dtype") and attribute.i in _HALVES:
                found = True
                attribute.i = _FLOAT
    return found


def _tensors(graph: Any) -> list[Any]:
    in_nodes = [a.t for n in graph.node for a in n.attribute if a.HasField("t")]
    return [*graph.initializer, *in_nodes]


def shapes(file: OnnxFile) -> list[tuple[tuple[int, ...], str]]:
    """Shape and dtype of every input. Raises InputError for sizes that the file leaves open."""
    found = []
    for given in file.inputs:
        if given.sizes is None or None in given.sizes:
            text = ",".join("?" if n is None else str(n) for n in given.sizes or (None,))
            raise InputError(
                f"input {given.name!r} of {file.path} has the shape {text}; give example inputs"
                f" (or --shape {text.replace('?', '1')})"
            )
        found.append((tuple(n for n in given.sizes if n is not None), given.dtype))
    return found
