"""The restricted unpickler reads research data and runs nothing."""

import os
import pickle
import sys
import types
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from pose2d.errors import InputError
from pose2d.files.pickle_machine import PickleError
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


class _Call:
    """Pickled, asks for a call of a name with some arguments and, maybe, a state."""

    def __init__(self, module, name, arguments, state=None):
        self.module, self.name, self.arguments, self.state = module, name, arguments, state


_PythonPickler: Any = pickle._Pickler  # the pickler in C cannot be changed


class _Forger(_PythonPickler):
    """Writes `_Call`s as the calls that they stand for, whether or not such names exist."""

    def save(self, value, save_persistent_id=True):
        if not isinstance(value, _Call):
            return super().save(value, save_persistent_id)
        self.write(f"c{value.module}\n{value.name}\n".encode())
        if value.arguments is not None:
            self.save(value.arguments)
            self.write(b"R")
        if value.state is not None:
            self.save(value.state)
            self.write(b"b")
        return None


def forged(path, value):
    with open(path, "wb") as file:
        _Forger(file, 2).dump(value)
    return path


def sparse(kind, **changes):
    """An honest 2 x 3 matrix of two entries, with some fields of its state changed."""
    state = {"_shape": (2, 3), "data": np.array([5.0, 7.0])}
    if kind == "coo":
        state |= {"row": np.array([0, 1], np.int32), "col": np.array([2, 1], np.int32)}
    else:
        state |= {"indices": np.array([0, 1] if kind == "csc" else [2, 1], np.int32)}
        state |= {"indptr": np.array([0, 0, 1, 2] if kind == "csc" else [0, 1, 2], np.int32)}
    return _Call(f"scipy.sparse.{kind}", f"{kind}_matrix", ((2, 3),), state | changes)


@pytest.mark.parametrize("kind", ["csc", "csr", "coo"])
def test_sparse_indices_are_checked_before_use(kind, tmp_path):
    expected = [[0, 5, 0], [0, 0, 7]] if kind == "csc" else [[0, 0, 5], [0, 7, 0]]
    np.testing.assert_array_equal(plain(restricted_load(forged(tmp_path / "a.pkl", sparse(kind)))), expected)
    far = np.array([1 << 30, 1], np.int32)
    field = "col" if kind == "coo" else "indices"
    wrong: list[dict[str, Any]] = [
        {field: far},
        {field: -far},
        {field: np.array([0], np.int32)},
        {field: np.array([0.0, 1.0])},
        {"_shape": (1 << 20, 1 << 20)},
        {"_shape": (-1, 3)},
        {"_shape": None},
        {"data": np.array(["a", "b"])},
    ]
    if kind != "coo":
        wrong += [{"indptr": np.array(p, np.int32)} for p in ([0, 9, 2], [0, 2, 1, 2], [1, 1, 2], [-5, 1, 1, 2], [])]
    for changes in wrong:
        matrix = restricted_load(forged(tmp_path / "b.pkl", sparse(kind, **changes)))
        with pytest.raises(PickleError):
            plain(matrix)


OBJECTS = _Call("numpy", "dtype", ("O8", False, True), (3, "|", None, None, None, -1, -1, 63))
LIES = {
    "fields of objects": (("V8", False, True), (3, "|", None, ("a",), {"a": (OBJECTS, 0)}, 8, 1, 0)),
    "fields on a float": (("f8", False, True), (3, "<", None, ("a",), {"a": (OBJECTS, 0)}, 8, 1, 0)),
    "another size": (("f8", False, True), (3, "<", None, None, None, 1 << 30, 8, 0)),
    "a subarray": (("f8", False, True), (3, "<", (OBJECTS, (5,)), None, None, -1, -1, 0)),
    "metadata": (("f8", False, True), (4, "<", None, None, None, -1, -1, 0, {"x": OBJECTS})),
    "a text of great length": (("U999999", False, True), (3, "<", None, None, None, -1, -1, 0)),
    "objects over bytes": (("O8", False, True), (3, "|", None, None, None, -1, -1, 0)),
    "a date": (("M8", False, True), (4, "<", None, None, None, -1, -1, 0, ({}, ("D", 1, 1, 1)))),
}


