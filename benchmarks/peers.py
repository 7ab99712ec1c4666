"""Which programs a network can be compared with, in groups, each importing what it needs late.

Late, because a group's framework may not be installed, and because some read the environment
(see isa.py) when they are first imported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from benchmarks.peer_weights import Floats, fold
from benchmarks.quicknet import QuickNet
from bnn_compiler import zoo

SHAPE = (1, 3, 224, 224)


class Peer(Protocol):
    """A program with one float32 input and one output, on one thread."""

    def set_input(self, x: Floats) -> None:
        """Use `x` in the inferences from now on."""

    def infer(self) -> object:
        """One inference on the input set before; what a timing should time."""

    def run(self, x: Floats) -> Floats:
        """The output for `x`, as a new array."""
        ...


@dataclass(frozen=True)
class Peers:
    """Programs by name, the torch model that all of them compute, and what ends them."""

    model: nn.Module
    programs: Mapping[str, Peer]
    ends: tuple[Callable[[], None], ...] = ()

    def close(self) -> None:
        """End what runs outside this process."""
        for end in self.ends:
            end()


Factory = Callable[[nn.Module], Peers]


def openvino_birealnet18(model: nn.Module) -> Peers:
    from benchmarks import openvino_peer, torch_weights

    arrays = torch_weights.birealnet18(model)
    return Peers(model, {"openvino": openvino_peer.birealnet(arrays, SHAPE)})


def openvino_reactnet_a(model: nn.Module) -> Peers:
    """The network as its authors wrote it, and the same function with fewer operations."""
    from benchmarks import openvino_peer, torch_weights

    net = torch_weights.reactnet_a(model)
    programs = {
        "openvino": openvino_peer.reactnet(net, SHAPE),
        "openvino folded": openvino_peer.reactnet(fold(net), SHAPE),
    }
    return Peers(model, programs)


def float_resnet18(model: nn.Module) -> Peers:
    """ResNet-18 in place of `model`: what a binary network is an alternative to."""
    from benchmarks import float_peers

    return float_peers.resnet18(SHAPE)


def larq(model: nn.Module) -> Peers:
    """Both of its kernels."""
    from benchmarks import torch_weights
    from benchmarks.larq_peer import LarqPeer

    arrays = torch_weights.quicknet if isinstance(model, QuickNet) else torch_weights.birealnet18
    net = arrays(model)
    programs = {
        "larq": LarqPeer(net, SHAPE, indirect=False),
        "larq indirect": LarqPeer(net, SHAPE, indirect=True),
    }
    return Peers(model, programs, tuple(program.close for program in programs.values()))


def tvm(model: nn.Module) -> Peers:
    """TVM without any pass of ours; for every network."""
    from benchmarks.tvm_peer import TvmPeer

    return Peers(model, {"tvm": TvmPeer(model, SHAPE)})


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "birealnet18": zoo.birealnet18,
    "reactnet_a": zoo.reactnet_a,
    "quicknet": QuickNet,
}
# Group, then network.
GROUPS: dict[str, dict[str, Factory]] = {
    "openvino": {"birealnet18": openvino_birealnet18, "reactnet_a": openvino_reactnet_a},
    "float": {"birealnet18": float_resnet18},
    "larq": {"birealnet18": larq, "quicknet": larq},
    "tvm": {name: tvm for name in NETWORKS},
}


_PACKAGES = {
    "openvino": ("openvino",),
    "float": ("openvino", "nncf", "onnx", "onnxruntime"),
    "larq": (),  # in an environment that it makes for itself
    "tvm": ("tvm",),
}


def packages(groups: list[str]) -> list[str]:
    """The Python packages that `groups` import."""
    return list(dict.fromkeys(package for group in groups for package in _PACKAGES[group]))


def of(network: str, groups: list[str]) -> list[Factory]:
    """The groups among `groups` that have programs for `network`."""
    return [GROUPS[group][network] for group in groups if network in GROUPS[group]]
