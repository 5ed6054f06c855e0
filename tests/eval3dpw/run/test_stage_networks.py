import numpy as np
import pytest
import torch

from eval3dpw.run.stage_networks import ClosedForm, load_2d_stage
from pose2d.errors import InputError
from pose2d.inference import InferredBatch
from pose2d.networks.base import NetworkOutput
from pose2d.networks.catalogue import build_network
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
def closed_form():
    network = build_network("sbl-small")
    network.target_cells = 1.2
    return ClosedForm(network)


def expected(sigma_px: np.ndarray) -> np.ndarray:
    area = 0.32 * np.array([60.0 * 100, 120.0 * 200])
    falloff = np.sqrt(area)[:, None] * 2 * COCO17.sigmas
    return falloff**2 / (falloff**2 + sigma_px[:, None] ** 2)


def test_closed_form_by_hand(closed_form):
    # Score 1/2 means a spread of one target width: 1.2 cells of 4 crop pixels, of 1 and of 2 image pixels each.
    found = closed_form(batch(0.5))
    np.testing.assert_allclose(found["rescored"], expected(1.2 * 4 * np.array([1.0, 2.0])))
    assert (closed_form(batch(0.9))["rescored"] > found["rescored"]).all()
    assert (closed_form(batch(0.0))["rescored"] == 0).all()


def test_a_network_with_its_own_sigma_needs_no_target(closed_form):
    found = closed_form(batch(0.5, sigma_px=7.0, maps=False))
    np.testing.assert_allclose(found["rescored"], expected(np.array([7.0, 7.0])))
    with pytest.raises(InputError, match="neither sigmas nor heatmaps"):
        ClosedForm(build_network("rle-small"))(batch(0.5, maps=False))


def test_only_what_the_weightings_need_is_loaded(random_networks):
    _, calibrators, files = load_2d_stage("sbl-small", random_networks["pose"], None, ["uniform", "raw", "oracle"])
    assert calibrators == ()
    assert files == [random_networks["pose"]]
    weightings = ["ccnet", "rescored"]
    _, calibrators, files = load_2d_stage("sbl-small", random_networks["pose"], random_networks["ccnet"], weightings)
    assert len(calibrators) == 2
    assert files == [random_networks["pose"], random_networks["ccnet"]]
