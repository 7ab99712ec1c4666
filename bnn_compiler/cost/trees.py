"""Trees that XGBoost has grown, read from its UBJSON and asked in NumPy.

Importing XGBoost takes as long as compiling half a network, so only who trains trees, or asks them
of very many rows, does. The sums have its order and its bits.
"""

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Rows from which on importing XGBoost takes less time than NumPy loses; rows of one step.
_MANY, _STEP = 100_000, 512
#: UBJSON's numbers, all big-endian, as struct and NumPy call them.
_NUMBERS = {"i": ">b", "U": ">B", "I": ">h", "l": ">i", "L": ">q", "d": ">f", "D": ">d"}


@dataclass(frozen=True)
class Trees:
    """A sum of regression trees over the features ``names``, in XGBoost's own words ``contents``.

    Nodes of all trees stand one after the other: node i of ``feature`` [nodes] goes to
    ``children`` [2, nodes] by whether the feature is below ``value`` [nodes]; a leaf goes to itself
    and adds its value. Tree t begins at ``roots`` [t], and none is deeper than ``depth``.
    """

    contents: bytes
    names: tuple[str, ...]
    attributes: Mapping[str, str]
    base: np.float32
    feature: NDArray[np.int64]
    value: NDArray[np.float32]
    children: NDArray[np.int64]
    roots: NDArray[np.int64]
    depth: int

    @staticmethod
    def read(contents: bytes) -> "Trees":
        """Of what XGBoost's ``save_raw("ubj")`` gave. Raises ValueError for anything else."""
        try:
            return _trees(contents, _Reader(contents).document()["learner"])
        except (KeyError, IndexError, TypeError, struct.error, UnicodeDecodeError) as e:
            raise ValueError(f"no trees of XGBoost ({type(e).__name__}: {e})") from e

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sums [n] of ``x`` [n, features], which has no NaN."""
        if len(x) >= _MANY or "xgboost" in sys.modules:
            return self._by_xgboost(x)
        return self._by_numpy(x)

    def _by_numpy(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        steps = [self._step(x[i : i + _STEP]) for i in range(0, len(x), _STEP)]
        return np.concatenate([np.zeros(0, np.float32), *steps])

    def _step(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.arange(len(x))[:, None]
        node = np.broadcast_to(self.roots, (len(x), len(self.roots)))
        for _ in range(self.depth):
            below = x[rows, self.feature[node]] < self.value[node]
            node = self.children[below.view(np.int8), node]
        total = np.full(len(x), self.base)
        for leaves in self.value[node].T:
            total += leaves
        return total

    def _by_xgboost(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        xgboost, booster = self._booster
        return np.asarray(booster.predict(xgboost.DMatrix(x, feature_names=list(self.names))))

    @cached_property
    def _booster(self) -> tuple[Any, Any]:
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(self.contents))
        return xgboost, booster


def _trees(contents: bytes, learner: Any) -> Trees:
    model, objective = learner["gradient_booster"], learner["objective"]["name"]
    if model["name"] != "gbtree" or objective != "reg:squarederror":
        raise ValueError(f"{model['name']} for {objective} and not trees for squared errors")
    parts, roots, depth, first = [], [], 0, 0
    for tree in model["model"]["trees"]:
        left, right = (np.asarray(tree[f"{side}_children"]) for side in ("left", "right"))
        if any(tree["split_type"]):
            raise ValueError("trees that split by categories")
        itself = np.arange(len(left))
        ends = left < 0
        children = np.where(ends, itself, [right, left])
        feature = np.where(ends, 0, tree["split_indices"])
        parts.append((feature, np.asarray(tree["split_conditions"], np.float32), children + first))
        roots.append(first)
        depth = max(depth, _depth(children))
        first += len(left)
    features, values, all_children = zip(*parts, strict=True)
    return Trees(
        contents,
        tuple(learner["feature_names"]),
        dict(learner["attributes"]),
        # Since XGBoost 3.1 one number for each target.
        np.float32(learner["learner_model_param"]["base_score"].strip("[]")),
        np.concatenate(features),
        np.concatenate(values),
        np.concatenate(all_children, axis=1),
        np.array(roots),
        depth,
    )


def _depth(children: NDArray[np.int64]) -> int:
    """Steps from the root, 0, to the last leaf."""
    depth, here = 0, np.zeros(1, np.int64)
    while len(here := here[children[0, here] != here]):
        here = children[:, here].ravel()
        depth += 1
        if depth > children.shape[1]:
            raise ValueError("a tree that goes round in a circle")
    return depth


class _Reader:
    """UBJSON (ubjson.org, draft 12), as far as XGBoost writes it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def document(self) -> Any:
        """The one value of the file. Raises ValueError if there is more or less."""
        found = self._value(self._mark())
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes too many")
        return found

    def _mark(self) -> str:
        self._at += 1
        return chr(self._data[self._at - 1])

    def _value(self, mark: str) -> Any:
        if mark in _NUMBERS:
            form = struct.Struct(_NUMBERS[mark])
            self._at += form.size
            return form.unpack_from(self._data, self._at - form.size)[0]
        match mark:
            case "S":
                return self._text()
            case "{":
                return self._object()
            case "[":
                return self._array()
            case "T" | "F":
                return mark == "T"
        raise ValueError(f"{mark!r} at byte {self._at - 1}")

    def _numbers(self, mark: str, count: int) -> NDArray[Any]:
        kind = np.dtype(_NUMBERS[mark])
        if count < 0 or self._at + count * kind.itemsize > len(self._data):
            raise ValueError(f"it ends within {count} numbers at byte {self._at}")
        found = np.frombuffer(self._data, kind, count, self._at)
        self._at += found.nbytes
        return found

    def _text(self) -> str:
        size = self._value(self._mark())
        if not isinstance(size, int) or size < 0 or self._at + size > len(self._data):
            raise ValueError(f"a text of {size} bytes at byte {self._at}")
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def _object(self) -> dict[str, Any]:
        found = {}
        while self._data[self._at] != ord("}"):
            key = self._text()
            found[key] = self._value(self._mark())
        self._at += 1
        return found

    def _array(self) -> Any:
        kind = self._mark() if self._next("$") else ""
        if self._next("#"):
            count = self._value(self._mark())
            if kind:
                return self._numbers(kind, count)
            return [self._value(self._mark()) for _ in range(count)]
        found = []
        while not self._next("]"):
            found.append(self._value(self._mark()))
        return found

    def _next(self, mark: str) -> bool:
        """Whether ``mark`` comes next; then it has been read."""
        if self._data[self._at] != ord(mark):
            return False
        self._at += 1
        return True
