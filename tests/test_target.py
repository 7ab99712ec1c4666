import pytest

from bnn_compiler import target
from bnn_compiler.errors import TargetError


@pytest.mark.parametrize("name", target.names())
def test_every_target_loads_into_tvm(name):
    from tvm.target import Target

    assert Target(target.load(name).tvm).kind.name == "llvm"


def test_unknown_name_and_bad_files(tmp_path):
    with pytest.raises(TargetError, match="x86-64-v3"):
        target.load("pdp11")
    with pytest.raises(TargetError, match="no target file"):
        target.load(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("= 1")
    with pytest.raises(TargetError, match="not valid TOML"):
        target.load(tmp_path / "broken.toml")
    (tmp_path / "odd.toml").write_text('arch = "x86_64"\ncolour = "red"\n')
    with pytest.raises(TargetError, match="colour"):
        target.load(tmp_path / "odd.toml")


def test_a_users_file_works(tmp_path):
    text = (target.DATA / "targets" / "x86-64-v3.toml").read_text()
    (tmp_path / "mine.toml").write_text(text)
    assert target.load(tmp_path / "mine.toml").name == "mine"
