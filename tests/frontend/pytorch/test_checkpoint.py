import pytest
import torch
from torch import nn

from bnn_compiler.errors import ModelError
from bnn_compiler.frontend.pytorch.checkpoint import load_checkpoint
from tests.author_style import HardConv


def model(flat):
    return nn.Sequential(nn.Conv2d(3, 4, 1), HardConv(4, 4, flat=flat))


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("loaded", [True, False])
def test_both_weight_forms_prefix_and_wrapper(saved, loaded, tmp_path):
    source, target = model(saved), model(loaded)
    state = {f"module.{k}": v for k, v in source.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "c.pth")
    load_checkpoint(target, tmp_path / "c.pth")
    x = torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(target(x), source(x))


def test_wrong_keys_are_one_error(tmp_path):
    state = model(True).state_dict()
    state["extra"] = torch.zeros(1)
    del state["0.bias"]
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(ModelError, match=r"1 missing \(0\.bias\); 1 unexpected \(extra\)"):
        load_checkpoint(model(True), tmp_path / "c.pth")


def test_not_a_checkpoint(tmp_path):
    (tmp_path / "c.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="not a checkpoint"):
        load_checkpoint(model(True), tmp_path / "c.pth")
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(model(True), tmp_path / "absent.pth")
