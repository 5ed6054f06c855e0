"""`fit` by each method and with the temporal term, on a tiny sequence with untrained networks."""

import json

import numpy as np
import pytest

import run_fitting
from eval3dpw.run.constants import method_config, used_constants
from pose2d.errors import InputError


@pytest.fixture
def run(tmp_path, random_networks, make_sequence, write_sequence, capsys):
    """Run `fit` with some options; returns exit status, printed text and the run's folder."""
    write_sequence(tmp_path / "world", make_sequence("walk_00", frames=5, actors=2))

    def run(*arguments):
        out = tmp_path / "out"
        networks = ["--checkpoint", random_networks["pose"], "--regressor", random_networks["regressor"]]
        options = ["fit", "--root", tmp_path / "world", "--out", out, "--weighting", "raw", *networks, *arguments]
        status = run_fitting.main([str(option) for option in options])
        printed = capsys.readouterr()
        return status, printed.out + printed.err, out

    return run


def fits_of(out, weighting):
    return np.load(out / "fits" / weighting / "walk_00_1.npz", allow_pickle=False)


def test_network_fine_tunes_the_regressor_for_each_track(run):
    status, printed, out = run("--method", "network", "--constants", "finetune.epochs=2", "finetune.learning_rate=1e-3")
    assert status == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["configuration"]["method"] == "network"
    assert summary["configuration"]["finetune"]["epochs"] == 2
    assert "prior_strength" in summary["configuration"]["refinement"]
    assert np.abs(fits_of(out, "raw")["rotations"] - fits_of(out, "init")["rotations"]).max() > 1e-5
    assert set(fits_of(out, "raw")["iterations"]) <= {0, 2}
    assert "decode" in printed
    assert "detect" in printed


def test_smplify_says_its_own_constants(run):
    status, _, out = run("--method", "smplify", "--constants", "smplify.iterations=2")
    assert status == 0
    configuration = json.loads((out / "summary.json").read_text())["configuration"]
    assert configuration["smplify"]["iterations"] == 2
    assert "refinement" not in configuration


def test_temporal_gives_a_track_one_shape_and_less_jitter(run):
    _, _, out = run()
    alone = json.loads((out / "summary.json").read_text())
    assert np.ptp(fits_of(out, "raw")["betas"], axis=0).max() > 1e-4
    status, printed, out = run("--temporal", "--constants", "temporal.rotation_std=0.01", "--fresh")
    assert status == 0
    together = json.loads((out / "summary.json").read_text())
    assert together["configuration"]["temporal_term"]["rotation_std"] == 0.01
    fits = fits_of(out, "raw")
    fitted = fits["reason"] < 3
    assert np.ptp(fits["betas"][fitted], axis=0).max() == 0
    assert together["rows"][1]["acceleration_mm"] < alone["rows"][1]["acceleration_mm"]
    assert together["rows"][0]["acceleration_mm"] == alone["rows"][0]["acceleration_mm"]
    assert "Jitter" in printed


def test_without_consecutive_frames_there_is_no_jitter(run):
    _, printed, out = run("--limit", "3")
    assert [row["acceleration_mm"] for row in json.loads((out / "summary.json").read_text())["rows"]] == [None, None]
    rows = [line.split() for line in printed.splitlines()]
    assert ["init", "-", "-"] in rows and ["raw", "-", "-"] in rows


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "network", "--initial", "given.npz"), ("--method network", "cannot start from --initial")),
        (("--method", "smplify", "--temporal"), ("--temporal belongs to --method params",)),
        (("--method", "gradient"), ("--method gradient", "known are params, network, smplify")),
        (("--constants", "temporal.max_gap=2"), ("temporal.max_gap=2", "add --temporal")),
        (("--constants", "motion.max_gap=2"), ("no such group", "temporal")),
        (("--constants", "finetune.prior_strength=2"), ("finetune.prior_strength=2", "learning_rate")),
    ],
)
def test_mistakes_are_told_in_one_sentence(run, arguments, words):
    status, printed, out = run(*arguments)
    assert status == 2
    assert all(word in printed for word in words)
    assert not (out / "summary.json").exists()


def test_a_constant_of_one_method_does_not_count_for_another():
    plain = used_constants("params", method_config())
    assert used_constants("params", method_config(("smplify.iterations=3",))) == plain
    assert used_constants("smplify", method_config(("smplify.iterations=3",)))["smplify"]["iterations"] == 3
    assert str(method_config(("smplify.mixture=gmm_08.pkl",)).smplify.mixture) == "gmm_08.pkl"
    assert method_config(("temporal.max_gap=5",), temporal=True).temporal.max_gap == 5
    with pytest.raises(InputError, match="expected a value like 8"):
        method_config(("finetune.epochs=many",))
