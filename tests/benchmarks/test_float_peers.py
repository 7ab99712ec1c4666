"""ResNet-18 on the float runtimes computes what torch computes."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("openvino", reason="half of the float peers")
pytest.importorskip("nncf", reason="quantises for OpenVINO")
pytest.importorskip("onnx", reason="the file that all float peers read")
pytest.importorskip("onnxruntime", reason="half of the float peers")

from benchmarks import float_peers
from benchmarks.resnet import ResNet18
from bnn_compiler import zoo


def test_programs_agree_with_torch(tmp_path: Path) -> None:
    shape = (1, 3, 64, 64)
    model = ResNet18(num_classes=100)
    zoo.randomize(model, torch.zeros(shape))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model(x).numpy()
    for name, program in float_peers.programs(model, shape, tmp_path).items():
        got = program.run(x.numpy())
        if name.endswith("int8"):
            assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.98, name
        else:
            np.testing.assert_allclose(got, expected, atol=1e-3, err_msg=name)
