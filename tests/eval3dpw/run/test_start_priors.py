"""`fit --objective probability`: which prior it takes, what it writes, and what it refuses. Untrained networks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import run_fitting
from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.dataset.threedpw import read_sequence
from eval3dpw.run.start_priors import PACKAGED_PRIOR
from eval3dpw.start.errors import start_errors
from eval3dpw.start.synthetic import synthetic_start
from fitting.bodies.body import load_body
from fitting.start_prior import StartPrior


@pytest.fixture
def run(tmp_path, random_networks, make_sequence, write_sequence, capsys):
    """Run a command on a small world; returns exit status and printed text."""
    write_sequence(tmp_path / "world", make_sequence("walk_00", frames=5, actors=2))

    def run(command, *arguments):
        networks = ["--checkpoint", random_networks["pose"], "--ccnet", random_networks["ccnet"]]
        options = [command, "--root", tmp_path / "world", *networks, *arguments]
        status = run_fitting.main([str(option) for option in options])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def fit(run, tmp_path, *arguments):
    status, printed = run("fit", "--out", tmp_path / "out", "--objective", "probability", *arguments)
    return status, " ".join(printed.split())


def test_packaged_regressor_takes_its_own_prior(run, tmp_path) -> None:
    status, printed = fit(run, tmp_path)
    assert status == 0, printed
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["start_prior"]["source"] == "packaged, of the packaged regressor"
    assert summary["start_prior"]["tracks"] == StartPrior.load(PACKAGED_PRIOR).num_tracks
    posterior = summary["posterior"]["ccnet"]
    assert 0 <= posterior["within_1_std"] <= posterior["within_2_std"] <= 1
    fits = np.load(tmp_path / "out" / "fits" / "ccnet" / "walk_00_1.npz")
    assert fits["joint_std_mm"].shape == (5, 24, 3)
    assert StartPrior.load(tmp_path / "out" / "start_prior.json") == StartPrior.load(PACKAGED_PRIOR)


def test_another_regressor_is_asked_by_evidence(run, tmp_path, random_networks) -> None:
    status, printed = fit(run, tmp_path, "--regressor", random_networks["regressor"])
    assert status == 0, printed
    chosen = json.loads((tmp_path / "out" / "summary.json").read_text())["start_prior"]
    assert chosen["tracks"] == 2
    assert len(chosen["scales"]) == len(chosen["nats_above_least"])
    assert chosen["interval"][0] <= chosen["joint_table_scale"] <= chosen["interval"][1]
    # Going on with a finished run takes the prior that it has.
    status, printed = fit(run, tmp_path, "--regressor", random_networks["regressor"])
    assert status == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["start_prior"] == chosen


def test_the_papers_objective_writes_no_posterior(run, tmp_path) -> None:
    status, _ = run("fit", "--out", tmp_path / "out")
    assert status == 0
    assert "start_prior" not in json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "joint_std_mm" not in np.load(tmp_path / "out" / "fits" / "ccnet" / "walk_00_1.npz")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--start-prior", "nowhere.json"), "nowhere.json"),
        (("--method", "smplify"), "--objective probability belongs to"),
    ],
)
def test_bad_options_are_refused(run, tmp_path, arguments, told) -> None:
    status, printed = fit(run, tmp_path, *arguments)
    assert status == 2
    assert told in printed


def test_a_prior_without_the_objective_is_refused(run, tmp_path) -> None:
    status, printed = run("fit", "--out", tmp_path / "out", "--objective", "paper", "--start-prior", "auto")
    assert status == 2
    assert "--start-prior belongs to" in " ".join(printed.split())


@pytest.mark.parametrize(("field", "told"), [("method_sha256", "another method"), ("body_sha256", "another body")])
def test_a_prior_of_something_else_is_refused(run, tmp_path, field, told) -> None:
    values = json.loads(PACKAGED_PRIOR.read_text())
    values[field] = "0" * 64
    (tmp_path / "prior.json").write_text(json.dumps(values))
    status, printed = fit(run, tmp_path, "--start-prior", tmp_path / "prior.json")
    assert status == 2
    assert told in printed


def test_calibrate_start_needs_thirty_frames(run, tmp_path) -> None:
    status, printed = run("calibrate-start", "--split", "test", "--out", tmp_path / "prior.json")
    assert status == 2
    assert "at least 30 frames" in " ".join(printed.split())
    assert not (tmp_path / "prior.json").exists()


def test_calibrate_start_writes_a_prior_that_fit_takes(run, tmp_path, make_sequence, write_sequence) -> None:
    write_sequence(tmp_path / "world", make_sequence("walk_01", frames=35), split="validation")
    status, printed = run("calibrate-start", "--out", tmp_path / "prior.json", "--limit", 35)
    assert status == 0, printed
    assert StartPrior.load(tmp_path / "prior.json").num_frames == 35
    status, printed = fit(run, tmp_path, "--start-prior", tmp_path / "prior.json")
    assert status == 0, printed


def test_synthetic_starts_have_the_errors_that_they_claim(tmp_path, make_sequence, write_sequence) -> None:
    (track,) = read_sequence(write_sequence(tmp_path, make_sequence("a_00", frames=400), images=False), image_root=None)
    truth = camera_truth(track, load_body(gender="male"))
    one, again, other = (synthetic_start(truth, 0.5, seed, track.name) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.rotations, again.rotations)
    assert np.abs(one.rotations - other.rotations).max() > 0.01
    errors = start_errors([one], [truth])
    changing = (errors.rotation_rad - errors.rotation_rad.mean(0)).std(0)
    assert changing[0].mean() == pytest.approx(0.5 * 0.7 * 0.08, rel=0.15)
    assert changing[18].mean() == pytest.approx(0.5 * 0.7 * 0.22, rel=0.15)
    assert np.abs(errors.betas - errors.betas[0]).max() < 1e-6
    assert torch.isfinite(torch.tensor(errors.translation)).all()
