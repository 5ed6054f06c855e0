"""Files are whole or not there, and what cannot be read is named."""

import json
from typing import Any

import numpy as np
import pytest

from pose2d.errors import InputError
from pose2d.files.storage import atomic_path, read_json, read_npy, read_npz, sha256, write_json, write_npz
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


def test_json_of_other_encodings_and_gzip_is_read(tmp_path):
    import gzip

    text = json.dumps({"name": "Zoë", "score": 0.5})
    for number, data in enumerate(
        (text.encode("utf-8-sig"), text.encode("utf-16"), text.encode("utf-32"), gzip.compress(text.encode()))
    ):
        (tmp_path / f"{number}.json").write_bytes(data)
        assert read_json(tmp_path / f"{number}.json") == {"name": "Zoë", "score": 0.5}
    (tmp_path / "cut.json").write_bytes(gzip.compress(text.encode())[:-9])
    (tmp_path / "bomb.json").write_bytes(gzip.compress(b" " * (200 << 20)))
    for name in ("cut.json", "bomb.json"):
        with pytest.raises(InputError, match=name):
            read_json(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"1" * 5000, b"NaN", b'{"a": -Infinity}', b'"\xff"', b"<html>", b'{"a": 1']
)
def test_what_json_s_decoder_stumbles_over_is_one_sentence(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json is not JSON") as refused:
        read_json(tmp_path / "a.json")
    assert len(str(refused.value)) <= 300


def npy(descr="'<f8'", shape="(3,)", order="False", data=b"\x00" * 24):
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "member",
    [
        npy("'|O'"),
        npy("[('a', '<f8')]"),
        npy("'<f8'", "(4,)"),
        npy("'<f8'", "(2,)"),
        npy("'<f8'", "(1000000000000,)"),
        npy("'<f8'", "(-3,)"),
        npy("'<f8'", "((((((((((("),
        npy("'<M8[D]'"),
        npy("'<f8'", "(3,)", "None"),
        npy("'<V8'"),
        npy()[:-1],
        npy() + b"\x00",
        npy()[:40],
        b"",
        b"plain bytes",
        b"\x93NUMPY\x09\x00" + npy()[8:],
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    ],
)
def test_npz_members_that_are_no_plain_arrays_are_refused(tmp_path, member):
    import zipfile

    def archive(content):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
            file.writestr("x.npy", content)
        return tmp_path / "a.npz"

    np.testing.assert_array_equal(read_npz(archive(npy()))["x"], np.zeros(3))
    with pytest.raises(InputError, match=r"a\.npz .*array x: "):
        read_npz(archive(member))


def test_an_npz_bomb_is_refused_before_it_is_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(80 << 20))
    with pytest.raises(InputError, match="unpacks to more than 32 times its size"):
        read_npz(tmp_path / "bomb.npz")


def test_arrays_of_every_plain_type_come_back(tmp_path):
    arrays: dict[str, Any] = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "text": np.array(["a", "Zoë"]),
        "bytes": np.array([b"ab", b"c"]),
        "scalar": np.array(5),
        "bool": np.array([[True], [False]]),
        "empty": np.zeros((0, 24, 3, 3)),
        "complex": np.array([1 + 2j]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = read_npz(tmp_path / "a.npz")
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype
            assert read[name].flags.writeable
    np.save(tmp_path / "b.npy", arrays["fortran"])
    np.testing.assert_array_equal(read_npy(tmp_path / "b.npy"), arrays["fortran"])
    with pytest.raises(InputError, match=r"a\.npz cannot be read as a plain \.npy array"):
        read_npy(tmp_path / "a.npz")


def test_a_message_is_one_short_printable_line():
    message = str(InputError("a\nb\x1b[31m" + "x" * 100_000 + " the remedy"))
    assert message.startswith("a b?[31m") and message.endswith("the remedy")
    assert len(message) <= 300 and message.isprintable()
