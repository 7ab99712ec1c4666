import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from bnn_compiler.errors import TrainingError
from bnn_compiler.search.images import ImageFolder, idx, mnist_5k


def write(path, colour, size=(20, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_classes_are_folders_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "cat/b.png", (255, 0, 0))
    write(tmp_path / "cat/deep/a.png", (255, 0, 0))
    write(tmp_path / "ant/x.jpg", (0, 0, 255))
    write(tmp_path / "ant/grey.png", 128, mode="L")
    (tmp_path / "ant/notes.txt").write_text("no image")
    data = ImageFolder(tmp_path, 8)
    assert data.classes == ("ant", "cat")
    assert [data[i][1] for i in range(len(data))] == [0, 0, 1, 1]
    image, _ = data[3]
    assert image.shape == (3, 8, 8)
    assert image[:, 4, 4].tolist() == [1.0, -1.0, -1.0]
    assert data[0][0][:, 0, 0].tolist() == pytest.approx([128 / 127.5 - 1] * 3, abs=1e-6)


def test_the_middle_is_kept(tmp_path):
    picture = np.zeros((16, 64, 3), np.uint8)
    picture[:, 24:40] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(picture).save(tmp_path / "a/p.png")
    image, _ = ImageFolder(tmp_path, 14)[0]
    assert image[:, 7, 3:11].min() > 0.99


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(TrainingError, match="no folders of images"):
        ImageFolder(tmp_path, 8)
    write(tmp_path / "new/a.png", 0, mode="L")
    with pytest.raises(TrainingError, match="new: no class of that name"):
        ImageFolder(tmp_path, 8, classes=["old"])
    (tmp_path / "new/a.png").write_bytes(b"not a picture")
    with pytest.raises(TrainingError, match=r"a\.png is no image"):
        ImageFolder(tmp_path, 8)[0]


def files(folder, prefix="train", count=5, side=28, compress=False):
    images = np.arange(count * side * side).reshape(count, side, side).astype(np.uint8)
    labels = np.arange(count, dtype=np.uint8)
    for name, dims, values in (
        (f"{prefix}-images-idx3-ubyte", (count, side, side), images),
        (f"{prefix}-labels-idx1-ubyte", (count,), labels),
    ):
        head = bytes((0, 0, 8, len(dims))) + np.array(dims, ">u4").tobytes()
        data = head + values.tobytes()
        (folder / (f"{name}.gz" if compress else name)).write_bytes(
            gzip.compress(data) if compress else data
        )
    return images


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files(compress, tmp_path):
    raw = files(tmp_path, compress=compress)
    images, labels = idx(tmp_path, "train")
    assert images.shape == (5, 1, 32, 32)
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(images[3, 0, 2:30, 2:30], raw[3] / 127.5 - 1, atol=1e-6)
    assert images[3, 0, :2].unique().tolist() == [-1.0]
    assert idx(tmp_path, "t10k") is None


def test_other_sizes_get_no_border(tmp_path):
    files(tmp_path, side=8)
    assert idx(tmp_path, "train")[0].shape == (5, 1, 8, 8)


def test_damaged_idx_files_are_named(tmp_path):
    files(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(TrainingError, match="cut off: 3919 bytes for"):
        idx(tmp_path, "train")
    path.write_bytes(b"\x00\x00\x0d" + whole[3:])
    with pytest.raises(TrainingError, match="no IDX file of bytes in 3"):
        idx(tmp_path, "train")
    path.unlink()
    with pytest.raises(TrainingError, match="not as many"):
        idx(tmp_path, "train")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(TrainingError, match="damaged"):
        idx(tmp_path, "train")


def test_mlxtends_digits():
    images, labels = mnist_5k()
    assert images.shape == (5000, 1, 32, 32)
    assert torch.bincount(labels).tolist() == [500] * 10
    assert (images.min(), images.max()) == (-1, 1)
