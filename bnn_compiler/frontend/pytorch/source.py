"""What the user names as a model: a module, an exported program, a .pt2 file, a factory."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from bnn_compiler.errors import InputError, ModelError
from bnn_compiler.frontend.pytorch import precision
from bnn_compiler.frontend.pytorch.checkpoint import load_checkpoint
from bnn_compiler.frontend.pytorch.quiet import quiet
from bnn_compiler.frontend.pytorch.trace import INPUTS


@dataclass(frozen=True)
class Source:
    """A model and the inputs to compile it for."""

    model: torch.nn.Module | ExportedProgram
    example_inputs: tuple[torch.Tensor, ...]


def recognises(spec: Any) -> bool:
    """Whether ``load_model`` knows what to do with it."""
    if isinstance(spec, str | Path):
        return str(spec).endswith(".pt2") or ":" in str(spec)
    return isinstance(spec, torch.nn.Module | ExportedProgram)


def load_model(
    spec: Any,
    *,
    checkpoint: str | Path | None = None,
    example_inputs: Sequence[Any] | None = None,
) -> Source:
    """Resolve a module, an exported program, a ``.pt2`` path or "package.module:factory".

    Raises ModelError if it cannot be found, loaded or called, InputError without example inputs.
    """
    model = _resolve(spec)
    if checkpoint is not None:
        if not isinstance(model, torch.nn.Module):
            raise ModelError("a checkpoint goes with a module or factory, not an exported program")
        load_checkpoint(model, Path(checkpoint))
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            "a torch.jit.ScriptModule has lost the Python code that is traced; give the nn.Module"
            " it was made from (load the script's state_dict() into it), or what"
            " torch.export.export makes of that"
        )
    if isinstance(model, torch.nn.Module):
        model = precision.in_float32(model)
    if example_inputs is None and isinstance(model, ExportedProgram) and model.example_inputs:
        example_inputs = model.example_inputs[0]
    if example_inputs is None:
        raise InputError("no example inputs: give tensors (or --shape 1,3,224,224)")
    return Source(model, tensors(example_inputs))


def tensors(examples: Any) -> tuple[torch.Tensor, ...]:
    """Example inputs as tensors of float32 or integers. Raises InputError for anything else."""
    if not isinstance(examples, list | tuple):
        raise InputError(f"example_inputs is a {type(examples).__name__}; give a tuple of tensors")
    if not examples:
        raise InputError("example_inputs is empty; give one tensor for each input")
    found = []
    for i, x in enumerate(examples):
        try:
            tensor = precision.widened(torch.as_tensor(x).detach())
        except (TypeError, ValueError, RuntimeError) as e:
            raise InputError(
                f"example input {i} is a {type(x).__name__}; give a float32 tensor"
            ) from e
        if str(tensor.dtype).removeprefix("torch.") not in INPUTS:
            known = ", ".join(INPUTS)
            raise InputError(
                f"example input {i} is {tensor.dtype}; give float32 (x.float()) or {known}"
            )
        if tensor.numel() == 0:
            raise InputError(
                f"example input {i} has shape {list(tensor.shape)}; every size must be at least 1"
            )
        found.append(tensor)
    return tuple(found)


def _resolve(spec: Any) -> torch.nn.Module | ExportedProgram:
    if isinstance(spec, torch.nn.Module | ExportedProgram):
        return spec
    text = str(spec)
    if text.endswith(".pt2"):
        return _load_pt2(Path(text))
    return _call_factory(text)


def _load_pt2(path: Path) -> ExportedProgram:
    if not path.is_file():
        raise ModelError(f"no file {path}")
    try:
        with quiet():
            # Registers the operators of PT2E.
            importlib.import_module("torch.ao.quantization.fx._decomposed")
            return torch.export.load(path)
    # torch raises a dozen unrelated types for a damaged archive.
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        # torch speaks of what it logged, which is not shown.
        reason = reason.partition("Please check the warnings")[0].strip()
        raise ModelError(f"{path} is not a readable exported program: {reason}") from e


def _call_factory(text: str) -> torch.nn.Module:
    module_name, _, name = text.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as e:
        raise ModelError(f"cannot find {text}: {e}") from e
    if not callable(factory):
        raise ModelError(f"{text} is a {type(factory).__name__}, not a function that makes a model")
    model = factory()
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{text}() returned a {type(model).__name__}, not an nn.Module")
    return model
