"""The networks of the 2D stage as a run loads them: pose network, CCNet, closed-form correction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

import calibration
import pose2d
from calibration.ccnet import CCNet, calibrate_batch, check_fits, load_ccnet
from calibration.features import hash_network
from calibration.theory import expected_oks, sigma_from_heatmap_confidence
from eval3dpw.pipeline import Calibrator
from fitting.weightings import BOX_PX, oks_falloff
from pose2d.checkpoints import load_checkpoint
from pose2d.crops import crop_scale
from pose2d.errors import InputError
from pose2d.inference import InferredBatch
from pose2d.networks.base import PoseNetwork
from pose2d.networks.catalogue import build_network
from pose2d.skeletons import COCO17

PACKAGED_NETWORK = "sbl-small"
PACKAGED_CHECKPOINT = Path(pose2d.__file__).parent / "weights" / f"{PACKAGED_NETWORK}.safetensors"
PACKAGED_CCNET = Path(calibration.__file__).parent / "weights" / f"ccnet-{PACKAGED_NETWORK}.safetensors"

_NEED_CCNET = {"ccnet", "precision"}
_PUBLISHED_TARGET_CELLS = {192: 2.0, 288: 3.0}  # of SBL and HRNet, by the crop's width


def load_pose_network(name: str, checkpoint: Path | None) -> tuple[PoseNetwork, Path]:
    """A COCO pose network in evaluation mode, and the file that its weights came from.

    Raises:
        InputError: no such network, or the checkpoint does not fit.
    """
    if checkpoint is None and name != PACKAGED_NETWORK:
        raise InputError(f"--network {name} needs --checkpoint: only {PACKAGED_NETWORK} comes with one")
    network = build_network(name, len(COCO17))
    path = PACKAGED_CHECKPOINT if checkpoint is None else checkpoint
    load_checkpoint(path, network)
    assert isinstance(network, nn.Module)
    network.eval()
    return network, path


def load_calibrators(
    network: PoseNetwork, checkpoint: Path, ccnet: Path | None, weightings: Sequence[str]
) -> tuple[tuple[Calibrator, ...], list[Path]]:
    """The calibrations that some weightings need, and the files that they came from.

    Args:
        checkpoint: of the network; its metadata say how wide its target heatmaps were.
        ccnet: its CCNet; None for the packaged one, which belongs to the packaged checkpoint.

    Raises:
        InputError: the CCNet was trained for another network, or the closed form has nothing to work with.
    """
    calibrators: list[Calibrator] = []
    files: list[Path] = []
    if _NEED_CCNET & set(weightings):
        path = PACKAGED_CCNET if ccnet is None else ccnet
        branch = load_ccnet(path)
        assert isinstance(network, nn.Module)
        try:
            check_fits(branch, hash_network(network), COCO17)
        except InputError as error:
            raise InputError(f"{path} with {checkpoint}: {error}") from None
        calibrators.append(CCNetCalibrator(branch, network.input_spec.size_wh))
        files.append(path)
    if "rescored" in weightings:
        calibrators.append(ClosedForm(network.input_spec.size_wh, target_cells(network, checkpoint)))
    return tuple(calibrators), files


class CCNetCalibrator:
    """CCNet's confidence and visibility of each keypoint."""

    def __init__(self, branch: CCNet, size_wh: tuple[int, int]) -> None:
        self._branch, self._size_wh = branch, size_wh

    def __call__(self, batch: InferredBatch) -> Mapping[str, np.ndarray]:
        """Fields of `KeypointEvidence`."""
        calibrated = calibrate_batch(self._branch, batch, self._size_wh)
        return {"confidence": calibrated.confidence, "visibility": calibrated.visibility}


class ClosedForm:
    """The closed-form correction: sigma from the network's own score (equation 17), then equation 12.

    A network that says its own sigma needs no target width. The area in l is a fixed part of the box's
    (`fitting.weightings.oks_falloff`): nothing else is known of it without a segmentation.
    """

    def __init__(self, size_wh: tuple[int, int], target_cells: float | None) -> None:
        self._size_wh, self._target_cells = size_wh, target_cells

    def __call__(self, batch: InferredBatch) -> Mapping[str, np.ndarray]:
        """Field of `KeypointEvidence`.

        Raises:
            InputError: the network gives neither heatmaps nor sigmas.
        """
        poses, maps = batch.poses, batch.output.heatmaps
        if poses.sigma_px is not None:
            sigma_px = poses.sigma_px
        elif maps is not None and self._target_cells is not None:
            cell_px = self._size_wh[0] / maps.shape[-1] / crop_scale(batch.affines)  # in the image
            score = np.clip(poses.raw_score, 1e-6, 1.0)
            sigma_px = sigma_from_heatmap_confidence(score, self._target_cells) * cell_px[:, None]
        else:
            raise InputError("this network gives neither sigmas nor heatmaps: weighting 'rescored' cannot be computed")
        falloff_px = oks_falloff(poses.skeleton, poses.boxes_xywh, np.full(len(poses), BOX_PX))
        return {"rescored": expected_oks(sigma_px, falloff_px)}


def target_cells(network: PoseNetwork, checkpoint: Path) -> float | None:
    """Standard deviation of the target heatmaps that a network was trained on, in cells.

    From the checkpoint's metadata; else as published for the input's size; None where neither says.
    """
    if checkpoint.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(checkpoint, "pt") as file:
            text = (file.metadata() or {}).get("config", "{}")
        try:
            return float(json.loads(text)["heatmap_sigma"])
        except (KeyError, TypeError, ValueError):
            pass
    return _PUBLISHED_TARGET_CELLS.get(network.input_spec.size_wh[0])
