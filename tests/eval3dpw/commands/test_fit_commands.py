"""`fit`, `compare` and `evaluate` from the command line, on tiny sequences with untrained networks."""

import json
import os
import pickle
import re
import sys
import types
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors.torch import load_file, save_file

import run_fitting
from fitting.bodies.body import OPEN_BODY_DIR, load_body


@pytest.fixture
def world(tmp_path, make_sequence, write_sequence):
    for name, actors, seed in (("alone_00", 1, 0), ("two_00", 2, 1)):
        write_sequence(tmp_path / "world", make_sequence(name, frames=3, actors=actors, seed=seed))
    return tmp_path / "world"


@pytest.fixture
def run(tmp_path, random_networks, capsys):
    """Run a subcommand with the untrained networks; returns exit status, printed text, and summary.json if any."""

    def run(command, *arguments, root, networks=True):
        out = tmp_path / "out"
        options = [command, "--root", str(root)]
        if command != "evaluate":
            options += ["--out", str(out)]
            if networks:
                options += ["--checkpoint", str(random_networks["pose"]), "--ccnet", str(random_networks["ccnet"])]
                options += ["--regressor", str(random_networks["regressor"])]
        status = run_fitting.main([*options, *map(str, arguments)])
        printed = capsys.readouterr()
        summary = out / "summary.json"
        return status, printed.out + printed.err, json.loads(summary.read_text()) if summary.is_file() else None

    return run


def one_sentence(text: str) -> str:
    """What the command line says of a user's mistake."""
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in text
    return errors[0]


def test_compare_runs_all_weightings_and_writes_everything(world, run, tmp_path):
    status, printed, summary = run("compare", root=world)
    assert status == 0
    rows = ["init", "uniform", "raw", "rescored", "ccnet", "precision", "oracle"]
    assert [row["weighting"] for row in summary["rows"]] == rows
    assert (summary["protocol"], summary["num_frames"], summary["num_tracks"]) == ("camerahmr", 9, 3)
    assert summary["configuration"]["split"] == "test"
    assert summary["configuration"]["refinement"]["max_iterations"] >= 1
    assert summary["versions"]["torch"] == torch.__version__.split("+")[0] or "+" in summary["versions"]["torch"]
    hashed = " ".join(summary["inputs"])
    for name in ("alone_00.pkl", "two_00.pkl", "pose.safetensors", "ccnet.safetensors", "regressor.safetensors"):
        assert name in hashed
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in summary["inputs"].values())
    for row in rows:
        for track in ("alone_00_0", "two_00_0", "two_00_1"):
            assert (tmp_path / "out" / "fits" / row / f"{track}.npz").is_file()
    fits = np.load(tmp_path / "out" / "fits" / "ccnet" / "two_00_1.npz", allow_pickle=False)
    assert fits["rotations"].shape == (3, 24, 3, 3)
    assert fits["frame_ids"].tolist() == [0, 1, 2]
    assert str(fits["weighting"]) == "ccnet"
    assert {"betas", "translation", "intrinsics", "image_size_wh", "reason", "weights"} <= set(fits.files)
    errors = np.load(tmp_path / "out" / "errors" / "two_00_1.npz", allow_pickle=False)
    assert errors["rows"].tolist() == rows
    np.testing.assert_allclose(errors["joint_mm"].mean(2), errors["mpjpe_mm"], rtol=1e-5)
    mean = summary["tracks"][2]["errors"]["raw"]["mve_mm"]
    assert errors["mve_mm"][rows.index("raw")].mean() == pytest.approx(mean, abs=1e-2)
    assert "Protocol camerahmr: 9 frames of 3 tracks" in printed
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_evaluate_gives_the_numbers_of_the_run_and_other_protocols(world, run, tmp_path):
    _, _, fitted = run("fit", "--weighting", "raw", "--protocol", "pymaf", root=world)
    assert [row["weighting"] for row in fitted["rows"]] == ["init", "raw"]
    again = tmp_path / "again"
    status, _, _ = run("evaluate", "--fits", tmp_path / "out", "--protocol", "pymaf", "--out", again, root=world)
    assert status == 0
    evaluated = json.loads((again / "summary.json").read_text())
    assert evaluated["rows"] == fitted["rows"]
    assert evaluated["tracks"] == fitted["tracks"]
    status, printed, _ = run("evaluate", "--fits", tmp_path / "out", "--protocol", "official", root=world)
    assert status == 0
    assert "MPJAE" in printed


