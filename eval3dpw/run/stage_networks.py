"""The networks of the 2D stage as a run loads them: pose network, CCNet, closed-form correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from calibration.ccnet.files import load_ccnet
from calibration.ccnet.model import CCNet, calibrate_batch, check_fits
from calibration.ccnet.packaged import packaged_ccnet
from calibration.ccnet.splits import target_cells
from calibration.oks import BODY_SHARE_OF_LOOSE_BOX, area_of_boxes, falloff_px
from calibration.rescoring import rescore, sigma_px_from_maximum
from eval3dpw.run.scored_poses import ScoredPoses2D
from fitting.weightings import fields_needed
from pose2d.crops import crop_scale
from pose2d.errors import InputError
from pose2d.inference import InferredBatch
from pose2d.networks.base import PoseNetwork
from pose2d.networks.options import NetworkOptions
from pose2d.networks.packaged import load_by_options
from pose2d.skeletons import COCO17


def load_2d_stage(
    options: NetworkOptions, ccnet: Path | None, weightings: Sequence[str]
) -> tuple[PoseNetwork, Calibrators, list[Path]]:
    """A COCO pose network, the calibrations that some weightings need, and the files that all came from.

    Args:
        options: of the network.
        ccnet: the CCNet trained for it; None for the packaged one.
        weightings: that are fitted.

    Raises:
        InputError: no such network, or checkpoint, network and CCNet do not belong together.
    """
    loaded = load_by_options(options, COCO17, trainable=True)
    network, files = loaded.network, list(loaded.files)
    needed = fields_needed(weightings)
    branch = None
    if "confidence" in needed:
        branch_path = packaged_ccnet(options.network) if ccnet is None else ccnet
        branch = load_ccnet(branch_path)
        try:
            check_fits(branch, network.identity, COCO17, network.input_spec.size_wh)
        except InputError as error:
            raise InputError(f"{branch_path.name} with {Path(loaded.checkpoint.path).name}: {error}") from None
        files.append(branch_path)
    return network, Calibrators(network, branch, "rescored" in needed), files


@dataclass(frozen=True)
class Calibrators:
    """The calibrations that a run needs, of one pose network."""

    network: PoseNetwork
    ccnet: CCNet | None = None
    closed_form: bool = False
    """Whether to correct the raw scores in closed form, too."""

    def __call__(self, batch: InferredBatch) -> ScoredPoses2D:
        """The keypoints of a batch, with confidences.

        Raises:
            InputError: as `closed_form_confidence`.
        """
        size_wh = self.network.input_spec.size_wh
        return ScoredPoses2D(
            batch.poses if self.ccnet is None else calibrate_batch(self.ccnet, batch, size_wh),
            closed_form_confidence(self.network, batch) if self.closed_form else None,
        )


def closed_form_confidence(network: PoseNetwork, batch: InferredBatch) -> Float[np.ndarray, "b k"]:
    """The closed-form correction: sigma from the network's own score (equation 17), then equation 12.

    A network that predicts its own sigma needs no target width. The area in l is a fixed part of the box's
    (`calibration.oks.area_of_boxes`): nothing else is known of it without a segmentation.

    Raises:
        InputError: the network gives neither heatmaps nor sigmas, or does not say how wide its targets were.
    """
    poses, cell_px = batch.poses, network.cell_px
    if poses.sigma_px is not None:
        sigma_px = poses.sigma_px
    elif cell_px is not None:
        cells = target_cells(network)
        sigma_px = sigma_px_from_maximum(poses.raw_score, cells, cell_px / crop_scale(batch.affines))
    else:
        raise InputError("this network gives neither sigmas nor heatmaps: leave out weighting rescored")
    # By way of a falloff and back, which rounds as runs before this one did.
    sigma = poses.skeleton.sigmas[0]
    area_px2 = (falloff_px(area_of_boxes(poses.boxes_xywh, BODY_SHARE_OF_LOOSE_BOX), sigma) / (2 * sigma)) ** 2
    return rescore(sigma_px, area_px2, poses.skeleton.sigmas)
