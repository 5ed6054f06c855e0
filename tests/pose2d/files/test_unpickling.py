"""The restricted unpickler reads research data and runs nothing."""

import os
import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from pose2d.errors import InputError
from pose2d.files.unpickling import plain, restricted_load


class _Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_reads_plain_data(tmp_path, protocol):
    path = tmp_path / "data.pkl"
    value = {"a": np.arange(6.0).reshape(2, 3), "b": [1, "two", None], "c": np.float32(3.5), "d": (True, {"x"})}
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    read = restricted_load(path)
    np.testing.assert_array_equal(read["a"], value["a"])
    assert read["b"] == value["b"]
    assert read["c"] == value["c"]
    assert read["d"] == value["d"]


def test_reads_empty_arrays(tmp_path):
    file = tmp_path / "empty.pkl"
    file.write_bytes(pickle.dumps({"poses": np.zeros((0, 72))}, protocol=2))
    assert restricted_load(file)["poses"].shape == (0, 72)


def test_reads_sparse_matrices(tmp_path):
    matrix = scipy.sparse.csc_matrix(np.eye(3)[:2])
    path = tmp_path / "sparse.pkl"
    path.write_bytes(pickle.dumps(matrix))
    np.testing.assert_array_equal(plain(restricted_load(path)), np.eye(3)[:2])


def test_malicious_pickle_does_not_run(tmp_path):
    path, proof = tmp_path / "bad.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"poses": _Malicious(proof)}))
    with pytest.raises(InputError, match=r"bad\.pkl .*system"):
        restricted_load(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("builtins", "getattr"), ("numpy", "load"), ("scipy.sparse", "load_npz")]
)
def test_refuses_every_other_name(tmp_path, module, name):
    path = tmp_path / "bad.pkl"
    path.write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(InputError, match=name):
        restricted_load(path)


def test_truncated_pickle_is_named(tmp_path):
    path = tmp_path / "short.pkl"
    path.write_bytes(pickle.dumps(np.arange(1000))[:200])
    with pytest.raises(InputError, match=r"short\.pkl"):
        restricted_load(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        restricted_load(tmp_path / "none.pkl")


def test_chumpy_objects_become_their_arrays(tmp_path, monkeypatch):
    chumpy = types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x):
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    chumpy.Ch = Ch
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", chumpy)
    path = tmp_path / "chumpy.pkl"
    path.write_bytes(pickle.dumps({"v": Ch(np.arange(3.0))}, protocol=2))
    monkeypatch.undo()
    np.testing.assert_array_equal(plain(restricted_load(path)["v"]), np.arange(3.0))
