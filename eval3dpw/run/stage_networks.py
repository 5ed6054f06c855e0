"""The networks of the 2D stage as a run loads them: pose network, CCNet, closed-form correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import calibration
from calibration.ccnet.calibrate import target_cells
from calibration.ccnet.files import load_ccnet
from calibration.ccnet.model import CCNet, calibrate_batch, check_fits
from calibration.oks import BODY_SHARE_OF_LOOSE_BOX, area_of_boxes, falloff_px
from calibration.rescoring import rescore, sigma_px_from_maximum
from eval3dpw.run.pipeline import Calibrator
from pose2d.crops import crop_scale
from pose2d.errors import InputError
from pose2d.inference import InferredBatch
from pose2d.networks.base import PoseNetwork
from pose2d.networks.packaged import load_network
from pose2d.skeletons import COCO17

_WEIGHTS = Path(calibration.__file__).parent / "weights"
_NEED_CCNET = {"ccnet", "precision"}


def load_2d_stage(
    name: str, checkpoint: Path | None, ccnet: Path | None, weightings: Sequence[str]
) -> tuple[PoseNetwork, tuple[Calibrator, ...], list[Path]]:
    """A COCO pose network, the calibrations that some weightings need, and the files that all came from.

    Args:
        name: of the network in the catalogue.
        checkpoint: its weights; None for the packaged ones.
        ccnet: the CCNet trained for them; None for the packaged one.

    Raises:
        InputError: no such network, or checkpoint, network and CCNet do not belong together.
    """
    network, path = load_network(name, checkpoint, len(COCO17))
    files = [path]
    calibrators: list[Calibrator] = []
    if _NEED_CCNET & set(weightings):
        branch_path = _WEIGHTS / f"ccnet-{name}.safetensors" if ccnet is None else ccnet
        branch = load_ccnet(branch_path)
        try:
            check_fits(branch, network.identity, COCO17, network.input_spec.size_wh)
        except InputError as error:
            raise InputError(f"{branch_path} with {path}: {error}") from None
        calibrators.append(CCNetCalibrator(branch, network.input_spec.size_wh))
        files.append(branch_path)
    if "rescored" in weightings:
        calibrators.append(ClosedForm(network))
    return network, tuple(calibrators), files


class CCNetCalibrator:
    """CCNet's confidence, visibility and presence of each keypoint."""

    def __init__(self, branch: CCNet, size_wh: tuple[int, int]) -> None:
        self._branch, self._size_wh = branch, size_wh

    def __call__(self, batch: InferredBatch) -> Mapping[str, np.ndarray]:
        """Fields of `KeypointEvidence`."""
        calibrated = calibrate_batch(self._branch, batch, self._size_wh)
        found = {"confidence": calibrated.confidence, "visibility": calibrated.visibility}
        return found if calibrated.presence is None else {**found, "presence": calibrated.presence}


class ClosedForm:
    """The closed-form correction: sigma from the network's own score (equation 17), then equation 12.

    A network that says its own sigma needs no target width. The area in l is a fixed part of the box's
    (`calibration.oks.area_of_boxes`): nothing else is known of it without a segmentation.
    """

    def __init__(self, network: PoseNetwork) -> None:
        self._network = network

    def __call__(self, batch: InferredBatch) -> Mapping[str, np.ndarray]:
        """Field of `KeypointEvidence`.

        Raises:
            InputError: the network gives neither heatmaps nor sigmas, or does not say how wide its targets were.
        """
        poses, cell_px = batch.poses, self._network.cell_px
        if poses.sigma_px is not None:
            sigma_px = poses.sigma_px
        elif cell_px is not None:
            cells = target_cells(self._network)
            sigma_px = sigma_px_from_maximum(poses.raw_score, cells, cell_px / crop_scale(batch.affines))
        else:
            raise InputError("this network gives neither sigmas nor heatmaps: leave out weighting rescored")
        # By way of a falloff and back, which rounds as runs before this one did.
        sigma = poses.skeleton.sigmas[0]
        area_px2 = (falloff_px(area_of_boxes(poses.boxes_xywh, BODY_SHARE_OF_LOOSE_BOX), sigma) / (2 * sigma)) ** 2
        return {"rescored": rescore(sigma_px, area_px2, poses.skeleton.sigmas)}
