"""The calibrations of a run's 2D keypoints, and what is loaded for which weightings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.calibrated_poses import CalibratedPoses2D
from calibration.ccnet.packaged import packaged_ccnet
from eval3dpw.run.scored_poses import ScoredPoses2D
from eval3dpw.run.stage_networks import Calibrators, closed_form_confidence, load_2d_stage
from pose2d.errors import InputError
from pose2d.inference import InferredBatch
from pose2d.networks.base import NetworkOutput, PoseNetwork
from pose2d.networks.catalogue import build_network
from pose2d.networks.options import NetworkOptions
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17


def batch(raw_score: float, sigma_px: float | None = None, maps: bool = True) -> InferredBatch:
    """Two persons in 96x128 crops of heatmaps with 4-pixel cells; the second one's crop is scaled to half."""
    scores = torch.full((2, 17), raw_score)
    output = NetworkOutput(torch.zeros(2, 17, 2), scores, None, torch.zeros(2, 8), torch.zeros(2, 17, 32, 24))
    if not maps:
        output = NetworkOutput(output.xy_px, scores, None, output.feature, None)
    affines = np.array([np.eye(3)[:2], np.diag([0.5, 0.5, 1.0])[:2]])
    boxes = np.array([[0, 0, 60.0, 100], [0, 0, 120.0, 200]])
    sigma = None if sigma_px is None else np.full((2, 17), sigma_px)
    return InferredBatch(
        np.arange(2), output, affines, Poses2D(COCO17, np.zeros((2, 17, 2)), scores.double().numpy(), boxes, sigma)
    )


@pytest.fixture
def network() -> PoseNetwork:
    network = build_network("sbl-small")
    network.target_cells = 1.2
    return network


def expected(sigma_px: np.ndarray) -> np.ndarray:
    area = 0.32 * np.array([60.0 * 100, 120.0 * 200])
    falloff = np.sqrt(area)[:, None] * 2 * COCO17.sigmas
    return falloff**2 / (falloff**2 + sigma_px[:, None] ** 2)


def test_closed_form_by_hand(network: PoseNetwork) -> None:
    # Score 1/2 means a spread of one target width: 1.2 cells of 4 crop pixels, of 1 and of 2 image pixels each.
    found = closed_form_confidence(network, batch(0.5))
    np.testing.assert_allclose(found, expected(1.2 * 4 * np.array([1.0, 2.0])))
    assert (closed_form_confidence(network, batch(0.9)) > found).all()
    assert (closed_form_confidence(network, batch(0.0)) == 0).all()


def test_a_network_with_its_own_sigma_needs_no_target(network: PoseNetwork) -> None:
    found = closed_form_confidence(network, batch(0.5, sigma_px=7.0, maps=False))
    np.testing.assert_allclose(found, expected(np.array([7.0, 7.0])))
    with pytest.raises(InputError, match="neither sigmas nor heatmaps"):
        closed_form_confidence(build_network("rle-small"), batch(0.5, maps=False))


def test_the_networks_own_sigma_reaches_the_evidence(network: PoseNetwork) -> None:
    """In pixels of the 256-pixel box: the first person's is 100 pixels high, the second one's 200."""
    scored = Calibrators(network)(batch(0.5, sigma_px=7.0))
    np.testing.assert_array_equal(scored.poses.sigma_px, np.full((2, 17), 7.0))
    np.testing.assert_allclose(scored.evidence().sigma, 7.0 * np.array([[2.56], [1.28]]) * np.ones((2, 17)))
    assert Calibrators(network)(batch(0.5)).evidence().sigma is None


def test_only_what_the_weightings_need_is_loaded(random_networks: dict[str, Path]) -> None:
    options = NetworkOptions(checkpoint=random_networks["pose"])
    _, calibrators, files = load_2d_stage(options, None, ["uniform", "raw", "oracle"])
    assert calibrators.ccnet is None
    assert not calibrators.closed_form
    assert files == [random_networks["pose"]]
    weightings = ["ccnet", "rescored"]
    _, calibrators, files = load_2d_stage(options, random_networks["ccnet"], weightings)
    assert calibrators.ccnet is not None
    assert calibrators.closed_form
    assert files == [random_networks["pose"], random_networks["ccnet"]]


def test_scores_keep_their_persons() -> None:
    """Cut into parts in another order and put together again, every score stays with its person."""
    rng = np.random.default_rng(0)
    poses = Poses2D(COCO17, rng.random((5, 17, 2)), rng.random((5, 17)), rng.random((5, 4)), rng.random((5, 17)))
    calibrated = CalibratedPoses2D(poses, rng.random((5, 17)), rng.random((5, 17)), rng.random((5, 17)))
    whole = ScoredPoses2D(calibrated, rng.random((5, 17)))
    rows = np.array([3, 0, 4, 2, 1])
    again = ScoredPoses2D.concatenate([whole.select(rows[:2]), whole.select(rows[2:])]).select(np.argsort(rows))
    for field in ("raw_score", "confidence", "visibility", "presence", "rescored", "falloff", "sigma"):
        np.testing.assert_array_equal(getattr(again.evidence(), field), getattr(whole.evidence(), field))
    with pytest.raises(ValueError, match="some are not"):
        ScoredPoses2D.concatenate([whole, ScoredPoses2D(poses)])


def test_a_network_without_a_packaged_ccnet_is_named() -> None:
    assert packaged_ccnet("sbl-small").is_file()
    with pytest.raises(InputError, match=r"no CCNet for network vitpose-b .*there are: .*sbl-small"):
        packaged_ccnet("vitpose-b")
