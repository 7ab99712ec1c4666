"""The same numbers from the same seed, in whatever process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(seed: int, *, threads: int = 1) -> Iterator[None]:
    """Torch's generators seeded, its algorithms deterministic, on ``threads`` threads.

    Everything is as before afterwards, the generators' states too. On a GPU an operator without a
    deterministic algorithm is torch's warning, and CUBLAS_WORKSPACE_CONFIG is set if it is not.
    """
    gpu = torch.cuda.is_available()
    if gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    count = torch.get_num_threads()
    # Of the GPU that is used, not of all there are.
    with torch.random.fork_rng([torch.cuda.current_device()] if gpu else []):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=gpu)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn)
            torch.set_num_threads(count)
