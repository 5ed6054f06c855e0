"""Files are whole or not there, and what cannot be read is named."""

import json

import numpy as np
import pytest

from pose2d.errors import InputError
from pose2d.files.storage import atomic_path, read_json, read_npz, sha256, write_json, write_npz
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"AP": 1})
    with pytest.raises(RuntimeError, match="midway"), atomic_path(path) as partial:
        partial.write_text("{")
        raise RuntimeError("midway")
    assert json.loads(path.read_text()) == {"AP": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_nan_is_not_written_as_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"AP": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"[1, 2", b"\xff\xfe\x00", b"PK\x03\x04"])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.json is not JSON"):
        read_json(path)


def test_npz_round_trip_and_damage(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, x=np.arange(5))
    np.testing.assert_array_equal(read_npz(path)["x"], np.arange(5))
    (tmp_path / "b.npz").write_bytes(path.read_bytes()[:-30])
    np.savez(tmp_path / "c.npz", x=np.array([{}], dtype=object))
    for name in ("b.npz", "c.npz"):
        with pytest.raises(InputError, match=name):
            read_npz(tmp_path / name)


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "t").write_bytes(b"abc")
    assert sha256(tmp_path / "t") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2


def test_poses_survive_the_disk(tmp_path):
    rng = np.random.default_rng(0)
    poses = Poses2D(COCO17, rng.normal(size=(3, 17, 2)), rng.random((3, 17)), rng.random((3, 4)))
    poses.save(tmp_path / "p.npz")
    read = Poses2D.load(tmp_path / "p.npz")
    np.testing.assert_array_equal(read.xy_px, poses.xy_px)
    assert read.sigma_px is None
    assert read.skeleton is COCO17
    write_npz(tmp_path / "q.npz", xy_px=poses.xy_px)
    with pytest.raises(InputError, match=r"q\.npz .*raw_score"):
        Poses2D.load(tmp_path / "q.npz")
