"""A search's networks timed on a board."""

import pytest

from bnn_compiler.cli import main
from bnn_compiler.commands.place import Place
from bnn_compiler.errors import DeviceError
from tests.device.conftest import ARM
from tests.search.test_command import arguments
from tests.search.test_network import task


def test_plans_are_timed_on_a_board(arm, qemu, serve, tmp_path):
    board = serve(arm, "arm", "--run-with", qemu, prefix=[qemu])
    searched = task(tmp_path, target=ARM)
    assert not Place(searched).measures and Place(searched).name == ""
    place = Place(searched, f"rpc://127.0.0.1:{board.port}/arm")
    place.check()
    assert place.measures and place.name == "board arm"
    small, full = ({**searched.space.full, "stem": n} for n in (1, 16))
    assert place.measure(small) > 0 and 0 < place.measure(full) < 10
    board.end()
    with pytest.raises(DeviceError, match="no server answers"):
        place.check()


def test_a_board_that_is_not_there_is_found_out_first(closed_port, tmp_path, capsys):
    device = ("--device", f"rpc://127.0.0.1:{closed_port}/pi4")
    assert main(arguments(tmp_path / "out", *device)) == 2
    assert "no server answers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(arguments(tmp_path / "out", "--secret", "file")) == 2
    assert "no meaning without --device" in capsys.readouterr().err
