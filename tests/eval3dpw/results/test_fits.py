from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from eval3dpw.dataset.threedpw import read_sequence
from eval3dpw.results.fits import GivenPredictions, TrackFits, fitted_weightings
from fitting.body_fits import BodyFits
from pose2d.errors import InputError


@pytest.fixture
def track(tmp_path, make_sequence, write_sequence):
    return read_sequence(write_sequence(tmp_path, make_sequence("s", frames=5), images=False), None)[0]


def bodies(count: int) -> BodyFits:
    rng = np.random.default_rng(count)
    rotations = Rotation.random(24 * count, random_state=0).as_matrix().reshape(count, 24, 3, 3)
    return BodyFits(rotations, rng.normal(size=(count, 10)), rng.normal(size=(count, 3)))


def test_round_trip(tmp_path, track):
    fits = TrackFits("s_0", "raw", track.frame_ids, bodies(5), np.ones((5, 17)))
    path = fits.save(tmp_path / "fits", track)
    assert path == tmp_path / "fits" / "raw" / "s_0.npz"
    again = TrackFits.load(path)
    assert (again.track, again.weighting) == ("s_0", "raw")
    np.testing.assert_array_equal(again.fits.rotations, fits.fits.rotations)
    np.testing.assert_array_equal(again.at(np.array([3, 1])).betas, fits.fits.betas[[3, 1]])
    with pytest.raises(InputError, match="no raw body for frame 7"):
        again.at(np.array([1, 7]))
    TrackFits("s_0", "init", track.frame_ids, bodies(5)).save(tmp_path / "fits", track)
    assert list(fitted_weightings(tmp_path)) == ["init", "raw"]


def test_axis_angle_in_any_order_of_frames(tmp_path, track):
    fits = bodies(5)
    poses = Rotation.from_matrix(fits.rotations.reshape(-1, 3, 3)).as_rotvec().reshape(5, 72)
    np.savez(
        tmp_path / "s_0.npz",
        poses=poses[::-1],
        betas=fits.betas[::-1],
        translation=fits.translation[::-1],
        frame_ids=np.arange(5)[::-1],
    )
    given = GivenPredictions(tmp_path).of(track)
    np.testing.assert_allclose(given.rotations, fits.rotations, atol=1e-12)
    np.testing.assert_array_equal(given.translation, fits.translation)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frame_ids": None}, "frame_ids"),
        ({"frame_ids": np.arange(4)}, "5 bodies"),
        ({"frame_ids": np.arange(5) / 2}, "whole number"),
        ({"frame_ids": np.array([0, 1, 1, 2, 3])}, "frame 1 twice"),
        ({"betas": np.full((5, 10), np.nan)}, "betas"),
        ({"rotations": np.ones((5, 24, 3, 3))}, "rotations"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, change, words):
    fits = bodies(5)
    arrays: dict[str, Any] = {"rotations": fits.rotations, "betas": fits.betas, "translation": fits.translation}
    arrays |= {"frame_ids": np.arange(5)} | change
    np.savez(tmp_path / "s_0.npz", **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=words) as caught:
        TrackFits.load(tmp_path / "s_0.npz")
    assert "s_0.npz" in str(caught.value)


def test_predictions_of_other_tracks(tmp_path, track):
    fits = bodies(2)
    np.savez(
        tmp_path / "all.npz",
        rotations=fits.rotations,
        betas=fits.betas,
        translation=fits.translation,
        frame_ids=np.arange(2),
        track=np.array(["other_0", "other_0"]),
    )
    with pytest.raises(InputError, match=r"no predictions for track s_0"):
        GivenPredictions(tmp_path / "all.npz").of(track)
    with pytest.raises(InputError, match=r"no such file"):
        GivenPredictions(tmp_path / "none.npz")
    np.savez(tmp_path / "nameless.npz", **{k: getattr(fits, k) for k in ("rotations", "betas", "translation")})
    with pytest.raises(InputError, match="field track"):
        GivenPredictions(tmp_path / "nameless.npz")
