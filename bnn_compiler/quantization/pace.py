"""How far something long is, told now and then."""

import time
from collections.abc import Callable

Tell = Callable[[str], None]

#: Seconds between two lines.
EVERY = 5.0


def silent(_: str) -> None:
    """Tells nobody."""


class Pace:
    """Of ``total`` steps of equal length; the first line comes after ``EVERY`` seconds."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total = tell, total
        self._began = self._last = time.perf_counter()

    def at(self, done: int, what: str) -> None:
        """``done`` steps are done, which is ``what``."""
        now = time.perf_counter()
        if now - self._last < EVERY:
            return
        self._last = now
        seconds = (now - self._began) * (self._total - done) / done
        left = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        self._tell(f"choosing: {what}, at most about {left} left")
