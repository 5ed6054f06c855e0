"""Files joined of chunks, against numpy's own writer."""

import time

import numpy as np
import pytest

import eval3dpw.results.chunked_files
from eval3dpw.results.chunked_files import Parts, PartStore, part_of

RNG = np.random.default_rng(0)
WHOLE = {
    "name": (None, np.array("walk_00_0")),
    "frame_ids": (0, np.arange(7)),
    "rotations": (0, RNG.normal(size=(7, 24, 3, 3))),
    "joint_mm": (1, RNG.normal(size=(2, 7, 14)).astype(np.float32)),
    "far": (2, RNG.integers(0, 9, (2, 3, 7))),
}


def cut(start, stop):
    """A part with some frames of two files."""
    arrays = {
        name: (axis, values if axis is None else np.take(values, range(start, stop), axis))
        for name, (axis, values) in WHOLE.items()
    }
    return part_of("fits/raw/a.npz", arrays) | part_of("errors/a.npz", {"frame_ids": arrays["frame_ids"]})


@pytest.fixture(params=[64, 1])
def store(request, tmp_path, monkeypatch):
    monkeypatch.setattr(eval3dpw.results.chunked_files, "_OPEN_PARTS", request.param)
    store = PartStore(tmp_path / "parts" / "walk")
    for number, (start, stop) in enumerate(((0, 3), (3, 4), (4, 7))):
        assert number not in store
        store.put(number, cut(start, stop))
        assert number in store
    return store


def test_chunks_make_the_file_that_numpy_would_write(store, tmp_path):
    with Parts(store, 3) as parts:
        assert set(parts.files()) == {"fits/raw/a.npz", "errors/a.npz"}
        path = parts.write("fits/raw/a.npz", tmp_path)
        for key in parts.keys("fits/raw/a.npz"):
            np.testing.assert_array_equal(parts.whole(key), WHOLE[key[1]][1])
    with np.load(path, allow_pickle=False) as joined:
        assert sorted(joined.files) == sorted(WHOLE)
        for name, (_, values) in WHOLE.items():
            assert joined[name].dtype == values.dtype
            np.testing.assert_array_equal(joined[name], values)
    store.clear()
    assert not store.folder.exists()


def test_one_part_in_memory_makes_the_same_bytes_at_any_time(store, tmp_path, monkeypatch):
    with Parts(store, 3) as parts:
        joined = parts.write("fits/raw/a.npz", tmp_path / "joined").read_bytes()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e6)  # zip archives usually say when they were written
    with Parts(None, 1, cut(0, 7)) as parts:
        assert parts.write("fits/raw/a.npz", tmp_path / "single").read_bytes() == joined


def test_a_track_may_be_absent_from_a_chunk(tmp_path):
    store = PartStore(tmp_path / "parts")
    store.put(0, cut(0, 3))
    store.put(1, part_of("fits/raw/b.npz", {"frame_ids": (0, np.arange(3, 5))}))
    with Parts(store, 2) as parts, np.load(parts.write("fits/raw/b.npz", tmp_path)) as late:
        assert late["frame_ids"].tolist() == [3, 4]


def test_half_a_part_is_none(tmp_path):
    store = PartStore(tmp_path / "parts")
    store.put(0, cut(0, 7))
    whole = store.path(0).read_bytes()
    store.path(0).write_bytes(whole[: len(whole) // 2])
    assert 0 not in store
