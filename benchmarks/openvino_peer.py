"""The peer: networks as OpenVINO opset1 graphs with BinaryConvolution, the fastest known on x86.

What the CPU plugin (2026.4) needs, found by running it and not all in its documentation:

- binary weights are constants of type u1, least significant bit first, 1 for +1 (the list
  constructor of `Constant` packs most significant bit first and gives wrong results silently);
- an activation is binarised by FakeQuantize with 2 levels, equal input bounds and outputs (0, 1);
  it compares `x > bound`, and outputs (-1, 1) give wrong values;
- `pad_value` 0.0 leaves padded taps out of the sum.

`python -m benchmarks.openvino_peer` times both networks with random weights and prints where the
time goes.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset1 as ops

from benchmarks import machine
from benchmarks.peer_weights import (
    BinaryConv,
    BiRealNet,
    Dense,
    FloatConv,
    Floats,
    ReActHalf,
    ReActNet,
    fold,
    random_birealnet18,
    random_reactnet_a,
)


@dataclass(frozen=True)
class NodeTime:
    """Time of the nodes of one kind in one inference; `primitive` is the plugin's kernel."""

    kind: str
    primitive: str
    nodes: int
    seconds: float


@dataclass
class Graph:
    """Builds one model; keeps the packed weights alive, which OpenVINO does not copy."""

    buffers: list[NDArray[np.uint8]] = field(default_factory=list)

    def binary_conv(self, x: ov.Node, shift: Floats, conv: BinaryConv) -> ov.Node:
        """The integers of `conv` on sign(x + shift), as float32; sign(0) is +1.

        `shift` is [in], or [1] for all channels.
        """
        return self._integers(_sign(x, shift), conv)

    def bireal_block(self, x: ov.Node, conv: BinaryConv, down: FloatConv | None) -> ov.Node:
        y = _affine(self.binary_conv(x, np.zeros(1, np.float32), conv), conv)
        if down is None:
            return ops.add(y, x)
        return ops.add(y, float_conv(_halve(x), down))

    def react_half(self, x: ov.Node, half: ReActHalf) -> ov.Node:
        bits = _sign(x, half.shift)
        shortcut = _halve(x) if half.convs[0].stride == 2 else x
        repeat = len(half.convs[0].bias) // len(half.shift)
        if repeat > 1:
            shortcut = ops.concat([shortcut] * repeat, 1)
        sums = [ops.add(_affine(self._integers(bits, c), c), shortcut) for c in half.convs]
        y = sums[0] if len(sums) == 1 else ops.concat(sums, 1)
        y = ops.prelu(_add(y, half.activation.before), half.activation.slope)
        return _add(y, half.activation.after)

    def _integers(self, bits: ov.Node, conv: BinaryConv) -> ov.Node:
        stride, pad = [conv.stride] * 2, [conv.signs.shape[2] // 2] * 2
        weight = self._weight(conv.signs)
        return ops.binary_convolution(bits, weight, stride, pad, pad, [1, 1], "xnor-popcount", 0.0)

    def _weight(self, signs: NDArray[np.int8]) -> ov.Node:
        packed = np.packbits((signs > 0).ravel(), bitorder="little")
        self.buffers.append(packed)
        return ov.op.Constant(ov.Tensor(packed, ov.Shape(list(signs.shape)), ov.Type.u1))


class CompiledPeer:
    """An OpenVINO model with one float32 input and one output, compiled for one thread."""

    def __init__(self, model: ov.Model, *, profile: bool = False) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "PERF_COUNT": "YES" if profile else "NO",
        }
        self._compiled = ov.Core().compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()

    def set_input(self, x: Floats) -> None:
        """Use `x` (not copied) in the inferences from now on."""
        self._input = np.ascontiguousarray(x)
        self._request.set_input_tensor(0, ov.Tensor(self._input, shared_memory=True))

    def infer(self) -> None:
        """One inference on the input set before; what a timing should time."""
        self._request.infer()

    def run(self, x: Floats) -> Floats:
        """The output for `x`, as a new array."""
        self.set_input(x)
        self.infer()
        output: Floats = self._request.get_output_tensor(0).data.copy()
        return output

    def profile(self, runs: int) -> list[NodeTime]:
        """Least time of each node over `runs` inferences, summed by kind, longest first.

        It must have been made with `profile=True`, which slows it a little.
        """
        least: dict[tuple[str, str, str], float] = {}
        for _ in range(runs):
            self.infer()
            for node in self._request.get_profiling_info():
                key = (node.node_name, node.node_type, node.exec_type)
                seconds = node.real_time.total_seconds()
                least[key] = min(seconds, least.get(key, seconds))
        kinds: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (_, kind, primitive), seconds in least.items():
            if seconds > 0:
                kinds[kind, primitive].append(seconds)
        times = [NodeTime(*kind, len(each), sum(each)) for kind, each in kinds.items()]
        return sorted(times, key=lambda time: -time.seconds)


