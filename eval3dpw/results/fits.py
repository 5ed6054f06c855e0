"""Fitted bodies on disk: one .npz for each weighting and track, `fits/<weighting>/<track>.npz`.

The same layout carries the predictions of any other method into a run.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from eval3dpw.dataset.sequences import Track
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.results.layout import FITS_FOLDER
from fitting.body_fits import BodyFits
from fitting.regressor.files import load_initial_npz
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, require_directory, write_npz


@dataclass(frozen=True)
class TrackFits:
    """Bodies of one track by one weighting, in the camera's frame (metres, OpenCV)."""

    track: str
    weighting: str
    frame_ids: Int[np.ndarray, " n"]
    fits: BodyFits
    weights: Float[np.ndarray, "n k"] | None = None
    """What the objective multiplied each keypoint's error by; None for initial predictions."""

    def arrays(self, track: Track) -> dict[str, tuple[int | None, Any]]:
        """What the file holds, each with the axis of its frames (None: the same for all), the camera among them."""
        size = {} if track.image_size_wh is None else {"image_size_wh": (None, np.array(track.image_size_wh))}
        return {
            "track": (None, np.array(self.track)),
            "sequence": (None, np.array(track.sequence)),
            "actor": (None, np.array(track.actor)),
            "weighting": (None, np.array(self.weighting)),
            "frame_ids": (0, self.frame_ids),
            "intrinsics": (None, track.intrinsics),
            **{f.name: (0, value) for f in fields(self.fits) if (value := getattr(self.fits, f.name)) is not None},
            **({} if self.weights is None else {"weights": (0, self.weights)}),
            **size,
        }

    def save(self, folder: str | Path, track: Track) -> Path:
        """Write `<folder>/<weighting>/<track>.npz`, with the camera beside the body."""
        path = Path(folder) / self.weighting / f"{self.track}.npz"
        write_npz(path, **{name: values for name, (_, values) in self.arrays(track).items()})
        return path

    @classmethod
    def load(cls, path: str | Path, num_frames: int | None = None) -> TrackFits:
        """Read one file; only betas, translation, rotations (or poses) and frame_ids are needed.

        Args:
            path: the file.
            num_frames: of the whole sequence. A file with as many bodies needs no frame_ids.

        Raises:
            InputError: the file is not such an .npz, or its numbers are not finite.
        """
        path = Path(path)
        return cls(path.stem, path.parent.name, *_in_order(path, load_initial_npz(path), read_npz(path), num_frames))

    def at(self, frame_ids: Int[np.ndarray, " m"]) -> BodyFits:
        """The bodies of some frames.

        Raises:
            InputError: there is none for some of them.
        """
        place = np.searchsorted(self.frame_ids, frame_ids)
        found = place < len(self.frame_ids)
        found[found] = self.frame_ids[place[found]] == frame_ids[found]
        if not found.all():
            raise InputError(
                f"track {self.track}: no {self.weighting} body for frame {frame_ids[~found][0]} "
                f"({(~found).sum()} of {len(frame_ids)} frames lack one)"
            )
        return self.fits.select(place)


def fitted_weightings(results: str | Path) -> dict[str, Path]:
    """Folders of the weightings that a run has left in `results`, initial predictions first.

    Raises:
        InputError: there are none.
    """
    folder = require_directory(results) / FITS_FOLDER
    found = {path.name: path for path in sorted(folder.glob("*")) if any(path.glob("*.npz"))} if folder.is_dir() else {}
    if not found:
        raise InputError(f"{results} holds no fits: no {FITS_FOLDER}/<weighting>/<track>.npz; run `fit` or `compare`")
    return dict(sorted(found.items(), key=lambda item: item[0] != INITIAL))


def _in_order(
    path: Path, fits: BodyFits, arrays: dict[str, np.ndarray], num_frames: int | None = None
) -> tuple[np.ndarray, BodyFits]:
    """Frames and bodies of one track in the order of frames.

    Raises:
        InputError: frame_ids is missing, does not fit, or names a frame twice.
    """
    frame_ids = arrays.get("frame_ids")
    if frame_ids is None and num_frames == len(fits):
        return np.arange(num_frames), fits
    if frame_ids is None or frame_ids.shape != (len(fits),) or frame_ids.dtype.kind not in "iu":
        raise InputError(
            f"{path}: frame_ids must give the frame (a whole number) of each of its {len(fits)} bodies"
            + ("" if num_frames is None else f"; only one body for each of the {num_frames} frames needs none")
        )
    order = np.argsort(frame_ids, kind="stable")
    frame_ids = frame_ids[order].astype(np.int64)
    twice = np.flatnonzero(np.diff(frame_ids) == 0)
    if len(twice):
        raise InputError(f"{path}: frame_ids names frame {frame_ids[twice[0]]} twice")
    return frame_ids, fits.select(order)


class GivenPredictions:
    """Initial bodies by another method.

    Either a folder of `<track>.npz` (a track is `<sequence>_<actor>`, the fields are those of
    `fitting.regressor.files.load_initial_npz` and frame_ids (n,)), or one such .npz with a field track (n,) more.
    """

    def __init__(self, path: str | Path) -> None:
        """
        Raises:
            InputError: there is no such folder or file, or the file is not such an .npz.
        """
        self.path = Path(path)
        self._fits: BodyFits | None = None
        if self.path.is_dir():
            return
        self._fits, self._arrays = load_initial_npz(self.path), read_npz(self.path)
        if "track" not in self._arrays or self._arrays["track"].shape != (len(self._fits),):
            raise InputError(f"{self.path}: field track must name the track (<sequence>_<actor>) of each of its bodies")

    def files(self) -> list[Path]:
        """The files that are read."""
        return [self.path] if self._fits is not None else sorted(self.path.glob("*.npz"))

    def of(self, track: Track) -> BodyFits:
        """The bodies of all frames of a track.

        Raises:
            InputError: the track or some of its frames are missing.
        """
        if self._fits is None:
            path = self.path / f"{track.name}.npz"
            if not path.is_file():
                raise InputError(f"{self.path} holds no predictions for track {track.name}: no {path.name}")
            return TrackFits.load(path, track.num_frames).at(track.frame_ids)
        mine = self._arrays["track"] == track.name
        if not mine.any():
            raise InputError(f"{self.path} holds no predictions for track {track.name}")
        arrays = {"frame_ids": self._arrays["frame_ids"][mine]} if "frame_ids" in self._arrays else {}
        fits = TrackFits(track.name, INITIAL, *_in_order(self.path, self._fits.select(mine), arrays, track.num_frames))
        return fits.at(track.frame_ids)
