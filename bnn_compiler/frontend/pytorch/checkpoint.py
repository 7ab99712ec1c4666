"""Checkpoints as the networks' authors save them, loaded strictly."""

import pickle
from pathlib import Path
from typing import Any

import torch

from bnn_compiler.errors import ModelError

_WRAPPERS = ("state_dict", "model", "model_state_dict")


def load_checkpoint(model: torch.nn.Module, path: Path) -> None:
    """Load every tensor of ``path`` into ``model``.

    Understands {'state_dict': ...} wrappers, ``module.`` prefixes, and both forms the authors use
    for binary weights: ``weights`` flat [N, 1] and ``weight`` [O, I, KH, KW]. Raises ModelError
    for an unreadable file and for missing, unexpected or misshapen keys.
    """
    given = {_strip(k): v for k, v in _read(path).items()}
    wanted = model.state_dict()
    for key in list(given):
        twin = _twin(key)
        if key not in wanted and twin in wanted:
            given[twin] = given.pop(key)
    for key, tensor in given.items():
        target = wanted.get(key)
        if target is not None and tensor.shape != target.shape and _is_flat_form(tensor, target):
            given[key] = tensor.reshape(target.shape)
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in wanted]
    misshapen = [
        f"{k} {list(given[k].shape)} for {list(wanted[k].shape)}"
        for k in given
        if k in wanted and given[k].shape != wanted[k].shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if keys
    ]
    if problems:
        raise ModelError(f"{path} does not fit the model: {'; '.join(problems)}")
    model.load_state_dict(given, strict=False)


def _read(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ModelError(f"no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ModelError(f"{path} is not a checkpoint of tensors: {reason}") from e
    for key in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict):
        raise ModelError(f"{path} holds a {type(loaded).__name__}, not a state dict")
    tensors = {k: v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
    if len(tensors) != len(loaded) or not tensors:
        raise ModelError(f"{path} holds values that are not tensors; save model.state_dict()")
    return tensors


def _strip(key: str) -> str:
    return key.removeprefix("module.")


def _twin(key: str) -> str:
    """The other spelling of a binary weight's key."""
    if key.endswith(".weights"):
        return key[: -len("s")]
    return key + "s" if key.endswith(".weight") else key


def _is_flat_form(a: torch.Tensor, b: torch.Tensor) -> bool:
    shapes = sorted((a.dim(), b.dim()))
    flat = a if a.dim() == 2 else b
    return a.numel() == b.numel() and shapes == [2, 4] and flat.shape[1] == 1
