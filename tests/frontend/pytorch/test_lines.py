import inspect
from pathlib import Path

import numpy as np
import torch

from bnn_compiler.frontend.pytorch import lines

HERE = Path(__file__).name


def here():
    """This file and the caller's line."""
    return f"{HERE}:{inspect.currentframe().f_back.f_lineno}"


def test_the_running_line_is_the_users():
    assert lines.running().endswith(here())
    found = []
    np.apply_along_axis(lambda _: found.append(lines.running()) or 0, 0, np.zeros(1))
    assert found[-1].split(":")[0].endswith(HERE)


def test_a_library_is_nobodys_line():
    trace = (
        f'  File "{torch.__file__}", line 3, in f\n  File "/models/net.py", line 12, in forward\n'
    )
    assert lines.written(trace) == "/models/net.py:12"
    assert lines.written(f'  File "{np.__file__}", line 3, in f\n') == lines.written(None) == ""


def test_an_error_has_the_innermost_of_the_users_lines():
    def forward():
        return torch.zeros(2).reshape(3)

    try:
        forward()
    except RuntimeError as e:
        line = inspect.getsourcelines(forward)[1] + 1
        assert lines.raised(e.__traceback__).endswith(f"{HERE}:{line}")
    assert lines.raised(None) == ""
