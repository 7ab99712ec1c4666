from pathlib import Path

import pytest

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend import table


def test_what_nobody_recognises_lists_what_is_known():
    with pytest.raises(ModelError) as error:
        table.load(3, None, None)
    assert str(error.value) == (
        "cannot compile a int; give an onnx.ModelProto, an nn.Module, an ExportedProgram, a .onnx"
        " file, a .pt2 file or 'package.module:factory'"
    )
    for spec in ("net.tflite", Path("net.tflite")):
        with pytest.raises(ModelError) as error:
            table.load(spec, None, None)
        assert str(error.value) == (
            "'net.tflite' is neither a .onnx file, a .pt2 file nor 'package.module:factory'"
        )


def test_a_new_entry_is_asked_and_listed(monkeypatch):
    asked = []
    frontend = table.FrontEnd(
        (), ("a .mlir file",), lambda spec: str(spec).endswith(".mlir"), lambda *a: asked.append(a)
    )
    monkeypatch.setitem(table.FRONTENDS, "mlir", frontend)
    table.load("net.mlir", Path("weights"), None)
    assert asked == [("net.mlir", Path("weights"), None)]
    with pytest.raises(ModelError, match=r"'package\.module:factory' nor a \.mlir file"):
        table.load("net.tflite", None, None)
