"""torch.export without its reports of failures, which an error of ours sums up."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator


def _from_elsewhere(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] != "torch"


def _handlers() -> set[logging.Handler]:
    """Every handler that shows what torch logs."""
    known = [x for n, x in logging.root.manager.loggerDict.items() if n.split(".")[0] == "torch"]
    loggers = [logging.root, *(x for x in known if isinstance(x, logging.Logger))]
    return {h for logger in loggers for h in logger.handlers}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, torch logs nothing and its own warnings are not shown; afterwards all is as before.

    Other loggers, and warnings that a network's forward raises, pass. What goes to sys.stderr is
    shown at the end; not if an exception ends it, because torch prints its graph there then.
    """
    handlers = _handlers()
    printed = io.StringIO()
    for handler in handlers:
        handler.addFilter(_from_elsewhere)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(printed):
            warnings.filterwarnings("ignore", module=r"torch(\.|$)|copyreg$")
            warnings.filterwarnings("ignore", message=".*treespec", category=FutureWarning)
            # The module is left as it was, which torch cannot know.
            warnings.filterwarnings("ignore", message=".* assigned during export")
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        for handler in handlers:
            handler.removeFilter(_from_elsewhere)
