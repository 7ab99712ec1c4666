"""Windows of convolutions and pools: strides, dilations and padding, which ONNX gives in ways."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bnn_compiler.frontend.onnx.node import Node


@dataclass(frozen=True)
class Window:
    """Sizes along the dimensions of an image; ``before`` and ``behind`` are what is padded."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    behind: tuple[int, ...]

    @staticmethod
    def of(node: Node, kernel: Sequence[int], image: Sequence[int]) -> "Window":
        """That of a node. Raises ModelError for attributes of another length than the image."""
        rank = len(kernel)
        strides = _listed(node, "strides", rank, 1)
        dilations = _listed(node, "dilations", rank, 1)
        pads = _listed(node, "pads", 2 * rank, 0)
        before, behind = pads[:rank], pads[rank:]
        auto = node.text("auto_pad", "NOTSET")
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
            total = [
                max((-(-n // s) - 1) * s + r - n, 0)
                for n, s, r in zip(image, strides, reach, strict=True)
            ]
            less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
            before, behind = (less, more) if auto == "SAME_UPPER" else (more, less)
        elif auto == "VALID":
            before = behind = (0,) * rank
        elif auto != "NOTSET":
            raise node.wrong(f"auto_pad {auto!r}; ONNX knows NOTSET, SAME_UPPER, SAME_LOWER, VALID")
        if len(image) != rank:
            raise node.wrong(f"a window of {rank} dimensions over an image of {len(image)}")
        return Window(tuple(kernel), strides, dilations, before, behind)

    @property
    def is_symmetric(self) -> bool:
        """Whether the same is padded on both sides."""
        return self.before == self.behind

    def padded(self, x: Tensor, value: float = 0.0) -> Tensor:
        """``x`` with its padding written out."""
        sides = [n for pair in zip(self.before, self.behind, strict=True) for n in pair]
        # torch begins with the last dimension.
        flat = [n for i in range(len(sides) - 2, -1, -2) for n in sides[i : i + 2]]
        return functional.pad(x, flat, value=value) if any(flat) else x


def _listed(node: Node, name: str, count: int, default: int) -> tuple[int, ...]:
    given = node.attr(name)
    if given is None or not len(given):
        return (default,) * count
    if len(given) != count:
        raise node.wrong(f"{name} {list(given)} for {count} sizes")
    return tuple(int(v) for v in given)


def by_rank(node: Node, rank: int, name: str) -> "torch._C._FunctionBase":
    """The function of torch.nn.functional of 1, 2 or 3 dimensions of an image."""
    if not 1 <= rank <= 3:
        raise node.fail(f"an image of {rank} dimensions; there are kernels for 1, 2 and 3")
    function: torch._C._FunctionBase = getattr(functional, name.format(rank))
    return function
