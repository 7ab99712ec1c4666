"""Inputs and outputs are checked; every dtype that is wrong says what to do."""

import numpy as np
import pytest
import torch
from torch import nn

import bnn_compiler
from bnn_compiler.errors import ArtifactError, InputError
from bnn_compiler.runtime import artifact as artifacts
from bnn_compiler.runtime import executor
from bnn_compiler.runtime.manifest import TensorEntry
from bnn_compiler.runtime.tensors import Tensor, address, noise
from tests import edge

SHAPE = (1, 3, 32, 32)
FLOATS = Tensor("x", (2, 3), np.dtype(np.float32))
BYTES = Tensor("x", (2, 3), np.dtype(np.uint8))


@pytest.fixture(scope="module")
def net(small_artifact):
    return bnn_compiler.load(small_artifact[0])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A network with two outputs, and its input."""
    body = edge.binary_net(8)[:5]

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body

        def forward(self, x):
            z = self.body(x)
            return z, z + 1

    x = torch.randn(1, 3, 4, 4)
    path = tmp_path_factory.mktemp("two") / "two.bnn"
    return bnn_compiler.compile(Two().eval(), (x,), output=path), x.numpy()


@pytest.mark.parametrize("dtype", ["f8", "i8", "i4", "i1", "?", "c8", ">f4", "O", "U1", "u1"])
def test_another_dtype_of_an_array(dtype):
    value = np.zeros((2, 3), dtype)
    with pytest.raises(InputError, match=r"convert it: x\.astype\(np\.float32\)") as caught:
        FLOATS.checked(value)
    assert ('compile(input_dtype="uint8")' in str(caught.value)) == (dtype == "u1")
    assert str(value.dtype) in str(caught.value) and "float64'" not in str(caught.value)
    if dtype != "u1":
        with pytest.raises(InputError, match="bytes from 0 to 255, or compile without input_dtype"):
            BYTES.checked(value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool, torch.uint8])
def test_another_dtype_of_a_tensor(dtype):
    with pytest.raises(InputError, match=rf"is {dtype}, compiled .*convert it: x\.float\(\)"):
        FLOATS.checked(torch.zeros(2, 3, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    value = torch.linspace(-3, 3, 6, dtype=dtype).reshape(2, 3)
    found = FLOATS.checked(value)
    assert found.dtype == np.float32 and np.array_equal(found, value.float().numpy())
    assert np.array_equal(FLOATS.checked(value.half().numpy()), value.half().float().numpy())
    with pytest.raises(InputError, match="bytes from 0 to 255"):
        BYTES.checked(value.half())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((3, 2), np.float32), "batch size is fixed"),
        (np.float32(1), "is a float32; give a numpy array or tensor"),
        ([[1.0]], "list"),
        (None, "NoneType"),
        (torch.zeros(2, 3, device="meta"), "cannot be read"),
        (torch.zeros(2, 3).to_sparse(), "cannot be read"),
    ],
)
def test_wrong_inputs(value, words):
    with pytest.raises(InputError, match=words):
        FLOATS.checked(value)


def test_what_is_not_in_order_is_copied():
    wanted = np.arange(6, dtype=np.float32).reshape(2, 3)
    raw = np.zeros(25, np.uint8)
    misaligned = raw[1:].view(np.float32).reshape(2, 3)
    misaligned[:] = wanted
    frozen = wanted.copy()
    frozen.flags.writeable = False
    tensor = torch.tensor(wanted, requires_grad=True)
    given = (np.asfortranarray(wanted), misaligned, frozen, tensor, np.repeat(wanted, 2, 1)[:, ::2])
    for value in (*given, wanted.view(np.memmap)):
        array = FLOATS.checked(value)
        np.testing.assert_array_equal(array, wanted)
        assert array.flags.c_contiguous and array.flags.aligned
        assert address(array) == array.ctypes.data
    assert FLOATS.checked(frozen) is frozen


def test_what_is_used_as_it_is():
    array, tensor = np.zeros((2, 3), np.float32), torch.zeros(2, 3)
    assert FLOATS.quick(array) == array.ctypes.data
    for value in (tensor, tensor.requires_grad_(), torch.ones(4, 3)[1:3]):
        assert FLOATS.quick(value) == value.data_ptr()
    pixels = torch.zeros(2, 3, dtype=torch.uint8)
    assert BYTES.quick(pixels) == pixels.data_ptr()


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(3, 2),
        torch.zeros(3, 2).T,
        torch.zeros(2, 6)[:, ::2],
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(2, 3, dtype=torch.uint8),
        torch.zeros(2, 3, device="meta"),
        torch.zeros(2, 3).to_sparse(),
        torch._neg_view(torch.zeros(2, 3)),
        torch._efficientzerotensor((2, 3)),
        nn.Parameter(torch.zeros(2, 3)),
        torch.frombuffer(bytearray(25), dtype=torch.uint8)[1:].view(2, 12),
        [[0.0] * 3] * 2,
        None,
    ],
)
def test_what_is_looked_at_more_closely(value):
    assert FLOATS.quick(value) == 0


def test_tensors_whose_memory_is_not_their_values(net, small_artifact):
    x = small_artifact[2]
    with pytest.raises(InputError, match="cannot be read as an array"):
        torch.func.vmap(lambda v: net.run(v))(x.unsqueeze(0))
    with pytest.raises(InputError, match=r"resolve_neg\(\)"):
        net.run(torch._neg_view(x))


@pytest.mark.parametrize("at", [0, 1, 2, 3, 1000, 3068, 3070, 3071])
def test_a_nan_is_found_wherever_it_is(net, at):
    x = np.full(3 * 32 * 32, np.inf, np.float32)
    assert net.run(x.reshape(SHAPE)).shape == (1, 7)
    x[at] = np.float32(np.nan) * (-1) ** at
    c, y, z = np.unravel_index(at, SHAPE[1:])
    for value in (x.reshape(SHAPE), torch.tensor(x).reshape(SHAPE)):
        with pytest.raises(InputError, match=rf"NaN at \[0, {c}, {y}, {z}\]"):
            net.run(value)
    with pytest.raises(InputError, match="NaN at"):
        net.profile(x.reshape(SHAPE))
    assert net.run(x.reshape(SHAPE), check_finite=False).shape == (1, 7)


def test_out_gets_the_results(net, two, small_artifact):
    x = small_artifact[2].numpy()
    wanted, y = net.run(x), np.empty((1, 7), np.float32)
    assert net.run(x, out=y) is y and net.run(small_artifact[2], out=(y,)) is y
    np.testing.assert_array_equal(y, wanted)
    net, x = two
    wanted = net.run(x)
    out = tuple(np.empty_like(w) for w in wanted)
    for a, b, w in zip(net.run(x, out=out), out, wanted, strict=True):
        assert a is b
        np.testing.assert_array_equal(a, w)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.zeros((1, 7)), r"float64 \[1, 7\], the output is float32 \[1, 7\]"),
        (np.zeros((7,), np.float32), r"float32 \[7\]"),
        (np.zeros((7, 1), np.float32).T[:, ::-1], "C order"),
        (np.broadcast_to(np.float32(0), (1, 7)), "writable"),
        (np.zeros(29, np.uint8)[1:].view(np.float32).reshape(1, 7), "aligned"),
        (torch.zeros(1, 7), r"y\.numpy\(\)"),
        ([], "1 outputs, out has 0"),
        ((np.zeros((1, 7), np.float32),) * 2, "1 outputs, out has 2"),
    ],
)
def test_out_that_cannot_be_written(net, small_artifact, out, words):
    with pytest.raises(InputError, match=words):
        net.run(small_artifact[2], out=out)


def test_out_must_not_overlap(net, two):
    memory = np.zeros(3 * 32 * 32 + 7, np.float32)
    x = memory[: 3 * 32 * 32].reshape(SHAPE)
    with pytest.raises(InputError, match="overlaps"):
        net.run(x, out=memory[5:12].reshape(1, 7))
    net.run(x, out=memory[3 * 32 * 32 :].reshape(1, 7))
    net, x = two
    y = np.zeros((1, 8, 4, 4), np.float32)
    with pytest.raises(InputError, match="overlaps"):
        net.run(x, out=(y, y))


def test_no_memory_is_said(net, small_artifact, monkeypatch):
    def fail(*_):
        raise MemoryError

    fresh = bnn_compiler.load(small_artifact[0])
    monkeypatch.setattr(executor, "aligned", fail)
    with pytest.raises(ArtifactError, match=r"no memory for its workspace of \d+\.\d MB"):
        fresh.run(small_artifact[2])
    monkeypatch.setattr(artifacts, "_empty", fail)
    with pytest.raises(ArtifactError, match="no memory for its outputs"):
        fresh.run(small_artifact[2])


def test_noise_has_every_byte_of_images_and_only_what_anything_indexes():
    entries = [TensorEntry("x", (1, 3, 32, 32), "uint8"), TensorEntry("i", (64,), "int64")]
    image, index = noise(entries)
    assert image.dtype == np.uint8 and image.min() == 0 and image.max() == 255
    assert index.dtype == np.int64 and {*index.tolist()} == {0, 1}
