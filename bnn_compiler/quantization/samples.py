"""Samples of a network's inputs in the batches that it takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn_compiler.errors import InputError
from bnn_compiler.network import Network, resized
from bnn_compiler.options import Options


@dataclass(frozen=True)
class Batch:
    """A network's inputs; of ``size`` images the first ``count`` are no repetitions."""

    inputs: tuple[NDArray[Any], ...]
    size: int
    count: int

    def of_samples(self, value: NDArray[Any]) -> NDArray[Any]:
        """The part of ``value`` [size * n, ...] that samples have made."""
        if not value.ndim or len(value) % self.size:
            return value
        return value[: len(value) // self.size * self.count]


def batches(network: Network, options: Options, samples: Any) -> list[Batch]:
    """``samples`` in batches of the network's size, the first images again where they run out.

    Of a network of one input they are one array [K, ...] or a list of arrays, of one image or of
    several each; of several inputs, tuples of arrays in the shapes of the inputs. Images that the
    program takes as bytes are uint8, others have the input's dtype.

    Raises InputError for none, and for another shape or dtype.
    """
    wanted = network.imported.samples
    if isinstance(samples, str | PathLike):
        raise InputError(
            f"calibration samples are arrays, not the path {str(samples)!r}: load it first, or use"
            " `bnnc compile --calibrate`"
        )
    items = list(samples) if isinstance(samples, Iterable) else []
    if not items:
        raise InputError("no calibration samples: give images, a few dozen at least")
    dtypes = [np.dtype(np.uint8) if options.normalization else x.dtype for x in wanted]
    if len(wanted) > 1:
        return [Batch(_tuple(item, wanted, dtypes), 1, 1) for item in items]
    shape = wanted[0].shape
    images = np.concatenate([_images(item, shape, dtypes[0]) for item in items])
    size = shape[0]
    count = len(images)
    (images,) = resized([images], -(-count // size) * size)
    return [
        Batch((np.ascontiguousarray(images[i : i + size]),), size, min(size, count - i))
        for i in range(0, len(images), size)
    ]


def _images(item: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """One or several images as [K, ...]."""
    if isinstance(item, tuple):
        if len(item) != 1:
            raise InputError(f"a calibration sample has {len(item)} arrays; the network takes one")
        (item,) = item
    array = _array(item)
    array = array[None] if array.ndim == len(shape) - 1 else array
    if array.shape[1:] != shape[1:] or array.ndim != len(shape) or array.dtype != dtype:
        raise InputError(
            f"a calibration sample is {array.dtype} {list(array.shape)}; the network takes"
            f" {dtype} {list(shape)}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError("a calibration sample has NaNs or infinities")
    return array


def _tuple(
    item: Any, wanted: tuple[NDArray[Any], ...], dtypes: list[np.dtype[Any]]
) -> tuple[NDArray[Any], ...]:
    if not isinstance(item, tuple | list) or len(item) != len(wanted):
        raise InputError(f"a calibration sample is no tuple of the network's {len(wanted)} inputs")
    arrays = tuple(_array(x) for x in item)
    for array, x, dtype in zip(arrays, wanted, dtypes, strict=True):
        if array.shape != x.shape or array.dtype != dtype:
            raise InputError(
                f"a calibration sample has {array.dtype} {list(array.shape)} where the network"
                f" takes {dtype} {list(x.shape)}"
            )
    return arrays


def _array(value: Any) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    return array
