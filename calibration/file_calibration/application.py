"""Write a results file with calibrated scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from calibration.coco.files import KeypointDetections, read_detections
from calibration.coco.json_files import read_json_list
from calibration.file_calibration.calibrator import FileCalibrator
from calibration.file_calibration.crops import crops_of
from calibration.file_calibration.provenance import UNLIKE, distance_of_scores
from pose2d.errors import InputError

VISIBILITY, SIGMA, RADIUS = "keypoint_visibility", "keypoint_sigma_px", "keypoint_radius_px"
"""Fields that are added to each entry, one number per keypoint."""


def apply_to_file(
    calibrator: FileCalibrator, results: str | Path, network: str = ""
) -> tuple[list[dict[str, Any]], list[str]]:
    """A results file's entries with calibrated scores, and what a user must know of them.

    `score` and the third value of each keypoint change; visibility, sigma and 90 % radius of each keypoint come as
    fields of their own. Neither coordinates nor order nor further fields change.

    Args:
        calibrator: fitted to results of the same network.
        results: COCO keypoint results.
        network: name of the network that they are of, where it is known.

    Raises:
        InputError: naming the file, the entry's index and the field; the results are of another network or skeleton.
    """
    detections = read_detections(results, None)
    require_match(calibrator, detections, network)
    crops = crops_of(results, detections, calibrator.provenance.crop_source)
    found = calibrator.calibrate(detections, crops)
    entries = read_json_list(results)
    visibility = [None] * len(entries) if found.visibility is None else found.visibility.round(4).tolist()
    columns = zip(
        entries,
        found.instance.tolist(),
        found.confidence.tolist(),
        visibility,
        found.sigma_px.round(2).tolist(),
        found.radius_px.round(2).tolist(),
    )
    for entry, score, confidence, visible, sigma, radius in columns:
        entry["score"] = score
        entry["keypoints"][2::3] = confidence
        entry |= {SIGMA: sigma, RADIUS: radius} | ({} if visible is None else {VISIBILITY: visible})
    return entries, notes_on(calibrator, detections)


def require_match(calibrator: FileCalibrator, detections: KeypointDetections, network: str = "") -> None:
    """Refuse results that a calibrator cannot speak of.

    Raises:
        InputError: they are of another network or another number of keypoints; both are named.
    """
    ours = calibrator.provenance.network
    if network and ours and network != ours:
        raise InputError(
            f"{detections.name} is of network {network}, and the calibrator of {ours}; fit one to results of {network}"
        )
    if detections.xy_px.shape[1] != len(calibrator.keypoints):
        raise InputError(
            f"{detections.name} has {detections.xy_px.shape[1]} keypoints, and the calibrator is of skeleton "
            f"{calibrator.skeleton} with {len(calibrator.keypoints)}"
        )


def notes_on(calibrator: FileCalibrator, detections: KeypointDetections) -> list[str]:
    """What speaks against a calibrator here: scores unlike those of its fit, or a gain that is a loss."""
    provenance = calibrator.provenance
    notes = []
    distance = distance_of_scores(provenance.score_quantiles, detections)
    if distance > UNLIKE:
        source = provenance.network or provenance.results
        notes.append(
            f"{detections.name}: its keypoint scores are not distributed like those the calibrator was fitted to "
            f"({source}; distance {distance:.2f}, at most {UNLIKE} expected): is it another network? A calibrator of "
            "one network may lower another's AP"
        )
    gain = provenance.ap_gain
    if gain[0] < 0:
        notes.append(
            f"the calibrator changed AP by {100 * gain[0]:+.1f} [{100 * gain[1]:+.1f}, {100 * gain[2]:+.1f}] on unseen "
            "images of its fit: its scores mean more and rank less well than those given"
        )
    return notes
