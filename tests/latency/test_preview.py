import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn_compiler import cli, zoo
from bnn_compiler.errors import TargetError
from bnn_compiler.latency.kernel import Kernel
from bnn_compiler.latency.preview import preview
from bnn_compiler.network import Network
from bnn_compiler.options import Options
from bnn_compiler.plan import plan
from tests.author_style import where_sign
from tests.network import Function, image

TARGET = "x86-64-v3"


def binary_between_obstacles():
    """Operators that nothing supports around layers that are."""
    layers = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), nn.Linear(32, 4)

    def forward(m, x):
        y = torch.special.bessel_j0(m[0](x))
        y = torch.special.i1(F.conv2d(where_sign(y), where_sign(m[1].weight)))
        return torch.special.bessel_j0(m[2](y.mean((2, 3))))

    return Function(forward, *layers).eval()


def seen(model, x, target=TARGET):
    return preview(model, (x,), target=target, options=Options())


def test_a_network_that_compiles_is_listed_as_it_is_planned():
    model, x = zoo.bop_net().eval(), torch.randn(1, 3, 32, 32)
    found = seen(model, x)
    kernels = Kernel.of_plan(plan.plan(Network.of(model, (x,)).fused(Options())))
    assert found.compiles and [line.layer for line in found.lines] == [k.name for k in kernels]
    assert {"binary", "float"} <= {line.kind for line in found.lines}
    assert found.seconds == pytest.approx(sum(line.seconds for line in found.lines))
    assert "calibrated" in found.about


def test_every_obstacle_is_named_at_once_with_its_line():
    found = seen(binary_between_obstacles(), image(3))
    assert [p.operator for p in found.problems] == [
        "aten.special_bessel_j0.default",
        "aten.special_i1.default",
        "aten.special_bessel_j0.default",
    ]
    assert all("test_preview.py:" in p.line for p in found.problems)
    assert not found.compiles


def test_the_rest_of_the_network_is_listed():
    lines = seen(binary_between_obstacles(), image(3)).lines
    convolutions = [(x.kind, x.family) for x in lines if x.family in ("table", "float32")]
    assert convolutions == [("float", "float32"), ("binary", "table"), ("float", "float32")]


def test_a_network_that_cannot_be_traced_is_one_obstacle():
    found = seen(Function(lambda m, x: x.reshape(7, 7)), image(3))
    assert len(found.problems) == 1 and found.lines == () and found.seconds is None


def test_a_target_without_a_model_has_no_times():
    found = seen(nn.Conv2d(3, 4, 3), image(3), "cuda-sm80")
    assert found.compiles and found.seconds is None and found.lines
    with pytest.raises(TargetError):
        seen(nn.Conv2d(3, 4, 3), image(3), "no-such-target")


@pytest.mark.parametrize("factory, code", [("zoo_net", 0), ("binary_between_obstacles", 1)])
def test_the_command(factory, code, capsys):
    shape = ["--shape", "1,3,32,32", "--target", TARGET]
    command = ["check", f"{__name__}:{factory}", *shape]
    assert cli.main([*command, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert found["compiles"] == (code == 0) and found["layers"]
    assert cli.main(command) == code
    text = capsys.readouterr().out
    assert text.count("cannot be compiled: ") == len(found["problems"]) == 3 * code


def test_check_says_why_it_shows_float32_for_auto(capsys, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 32, 32), np.float32))
    given = ["--shape", "1,3,32,32", "--target", TARGET, "--rest", "auto"]
    command = ["check", f"{__name__}:binary_between_obstacles", *given]
    assert cli.main([*command, "--calibrate", str(tmp_path / "x.npy")]) == 1
    text = capsys.readouterr().out
    assert "shown in float32, since --rest auto could not be tried: " in text
    assert text.count("cannot be compiled: ") == 3


def zoo_net():
    return zoo.bop_net().eval()