def test_limit_sequences_and_constants(world, run):
    status, _, summary = run(
        "fit", "--weighting", "uniform", "--limit", 2, "--sequences", "two_00", "--power", 2,
        "--constants", "max_iterations=3", "translation_std=(0.1,0.1,0.5)", root=world,
    )  # fmt: skip
    assert status == 0
    assert (summary["num_frames"], summary["num_tracks"]) == (4, 2)
    assert summary["configuration"]["refinement"]["max_iterations"] == 3
    assert summary["configuration"]["refinement"]["translation_std"] == [0.1, 0.1, 0.5]
    assert summary["configuration"]["rule"]["power"] == 2


def test_the_2d_stage_runs_once_for_all_weightings(world, run, monkeypatch):
    import eval3dpw.run.pipeline

    calls = []
    cut = eval3dpw.run.pipeline.crop_batches
    monkeypatch.setattr(eval3dpw.run.pipeline, "crop_batches", lambda *a, **k: calls.append(len(a[1])) or cut(*a, **k))
    assert run("compare", "--weightings", "uniform", "raw", "ccnet", root=world)[0] == 0
    assert calls == [3, 6]  # persons of each sequence


def test_initial_predictions_of_another_method(world, run, tmp_path):
    _, _, first = run("fit", "--weighting", "uniform", root=world)
    given = tmp_path / "out" / "fits" / "init"
    (tmp_path / "given").mkdir()
    for file in given.glob("*.npz"):
        (tmp_path / "given" / file.name).write_bytes(file.read_bytes())
    status, _, second = run("fit", "--weighting", "uniform", "--initial", tmp_path / "given", "--fresh", root=world)
    assert status == 0
    assert second["rows"] == first["rows"]

    files = {file.stem: np.load(file) for file in sorted((tmp_path / "given").glob("*.npz"))}
    flat: dict[str, Any] = {
        key: np.concatenate([f[key] for f in files.values()]) for key in ("rotations", "betas", "translation")
    }
    flat["frame_ids"] = np.concatenate([f["frame_ids"] for f in files.values()])
    flat["track"] = np.repeat(list(files), [len(f["frame_ids"]) for f in files.values()])
    np.savez(tmp_path / "flat.npz", **flat)
    status, _, third = run("fit", "--weighting", "uniform", "--initial", tmp_path / "flat.npz", "--fresh", root=world)
    assert status == 0
    assert third["rows"] == first["rows"]

    (tmp_path / "given" / "two_00_1.npz").unlink()
    status, printed, partly = run(
        "fit", "--weighting", "uniform", "--initial", tmp_path / "given", "--fresh", root=world
    )
    assert status == 2
    assert "two_00_1" in one_sentence(printed)
    assert partly["num_tracks"] == 1


def test_an_earlier_runs_fits_are_not_mixed_with_this_ones(world, run, tmp_path):
    assert run("compare", "--weightings", "raw", "uniform", "--limit", 1, root=world)[0] == 0
    initial = tmp_path / "out" / "fits" / "init"
    status, printed, _ = run("fit", "--weighting", "uniform", "--initial", initial, root=world)
    assert status == 2
    assert "choose another --out" in one_sentence(printed)
    assert len(list(initial.glob("*.npz"))) == 3
    fewer = ("--weighting", "uniform", "--limit", 1, "--sequences", "alone_00")
    assert run("fit", *fewer, "--fresh", root=world)[0] == 0
    left = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.npz"))
    assert left == ["errors/alone_00_0.npz", "fits/init/alone_00_0.npz", "fits/uniform/alone_00_0.npz",
                    "keypoints/alone_00_0.npz"]  # fmt: skip


def spoil_pickle(change):
    def spoil(world):
        path = world / "sequenceFiles" / "test" / "alone_00.pkl"
        data = pickle.loads(path.read_bytes())
        change(data)
        path.write_bytes(pickle.dumps(data))

    return spoil


def set_field(field, value):
    def change(data):
        data[field] = value

    return spoil_pickle(change)


def shift_joints(data):
    data["poses2d"][0][1, 0] += 500


def one_point(data):
    data["poses2d"][0][1, :2] = 20.0


