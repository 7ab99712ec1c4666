"""A model's forward may write what it likes; afterwards the model is as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: What a module holds that is no state of forward's: its own tables are kept one by one.
_CONTAINERS = (dict, list, set)


@contextmanager
def unchanged(model: torch.nn.Module) -> Iterator[dict[int, torch.Tensor]]:
    """Afterwards parameters, buffers, attributes and modes of ``model`` are as they were.

    Yields copies of its tensors as they are now, by the id of each. Tensors are found in modules,
    in lists, sets and dictionaries that these hold, and in attributes of tensors.
    """
    held = _Held()
    for module in model.modules():
        held.hold(module.__dict__)
    try:
        yield held.values
    finally:
        held.restore()


class _Held:
    def __init__(self) -> None:
        self.values: dict[int, torch.Tensor] = {}
        self._tensors: list[tuple[torch.Tensor, torch.Tensor, bool]] = []
        self._containers: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()

    def hold(self, found: Any) -> None:
        if id(found) in self._seen:
            return
        if isinstance(found, torch.Tensor) and found.layout == torch.strided:
            self._seen.add(id(found))
            self._tensors.append((found, found.data, found.requires_grad))
            self.values[id(found)] = found.detach().clone()
            self.hold(found.__dict__)
        elif isinstance(found, _CONTAINERS):
            self._seen.add(id(found))
            self._containers.append((found, found.copy()))
            for value in list(found.values()) if isinstance(found, dict) else list(found):
                self.hold(value)
        elif isinstance(found, tuple):
            for value in found:
                self.hold(value)

    def restore(self) -> None:
        for container, before in self._containers:
            if isinstance(container, list):
                container[:] = before
            else:
                container.clear()
                container.update(before)
        with torch.no_grad():
            for tensor, data, requires_grad in self._tensors:
                value = self.values[id(tensor)]
                if tensor.data_ptr() != data.data_ptr() or tensor.shape != data.shape:
                    tensor.data = data
                if not torch.equal(data, value):
                    data.copy_(value)
                if tensor.requires_grad != requires_grad:
                    tensor.requires_grad_(requires_grad)
