"""ResNet-18 in float32 and int8 on OpenVINO and on ONNX Runtime: what binary layers stand against.

One exported ONNX file feeds all four. int8 is static quantisation after training, each runtime by
its own tool (NNCF; ONNX Runtime's QDQ with unsigned activations and a scale per output channel),
calibrated on random images, which the random weights are fitted to as well.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import nncf
import numpy as np
import onnxruntime as ort
import openvino as ov
import torch
from onnxruntime import quantization
from torch import nn

from benchmarks.openvino_peer import CompiledPeer
from benchmarks.peer_weights import Floats
from benchmarks.peers import Peers
from benchmarks.resnet import ResNet18
from bnn_compiler import zoo

_INPUT, _OUTPUT = "input", "output"
_IMAGES = 16


class OnnxPeer:
    """An ONNX file in ONNX Runtime, on one thread."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def set_input(self, x: Floats) -> None:
        """Use `x` (not copied) in the inferences from now on."""
        self._feed = {_INPUT: np.ascontiguousarray(x)}

    def infer(self) -> Floats:
        """One inference on the input set before."""
        output: Floats = self._session.run([_OUTPUT], self._feed)[0]
        return output

    def run(self, x: Floats) -> Floats:
        """The output for `x`."""
        self.set_input(x)
        return self.infer()


def resnet18(shape: tuple[int, ...]) -> Peers:
    """ResNet-18 with random weights, in four programs; `shape` is [n, 3, h, w]."""
    model = ResNet18()
    zoo.randomize(model, torch.zeros(shape))
    with tempfile.TemporaryDirectory() as folder:
        return Peers(model, programs(model, shape, Path(folder)))


def programs(
    model: nn.Module, shape: tuple[int, ...], folder: Path
) -> dict[str, CompiledPeer | OnnxPeer]:
    """`model` in float32 and int8 on both runtimes; files are left in `folder`."""
    path, quantised = folder / "float.onnx", folder / "int8.onnx"
    torch.onnx.export(
        model,
        (torch.zeros(shape),),
        str(path),
        dynamo=False,
        input_names=[_INPUT],
        output_names=[_OUTPUT],
    )
    quantization.quantize_static(
        str(path),
        str(quantised),
        _Images(shape),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    graph = ov.Core().read_model(path)
    calibration = nncf.Dataset(list(_images(shape)))
    return {
        "openvino ResNet-18 fp32": CompiledPeer(graph),
        "openvino ResNet-18 int8": CompiledPeer(
            nncf.quantize(graph, calibration, subset_size=_IMAGES)
        ),
        "onnxruntime ResNet-18 fp32": OnnxPeer(path),
        "onnxruntime ResNet-18 int8": OnnxPeer(quantised),
    }


def _images(shape: tuple[int, ...]) -> Iterator[Floats]:
    random = np.random.default_rng(2)
    return (random.standard_normal(shape, np.float32) for _ in range(_IMAGES))


class _Images(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Random images, as ONNX Runtime's calibration reads them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._images = _images(shape)

    def get_next(self) -> dict[str, Floats] | None:
        image = next(self._images, None)
        return None if image is None else {_INPUT: image}
