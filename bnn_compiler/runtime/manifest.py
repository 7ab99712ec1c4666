"""The manifest: what an artifact is. Written by the compiler, read by everything else.

In the artifact it is a JSON object with the keys of ``Manifest``, in their order.
"""

import math
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

#: The version of the artifact's format that this package writes and reads.
FORMAT = 6
#: Bytes to which the workspace and every buffer in it are aligned.
ALIGN = 64

_ITEMSIZE = {"float32": 4, "uint8": 1, "bool": 1, "int32": 4, "int64": 8}
_ABSENT = object()


@dataclass(frozen=True)
class TargetEntry:
    """What it was compiled for: ``kind`` is "llvm" for a CPU and "cuda" for a GPU of a machine of
    ``arch``; ``features`` are CPU flags; ``cpu`` is the compiler's name of the core ("sm_90").
    """

    name: str
    kind: str
    arch: str
    features: tuple[str, ...]
    cpu: str


@dataclass(frozen=True)
class Contract:
    """What was chosen about the network's meaning (docs/contract.md)."""

    zero_activation: str
    zero_weight: str
    reorder: bool

    def __post_init__(self) -> None:
        _one_of("zero_activation", self.zero_activation, ("exact", "+1"))


@dataclass(frozen=True)
class NormalizationEntry:
    """The network sees (byte / 255 - mean) / std; one number, or one for each channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class RangeEntry:
    """What the input of an int8 layer is between, by which its bytes were chosen."""

    layer: str
    low: float
    high: float


@dataclass(frozen=True)
class RestLayerEntry:
    """A layer that is not binary, what it runs as and why; on bytes alone it saves so many seconds,
    and so many of the signs behind it and of the samples' classes change (quantization/choose.py).
    """

    layer: str
    kind: str
    why: str
    saved: float
    flipped: float
    changed: float
    together: float | None


@dataclass(frozen=True)
class RestEntry:
    """How layers that are not binary were chosen: shares of samples, seconds of kernels."""

    tolerance: float
    samples: int
    changed: float
    seconds: float
    float_seconds: float
    about: str
    layers: tuple[RestLayerEntry, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class TensorEntry:
    """One input or output as the caller sees it: dense, in C order."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        _one_of(f"dtype of {self.name}", self.dtype, _ITEMSIZE)

    @property
    def bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * _ITEMSIZE[self.dtype]


@dataclass(frozen=True)
class StepEntry:
    """One kernel call: what it computes, what it touches, where its schedule comes from.

    Of ``macs`` multiply-accumulates ``products`` are computed. ``reads`` and ``writes`` are
    identifiers of buffers.
    """

    name: str
    op: str
    kernel: str
    fused: tuple[str, ...]
    macs: int
    products: int
    bytes_read: int
    bytes_written: int
    bytes_weights: int
    binary: bool
    schedule: dict[str, Any]
    reads: tuple[int, ...]
    writes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.schedule.get("source"), str):
            raise ValueError(f"no valid 'schedule.source' of step {self.name}")

    @property
    def source(self) -> str:
        """Where its schedule comes from: "record", "model", "rule" or "fixed"."""
        return str(self.schedule["source"])

    @property
    def measured_on(self) -> str:
        """The CPU that its record was measured on, as LLVM names it; "" if unknown or no record."""
        return str(self.schedule.get("cpu", ""))

    @property
    def float_ratio(self) -> float | None:
        """The layer's time in float32 over this form's when it was tuned, if it was measured."""
        ratio: float | None = self.schedule.get("float_ratio")
        return ratio


@dataclass(frozen=True)
class BufferEntry:
    """One tensor of the program; an "arena" one lies at ``offset`` in the workspace.

    ``shape`` is logical [N, H, W, C], ``physical`` the stored one, with ``halo`` (top, left,
    bottom, right) and channels padded or packed into words. ``fill`` is the bit its halo holds.
    """

    id: int
    kind: str
    name: str
    offset: int
    bytes: int
    dtype: str
    shape: tuple[int, ...]
    physical: tuple[int, ...]
    halo: tuple[int, ...]
    fill: int

    def __post_init__(self) -> None:
        _one_of(f"kind of {self.name}", self.kind, ("arena", "input", "output"))


@dataclass(frozen=True)
class FileEntry:
    """A file of the artifact."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class ProgramEntry:
    """The network for another batch size; its functions begin with ``name``, its weights are the
    artifact's.
    """

    name: str
    source_hash: str
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    workspace_bytes: int
    workspace_lower_bound: int
    steps: tuple[StepEntry, ...]
    buffers: tuple[BufferEntry, ...]


@dataclass(frozen=True)
class Manifest:
    """An artifact. The last three are found out when the library is linked.

    It describes the network for one batch size; ``batches`` are the same network for others.
    """

    format: int
    name: str
    compiler: str
    source_hash: str
    target: TargetEntry
    threads: bool
    contract: Contract
    normalization: NormalizationEntry | None
    stale_records: int
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    weights_bytes: int
    weights_sha256: str
    static_weights: bool
    workspace_bytes: int
    workspace_lower_bound: int
    workspace_align: int
    steps: tuple[StepEntry, ...]
    buffers: tuple[BufferEntry, ...]
    batches: tuple[ProgramEntry, ...] = ()
    int8: tuple[RangeEntry, ...] = ()
    rest: RestEntry | None = None
    code_bytes: int = 0
    weights_offset: int = 0
    files: dict[str, FileEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Self:
        """From JSON; keys it does not know are passed over.

        Raises ValueError, naming the key, for one that is missing or has another type.
        """
        found: Self = _read(cls, manifest, "")
        return found

    @property
    def programs(self) -> "tuple[Manifest, ...]":
        """The artifact for each of its batch sizes, as if it held no other."""
        names = [f.name for f in fields(ProgramEntry)]
        others = ({n: getattr(entry, n) for n in names} for entry in self.batches)
        alone = replace(self, batches=())
        return alone, *(replace(alone, **other) for other in others)

    def as_json(self) -> dict[str, Any]:
        """The inverse of ``of``."""
        return asdict(self)


def _one_of(key: str, value: str, known: Container[str]) -> None:
    if value not in known:
        raise ValueError(f"no valid {key!r}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(wanted: Any, value: Any, key: str) -> Any:
    """``value``, found in JSON at ``key``, as the type ``wanted``; integers are sizes."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if is_dataclass(wanted) and isinstance(value, Mapping):
        hints = _hints(wanted)  # type: ignore[arg-type]
        return wanted(  # type: ignore[operator]
            **{
                f.name: _read(
                    hints[f.name], value.get(f.name, _ABSENT), f"{key}.{f.name}".lstrip(".")
                )
                for f in fields(wanted)
            }
        )
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_read(arguments[0], v, f"{key}[{i}]") for i, v in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {k: _read(arguments[1], v, f"{key}.{k}") for k, v in value.items()}
    if origin is UnionType and arguments[1] is NoneType:
        return None if value is None else _read(arguments[0], value, key)
    if wanted is int and type(value) is int and value >= 0:
        return value
    if wanted is float and type(value) in (int, float):
        return float(value)
    if (wanted is Any and value is not _ABSENT) or (
        wanted in (str, bool) and type(value) is wanted
    ):
        return value
    raise ValueError(f"no valid {key!r}")
