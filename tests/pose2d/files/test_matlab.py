"""Arrays of MATLAB files are what scipy wrote, and damaged files are one sentence."""

import contextlib

import numpy as np
import pytest
from scipy.io import savemat

from pose2d.errors import InputError
from pose2d.files.matlab import read_mat_array


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "u1", "i2", "i4", "u4", "i8"])
def test_reads_what_scipy_writes(packed, dtype, tmp_path):
    boxes = np.arange(2 * 2 * 5).reshape(2, 2, 5).astype(dtype)
    others = {"names": np.array(["a", "bc"], dtype=object), "text": "valid", "z": np.array([[1 + 2j]]), "one": 3.0}
    savemat(tmp_path / "a.mat", others | {"headboxes_src": boxes}, do_compression=packed)
    read = read_mat_array(tmp_path / "a.mat", "headboxes_src")
    np.testing.assert_array_equal(read, boxes)
    assert read_mat_array(tmp_path / "a.mat", "one").tolist() == [[3.0]]
    for name in ("text", "names", "z"):
        with pytest.raises(InputError, match="no matrix of real numbers"):
            read_mat_array(tmp_path / "a.mat", name)
    with pytest.raises(InputError, match="none of that name"):
        read_mat_array(tmp_path / "a.mat", "headboxes")


def test_other_files_and_bombs_are_refused(tmp_path):
    savemat(tmp_path / "old.mat", {"x": np.zeros(3)}, format="4")
    (tmp_path / "text.mat").write_text("x")
    savemat(tmp_path / "bomb.mat", {"x": np.zeros(20 << 20)}, do_compression=True)
    for name in ("old.mat", "text.mat", "bomb.mat"):
        with pytest.raises(InputError, match=name):
            read_mat_array(tmp_path / name, "x")


def test_every_cut_and_every_flipped_byte_is_read_or_refused(tmp_path):
    path = tmp_path / "a.mat"
    for packed in (False, True):
        savemat(path, {"x": np.arange(6.0), "s": {"a": 1}}, do_compression=packed)
        data = path.read_bytes()
        for at in range(0, len(data), 3):
            for changed in (data[:at], data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]):
                path.write_bytes(changed)
                with contextlib.suppress(InputError):
                    assert read_mat_array(path, "x").size < 1000
