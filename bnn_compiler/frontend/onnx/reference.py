"""What an ONNX file computes by another program: onnxruntime, or the package's own evaluator."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend.onnx import qonnx
from bnn_compiler.frontend.onnx.file import OnnxFile
from bnn_compiler.frontend.onnx.package import onnx as load_onnx
from bnn_compiler.frontend.onnx.package import onnxruntime

#: Takes the package onnx, a model, the names of its outputs, its inputs; None if it is not here.
Program = Callable[[Any, Any, Sequence[str], dict[str, Any]], dict[str, NDArray[Any]] | None]


def values(
    file: OnnxFile, inputs: Sequence[NDArray[Any]], programs: Sequence[Program] = ()
) -> dict[str, NDArray[Any]]:
    """Every value of the graph on ``inputs``, by name; the first of ``programs`` that can run it.

    Raises ModelError if none can.
    """
    onnx = load_onnx(file.path)
    names = [o for n in file.proto.graph.node for o in n.output if o]
    feeds = {i.name: x for i, x in zip(file.inputs, inputs, strict=True)}
    proto = type(file.proto)()
    proto.CopyFrom(file.proto)
    listed = {o.name for o in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in listed)
    names = [o.name for o in proto.graph.output]
    reasons = []
    for run in programs or (by_onnxruntime, by_evaluator):
        try:
            results = run(onnx, proto, names, feeds)
        # Both raise what they like for what they cannot run.
        except Exception as e:
            reasons.append((str(e).splitlines() or [type(e).__name__])[0])
            continue
        if results is not None:
            return results
    raise ModelError(
        f"{file.path} cannot be run, so its translation cannot be checked: {'; '.join(reasons)}"
    )


def by_onnxruntime(
    onnx: Any, proto: Any, names: Sequence[str], feeds: dict[str, Any]
) -> dict[str, NDArray[Any]] | None:
    """By onnxruntime; None where it is not installed, or does not know the operators."""
    runtime = onnxruntime()
    if runtime is None or any(n.domain in qonnx.DOMAINS for n in proto.graph.node):
        return None
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(list(names), feeds), strict=True))


def by_evaluator(
    onnx: Any, proto: Any, names: Sequence[str], feeds: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """By the evaluator of the package onnx."""
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    operators = [*_of_qonnx(onnx), *_of_old(onnx, version)]
    evaluator = onnx.reference.ReferenceEvaluator(proto, new_ops=operators)
    results = evaluator.run(list(names), feeds)
    return {n: np.asarray(x) for n, x in zip(names, results, strict=True)}


#: Takes the inputs, and attributes by name.
Meaning = Callable[..., NDArray[Any]]


def _of_qonnx(onnx: Any) -> list[Any]:
    """Those of QONNX, as its documents define them, in each of its domains."""
    meanings: dict[str, Meaning] = {
        "Quant": _quant,
        "IntQuant": _quant,
        "BipolarQuant": _bipolar,
        "Trunc": _trunc,
    }
    return [
        _operator(onnx, name, domain, meaning)
        for domain in qonnx.DOMAINS
        for name, meaning in meanings.items()
    ]


def _of_old(onnx: Any, version: int) -> list[Any]:
    """Those whose former meanings the evaluator does not have."""
    found = []
    if version < 13:
        found.append(_operator(onnx, "Softmax", "", _softmax_of_matrix))
        found.append(_operator(onnx, "LogSoftmax", "", _log_softmax_of_matrix))
    if version < 19:
        found.append(_operator(onnx, "DequantizeLinear", "", _dequantize))
    return found


def _operator(onnx: Any, name: str, domain: str, meaning: Meaning) -> Any:
    """A class of the evaluator's."""

    def run(self: Any, *inputs: Any, **_: Any) -> tuple[NDArray[Any]]:
        given = {a.name: a.s.decode() if a.s else a.i for a in self.onnx_node.attribute}
        return (np.asarray(meaning(*inputs, **given)).astype(np.float32),)

    return type(name, (onnx.reference.op_run.OpRun,), {"op_domain": domain, "_run": run})


def _softmax_of_matrix(x: NDArray[Any], axis: int = 1) -> NDArray[Any]:
    return np.asarray(np.exp(_log_softmax_of_matrix(x, axis)))


def _log_softmax_of_matrix(x: NDArray[Any], axis: int = 1) -> NDArray[Any]:
    rows = x.reshape(int(np.prod(x.shape[: axis % x.ndim])), -1).astype(np.float64)
    rows = rows - rows.max(1, keepdims=True)
    return np.reshape(rows - np.log(np.exp(rows).sum(1, keepdims=True)), x.shape)


def _dequantize(
    x: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None = None, axis: int = 1
) -> NDArray[Any]:
    wide = [-1 if i == axis % max(x.ndim, 1) and scale.size > 1 else 1 for i in range(x.ndim)]
    level = x.astype(np.int64)
    if zero is not None:
        level = level - zero.astype(np.int64).reshape(wide)
    return np.asarray(level.astype(np.float32) * scale.reshape(wide))


def _rounded(x: NDArray[Any], mode: str) -> NDArray[Any]:
    size, mode = np.abs(x), mode.upper()
    toward = {"UP": np.ceil(size), "DOWN": np.floor(size), "ROUND_TO_ZERO": np.floor(size)}
    toward |= {"HALF_UP": np.floor(size + 0.5), "HALF_DOWN": np.ceil(size - 0.5)}
    if mode in toward:
        return np.asarray(np.copysign(toward[mode], x))
    plain = {"CEIL": np.ceil, "FLOOR": np.floor, "ROUND": np.rint, "HALF_EVEN": np.rint}
    return np.asarray(plain[mode](x))


def _limits(bits: NDArray[Any], signed: int, narrow: int) -> tuple[float, float]:
    count = float(np.asarray(bits).reshape(-1)[0])
    if signed:
        return -(2.0 ** (count - 1)) + bool(narrow), 2.0 ** (count - 1) - 1
    return 0.0, 2.0**count - 1 - bool(narrow)


def _quant(
    x: NDArray[Any],
    scale: NDArray[Any],
    zero: NDArray[Any],
    bits: NDArray[Any],
    signed: int = 1,
    narrow: int = 0,
    rounding_mode: str = "ROUND",
) -> NDArray[Any]:
    level = np.clip(x / scale + zero, *_limits(bits, signed, narrow))
    return np.asarray((_rounded(level, rounding_mode) - zero) * scale)


def _bipolar(x: NDArray[Any], scale: NDArray[Any]) -> NDArray[Any]:
    return np.where(x >= 0, scale, -scale)


def _trunc(
    x: NDArray[Any],
    scale: NDArray[Any],
    zero: NDArray[Any],
    bits: NDArray[Any],
    *more: NDArray[Any],
    signed: int = 1,
    narrow: int = 0,
    rounding_mode: str = "FLOOR",
) -> NDArray[Any]:
    level = np.rint(x / scale + zero)
    if len(more) == 1:
        less = 2.0 ** (float(bits) - float(more[0]))
        return np.asarray((_rounded(level / less, rounding_mode) - zero) * scale)
    step, left = more
    less = 2.0 ** np.rint(np.log2(step / scale))
    kept = np.clip(level / less, *_limits(left, signed, narrow))
    return np.asarray((_rounded(kept, rounding_mode) - zero / less) * step)
