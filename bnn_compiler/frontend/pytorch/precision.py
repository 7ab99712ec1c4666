"""Networks in half precision are compiled in float32, which holds their weights exactly."""

import copy
import logging

import torch

from bnn_compiler.errors import ModelError

log = logging.getLogger("bnn_compiler")
_HALVES = (torch.float16, torch.bfloat16)


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of float16 or bfloat16 as float32; any other as it is."""
    return tensor.float() if tensor.dtype in _HALVES else tensor


def in_float32(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of a model with float16 or bfloat16 weights in float32; any other model itself.

    Logs that it was converted. Raises ModelError if it cannot be copied.
    """
    tensors = [*model.parameters(), *model.buffers()]
    found = next((t.dtype for t in tensors if t.dtype in _HALVES), None)
    if found is None:
        return model
    try:
        converted = copy.deepcopy(model)
        converted._apply(widened)  # type: ignore[no-untyped-call]
    # Modules may refuse to be copied in any way.
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ModelError(
            f"{type(model).__name__} is {found} and cannot be copied to convert it ({reason});"
            " call model.float()"
        ) from e
    log.warning(f"{type(model).__name__} is {found}; it is compiled in float32")
    return converted
