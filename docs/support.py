"""Writes the list of operators in README.md from the tables: `python docs/support.py`."""

from collections.abc import Iterable
from pathlib import Path

from bnn_compiler.frontend.onnx.operators import names as onnx_names
from bnn_compiler.frontend.pytorch.convert_general import GENERAL
from bnn_compiler.frontend.pytorch.converters import HANDLERS
from bnn_compiler.frontend.pytorch.decompositions import DECOMPOSITIONS
from bnn_compiler.ops.epilogue import STEPS
from bnn_compiler.ops.operators import OPERATORS
from bnn_compiler.ops.primitives import PRIMITIVES

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- operators: python docs/support.py -->\n", "<!-- end of operators -->\n"


def table() -> str:
    """The list as Markdown."""
    rows = {
        # What begins with an underscore is a form that torch makes of another one.
        "PyTorch operators of images, rows and matrices": _public(HANDLERS),
        "of tensors of any rank": _public(GENERAL),
        "written in others, as PyTorch's own decompositions are": _public(DECOMPOSITIONS),
        "ONNX operators, QONNX's and onnxruntime's on levels": onnx_names(),
        "operators with a kernel": (n for n, o in OPERATORS.items() if o.anchor or o.bits),
        "fused into the kernel in front": STEPS,
        "primitives of any rank": PRIMITIVES,
    }
    lines = [f"| {what} | {_names(names)} |\n" for what, names in rows.items()]
    return "| operators | |\n|---|---|\n" + "".join(lines)


def _public(names: Iterable[str]) -> Iterable[str]:
    """Without the forms that torch makes of other operators, which begin with an underscore."""
    return (name for name in names if not name.startswith("_"))


def with_table(text: str) -> str:
    """The text of README.md with the list as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
