"""Which line of the user's code an operator, or an error, comes from."""

import os
import re
import sys
import sysconfig
from pathlib import Path
from types import FrameType, TracebackType

import numpy as np
import torch

_HERE = str(Path(__file__).parent) + os.sep
#: Steps of ONNX graphs are nobody's lines.
_ONNX = str(Path(__file__).parents[1] / "onnx") + os.sep
_LIBRARIES = (*(m.__path__[0] + os.sep for m in (torch, np)), _HERE, _ONNX, "<")
_STANDARD = sysconfig.get_paths()["stdlib"] + os.sep
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def _is_users(file: str) -> bool:
    standard = file.startswith(_STANDARD) and "site-packages" not in file
    return not (standard or file.startswith(_LIBRARIES))


def _line(file: str, number: int) -> str:
    """ "models/resnet.py:52", as it is seen from the working directory."""
    path = Path(file)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{number}"


def running() -> str:
    """The line of the user's code that is running, "" outside it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_users(frame.f_code.co_filename):
            return _line(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def raised(traceback: TracebackType | None) -> str:
    """The innermost line of the user's code that an exception went through, "" for none."""
    found = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        # What called us is no part of the model.
        if _is_users(file) and not file.startswith(str(Path(_HERE).parents[1]) + os.sep):
            found = _line(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def written(stack_trace: str | None) -> str:
    """The innermost line of the user's code in a stack trace that torch has noted."""
    frames = [(f, int(n)) for f, n in _FRAME.findall(stack_trace or "") if _is_users(f)]
    return _line(*frames[-1]) if frames else ""
