"""Times networks on a GPU in turns and prints one line of JSON, as deploy/cpu/runtime/turns.c does.

    PROGRAM CONSTANTS ROUNDS MICROSECONDS LIMIT THREADS
    PROGRAM --gpu                                            # the name of the GPU

PROGRAM is this file and trial_program.py, zipped (turns.py): Python 3.10 and NVIDIA's driver are
all that it needs. CONSTANTS is one line of JSON, then machine code and constants of each network;
the first one is the reference. Of a round the times of every other network are: the reference, the
network, and each of its steps. MICROSECONDS are what the runs of a beginning take at most, 0 for as
long as is usual. THREADS means nothing here.

A network is a graph of launches, started early as in an artifact, and its time that from an event
ahead of it to one behind it. The reference runs ahead of each, so that the GPU is busy while the
next calls are made, and no time of the host is in these. A step takes what the launches up to it
take longer than those before it. Weights and inputs are whatever takes as long as real ones.
"""

import ctypes
import json
import random
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from bnn_compiler.deploy.cuda.trial_program import Attribute, Config, Gpu, stop

#: Runs in a round: of a whole network, of each of its beginnings, and the least of both.
_WHOLE, _PARTS, _FEWEST = 16, 8, 3
#: Seconds that the runs of one beginning may take, and how often that a whole network's.
_LONGEST, _OFTEN = 4e-3, 4
#: No step takes less: the next launch behind a kernel that does nothing.
_LEAST = 1e-8
_EARLY, _BLOCK = 6, 1 << 20


class Network:
    """A network in the GPU's memory; ``graphs[i]`` launches its first i + 1 steps."""

    def __init__(self, gpu: Gpu, described: dict[str, Any], image: bytes, constants: bytes) -> None:
        self.gpu = gpu
        kernels = described["kernels"]
        module = gpu.module(image)
        functions = [gpu.function(module, k["symbol"], k["shared"]) for k in kernels]
        memory = gpu.zeros(described["memory"])
        weights = gpu.zeros(described["weights"])
        block = _numbers()
        for at in range(0, described["weights"], _BLOCK):
            gpu.put(weights, at, block[: min(_BLOCK, described["weights"] - at)])
        for at, size in described["indices"]:
            gpu.put(weights, at, constants[:size])
            constants = constants[size:]
        self._early = Attribute(_EARLY)
        self._early.value[0] = 1
        self._calls = []
        for number, (index, arguments) in enumerate(described["steps"]):
            kernel = kernels[index]
            places = [
                ctypes.c_uint64((weights if in_weights else memory).value + at)
                for in_weights, at in arguments
            ]
            early = int(number > 0 and kernel["early"] and gpu.sm >= 90)
            config = Config(
                (ctypes.c_uint * 3)(*kernel["grid"]),
                (ctypes.c_uint * 3)(*kernel["block"]),
                kernel["shared"],
                gpu.stream,
                ctypes.pointer(self._early),
                early,
            )
            pointers = (ctypes.c_void_p * len(places))(*map(ctypes.addressof, places))
            self._calls.append((config, functions[index], pointers, places))
        self.graphs = [
            gpu.graph(partial(self._launch, count + 1)) for count in range(len(self._calls))
        ]

    def _launch(self, count: int) -> None:
        for config, function, pointers, _ in self._calls[:count]:
            self.gpu.call("cuLaunchKernelEx", ctypes.byref(config), function, pointers, None)


class Clock:
    """Times graphs behind a run of the ``reference``, each for at most ``longest`` seconds."""

    def __init__(self, gpu: Gpu, reference: Network, longest: float) -> None:
        self.gpu, self.reference, self.longest = gpu, reference, longest
        self.events = [gpu.made("cuEventCreate", 0) for _ in range(2 * _WHOLE)]
        self.usual = self.seconds(reference.graphs[-1], _FEWEST)

    def runs(self, seconds: float, most: int, often: int = 1) -> int:
        """How many of ``seconds`` each there is time for."""
        fitting = int(often * self.longest / (seconds + self.usual))
        return max(_FEWEST, min(most, fitting))

    def seconds(self, graph: ctypes.c_void_p, runs: int) -> float:
        """The mean of the middle half of ``runs``."""
        call, stream, ahead = self.gpu.call, self.gpu.stream, self.reference.graphs[-1]
        pairs = list(zip(self.events[: 2 * runs : 2], self.events[1 : 2 * runs : 2]))  # noqa: B905
        for before, behind in pairs:
            call("cuGraphLaunch", ahead, stream)
            call("cuEventRecord", before, stream)
            call("cuGraphLaunch", graph, stream)
            call("cuEventRecord", behind, stream)
        call("cuStreamSynchronize", stream)
        found = []
        for before, behind in pairs:
            milliseconds = ctypes.c_float()
            call("cuEventElapsedTime", ctypes.byref(milliseconds), before, behind)
            found.append(1e-3 * float(milliseconds.value))
        found.sort()
        quarter = len(found) // 4
        middle = found[quarter : len(found) - quarter]
        return max(_LEAST, sum(middle) / len(middle))

    def turn(self, network: Network) -> list[float]:
        """The reference, the network, each step."""
        rough = self.seconds(network.graphs[-1], _FEWEST)
        runs = self.runs(self.usual, _WHOLE, _OFTEN)
        reference = self.seconds(self.reference.graphs[-1], runs)
        whole = self.seconds(network.graphs[-1], self.runs(rough, _WHOLE, _OFTEN))
        runs = self.runs(whole, _PARTS)
        parts = [self.seconds(graph, runs) for graph in network.graphs]
        steps = [max(_LEAST, b - a) for a, b in zip([0.0, *parts], parts)]  # noqa: B905
        return [reference, whole, *steps]


def _numbers() -> bytes:
    """Words whose upper bytes make small floats of them, and whose others are random."""
    block = bytearray(random.Random(0).randbytes(_BLOCK))
    block[3::4] = b"\x3c" * (_BLOCK // 4)
    return bytes(block)


def _networks(gpu: Gpu, described: list[dict[str, Any]], source: BinaryIO) -> list[Network]:
    return [
        Network(gpu, one, source.read(one["image"]), source.read(sum(n for _, n in one["indices"])))
        for one in described
    ]


def main(argv: list[str]) -> None:
    """See above."""
    if argv == ["--gpu"]:
        print(Gpu().name())
        return
    path, rounds, microseconds, limit, _ = argv
    gpu = Gpu()
    # A kernel that hangs is no reason to wait; a driver may take long to start.
    signal.alarm(int(limit))
    with Path(path).open("rb") as source:
        described = json.loads(source.readline())
        reference, *others = _networks(gpu, described["networks"], source)
    if not others:
        stop(1, "there is nothing to time")
    clock = Clock(gpu, reference, 1e-6 * int(microseconds) or _LONGEST)
    for network in others:
        clock.turn(network)
    seconds = [s for _ in range(int(rounds)) for one in others for s in clock.turn(one)]
    name = f"{described['id']} {gpu.name()}"
    print(json.dumps({"name": name, "seconds": seconds, "digest": described["id"]}))


if __name__ == "__main__":
    main(sys.argv[1:])
