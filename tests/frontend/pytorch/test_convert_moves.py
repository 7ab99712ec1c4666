"""Operators that move elements, compiled and compared with PyTorch bit for bit."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn_compiler

X = (2, 4, 6, 8)
MOVES = {
    "strided": lambda x: x[:, 1:, ::2, 1::3],
    "negative": lambda x: x[:, :, -3:-1],
    "selected": lambda x: x[:, 2] + x[:, -1],
    "split": lambda x: torch.cat(torch.split(x, [1, 3], 1)[::-1], 1),
    "chunked": lambda x: sum(x.chunk(3, 2)),
    "unbound": lambda x: torch.stack(x.unbind(1), -1),
    "permuted": lambda x: x.permute(3, 0, 2, 1).reshape(8, -1),
    "transposed": lambda x: x.transpose(1, 2).flatten(2),
    "expanded": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1),
    "repeated": lambda x: x.repeat(1, 2, 1, 3),
    "interleaved": lambda x: x.repeat_interleave(2, 3),
    "flipped": lambda x: x.flip((2, 3)),
    "rolled": lambda x: x.roll((1, -2), (2, 3)),
    "shuffled": lambda x: F.channel_shuffle(x, 2),
    "pixels": lambda x: F.pixel_shuffle(x, 2),
    "unshuffled": lambda x: F.pixel_unshuffle(x, 2),
    "indexed": lambda x: x[:, [3, 0, 0]],
    "index_select": lambda x: x.index_select(2, torch.tensor([5, 1])),
    "reflected": lambda x: F.pad(x, (1, 2, 2, 0), mode="reflect"),
    "replicated": lambda x: F.pad(x, (1, 2, 2, 0), mode="replicate"),
    "wrapped": lambda x: F.pad(x, (1, 2, 2, 0), mode="circular"),
    "padded": lambda x: F.pad(x, (1, 0, 0, 2, 1, 1), value=3.0),
    "cropped": lambda x: F.pad(x, (-1, 2, 0, -2)),
    "squeezed": lambda x: x[:, :1].squeeze(1).unsqueeze(-1),
}


class Moved(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", MOVES)
def test_moves(name, tmp_path):
    model, x = Moved(MOVES[name]).eval(), torch.randn(X)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn", check=False)
    assert bnn_compiler.verify(net, model, [x]).ok
    found, wanted = torch.as_tensor(net.run(x)), model(x)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (3, 4, 5), (2, 3, 2, 3, 4)])
def test_any_rank(shape, tmp_path):
    model = Moved(lambda x: torch.sigmoid(x * 2 - x.amax(-1, keepdim=True)).cumsum(0))
    x = torch.randn(shape)
    net = bnn_compiler.compile(model.eval(), (x,), output=tmp_path / "n.bnn")
    torch.testing.assert_close(torch.as_tensor(net.run(x)), model(x), atol=1e-5, rtol=1e-5)
