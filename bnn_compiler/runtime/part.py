"""What runs the program of another batch size of an artifact: the same library, other functions."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.runtime.executor import Frame, LibraryExecutor, Workspace, host_workspace
from bnn_compiler.runtime.library import Runs
from bnn_compiler.runtime.manifest import Manifest


class LibraryPart:
    """Runs the program of another batch size in NAME.so, which ``whole`` has opened or will."""

    def __init__(self, whole: LibraryExecutor, manifest: Manifest) -> None:
        self.whole, self.manifest = whole, manifest
        self._frames: deque[Frame] = deque()

    @property
    def threads(self) -> int:
        return self.whole.threads

    def set_threads(self, count: int) -> int:
        return self.whole.set_threads(count)

    def prepare(self) -> None:
        self.whole.prepare()

    def run(self, places: Sequence[int], check_finite: bool) -> int:
        runs = self._program()
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame(self.new_workspace(), self.manifest)
        frame.pointers[:] = places  # type: ignore[call-overload]
        call = runs.run_checked if check_finite else runs.run_steps
        code = call(*frame.arguments)
        self._frames.append(frame)
        return code

    def run_steps(
        self,
        workspace: Workspace,
        places: Sequence[int],
        first: int,
        last: int,
        seconds: NDArray[np.float64] | None,
    ) -> int:
        frame = Frame(workspace, self.manifest, first, last, seconds)
        frame.pointers[:] = places  # type: ignore[call-overload]
        return self._program().run_steps(*frame.arguments)

    def new_workspace(self) -> Workspace:
        self.whole.prepare()
        return host_workspace(self.whole.path, self.manifest.workspace_bytes)

    def read(self, workspace: Workspace, offset: int, size: int) -> NDArray[np.uint8]:
        return self.whole.read(workspace, offset, size)

    def write(self, workspace: Workspace, offset: int, data: NDArray[np.uint8]) -> None:
        self.whole.write(workspace, offset, data)

    def close(self) -> None:
        """Give back what this program alone holds; the whole closes the library."""
        self._frames = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.whole, self.manifest)

    def _program(self) -> Runs:
        part = self.manifest.name.removeprefix(f"{self.whole.manifest.name}_")
        return self.whole.library().program(f"{part}_")
