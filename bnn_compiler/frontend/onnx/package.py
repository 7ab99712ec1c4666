"""The package ``onnx``, which only this front end needs."""

import importlib
from typing import Any

from bnn_compiler.errors import ModelError


def onnx(path: str) -> Any:
    """The package, for reading ``path``. Raises ModelError, saying how to install it."""
    try:
        for name in ("onnx.checker", "onnx.inliner", "onnx.numpy_helper", "onnx.reference"):
            importlib.import_module(name)
        return importlib.import_module("onnx")
    except ImportError as e:
        raise ModelError(
            f"{path} needs the package onnx (pip install 'bnn_compiler[onnx]'): {e}"
        ) from e


def onnxruntime() -> Any:
    """The package if it is installed, else None."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        return None
