"""torch.export without its reports of failures, which an error of ours sums up."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Mute(logging.Filter):
    """Lets nothing of torch's loggers through."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record does not come from torch."""
        return record.name.split(".")[0] != "torch"


@contextmanager
def quiet() -> Iterator[None]:
    """Within, torch logs nothing and its own warnings are not shown; afterwards all is as before.

    Other loggers, and warnings that a network's forward raises, pass.
    """
    mute = _Mute()
    handlers = [h for name in ("torch", "") for h in logging.getLogger(name).handlers]
    handlers += [logging.lastResort] if logging.lastResort else []
    for handler in handlers:
        handler.addFilter(mute)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch(\.|$)|copyreg$")
            warnings.filterwarnings("ignore", message=".*treespec", category=FutureWarning)
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(mute)