BAD_SEQUENCES = {
    "missing image": (
        lambda world: (world / "imageFiles" / "alone_00" / "image_00001.jpg").unlink(),
        ("alone_00.pkl", "image_00001.jpg", "missing"),
    ),
    "truncated image": (
        lambda world: os.truncate(world / "imageFiles" / "alone_00" / "image_00001.jpg", 300),
        ("image_00001.jpg", "truncated"),
    ),
    "truncated pickle": (
        lambda world: os.truncate(world / "sequenceFiles" / "test" / "alone_00.pkl", 500),
        ("alone_00.pkl", "cannot be read"),
    ),
    "no valid frame": (
        set_field("campose_valid", [np.zeros(3, int)]),
        ("alone_00.pkl", "no valid frame", "campose_valid"),
    ),
    "NaN poses": (set_field("poses", [np.full((3, 72), np.nan)]), ("alone_00.pkl", "poses[0]", "NaN")),
    "outside": (spoil_pickle(shift_joints), ("alone_00.pkl", "poses2d[0]", "outside the 64x48 image", "frame 1")),
    "zero area": (spoil_pickle(one_point), ("alone_00.pkl", "poses2d[0]", "zero area", "frame 1")),
}


@pytest.mark.parametrize("name", BAD_SEQUENCES)
def test_one_bad_sequence_is_reported_and_the_others_are_finished(world, run, name):
    spoil, words = BAD_SEQUENCES[name]
    spoil(world)
    status, printed, summary = run("fit", "--weighting", "uniform", root=world)
    assert status == 2
    sentence = one_sentence(printed)
    for word in ("1 of 2 sequences", *words):
        assert word in sentence
    assert summary["num_tracks"] == 2
    assert list(summary["failed_sequences"]) == ["alone_00"]


def test_when_nothing_can_be_done_nothing_is_written(world, run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text("{}")
    set_field("poses", [np.full((3, 72), np.nan)])(world)
    status, printed, summary = run("fit", "--weighting", "uniform", "--sequences", "alone_00", root=world)
    assert status == 2
    assert "NaN" in one_sentence(printed)
    assert summary is None  # the older one is gone: it would not belong to these fits


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sequences", "nobody_00"), ("nobody_00", "alone_00")),
        (("--split", "train"), ("sequenceFiles/train",)),
        (("--limit", "0"), ("--limit",)),
        (("--workers", "-1"), ("--workers", "0 for as many")),
        (("--address", "localhost:6379"), ("--address", "--engine ray")),
        (("--constants", "max_iterations=soon"), ("max_iterations=soon", "expected a value like")),
        (("--constants", "speed=1"), ("speed=1", "prior_strength")),
        (("--body-dir", "nowhere"), ("no such directory", "nowhere")),
        (("--initial", "nothing.npz"), ("nothing.npz",)),
        (("--network", "sbl-r50"), ("SBL",)),
        (("--network", "resnet"), ("resnet", "sbl-small")),
    ],
)
def test_bad_options(world, run, arguments, words):
    status, printed, _ = run("fit", "--weighting", "uniform", *arguments, root=world)
    assert status == 2
    for word in words:
        assert word in one_sentence(printed)


def test_no_such_world(run, tmp_path):
    status, printed, _ = run("fit", root=tmp_path / "nowhere")
    assert status == 2
    assert "no such directory" in one_sentence(printed)


def test_a_checkpoint_that_does_not_fit(world, run, random_networks, tmp_path):
    state = load_file(random_networks["pose"])
    state.pop("final_layer.weight")
    save_file(state, tmp_path / "lame.safetensors")
    status, printed, _ = run("fit", "--checkpoint", tmp_path / "lame.safetensors", root=world)
    assert status == 2
    assert "final_layer.weight" in one_sentence(printed)

    state = load_file(random_networks["pose"])
    save_file({name: value + 1 for name, value in state.items()}, tmp_path / "other.safetensors")
    status, printed, _ = run("fit", "--checkpoint", tmp_path / "other.safetensors", root=world)
    assert status == 2
    for word in ("ccnet.safetensors", "other.safetensors", "trained on sbl-small"):
        assert word in one_sentence(printed)


