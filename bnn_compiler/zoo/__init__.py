"""Networks of the papers, trainable, at ImageNet size by default.

Each takes ``width``, a factor on the channels, ``in_channels`` of the image and, but for
``bireal_depth``, ``num_classes``.
"""

from collections.abc import Callable

from torch import nn

from bnn_compiler.errors import ModelError
from bnn_compiler.zoo.bireal import (
    bireal_depth,
    birealnet18,
    birealnet34,
    react_birealnet18,
)
from bnn_compiler.zoo.bireal50 import birealnet50
from bnn_compiler.zoo.mobinet import mobinet
from bnn_compiler.zoo.randomize import randomize
from bnn_compiler.zoo.reactnet import reactnet_a, reactnet_b, reactnet_c
from bnn_compiler.zoo.xnor import bop_net, xnornet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "birealnet18": birealnet18,
    "birealnet34": birealnet34,
    "birealnet50": birealnet50,
    "bireal_depth": bireal_depth,
    "react_birealnet18": react_birealnet18,
    "reactnet_a": reactnet_a,
    "reactnet_b": reactnet_b,
    "reactnet_c": reactnet_c,
    "mobinet": mobinet,
    "xnornet": xnornet,
    "bop_net": bop_net,
}


def get(name: str) -> Callable[..., nn.Module]:
    """The factory of a network. Raises ModelError listing the known names."""
    if name not in NETWORKS:
        raise ModelError(f"unknown network {name!r}; known: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]


__all__ = [
    "NETWORKS",
    "bireal_depth",
    "birealnet18",
    "birealnet34",
    "birealnet50",
    "bop_net",
    "get",
    "mobinet",
    "randomize",
    "react_birealnet18",
    "reactnet_a",
    "reactnet_b",
    "reactnet_c",
    "xnornet",
]
