"""Executables that hold several networks and time them in turns: runtime/turns.c."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnn_compiler.deploy.cpu import abi, link, static, trial
from bnn_compiler.deploy.cpu.link import Toolchain
from bnn_compiler.deploy.cpu.trial import TrialProgram
from bnn_compiler.errors import BuildError
from bnn_compiler.runtime.files import Files
from bnn_compiler.runtime.manifest import Manifest

#: The program without its networks.
SOURCE = link.RUNTIME / "turns.c"


@dataclass(frozen=True)
class Runs:
    """In a turn: of the reference, of a network, and of a network with its steps timed."""

    reference: int
    whole: int
    steps: int


def build(stem: Path, networks: Sequence[Files], runs: Runs, tools: Toolchain) -> TrialProgram:
    """``stem``.run, a static program; the first of ``networks`` is the reference, and all others
    are timed; each has its own name. One may be there twice.

    What it measures is called ``identity(networks)``. Raises BuildError.
    """
    named = {n.description.name: n for n in networks}
    if len(networks) < 2 or any(named[n.description.name] is not n for n in networks):
        raise BuildError(f"networks {', '.join(named)}: a reference and others of their own names")
    built, source = TrialProgram(stem.with_suffix(".run")), stem.with_suffix(".c")
    source.write_text(_source(networks, runs))
    built.constants.write_bytes(b"")
    libraries = [path for n in named.values() for path in static.unpack(n, stem.parent)]
    trial.executable(tools, built.path, [SOURCE, source, *libraries], static=True, threads=True)
    return built


def identity(networks: Sequence[Files]) -> str:
    """Changes with the code of any of them, or their order."""
    digest = hashlib.sha256()
    for network in networks:
        digest.update(hashlib.sha256(network.archive).digest())
    return digest.hexdigest()[:16]


def _source(networks: Sequence[Files], runs: Runs) -> str:
    described = [n.description for n in networks]
    unique = {m.name: m for m in described}.values()
    prototypes = (abi.RUN_STEPS, abi.RUN_CHECKED, abi.SET_THREADS)
    declared = "".join(f"{p.format(name=m.name)};\n" for m in unique for p in prototypes)
    return (
        f'#include "turns.h"\n\n{declared}\n{"".join(map(_tensors, unique))}'
        f"const struct bnn_network bnn_networks[] = {{\n{''.join(map(_entry, described))}}};\n"
        f"const int32_t bnn_count = {len(described)};\n"
        f'const char bnn_id[] = "{identity(networks)}";\n'
        f"const int32_t bnn_reference_runs = {runs.reference};\n"
        f"const int32_t bnn_runs = {runs.whole};\n"
        f"const int32_t bnn_step_runs = {runs.steps};\n"
    )


def _tensors(manifest: Manifest) -> str:
    both = (*manifest.inputs, *manifest.outputs)
    rows = "".join(f"  {{{int(t.dtype == 'float32')}, {t.bytes}}},\n" for t in both)
    return f"static const struct bnn_tensor {manifest.name}_tensors[] = {{\n{rows}}};\n"


def _entry(manifest: Manifest) -> str:
    name, counts = manifest.name, (len(manifest.steps), len(manifest.inputs), len(manifest.outputs))
    return (
        f"  {{{name}_run_checked, {name}_run_steps, {name}_set_threads, {manifest.workspace_bytes},"
        f" {', '.join(map(str, counts))}, {name}_tensors}},\n"
    )
