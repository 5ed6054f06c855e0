"""The reduced body against the full model, and the unknowns it derives for each skeleton."""

from __future__ import annotations

import pytest
import roma
import torch

from fitting.bodies.body import Body
from fitting.bodies.reduced_body import reduce_body
from pose2d.skeletons import COCO17, LSP14, MPII16, OPENPOSE18, OPENPOSE25, SMPL24, WHOLEBODY133, Skeleton


def full_keypoints(body: Body, skeleton: Skeleton, *parameters: torch.Tensor) -> torch.Tensor:
    posed = body(*parameters)
    sources = [source for source in body.keypoint_sources(skeleton) if source is not None]
    return torch.stack([(posed.joints if s.kind == "joint" else posed.vertices)[:, s.number] for s in sources], dim=1)


@pytest.mark.parametrize("skeleton", [COCO17, MPII16, OPENPOSE18, OPENPOSE25, SMPL24, LSP14, WHOLEBODY133])
@pytest.mark.parametrize("name", ["body64", "corrected_body64"])
def test_equals_the_full_model(name: str, skeleton: Skeleton, request: pytest.FixtureRequest) -> None:
    body = request.getfixturevalue(name)
    torch.manual_seed(1)
    parameters = (
        roma.random_rotmat(4 * 24, dtype=torch.float64).reshape(4, 24, 3, 3),
        torch.randn(4, 10, dtype=torch.float64),
        torch.randn(4, 3, dtype=torch.float64),
    )
    with torch.no_grad():
        torch.testing.assert_close(
            reduce_body(body, skeleton).keypoint_positions(*parameters),
            full_keypoints(body, skeleton, *parameters),
            rtol=0,
            atol=1e-10,
        )


@pytest.mark.parametrize(
    ("skeleton", "still"),
    [
        # Joints with no keypoint of that skeleton below them: turning one moves none.
        (COCO17, ("ankle", "wrist", "foot", "hand")),
        (MPII16, ("ankle", "wrist", "foot", "hand")),
        (OPENPOSE18, ("ankle", "wrist", "foot", "hand")),
        (OPENPOSE25, ("wrist", "hand")),
        (WHOLEBODY133, ()),
    ],
)
def test_unknowns_are_the_joints_that_move_a_keypoint(skeleton: Skeleton, still: tuple[str, ...], body64: Body) -> None:
    """Turned one by one in the full model, exactly the joints that are unknowns move some keypoint."""
    reduced = reduce_body(body64, skeleton)
    torch.manual_seed(2)
    rotations = roma.random_rotmat(24, dtype=torch.float64)[None].repeat(25, 1, 1, 1)
    for joint in range(24):
        rotations[joint, joint] = rotations[joint, joint] @ roma.random_rotmat(dtype=torch.float64)
    with torch.no_grad():
        points = full_keypoints(body64, skeleton, rotations, torch.zeros(25, 10, dtype=torch.float64))
    moved = {joint for joint in range(24) if (points[joint] - points[24]).abs().max() > 1e-9}
    assert set(reduced.joints) == moved
    expected_still = {name for name in SMPL24.keypoints if name.endswith(still)} if still else set()
    assert {SMPL24.keypoints[j] for j in range(24)} - {SMPL24.keypoints[j] for j in moved} == expected_still
    assert reduced.num_unknowns == 3 * len(moved) + 13


def test_coco_has_61_unknowns(coco_body) -> None:
    assert coco_body.num_unknowns == 61


def test_skeleton_the_body_lacks(body64: Body) -> None:
    with pytest.raises(ValueError, match="no keypoint of skeleton tail"):
        reduce_body(body64, Skeleton("tail", ("tail_tip",)))
