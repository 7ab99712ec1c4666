import pytest

from bnn_compiler.runtime import elf, files


def test_what_a_library_says_of_itself(small_artifact):
    found = files.read(small_artifact[0])
    library, name = found.library, found.manifest["name"]
    assert 1000 < elf.code_bytes(library) < len(library)
    info = elf.exported(library, f"{name}_info")
    assert len(info) == 32 + 8 * (4 + 1 + 1)
    for absent in (f"{name}_weights", f"{name}_inf", f"{name}_info2"):
        with pytest.raises(ValueError, match="exports no"):
            elf.exported(library, absent)


@pytest.mark.parametrize(
    "data", [b"", b"MZ", b"\x7fELF\x01\x01", b"\x7fELF\x02\x01" + b"\xff" * 90]
)
def test_what_is_no_library(data):
    for ask in (elf.code_bytes, lambda d: elf.exported(d, "net_info")):
        with pytest.raises(ValueError):
            ask(data)
