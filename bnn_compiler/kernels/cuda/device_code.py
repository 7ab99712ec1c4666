"""What the kernels of a GPU are compiled to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """How a kernel is started.

    ``symbol`` is the CUDA function, ``shared`` its dynamic shared memory in bytes. Argument i of
    the function is parameter ``order[i]`` of the PrimFunc.
    """

    symbol: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    order: tuple[int, ...]


@dataclass(frozen=True)
class DeviceCode:
    """Kernels as CUDA ``source``, machine code by architecture ("sm_90"), and portable ``ptx``.

    ``launches`` are by the symbol of the PrimFunc.
    """

    source: str
    images: dict[str, bytes]
    ptx: str
    launches: dict[str, Launch]