@pytest.mark.parametrize("lie", LIES)
def test_dtypes_are_of_a_closed_set(lie, tmp_path):
    dtype = _Call("numpy", "dtype", *LIES[lie])
    array = _Call("numpy._core.multiarray", "_reconstruct", (_Call("numpy", "ndarray", None), (0,), b"b"))
    array.state = (1, (100,), dtype, False, b"\x41" * 800)
    with pytest.raises(InputError, match=r"a\.pkl"):
        restricted_load(forged(tmp_path / "a.pkl", {"poses": array}))


@pytest.mark.parametrize(
    ("shape", "size"), [((101,), 800), ((99,), 800), ((-1,), 800), ((1 << 61, 8), 800), ((2.5,), 20), ((1 << 40,), 0)]
)
def test_arrays_have_the_bytes_that_their_shape_needs(shape, size, tmp_path):
    dtype = _Call("numpy", "dtype", ("f8", False, True), (3, "<", None, None, None, -1, -1, 0))
    array = _Call("numpy._core.multiarray", "_reconstruct", (_Call("numpy", "ndarray", None), (0,), b"b"))
    array.state = (1, shape, dtype, False, b"\x00" * size)
    with pytest.raises(InputError, match=r"a\.pkl"):
        restricted_load(forged(tmp_path / "a.pkl", array))


def test_big_endian_fortran_objects_and_scalars_come_back(tmp_path):
    value: dict[str, Any] = {
        "big": np.arange(6, dtype=">f4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "objects": np.array(["m", "f"], dtype=object),
        "texts": np.array(["m", "female"]),
        "bytes": bytearray(b"xy"),
        "scalar": np.float64(2.5),
    }
    for protocol in range(6):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol))
        read = restricted_load(tmp_path / "a.pkl")
        for name in ("big", "fortran", "objects", "texts"):
            np.testing.assert_array_equal(read[name], value[name])
            assert read[name].dtype.newbyteorder("=") == value[name].dtype.newbyteorder("=")
        assert read["bytes"] == value["bytes"] and read["scalar"] == 2.5


def nested(depth, times):
    value: list[Any] = [0] * times
    for _ in range(depth):
        value = [value] * times
    return value


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\xbc\xa0\xcb\x02\x85R.",
        b"\x80\x02c__builtin__\nset\nc__builtin__\nrange\n\x8a\x05\x00\xe4\x0bT\x02\x85R\x85R.",
        b"\x80\x02c__builtin__\nbytes\nK\x05\x85R.",
        b"\x80\x02X\xff\xff\xff\xff.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02}r\xff\xff\xff\xffh\x00.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"L" + b"9" * 5000 + b"L\n.",
        b"(" * 5000 + b".",
        b"]" + b"]" * 500 + b"a" * 500 + b".",
        b"\x80\x02]q\x00h\x00a.",
        pickle.dumps(nested(9, 10), 2),
        pickle.dumps([["x" * 100_000] * 1000] * 1000, 2),
    ],
)
def test_bombs_are_refused(program, tmp_path):
    (tmp_path / "bomb.pkl").write_bytes(program)
    with pytest.raises(InputError, match=r"bomb\.pkl"):
        restricted_load(tmp_path / "bomb.pkl")


def test_a_zip_in_the_place_of_a_pickle_is_named(tmp_path):
    np.savez(tmp_path / "SMPLH_MALE.npz", x=np.zeros(3))
    with pytest.raises(InputError, match=r"zip archive \(\.npz or \.zip\), not a pickle"):
        restricted_load(tmp_path / "SMPLH_MALE.npz")