def test_bodies_of_another_topology_than_the_regressors(world, run, tmp_path):
    folder = tmp_path / "bodies"
    folder.mkdir()
    for file in OPEN_BODY_DIR.glob("*.npz"):
        (folder / file.name).symlink_to(file)
    np.save(folder / "J_regressor_h36m.npy", np.zeros((17, 6890), np.float32))
    status, printed, _ = run("fit", "--body-dir", folder, root=world)
    assert status == 2
    for word in ("J_regressor_h36m.npy", "6890", "6880"):
        assert word in one_sentence(printed)
    (folder / "J_regressor_h36m.npy").unlink()
    status, printed, _ = run("fit", "--body-dir", folder, root=world)
    assert status == 2
    assert "--protocol official" in one_sentence(printed)


def test_a_full_disk_is_told_in_one_sentence(world, run, tmp_path, monkeypatch):
    import errno

    from eval3dpw.results.chunked_files import Parts

    def full(*arguments, **fields):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "out" / "fits"))

    monkeypatch.setattr(Parts, "_write_array", full)
    status, printed, summary = run("fit", "--weighting", "uniform", root=world)
    assert status == 2
    assert "No space left on device" in one_sentence(printed)
    assert summary is None
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_evaluate_on_what_is_not_there(world, run, tmp_path):
    status, printed, _ = run("evaluate", "--fits", tmp_path, root=world)
    assert status == 2
    assert "no fits" in one_sentence(printed)


class _Chumpy:
    """Pickles as a chumpy array does."""

    def __init__(self, array):
        self.__dict__ = {"x": array, "_dirty_vars": set()}


def write_official_pickle(path, body_file, monkeypatch):
    """A body under SMPL's names and in SMPL's types: chumpy shapedirs, sparse regressor, Python 2 protocol."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (_Chumpy,), {"__module__": "chumpy.ch", "__qualname__": "Ch"})
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    with np.load(body_file) as archive:
        data = {
            "v_template": module.Ch(archive["v_template"].astype(np.float64)),
            "shapedirs": module.Ch(archive["shapedirs"].astype(np.float64)),
            "posedirs": archive["posedirs"].astype(np.float64),
            "J_regressor": scipy.sparse.csc_matrix(archive["J_regressor"]),
            "weights": module.Ch(archive["weights"].astype(np.float64)),
            "kintree_table": archive["kintree_table"],
            "f": archive["f"],
            "bs_style": "lbs",
            "bs_type": "lrotmin",
        }
    path.write_bytes(pickle.dumps(data, protocol=2))
    monkeypatch.undo()


def test_real_layout_smpl_pickles_and_spin_checkpoint(world, run, tmp_path, monkeypatch):
    """SMPL's and SPIN's files are not here; files of the same names, layouts and types are."""
    from fitting.regressor.model import Regressor, RegressorConfig

    bodies = tmp_path / "smpl"
    bodies.mkdir()
    names = {"neutral": "basicModel_neutral_lbs_10_207_0_v1.0.0", "male": "basicmodel_m_lbs_10_207_0_v1.0.0"}
    names["female"] = "basicModel_f_lbs_10_207_0_v1.0.0"
    for gender, name in names.items():
        write_official_pickle(bodies / f"{name}.pkl", load_body(gender=gender).path, monkeypatch)
    (bodies / "J_regressor_h36m.npy").symlink_to(OPEN_BODY_DIR / "J_regressor_h36m.npy")
    spin = tmp_path / "model_checkpoint.pt"
    torch.save({"model": Regressor(RegressorConfig()).state_dict()}, spin)
    assert len(torch.load(spin, weights_only=True)["model"]) == 331

    status, printed, _ = run("fit", "--body-dir", bodies, "--regressor", spin, root=world)
    assert status == 2
    assert "convert-body" in one_sentence(printed)
    for gender, name in names.items():
        target = bodies / f"SMPL_{gender.upper()}.npz"
        assert run_fitting.main(["convert-body", str(bodies / f"{name}.pkl"), str(target)]) == 0
    options = ("--body-dir", bodies, "--protocol", "spin")
    status, printed, summary = run("fit", "--regressor", spin, "--limit", 1, *options, root=world)
    assert status == 0
    assert summary["num_tracks"] == 3
    status, evaluated, _ = run("evaluate", "--fits", tmp_path / "out", *options, root=world)
    assert status == 0
    assert "Protocol spin: 3 frames of 3 tracks" in evaluated
    assert f"{summary['rows'][0]['mpjpe_mm']:.1f} [" in evaluated
