"""Inputs of integers and truth values: tokens, masks, bytes."""

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.cli import main
from bnn_compiler.errors import InputError


class Tokens(nn.Module):
    """Embeddings of tokens and of positions, masked attention, labels of tokens."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 16), nn.Embedding(12, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, ids, mask):
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        bias = (1 - mask[:, None, :].float()) * -1e4
        x = torch.softmax(x @ x.transpose(1, 2) / 4 + bias, -1) @ x
        return self.head(x), x.argmax(-1), mask == 0


def tokens(dtype=torch.int64, batch=2):
    return torch.randint(0, 50, (batch, 12)).to(dtype), torch.randint(0, 2, (batch, 12)).bool()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    torch.manual_seed(0)
    model, x = Tokens().eval(), tokens()
    path = tmp_path_factory.mktemp("tokens") / "n.bnn"
    return bnn_compiler.compile(model, x, output=path, batches=(2, 1)), model


def test_tokens_and_a_mask(made):
    net, model = made
    assert [t.dtype for t in net.description.inputs] == ["int64", "bool"]
    for batch in (2, 1):
        x = tokens(batch=batch)
        logits, labels, masked = net.run(*x)
        wanted = model(*x)
        torch.testing.assert_close(logits, wanted[0].detach(), atol=1e-6, rtol=1e-5)
        assert torch.equal(labels, wanted[1]) and torch.equal(masked, wanted[2])
    report = bnn_compiler.verify(net, model, [tokens(), tokens(batch=1)])
    assert report.ok, report.text()


def test_an_index_beyond_an_end_is_that_end(made):
    net, _ = made
    ids, mask = tokens()
    for beyond, end in ((10**12, 49), (-(2**63), 0), (50, 49), (-1, 0)):
        found = net.run(torch.full_like(ids, beyond), mask)
        wanted = net.run(torch.full_like(ids, end), mask)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_another_dtype_is_refused_with_the_way_out(made):
    net, _ = made
    ids, mask = tokens()
    with pytest.raises(InputError, match=r"ids is torch.int32, .*int64; .* x.to\(torch.int64\)"):
        net.run(ids.int(), mask)
    with pytest.raises(InputError, match=r"mask is float32, .*bool; .* x.astype\(np.bool\)"):
        net.run(ids.numpy(), mask.numpy().astype(np.float32))


class Bytes(nn.Module):
    """A network that normalises bytes itself, where it is told to."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x, wanted):
        return torch.where(wanted == 1, self.conv(x.float() / 255), torch.zeros(()))


def factory():
    torch.manual_seed(0)
    return Bytes().eval()


def test_the_command_line(tmp_path, capsys):
    path, spec = str(tmp_path / "n"), f"{__name__}:factory"
    shapes = ["--shape", "1,3,6,6:uint8", "--shape", "1,1,1,1:int32"]
    assert main(["compile", spec, *shapes, "--folder", "-o", path]) == 0
    assert "input x uint8 [1, 3, 6, 6]" in capsys.readouterr().out
    assert "const uint8_t *in0, const int32_t *in1" in (tmp_path / "n" / "n.h").read_text()
    assert main(["verify", path, spec]) == 0
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "on.npy", np.ones((1, 1, 1, 1), np.int32))
    files = ["--input", str(tmp_path / "x.npy"), "--input", str(tmp_path / "on.npy")]
    assert main(["run", path, *files, "--output", str(tmp_path / "y.npy")]) == 0
    wanted = factory()(torch.from_numpy(x), torch.ones(1, 1, 1, 1)).detach().numpy()
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, rtol=1e-5, atol=1e-6)
    assert main(["check", spec, *shapes]) == 0
    for wrong in ("1,3:int7", "1,x:int64", "0,1"):
        assert main(["compile", spec, "--shape", wrong, "-o", path]) == 2
        assert f"--shape '{wrong}'" in capsys.readouterr().err


def test_normalised_bytes_are_images_alone(tmp_path):
    with pytest.raises(InputError, match="inputs are all float32 images"):
        bnn_compiler.compile(
            Tokens().eval(), tokens(), output=tmp_path / "n.bnn", input_dtype="uint8"
        )
