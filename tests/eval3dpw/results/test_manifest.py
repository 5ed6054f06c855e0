"""What a run folder says of itself, without any fitting."""

import pytest

from eval3dpw.dataset.sequences import SequenceRef
from eval3dpw.dataset.threedpw import ThreeDPW
from eval3dpw.judging.comparison import TrackMeans
from eval3dpw.results import manifest
from eval3dpw.results.manifest import (
    UnitRecord,
    differences,
    record_path,
    refuse_inputs_among_results,
    sole_writer,
)
from pose2d.errors import InputError
from pose2d.files.storage import sha256

IDENTITY = {
    "limit": None,
    "weightings": ["raw", "ccnet"],
    "refinement": {"max_iterations": 20, "translation_std": (0.1, 0.3)},
    "inputs": {"pose.safetensors": "a" * 64},
}


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "sequences"
    folder.mkdir()
    for name in ("one", "two", "three"):
        (folder / f"{name}.pkl").write_text(name)
    return {name: folder / f"{name}.pkl" for name in ("one", "two", "three")}


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def begin(out, identity, sources, fresh):
    sequences = [SequenceRef(name, path) for name, path in sources.items()]
    return manifest.begin(out, identity, ThreeDPW(out.parent), sequences, fresh)


def finish(out, sources, name):
    """Leave what a finished sequence leaves."""
    file = out / "fits" / "raw" / f"{name}_0.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"fits of {name}")
    means = TrackMeans(name, f"{name}_0", 3, {"init": {"mpjpe_mm": 0.1 + 0.2}})
    UnitRecord(name, sha256(sources[name]), {f"fits/raw/{name}_0.npz": sha256(file)}, (means,)).save(out)
    return file


def test_a_run_goes_on_where_it_was(out, sources):
    assert begin(out, IDENTITY, sources, fresh=False) == {}
    finish(out, sources, "one")
    finish(out, sources, "three")
    stray = out / "fits" / "raw" / "two_0.npz"  # written, but its record was not
    stray.write_text("fits of two")
    half = out / "fits" / "raw" / ".two_1.npz.123.partial"
    half.write_text("ha")
    part = out / "parts" / "two-0123" / "000000.npz"
    spent = out / "parts" / "one-0123" / "000000.npz"
    for path in (part, spent):
        path.parent.mkdir(parents=True)
        path.write_text("part")
    done = begin(out, IDENTITY, sources, fresh=False)
    assert list(done) == ["one", "three"]
    assert done["one"].tracks[0].means["init"]["mpjpe_mm"] == 0.1 + 0.2  # to the last bit
    assert not stray.exists()
    assert not half.exists()
    assert part.exists()  # of a sequence that is begun
    assert not spent.parent.exists()


def test_a_spoilt_or_missing_file_is_done_again(out, sources):
    begin(out, IDENTITY, sources, fresh=False)
    finish(out, sources, "one").write_text("spoilt")
    finish(out, sources, "two").unlink()
    finish(out, sources, "three")
    record_path(out, "three").write_text('{"sequence": "thr')
    assert begin(out, IDENTITY, sources, fresh=False) == {}
    assert not list(out.glob("units/*"))
    assert not list(out.glob("fits/*/*"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"limit": 5}, "limit was absent and is 5"),
        ({"weightings": ["raw"]}, "weightings was ['raw', 'ccnet'] and is ['raw']"),
        ({"refinement": {"max_iterations": 3, "translation_std": (0.1, 0.3)}}, "refinement max_iterations was 20"),
        ({"inputs": {"pose.safetensors": "b" * 64}}, "inputs pose.safetensors has other contents"),
        ({"inputs": {"hrnet.pth": "a" * 64}}, "inputs hrnet.pth was absent and is another file"),
    ],
)
def test_another_configuration_is_refused_with_what_differs(out, sources, change, told):
    begin(out, IDENTITY, sources, fresh=False)
    file = finish(out, sources, "one")
    (out / "summary.json").write_text("{}")
    with pytest.raises(InputError, match=r"another configuration.*--fresh.*another --out") as caught:
        begin(out, IDENTITY | change, sources, fresh=False)
    assert told in str(caught.value)
    assert file.exists() and (out / "summary.json").exists()  # nothing is touched
    assert list(begin(out, IDENTITY, sources, fresh=False)) == ["one"]
    assert begin(out, IDENTITY | change, sources, fresh=True) == {}
    assert not file.exists()


def test_other_sequence_files_are_refused(out, sources):
    begin(out, IDENTITY, sources, fresh=False)
    finish(out, sources, "two")
    sources["two"].write_text("repaired")
    with pytest.raises(InputError, match=r"two\.pkl has other contents"):
        begin(out, IDENTITY, sources, fresh=False)


def test_results_of_nobody_knows_which_run_are_refused(out, sources):
    stray = out / "fits" / "raw" / "old_0.npz"
    stray.parent.mkdir(parents=True)
    stray.write_text("old")
    with pytest.raises(InputError, match=r"without a manifest.json.*--fresh"):
        begin(out, IDENTITY, sources, fresh=False)
    assert stray.exists()
    begin(out, IDENTITY, sources, fresh=True)
    assert not stray.exists()


def test_a_manifest_that_is_none_is_refused(out, sources):
    (out / "manifest.json").write_text("[1]")
    with pytest.raises(InputError, match="no manifest of a run: give --fresh"):
        begin(out, IDENTITY, sources, fresh=False)


def test_lists_and_tuples_are_alike():
    assert differences({"a": {"b": [1, 2]}}, {"a": {"b": (1, 2)}}) == []


def test_inputs_are_not_overwritten(out, sources):
    file = finish(out, sources, "one")
    with pytest.raises(InputError, match="is an input of this run"):
        refuse_inputs_among_results(out, [file.parent / ".." / "raw" / file.name])
    refuse_inputs_among_results(out, list(sources.values()))


def test_two_runs_do_not_write_to_one_folder(out):
    with (
        sole_writer(out),
        pytest.raises(InputError, match="another run is writing"),
        sole_writer(out),
    ):
        pass
    with sole_writer(out):
        pass
