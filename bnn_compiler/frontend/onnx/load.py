"""The ONNX front end: a file, translated, checked against another program, and imported."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bnn_compiler.errors import InputError, ModelError
from bnn_compiler.frontend.imported import Imported
from bnn_compiler.frontend.onnx import agreement
from bnn_compiler.frontend.onnx.file import OnnxFile, read, shapes
from bnn_compiler.frontend.onnx.translate import translate
from bnn_compiler.frontend.pytorch.load import load as load_pytorch
from bnn_compiler.frontend.pytorch.source import tensors


def load(spec: Any, checkpoint: Path | None, example_inputs: Sequence[Any] | None) -> Imported:
    """Read, translate, check and import. Raises ModelError, UnsupportedError or InputError."""
    if checkpoint is not None:
        raise ModelError("a checkpoint goes with a module or factory, not an ONNX model")
    file = read(spec)
    examples = _random(file) if example_inputs is None else tensors(example_inputs)
    _check_inputs(file, examples)
    network = translate(file, examples)
    agreement.demand(file, network, examples)
    return replace(load_pytorch(network, None, examples), model=file)


def _random(file: OnnxFile) -> tuple[torch.Tensor, ...]:
    """Noise of the shapes that the file has; whatever integers index has 0 and 1."""
    random = torch.Generator().manual_seed(0)
    found = []
    for shape, dtype in shapes(file):
        kind = getattr(torch, dtype)
        if kind.is_floating_point:
            found.append(torch.randn(shape, generator=random).to(kind))
        else:
            found.append(torch.randint(0, 2, shape, generator=random).to(kind))
    return tuple(found)


def _check_inputs(file: OnnxFile, examples: Sequence[torch.Tensor]) -> None:
    if len(examples) != len(file.inputs):
        raise InputError(f"{file.path} takes {len(file.inputs)} inputs, {len(examples)} were given")
    for given, example in zip(file.inputs, examples, strict=True):
        dtype = str(example.dtype).removeprefix("torch.")
        if dtype != given.dtype:
            raise InputError(
                f"input {given.name!r} of {file.path} is {given.dtype}, the example is {dtype}"
            )
        if given.sizes is None:
            continue
        sizes = list(example.shape)
        fits = len(sizes) == len(given.sizes) and all(
            b is None or a == b for a, b in zip(sizes, given.sizes, strict=True)
        )
        if not fits:
            wanted = ["?" if n is None else n for n in given.sizes]
            raise InputError(
                f"input {given.name!r} of {file.path} has the shape {wanted}, the example is"
                f" {sizes}; export again for another shape, or with a dynamic batch"
            )