class Peer(CompiledPeer):
    """A graph built here; `build` makes the output node from the input node.

    The graph's buffers live as long as the Peer.
    """

    def __init__(
        self,
        build: Callable[[Graph, ov.Node], ov.Node],
        shape: tuple[int, ...],
        *,
        profile: bool = False,
    ) -> None:
        self._graph = Graph()
        x = ops.parameter(list(shape), np.float32)
        self._model = ov.Model([build(self._graph, x)], [x])
        super().__init__(self._model, profile=profile)


def birealnet(net: BiRealNet, shape: tuple[int, ...], *, profile: bool = False) -> Peer:
    """Bi-Real Net as a Peer; `shape` is [n, 3, h, w]."""

    def build(graph: Graph, x: ov.Node) -> ov.Node:
        y = float_conv(x, net.stem)
        y = ops.max_pool(y, [2, 2], [1, 1], [1, 1], [3, 3])
        for block in net.blocks:
            y = graph.bireal_block(y, block.conv, block.down)
        return _head(y, net.head)

    return Peer(build, shape, profile=profile)


def reactnet(net: ReActNet, shape: tuple[int, ...], *, profile: bool = False) -> Peer:
    """ReActNet as a Peer; `shape` is [n, 3, h, w]."""

    def build(graph: Graph, x: ov.Node) -> ov.Node:
        y = float_conv(x, net.stem)
        for half in net.halves:
            y = graph.react_half(y, half)
        return _head(y, net.head)

    return Peer(build, shape, profile=profile)


def float_conv(x: ov.Node, conv: FloatConv) -> ov.Node:
    """A float32 convolution with its bias."""
    stride, pad = [conv.stride] * 2, [conv.weight.shape[2] // 2] * 2
    return _add(ops.convolution(x, conv.weight, stride, pad, pad, [1, 1]), conv.bias)


def _sign(x: ov.Node, shift: Floats) -> ov.Node:
    # x + shift >= 0, said with ">": the number below the threshold, but never a subnormal one,
    # which may be slow to compare or read as zero.
    below = np.nextafter(-shift, np.float32(-np.inf))
    smallest = np.finfo(np.float32).tiny
    bound = _channels(np.where(np.abs(below) < smallest, -smallest, below))
    zero = np.zeros((1, 1, 1, 1), np.float32)
    return ops.fake_quantize(x, bound, bound, zero, zero + 1, 2)


def _affine(integers: ov.Node, conv: BinaryConv) -> ov.Node:
    return ops.add(ops.multiply(integers, _channels(conv.scale)), _channels(conv.bias))


def _add(x: ov.Node, shift: Floats) -> ov.Node:
    return ops.add(x, _channels(shift)) if np.any(shift) else x


def _halve(x: ov.Node) -> ov.Node:
    return ops.avg_pool(x, [2, 2], [0, 0], [0, 0], [2, 2], False)


def _head(x: ov.Node, dense: Dense) -> ov.Node:
    mean = ops.reduce_mean(x, np.array([2, 3]), False)
    return ops.add(ops.matmul(mean, dense.weight, False, True), dense.bias[None])


def _channels(vector: Floats) -> Floats:
    return vector.reshape(1, -1, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the OpenVINO graphs of both networks.")
    parser.add_argument("--core", type=int, help="core to run on (default: the last one)")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each network")
    arguments = parser.parse_args()
    core = machine.pin(arguments.core)
    print(f"{machine.describe().cpu}, core {core}, OpenVINO {ov.__version__}")
    shape = (1, 3, 224, 224)
    plain = random_reactnet_a(0)
    peers: dict[str, Callable[[bool], Peer]] = {
        "birealnet18": lambda profile: birealnet(random_birealnet18(0), shape, profile=profile),
        "reactnet_a": lambda profile: reactnet(plain, shape, profile=profile),
        "reactnet_a folded": lambda profile: reactnet(fold(plain), shape, profile=profile),
    }
    for name, make in peers.items():
        _report(name, make, shape, arguments.seconds)


def _report(
    name: str, make: Callable[[bool], Peer], shape: tuple[int, ...], seconds: float
) -> None:
    x = np.random.default_rng(1).standard_normal(shape, np.float32)
    peer = make(False)
    peer.set_input(x)
    times = []
    with machine.LoadMeter() as meter:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            peer.infer()
            times.append(time.perf_counter() - start)
    median, minimum = 1e3 * statistics.median(times), 1e3 * min(times)
    print(f"\n{name}: median {median:.2f} ms, minimum {minimum:.2f} ms ({meter.load})")
    profiled = make(True)
    profiled.set_input(x)
    for node in profiled.profile(200):
        label = f"{node.nodes} x {node.kind} ({node.primitive})"
        print(f"  {label:<52} {1e6 * node.seconds:7.0f} us")


if __name__ == "__main__":
    main()
