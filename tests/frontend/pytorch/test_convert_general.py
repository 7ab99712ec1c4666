"""Operators on tensors of any rank: PyTorch's values, and the bits of their own meaning."""

import torch
from torch import nn

import bnn_compiler


class _Heads(nn.Module):
    """A channel shuffle, a strided slice, two softmax heads and a pixel shuffle."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 32, 3, padding=1), nn.Linear(32, 10)

    def forward(self, x):
        y = self.conv(x)
        n, c, h, w = y.shape
        y = y.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w).relu()
        y = y[:, :, ::2, 1::2]
        logits = self.fc(y.mean((2, 3)))
        return (
            torch.softmax(logits, -1),
            torch.log_softmax(logits, 1),
            torch.pixel_shuffle(y, 2),
            y.flatten(2).permute(2, 0, 1),
        )


def test_a_network_of_plain_values_is_exact(tmp_path):
    torch.manual_seed(0)
    model, x = _Heads().eval(), torch.randn(2, 3, 10, 14)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    for found, wanted in zip(net.run(x), model(x), strict=True):
        torch.testing.assert_close(torch.as_tensor(found), wanted.detach(), atol=1e-5, rtol=1e-5)
    report = bnn_compiler.verify(net, model, [x])
    assert report.ok, report.faults
    general = [k for k in report.kernels if k.op == "bnn.general"]
    assert general and not any(k.mismatches for k in general)


class _Tokens(nn.Module):
    """Attention of a token for each pixel, gating, and sums over several axes."""

    def __init__(self):
        super().__init__()
        self.conv, self.qkv = nn.Conv2d(3, 16, 3), nn.Linear(16, 48)

    def forward(self, x):
        y = self.conv(x)
        y = y * torch.sigmoid(y.mean((2, 3), keepdim=True))
        t = y.flatten(2).transpose(1, 2)
        q, k, v = (self.qkv(t)[..., i : i + 16] for i in (0, 16, 32))
        t = torch.softmax(q @ k.transpose(1, 2) / 4, -1) @ v
        t = t - t.mean((1, 2), keepdim=True)
        return nn.functional.gelu(t), y.abs().sum((1, 2)), torch.cat((t, t.exp()), 1).amax(2)


def test_attention_and_gating_are_exact(tmp_path):
    torch.manual_seed(0)
    model, x = _Tokens().eval(), torch.randn(2, 3, 6, 8)
    net = bnn_compiler.compile(model, (x,), output=tmp_path / "n.bnn")
    for found, wanted in zip(net.run(x), model(x), strict=True):
        torch.testing.assert_close(torch.as_tensor(found), wanted.detach(), atol=1e-4, rtol=1e-4)
    report = bnn_compiler.verify(net, model, [x])
    assert report.ok, report.faults
    assert not any(k.mismatches for k in report.kernels)


def test_a_step_of_a_program_is_what_its_text_says():
    from bnn_compiler.ops.general import Step

    step = Step("clip", ("a0",), (-1.5, float("inf")))
    assert Step.parse(str(step)) == step
    assert str(Step("add", ("a0", "t1"))) == "add(a0,t1)"
