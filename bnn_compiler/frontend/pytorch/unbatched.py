"""Convolutions and pools of one image, [C, H, W], as those of a batch of one."""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node
from torch.utils._pytree import tree_map

from bnn_compiler.frontend.pytorch.trace import op_name

#: Operator -> how many dimensions a window of its has.
_WINDOWS = {
    **{f"{name}{n}d": n for name in ("conv", "conv_transpose", "avg_pool") for n in (1, 2)},
    **{f"max_pool{n}d{also}": n for n in (1, 2) for also in ("", "_with_indices")},
    **{f"adaptive_{name}_pool2d": 2 for name in ("avg", "max")},
}


def is_unbatched(node: Node) -> bool:
    """Whether its input has no batch."""
    windows = _WINDOWS.get(op_name(node))
    source = node.args[0] if windows and node.args else None
    value = source.meta.get("val") if isinstance(source, Node) else None
    return isinstance(value, torch.Tensor) and value.dim() == 1 + (windows or 0)


def batched(target: Callable[..., Any]) -> Callable[..., Any]:
    """``target`` of one image: op(x) -> op(x.unsqueeze(0)).squeeze(0)."""

    def apply(x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return tree_map(lambda y: y.squeeze(0), target(x.unsqueeze(0), *args, **kwargs))

    return apply
