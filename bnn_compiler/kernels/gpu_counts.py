"""What a kernel on a GPU does, for the cost model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuCounts:
    """A grid of ``blocks`` of ``threads``, each of which reduces a tile and stores it.

    Of a step of a thread's reduction: ``multiply`` instructions that compute (of tensor cores if
    ``is_mma``), ``load`` instructions and the ``load_bytes`` they bring. There are ``steps``, one
    after the other, in ``parts`` that meet in shared memory; ``ahead`` of them are on their way.
    ``outputs`` are those a thread stores, ``computed`` all of the grid's, padding counted. A
    block's tile has ``pixels`` and ``channels``, a thread or its warp multiplies ``own_pixels``.
    ``registers`` (of 32 bits a thread) are an estimate, ``shared`` the bytes of a block.
    """

    blocks: int
    threads: int
    is_mma: bool
    is_popc: bool
    multiply: float
    load: float
    load_bytes: float
    steps: int
    outputs: float
    computed: int
    registers: int
    own_pixels: int
    pixels: int
    channels: int
    parts: int = 1
    shared: int = 0
    ahead: int = 0
