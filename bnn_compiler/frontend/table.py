"""Which front end imports what the user names: one entry of ``FRONTENDS`` each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend.imported import Imported
from bnn_compiler.frontend.onnx import file as onnx_file
from bnn_compiler.frontend.onnx.load import load as load_onnx
from bnn_compiler.frontend.pytorch import source
from bnn_compiler.frontend.pytorch.load import load as load_pytorch


@dataclass(frozen=True)
class FrontEnd:
    """``objects`` and ``texts`` say what it recognises, for errors: Python objects, strings.

    ``load`` takes what it recognises, the path of a checkpoint or None, and example inputs or None;
    it raises ModelError, UnsupportedError or InputError.
    """

    objects: tuple[str, ...]
    texts: tuple[str, ...]
    recognises: Callable[[Any], bool]
    load: Callable[[Any, Path | None, Sequence[Any] | None], Imported]


#: The first that recognises a network imports it.
FRONTENDS: dict[str, FrontEnd] = {
    "onnx": FrontEnd(
        ("an onnx.ModelProto",),
        ("a .onnx file",),
        onnx_file.recognises,
        load_onnx,
    ),
    "pytorch": FrontEnd(
        ("an nn.Module", "an ExportedProgram"),
        ("a .pt2 file", "'package.module:factory'"),
        source.recognises,
        load_pytorch,
    ),
}


def load(spec: Any, checkpoint: Path | None, example_inputs: Sequence[Any] | None) -> Imported:
    """Import ``spec`` by the front end that recognises it.

    Raises ModelError, listing what is known, if none does, and what the front end raises.
    """
    for frontend in FRONTENDS.values():
        if frontend.recognises(spec):
            return frontend.load(spec, checkpoint, example_inputs)
    objects = [what for f in FRONTENDS.values() for what in f.objects]
    texts = [what for f in FRONTENDS.values() for what in f.texts]
    if isinstance(spec, str | Path):
        raise ModelError(f"{str(spec)!r} is neither {', '.join(texts[:-1])} nor {texts[-1]}")
    *known, last = objects + texts
    raise ModelError(f"cannot compile a {type(spec).__name__}; give {', '.join(known)} or {last}")
