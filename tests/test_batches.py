"""One artifact for several batch sizes: the weights once, and each image's bits as when alone."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim, export

import bnn_compiler
from bnn_compiler import zoo
from bnn_compiler.cli import main
from bnn_compiler.deploy.cpu import emulate
from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.tune.network import Subject
from tests import edge


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(artifact for 4, 1 and 3 images, artifact for one, model)."""
    torch.manual_seed(0)
    model, x = edge.binary_net(40), torch.randn(2, 3, 9, 9)
    zoo.randomize(model, x)
    folder = tmp_path_factory.mktemp("batches")
    net = bnn_compiler.compile(model, (x,), output=folder / "n.bnn", batches=(4, 1, 3))
    alone = bnn_compiler.compile(model, (x[:1],), output=folder / "alone.bnn", check=False)
    return net, alone, model


def images(count):
    return torch.randn(count, 3, 9, 9)


def test_run_takes_the_program_of_the_inputs_batch(made):
    net, alone, _ = made
    assert net.batches == (4, 1, 3) and alone.batches == (1,)
    for count in net.batches:
        x = images(count)
        wanted = torch.cat([alone.run(x[i : i + 1]) for i in range(count)])
        assert torch.equal(net.run(x), wanted)
        out = np.empty((count, 7), np.float32)
        assert net.run(x.numpy(), out=out) is out and np.array_equal(out, wanted)
        layers = net.profile(x, repeat=1)
        assert sum(v.macs for v in layers) == count * sum(v.macs for v in alone.profile(x[:1]))


def test_the_weights_are_there_once(made):
    net, alone, _ = made
    assert net.description.weights_bytes == alone.description.weights_bytes
    assert net.at(3).description.weights_sha256 == net.description.weights_sha256


def test_another_size_is_one_error_that_names_those_there(made):
    net, _, _ = made
    for ask in (lambda: net.run(images(2)), lambda: net.at(2), lambda: net.profile(images(2))):
        with pytest.raises(InputError, match="a batch of 2; this artifact holds 4, 1 and 3"):
            ask()
    with pytest.raises(InputError, match="is NaN at"):
        net.run(torch.full((3, 3, 9, 9), torch.nan))
    with pytest.raises(InputError, match="has 1 inputs, got 0"):
        net.at(3).run()


def test_verify_checks_each(made, tmp_path):
    net, _, model = made
    samples = [images(n) for n in (1, 4, 3, 1)]
    report = bnn_compiler.verify(net, model, samples)
    assert report.ok and report.samples == 4
    names = [o.name for o in report.outputs]
    assert names == [f"{net.description.outputs[0].name} of {n}" for n in (1, 4, 3)]
    with torch.no_grad():
        model[3].weight.neg_()
    with pytest.raises(bnn_compiler.errors.VerifyError, match="another network"):
        bnn_compiler.verify(net, model, samples)
    with torch.no_grad():
        model[3].weight.neg_()


def test_copies_threads_and_the_end(made):
    net, _, _ = made
    other, x = pickle.loads(pickle.dumps(net)), images(3)
    wanted = net.run(x)
    twin = copy.copy(other)
    assert other.set_threads(2) == 2 == other.at(3).threads
    assert torch.equal(other.run(x), wanted) and torch.equal(twin.run(x), wanted)
    other.close()
    with pytest.raises(ArtifactError, match="closed"):
        other.run(x)
    assert torch.equal(twin.run(x), wanted)


def test_the_library_of_an_arm_board_has_each(tmp_path):
    edge.qemu(), edge.zig()
    model, x = edge.binary_net(8), images(3)
    zoo.randomize(model, x)
    there = tmp_path / "net"
    bnn_compiler.compile(
        model, (x,), target="aarch64", output=there, batches=(1, 3), as_folder=True
    )
    header = (there / "net.h").read_text()
    assert "NET_BATCH3_WORKSPACE_BYTES" in header and "net_batch3_run(const float *in0" in header
    here = bnn_compiler.compile(model, (x,), output=tmp_path / "here.bnn")
    with emulate.load(there) as artifact:
        assert torch.equal(artifact.run(x), here.run(x))
        assert torch.equal(artifact.run(x[:1]), here.run(x)[:1])


class _Two(nn.Module):
    def forward(self, x, table):
        return x @ table


def test_what_has_no_batch_stays(tmp_path):
    x, table = torch.randn(2, 6), torch.randn(6, 3)
    net = bnn_compiler.compile(_Two(), (x, table), output=tmp_path / "n.bnn", batches=(2, 5))
    x = torch.randn(5, 6)
    torch.testing.assert_close(net.run(x, table), x @ table)


@pytest.mark.parametrize("batches", [(), (0,), (1, 1), (2, -1)])
def test_sizes_that_are_none(batches, tmp_path):
    with pytest.raises(InputError, match="give different sizes from 1 on"):
        bnn_compiler.compile(nn.ReLU(), (images(1),), output=tmp_path / "n.bnn", batches=batches)


def test_the_command_line_and_a_program_of_dynamic_shape(tmp_path, capsys):
    model, x = edge.binary_net(8), images(2)
    zoo.randomize(model, x)
    program, net = tmp_path / "net.pt2", str(tmp_path / "n.bnn")
    torch.export.save(export(model, (x,), dynamic_shapes=({0: Dim("n")},)), program)
    assert main(["compile", str(program), "--batch", "1,2", "-o", net]) == 0
    assert "batches 1, 2" in capsys.readouterr().out
    assert main(["verify", net, str(program)]) == 0
    assert main(["bench", net, "--batch", "2", "--repeat", "2"]) == 0
    assert main(["profile", net, "--batch", "2", "--repeat", "1", "--json"]) == 0
    assert "a batch of 2" in json.dumps(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert main(["bench", net, "--batch", "3"]) == 2
    assert "this artifact holds 1 and 2" in capsys.readouterr().err
    fixed = tmp_path / "fixed.pt2"
    torch.export.save(export(model, (x,)), fixed)
    assert main(["compile", str(fixed), "--batch", "1,2", "-o", net]) == 2
    assert "was exported as [2, 3, 9, 9], the example is [1, 3, 9, 9]" in capsys.readouterr().err


TINY = ["tests.test_cli:tiny", "--shape", "1,3,6,6", "--target", "x86-64-v3"]


def test_check_and_predict_go_through_batch_sizes(capsys):
    assert main(["check", *TINY, "--batch", "2,1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["2", "1"] and all(one["compiles"] for one in found.values())
    assert found["2"]["seconds"] > found["1"]["seconds"]
    assert main(["predict", *TINY, "--batch", "8,1"]) == 0
    first, second, about = capsys.readouterr().out.splitlines()
    assert first.startswith("batch 8: ") and second.startswith("batch 1: ") and about
    assert main(["predict", *TINY, "--batch", "8,1", "--sweep", "0"]) == 2
    assert "take one size of --batch" in capsys.readouterr().err
    assert main(["check", *TINY, "--batch", "0"]) == 2
    assert "from 1 on" in capsys.readouterr().err


def test_tune_takes_the_kernels_of_every_size():
    given = edge.binary_net(40), [torch.randn(1, 3, 9, 9)]
    one, two, both = (
        set(Subject.of(*given, target="x86-64-v3", batches=sizes).tasks())
        for sizes in ((1,), (2,), (1, 2))
    )
    assert one and both == one | two and one != two
