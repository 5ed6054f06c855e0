"""Interrupted and continued runs, and runs on several workers, on tiny sequences with untrained networks."""

import json
from pathlib import Path

import numpy as np
import pytest

import eval3dpw.run.sequence_job
import run_fitting
from eval3dpw.run.sequence_job import SequenceJob, frame_chunks
from tests.eval3dpw.run_folders import assert_same, command_line, contents, run_apart

NAMES = ("alone_00", "long_00", "two_00")


@pytest.fixture
def world(tmp_path, make_sequence, write_sequence):
    for seed, (name, actors, frames) in enumerate(zip(NAMES, (1, 1, 2), (2, 5, 3), strict=True)):
        write_sequence(tmp_path / "world", make_sequence(name, frames=frames, actors=actors, seed=seed))
    return tmp_path / "world"


@pytest.fixture
def run(world, tmp_path, random_networks, capsys, monkeypatch):
    """Run a subcommand in a folder of its own, so that --out is recorded alike; returns status and what was printed."""

    def run(folder, *arguments, command="fit"):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        options = command_line(world, random_networks, *map(str, arguments))
        status = run_fitting.main([command, *options[1:]])
        return status, capsys.readouterr()

    return run


@pytest.fixture
def chunks_seen(monkeypatch):
    """Frames of each track that goes into the networks, and a way to interrupt before the n-th chunk."""
    seen: list[tuple[str, list[int]]] = []
    stop_at: list[int] = []
    observe = eval3dpw.run.sequence_job.observe

    def watched(tracks, *arguments, **options):
        if len(seen) in stop_at:
            stop_at.clear()
            raise KeyboardInterrupt
        seen.append((tracks[0].sequence, tracks[0].frame_ids.tolist()))
        return observe(tracks, *arguments, **options)

    monkeypatch.setattr(eval3dpw.run.sequence_job, "observe", watched)
    monkeypatch.setattr(eval3dpw.run.sequence_job, "CHUNK_FRAMES", 2)
    return seen, stop_at


ALL_CHUNKS = [("alone_00", [0, 1]), ("long_00", [0, 1]), ("long_00", [2, 3]), ("long_00", [4]), ("two_00", [0, 1]),
              ("two_00", [2])]  # fmt: skip


def test_an_interrupted_run_goes_on_where_it_was(run, tmp_path, chunks_seen):
    seen, stop_at = chunks_seen
    assert run("whole")[0] == 0
    assert seen == ALL_CHUNKS
    seen.clear()
    for stop in (3, 4):  # in the middle of a sequence, and between two
        stop_at.append(stop)
        status, printed = run("broken")
        assert status == 130
        assert "interrupted" in printed.err
        assert not (tmp_path / "broken" / "out" / "summary.json").exists()
    assert seen == ALL_CHUNKS[:4]  # nothing was done twice
    assert run("broken")[0] == 0
    assert seen == ALL_CHUNKS
    assert_same(tmp_path / "whole" / "out", tmp_path / "broken" / "out")
    assert not (tmp_path / "whole" / "out" / "parts").exists()

    assert run("broken")[0] == 0  # a finished run is only told again
    assert seen == ALL_CHUNKS
    assert_same(tmp_path / "whole" / "out", tmp_path / "broken" / "out")
    (tmp_path / "broken" / "out" / "fits" / "ccnet" / "two_00_1.npz").write_bytes(b"spoilt")
    assert run("broken")[0] == 0
    assert seen == [*ALL_CHUNKS, *ALL_CHUNKS[4:]]
    assert_same(tmp_path / "whole" / "out", tmp_path / "broken" / "out")
    assert run("broken", "--fresh")[0] == 0
    assert len(seen) == 8 + 6
    assert_same(tmp_path / "whole" / "out", tmp_path / "broken" / "out")


def test_a_part_that_the_disk_has_spoilt_is_done_again(run, tmp_path, chunks_seen):
    seen, stop_at = chunks_seen
    stop_at.append(2)
    assert run("broken", "--sequences", "long_00")[0] == 130
    (part,) = (tmp_path / "broken" / "out" / "parts").glob("long_00-*/000001.npz")
    whole = part.read_bytes()
    part.write_bytes(whole[:200] + bytes(1000) + whole[1200:])
    assert run("broken", "--sequences", "long_00")[0] == 0
    assert seen[2:] == [ALL_CHUNKS[3], *ALL_CHUNKS[1:4]]
    assert run("calm", "--sequences", "long_00")[0] == 0
    assert_same(tmp_path / "calm" / "out", tmp_path / "broken" / "out")


