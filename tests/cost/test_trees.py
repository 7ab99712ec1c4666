import subprocess
import sys

import numpy as np
import pytest
import xgboost

from bnn_compiler.cost import trees
from bnn_compiler.cost.trees import Trees

NAMES = ["a", "b", "c"]


def grown(**parameters):
    """A booster, and numbers of which it has split some exactly."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (300, len(NAMES))).astype(np.float32)
    y = x[:, 0] * x[:, 1] - 20 + rng.normal(size=300)
    data = xgboost.DMatrix(x, y, feature_names=NAMES)
    booster = xgboost.train({"max_depth": 4, "nthread": 1, **parameters}, data, 20)
    booster.set_attr(samples="300")
    return booster, x


@pytest.fixture(scope="module")
def one():
    return grown()


def test_sums_are_xgboosts_bit_for_bit(one):
    booster, x = one
    read = Trees.read(bytes(booster.save_raw("ubj")))
    assert read.names == tuple(NAMES) and read.attributes == {"samples": "300"}
    x = np.concatenate([x, read.value[: 3 * (len(read.value) // 3)].reshape(-1, 3)])
    theirs = booster.predict(xgboost.DMatrix(x, feature_names=NAMES))
    assert len(np.unique(theirs)) > 20
    assert np.array_equal(read._by_numpy(x), theirs)
    assert np.array_equal(read.predict(x), theirs)
    assert read._by_numpy(x[:0]).shape == (0,)


def test_steps_of_rows_do_not_show(one, monkeypatch):
    booster, x = one
    read = Trees.read(bytes(booster.save_raw("ubj")))
    whole = read._by_numpy(x)
    monkeypatch.setattr(trees, "_STEP", 7)
    assert np.array_equal(read._by_numpy(x), whole)


def test_few_rows_need_no_xgboost(one, tmp_path):
    booster, x = one
    (tmp_path / "m.ubj").write_bytes(booster.save_raw("ubj"))
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from bnn_compiler.cost.trees import Trees\n"
        "d = Path(sys.argv[1]); t = Trees.read((d / 'm.ubj').read_bytes())\n"
        "np.save(d / 'y.npy', t.predict(np.load(d / 'x.npy')))\n"
        "assert 'xgboost' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    theirs = booster.predict(xgboost.DMatrix(x, feature_names=NAMES))
    assert np.array_equal(np.load(tmp_path / "y.npy"), theirs)


def test_a_tree_of_one_leaf():
    booster, x = grown(gamma=1e9)
    read = Trees.read(bytes(booster.save_raw("ubj")))
    assert read.depth == 0
    theirs = booster.predict(xgboost.DMatrix(x, feature_names=NAMES))
    assert np.array_equal(read._by_numpy(x), theirs)


def test_what_are_no_such_trees_is_refused(one):
    whole = bytes(one[0].save_raw("ubj"))
    other = bytes(grown(objective="reg:absoluteerror")[0].save_raw("ubj"))
    linear = bytes(grown(booster="gblinear", max_depth=None)[0].save_raw("ubj"))
    ends = [whole[:n] for n in range(0, len(whole), 97)]
    for contents in (*ends, whole + b"\0", b"nonsense", other, linear):
        with pytest.raises(ValueError):
            Trees.read(contents)
