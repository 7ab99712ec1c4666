"""What is compiled for: the TVM target, hardware facts, how to link; read from a TOML file."""

import platform
import re
import tomllib
from collections.abc import Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from bnn_compiler.errors import TargetError

_PACKAGE = Path(__file__).resolve().parent
#: A wheel carries the data folders in data/ (setup.py); a checkout has them next to the package.
DATA = _PACKAGE / "data" if (_PACKAGE / "data").is_dir() else _PACKAGE.parent

ARCHITECTURES = ("aarch64", "x86_64")
#: Widths of vectors in bits and forms of popcount that there are kernels for.
_VECTORS = {
    "aarch64": ((128,), ("cnt",)),
    "x86_64": ((128, 256, 512), ("shuffle", "vpopcntd")),
}
#: What the file of a CPU may leave out.
_OPTIONAL = {"link", "cpu_part", "threads", "prefetch_kib", "schedules"}
#: Flags of which a CPU has to have all of some row for what [hardware] says of it.
_NEEDS = {
    ("x86_64", "tiles"): (("amx_tile", "amx_int8"),),
    ("x86_64", "dot"): (("avx512_vnni",), ("avx_vnni",)),
    ("aarch64", "dot"): (("asimddp",),),
    ("aarch64", "tiles"): (),
}
_ZIG = re.compile(r"\w+(-[\w.]+){2,}")
_ARM32 = re.compile(r"arm(v[4-7].*|hf|el|11.*|32)?|cortex-(m.*|a5|a7|a8|a9|a12|a15|a17|a32)")
_NO_ARM32 = (
    "32-bit ARM is not supported: the kernels are written for the 32 vector registers of 64-bit"
    " ARM; on a core that can (Cortex-A53 and later) install a 64-bit system, --target aarch64"
)


@dataclass(frozen=True)
class Hardware:
    """Facts the schedules use: SIMD width in bits, vector registers, popcount form, caches.

    ``pairs`` says whether one instruction multiplies pairs of 16-bit numbers and adds the products
    (default in a file: on x86), ``dot`` whether one adds four products of bytes to a sum (default:
    no), ``tiles`` whether some multiply tiles of bytes (AMX; default: no). ``kind`` is TVM's name
    of what makes code for such machines ([target] kind).
    """

    kind: ClassVar[str] = "llvm"

    vector_bits: int
    vector_registers: int
    popcount: str
    l1_kib: int
    l2_kib: int
    pairs: bool = True
    dot: bool = False
    tiles: bool = False


@dataclass(frozen=True)
class Gpu:
    """Facts of an NVIDIA GPU, for schedules; what differs between those of one architecture is that
    of a usual one.

    ``sm`` is its compute capability times 10. ``binary`` says how tensor cores multiply signs: by
    the "and" or "xor" of bits and a popcount, or as bytes ("int8") where bits are only emulated.
    ``threads_per_sm``, ``registers_per_sm`` (of 32 bits) and ``shared_kib`` are those of one of its
    ``sms`` multiprocessors, ``l2_kib`` is the whole cache.
    """

    kind: ClassVar[str] = "cuda"

    sm: int
    binary: str
    sms: int
    threads_per_sm: int
    registers_per_sm: int
    shared_kib: int
    l2_kib: int


@dataclass(frozen=True)
class Link:
    """How to link for another machine: zig's name of it, or a cross compiler's command.

    The compiler goes first if both are given.
    """

    zig: str = ""
    compiler: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """One kind of machine; ``features`` are the CPU flags (as in /proc/cpuinfo) the code needs.

    ``cpu_part`` is the core's number there, where code is scheduled for one ARM core. ``threads``
    says whether networks can share their work among threads. While a kernel runs, at most
    ``prefetch_kib`` of the next one's weights are brought into L2. The shipped ``schedules`` of
    another target serve where there are none for this one. ``arch`` of a GPU is "cuda"; it has
    neither features nor a linker.
    """

    name: str
    arch: str
    features: tuple[str, ...]
    tvm: dict[str, Any]
    hardware: Hardware | Gpu
    link: Link = Link()
    cpu_part: str = ""
    threads: bool = True
    prefetch_kib: int = 0
    schedules: str = ""

    @property
    def cpu(self) -> Hardware:
        """The hardware of a CPU. Raises TargetError for a GPU."""
        if isinstance(self.hardware, Gpu):
            raise TargetError(f"target {self.name} is a GPU: this is there for CPUs only")
        return self.hardware

    @property
    def gpu(self) -> Gpu:
        """The hardware of a GPU. Raises TargetError for a CPU."""
        if isinstance(self.hardware, Hardware):
            raise TargetError(f"target {self.name} is a CPU: this is there for GPUs only")
        return self.hardware


