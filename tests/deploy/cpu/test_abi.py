"""Every part of a network's C interface is where the others look for it."""

import re
import subprocess

import pytest

from bnn_compiler.deploy.cpu import abi, link
from bnn_compiler.runtime import elf, files


def test_a_library_exports_it(small_artifact):
    found = files.read(small_artifact[0])
    for symbol in abi.EXPORTS:
        assert elf.exported(found.library, f"{found.description.name}_{symbol}")


def test_the_header_declares_it(small_artifact):
    found = files.read(small_artifact[0])
    header = found.members["net.h"].decode()
    declared = set(re.findall(r"^int32_t net_(\w+)\(", header, re.MULTILINE))
    assert declared == set(abi.EXPORTS) - {"info"}
    assert f"{abi.run('net', ['float32'], ['float32'])};" in header


def test_the_emulators_program_takes_it():
    uses = set(re.findall(r"\bBNN_([A-Z_]+)\b", (link.RUNTIME / "bnn_runner.c").read_text()))
    assert uses and uses <= {symbol.upper() for symbol in abi.EXPORTS}


@pytest.mark.parametrize("attributes", ["", "__attribute__((weak)) "])
def test_prototypes_are_c(tmp_path, attributes):
    text = "#include <stdint.h>\n"
    for prototype in (abi.RUN_STEPS, abi.RUN_CHECKED, abi.SET_THREADS):
        text += f"{prototype.format(name='net')};\n"
    text += f"{abi.run('net', ['float32', 'uint8'], list(abi.TYPES))};\n{abi.kernel('k', 3)};\n"
    text += abi.registration(attributes)
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-xc", "-c", "-", "-o", "a.o"]
    subprocess.run([*link.compiler(), *strict], input=text.encode(), cwd=tmp_path, check=True)
