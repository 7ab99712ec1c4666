"""What is closed at the end of a with statement."""

from types import TracebackType
from typing import Self


class Closing:
    """``with`` gives the object itself, and closes it at the end."""

    def close(self) -> None:
        """Give back what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
