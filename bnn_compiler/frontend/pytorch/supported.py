"""The operators of PyTorch that can be compiled, by name."""

import difflib

from bnn_compiler.frontend.pytorch import levels
from bnn_compiler.frontend.pytorch.convert_general import GENERAL
from bnn_compiler.frontend.pytorch.converters import HANDLERS
from bnn_compiler.frontend.pytorch.decompositions import DECOMPOSITIONS
from bnn_compiler.frontend.pytorch.moves import MOVED

#: How many an error names.
_FEW = 4


def names() -> list[str]:
    """All of them; what begins with an underscore is a form that torch makes of another one.

    Others too, if PyTorch's own decomposition writes them in these.
    """
    known = {*HANDLERS, *GENERAL, *DECOMPOSITIONS, *MOVED, *levels.OPERATORS}
    return sorted(name for name in known if not name.startswith("_"))


def instead_of(name: str) -> str:
    """What an error says of an operator that is none of them: names like it, and where all are.

    One of them may be asked for too, in a form that has no converter.
    """
    if name in names():
        return (
            "this form of the operator cannot be compiled; others can: of float32, of fewer"
            " elements, or with constants for what is computed here"
        )
    near = difflib.get_close_matches(name.strip("_"), names(), _FEW, 0.5)
    like = f"; nearest in name: {', '.join(near)}" if near else ""
    return f"this operator cannot be compiled{like} (bnnc check --operators lists those that can)"