@pytest.mark.slow
def test_cut_or_whole_a_sequence_has_the_same_bodies(run, tmp_path, monkeypatch):
    assert run("whole", "--weightings", "uniform", "ccnet", "--protocol", "official", command="compare")[0] == 0
    monkeypatch.setattr(eval3dpw.run.sequence_job, "CHUNK_FRAMES", 2)
    assert run("cut", "--weightings", "uniform", "ccnet", "--protocol", "official", command="compare")[0] == 0
    whole = {path.relative_to(tmp_path / "whole"): path for path in (tmp_path / "whole").rglob("*.npz")}
    assert len(whole) == 5 * 4
    for name, path in whole.items():
        with np.load(path) as one, np.load(tmp_path / "cut" / name) as other:
            assert one.files == other.files
            for field in one.files:
                assert one[field].dtype == other[field].dtype
                if one[field].dtype.kind == "f":
                    np.testing.assert_allclose(one[field], other[field], rtol=1e-3, atol=1e-3)
                elif field != "iterations":
                    np.testing.assert_array_equal(one[field], other[field])
    rows = [json.loads((tmp_path / name / "out" / "summary.json").read_text())["rows"] for name in ("whole", "cut")]
    for one, other in zip(*rows, strict=True):
        assert one["mpjpe_mm"] == pytest.approx(other["mpjpe_mm"], abs=0.01)
        assert one["mpjae_deg"] == pytest.approx(other["mpjae_deg"], abs=0.01)


@pytest.mark.slow
def test_two_workers_leave_the_same_bytes_as_one(world, random_networks, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(run_fitting.__file__).parent))
    for folder, workers in (("one", "1"), ("two", "2")):
        run_apart(tmp_path / folder, command_line(world, random_networks, "--workers", workers))
    assert_same(tmp_path / "one" / "out", tmp_path / "two" / "out")
    timings = json.loads((tmp_path / "two" / "out" / "timings.json").read_text())
    assert timings["workers"] == 2
    assert timings["persons"] == 2 + 5 + 2 * 3
    assert timings["seconds"]["fit"] > 0


def test_another_configuration_is_refused(run, tmp_path):
    assert run("here", "--limit", 1)[0] == 0
    before = contents(tmp_path / "here" / "out")
    for arguments, words in (
        (("--limit", 2), "limit was 1 and is 2"),
        (("--limit", 1, "--constants", "max_iterations=3"), "refinement max_iterations"),
        (("--limit", 1, "--protocol", "wham"), "protocol was camerahmr and is wham"),
        (("--limit", 1, "--weighting", "raw"), "weightings was ['ccnet'] and is ['raw']"),
        (("--limit", 1, "--sequences", "two_00"), "is ['two_00']"),
    ):
        status, printed = run("here", *arguments)
        assert status == 2
        errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        for word in (words, "another configuration", "--fresh", "another --out"):
            assert word in errors[0]
        assert contents(tmp_path / "here" / "out") == before
    assert run("here", "--limit", 1, "--workers", 2)[0] == 0  # how a run is done is no part of what it is


def test_a_sequence_that_failed_is_tried_again(run, world, tmp_path, monkeypatch):
    image = world / "imageFiles" / "alone_00" / "image_00001.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:300])
    assert run("here", "--sequences", "alone_00", "two_00")[0] == 2
    image.write_bytes(whole)
    done = []
    work = SequenceJob.__call__
    monkeypatch.setattr(
        SequenceJob, "__call__", lambda self, sequence: done.append(sequence.name) or work(self, sequence)
    )
    assert run("here", "--sequences", "alone_00", "two_00")[0] == 0
    assert done == ["alone_00"]
    assert run("calm", "--sequences", "alone_00", "two_00")[0] == 0
    assert_same(tmp_path / "here" / "out", tmp_path / "calm" / "out")


def test_chunks_hold_every_frame_once(world):
    from eval3dpw.dataset.threedpw import read_sequence

    tracks = read_sequence(world / "sequenceFiles" / "test" / "two_00.pkl", None)
    first, second = tracks
    chunks = frame_chunks([first.select(np.array([0, 2])), second.select(np.array([2]))], 1)
    assert [[(track.actor, track.frame_ids.tolist()) for track in chunk] for chunk in chunks] == [
        [(0, [0])],
        [(0, [2]), (1, [2])],
    ]
