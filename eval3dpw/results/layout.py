"""Names of all that a run leaves in its folder, in one place.

OUT/summary.json                    tables, with protocol, counts and intervals; written last
OUT/report.html                     the page
OUT/manifest.json                   the configuration that the results come from
OUT/start_prior.json                how uncertain the start is, under objective `probability`
OUT/start_prior_choice.json         and why
OUT/timings.json                    how long it took, which says nothing about the results
OUT/fits/<weighting>/<track>.npz    bodies
OUT/keypoints/<track>.npz           2D keypoints with every score
OUT/errors/<track>.npz              errors of each frame and joint
OUT/units/<sequence>.json           which sequences are finished
OUT/parts/<sequence>-<digest>/      chunks of sequences that are begun
"""

from __future__ import annotations

from pathlib import Path

SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
MANIFEST_FILE = "manifest.json"
START_PRIOR_FILE = "start_prior.json"
START_PRIOR_RECORD_FILE = "start_prior_choice.json"
TIMINGS_FILE = "timings.json"
LOCK_FILE = ".lock"
FITS_FOLDER = "fits"
KEYPOINTS_FOLDER = "keypoints"
ERRORS_FOLDER = "errors"
UNITS_FOLDER = "units"
PARTS_FOLDER = "parts"

RESULT_FOLDERS = (f"{FITS_FOLDER}/*", KEYPOINTS_FOLDER, ERRORS_FOLDER)
"""Patterns of the folders whose .npz files are results."""


def fits_file(weighting: str, track: str) -> str:
    """Bodies of a track, below the run's folder."""
    return f"{FITS_FOLDER}/{weighting}/{track}.npz"


def keypoints_file(track: str) -> str:
    """2D keypoints of a track, below the run's folder."""
    return f"{KEYPOINTS_FOLDER}/{track}.npz"


def errors_file(track: str) -> str:
    """Errors of a track's frames, below the run's folder."""
    return f"{ERRORS_FOLDER}/{track}.npz"


def unit_file(sequence: str) -> str:
    """The record of a finished sequence, below the run's folder."""
    return f"{UNITS_FOLDER}/{sequence}.json"


def parts_folder(sequence: str, source_sha256: str) -> str:
    """Where the chunks of a sequence are put aside, below the run's folder."""
    return f"{PARTS_FOLDER}/{sequence}-{source_sha256[:16]}"


def sequence_of_parts(folder: Path) -> str:
    """The sequence whose chunks lie in a folder that `parts_folder` named."""
    return folder.name.rpartition("-")[0]
