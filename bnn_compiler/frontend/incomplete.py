"""The error for a network with operators that cannot be compiled: all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import tvm

from bnn_compiler.errors import UnsupportedError


@dataclass(frozen=True)
class Problem:
    """An ``operator`` of a ``layer`` that cannot be compiled, the user's ``line``, and ``why``.

    "" for what is not known.
    """

    why: str
    operator: str = ""
    layer: str = ""
    line: str = ""


class Incomplete(UnsupportedError):
    """``text`` says what is wrong with the first of ``problems``.

    ``rest`` is the network with their results as inputs, None where that cannot be made.
    """

    def __init__(self, text: str, problems: Sequence[Problem], rest: tvm.IRModule | None) -> None:
        more = len(problems) - 1
        what = "operator" if more == 1 else "operators"
        super().__init__(
            text + (f" ({more} more {what} cannot be either: see bnnc check)" if more else "")
        )
        self.problems = tuple(problems)
        self.rest = rest