def names(kind: str = "") -> list[str]:
    """The targets shipped with the package, by name.

    ``kind`` "llvm" leaves the CPUs of them, "cuda" the GPUs.
    """
    found = sorted(p.stem for p in (DATA / "targets").glob("*.toml"))
    return [n for n in found if not kind or load(n).hardware.kind == kind]


def load(target: str | Path) -> Target:
    """Read a shipped target by name, a user's TOML file by path, or pick one for this CPU.

    Raises TargetError for an unknown name (listing the known ones) or a malformed file.
    """
    if str(target) == "native":
        return native()
    path = Path(target)
    if path.suffix != ".toml":
        path = DATA / "targets" / f"{target}.toml"
        if not path.is_file():
            if _ARM32.fullmatch(str(target)):
                raise TargetError(f"target {str(target)!r}: {_NO_ARM32}")
            raise TargetError(
                f"unknown target {str(target)!r}; known: native, {', '.join(names())}"
            )
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError as e:
        raise TargetError(f"no target file {path}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise TargetError(f"{path} is not valid TOML: {e}") from e
    return _parse(path, data)


def _parse(path: Path, data: dict[str, Any]) -> Target:
    if data.get("arch") == "cuda":
        return _parse_gpu(path, data)
    required = {"arch", "features", "target", "hardware"}
    _check_keys(path, "the file", data, required, _OPTIONAL)
    if data["arch"] not in ARCHITECTURES:
        known = " and ".join(ARCHITECTURES) + ", and cuda for GPUs"
        why = _NO_ARM32 if _ARM32.fullmatch(str(data["arch"])) else f"there are {known}"
        raise TargetError(f"{path}: arch {data['arch']!r}: {why}")
    hardware = {"pairs": data["arch"] == "x86_64", "dot": False, "tiles": False, **data["hardware"]}
    _check_keys(path, "[hardware]", hardware, {f.name for f in fields(Hardware)})
    link = data.get("link", {})
    _check_keys(path, "[link]", link, set(), {f.name for f in fields(Link)})
    _check_values(path, data, hardware, link)
    _check_features(path, data["arch"], set(data["features"]), hardware)
    return Target(
        path.stem,
        data["arch"],
        tuple(data["features"]),
        data["target"],
        Hardware(**hardware),
        Link(link.get("zig", ""), tuple(link.get("compiler", ()))),
        data.get("cpu_part", ""),
        data.get("threads", True),
        data.get("prefetch_kib", 0),
        data.get("schedules", ""),
    )


def _parse_gpu(path: Path, data: dict[str, Any]) -> Target:
    _check_keys(path, "the file", data, {"arch", "target", "hardware"})
    table, hardware = data["target"], data["hardware"]
    _check_keys(path, "[hardware]", hardware, {f.name for f in fields(Gpu)})
    counts = {f.name for f in fields(Gpu)} - {"binary"}
    forms = _forms(hardware["sm"]) if _is_count(hardware["sm"]) else ()
    wanted = {"kind": "cuda", "arch": f"sm_{hardware['sm']}"}
    for name, value, right, hint in (
        *((n, hardware[n], _is_count(hardware[n]), "a positive integer") for n in sorted(counts)),
        ("sm", hardware["sm"], bool(forms), "75 or more: older tensor cores multiply no bits"),
        ("binary", hardware["binary"], hardware["binary"] in forms, f"one of {forms}"),
        ("[target]", table, table == wanted, f"{wanted}"),
    ):
        if not right:
            raise TargetError(f"{path}: {name} = {value!r}; give {hint}")
    return Target(path.stem, "cuda", (), table, Gpu(**hardware), threads=False)


def _forms(sm: int) -> tuple[str, ...]:
    """How the tensor cores of an architecture can multiply signs."""
    if sm < 75:
        return ()
    return ("xor", "int8") if sm < 80 else ("and", "int8")


def _check_values(
    path: Path, data: dict[str, Any], hardware: dict[str, Any], link: dict[str, Any]
) -> None:
    bits, popcounts = _VECTORS[data["arch"]]
    counts = ("vector_registers", "l1_kib", "l2_kib")
    zig = link.get("zig", "a-b-c")
    for name, value, right, wanted in (
        ("features", data["features"], _are_words(data["features"]), "a list of CPU flags"),
        ("[target]", data["target"], isinstance(data["target"], dict), "a table for TVM"),
        ("vector_bits", hardware["vector_bits"], hardware["vector_bits"] in bits, f"one of {bits}"),
        ("popcount", hardware["popcount"], hardware["popcount"] in popcounts, f"of {popcounts}"),
        *(
            (n, hardware[n], isinstance(hardware[n], bool), "true or false")
            for n in ("pairs", "dot", "tiles")
        ),
        *((n, hardware[n], _is_count(hardware[n]), "a positive integer") for n in counts),
        ("[link] zig", zig, _ZIG.fullmatch(str(zig)), "zig's triple, e.g. aarch64-linux-musl"),
        (
            "[link] compiler",
            link.get("compiler"),
            _are_words(link.get("compiler", ["cc"])),
            "a command as a list, e.g. ['aarch64-linux-gnu-gcc']",
        ),
        (
            "cpu_part",
            data.get("cpu_part"),
            isinstance(data.get("cpu_part", ""), str),
            'a number of /proc/cpuinfo in quotes, e.g. "0xd08"',
        ),
        (
            "threads",
            data.get("threads"),
            isinstance(data.get("threads", True), bool),
            "true or false",
        ),
        (
            "prefetch_kib",
            data.get("prefetch_kib"),
            _is_count(data.get("prefetch_kib", 1)),
            "a positive integer, or leave it out",
        ),
        (
            "schedules",
            data.get("schedules"),
            data.get("schedules") is None or _is_shipped(data["schedules"]),
            "the name of a shipped target, or leave it out",
        ),
    ):
        if not right:
            raise TargetError(f"{path}: {name} = {value!r}; give {wanted}")


def _check_features(path: Path, arch: str, features: Set[str], hardware: dict[str, Any]) -> None:
    """What the kernels would use without asking has to be among the flags."""
    for (of, name), rows in _NEEDS.items():
        if of == arch and hardware[name] and not any(features >= set(row) for row in rows):
            flags = " or ".join(" and ".join(map(repr, row)) for row in rows)
            hint = f"add {flags} to features" if rows else f"there is no such thing on {arch}"
            raise TargetError(f"{path}: {name} = true; {hint}, or leave it out")


def _is_shipped(name: object) -> bool:
    return isinstance(name, str) and (DATA / "targets" / f"{name}.toml").is_file()


def _are_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_keys(
    path: Path,
    table: str,
    found: dict[str, Any],
    required: Set[str],
    optional: Set[str] = frozenset(),
) -> None:
    odd = sorted((required - set(found)) | (set(found) - required - optional))
    if odd:
        raise TargetError(f"{path}: {table} has missing or unknown keys {odd}")


def native() -> Target:
    """The shipped target for this core, or else the one with most features that this CPU has.

    Raises TargetError, naming what is missing, when none fits.
    """
    from bnn_compiler.runtime import cpu

    here = cpu.features()
    fitting = [
        t for t in map(load, names()) if t.arch == platform.machine() and set(t.features) <= here
    ]
    if not fitting:
        if _ARM32.fullmatch(platform.machine()):
            raise TargetError(_NO_ARM32)
        raise TargetError(
            f"no shipped target fits this {platform.machine()} CPU; x86-64 needs at least AVX2 and"
            " FMA. Name one to compile for another machine: " + ", ".join(names())
        )
    part = cpu.part()
    return max(fitting, key=lambda t: (t.cpu_part == part, len(t.features), not t.cpu_part))
