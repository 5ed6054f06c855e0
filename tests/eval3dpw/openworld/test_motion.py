"""Procedural motion: limits, smoothness, ground, chance, mirrors; scipy and the body are the references."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from eval3dpw.openworld.people.activities import ACTIVITIES
from eval3dpw.openworld.people.motion import mirror_pose, sample_motion, sample_pose
from eval3dpw.openworld.people.posture import (
    LIMITS,
    REST_JOINTS_MM,
    angles_to_pose,
    clip_to_limits,
    joint_frames,
    mirror_angles,
    support_points,
)
from fitting.bodies.body import load_body
from pose2d.errors import InputError
from pose2d.skeletons import SMPL24

FAST = {"run": 0.75, "jump": 0.75, "kick": 0.75, "throw": 0.75, "box": 0.75}


def local_rotations(poses):
    return Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(len(poses), 24, 3, 3)


def standing(**channels):
    zero = {name: np.zeros(1) for name in LIMITS}
    return zero | {name: np.array([value]) for name, value in channels.items()}


@pytest.fixture(scope="module", params=sorted(ACTIVITIES))
def motions(request):
    return [sample_motion(request.param, 90, np.random.default_rng(seed)) for seed in range(4)]


def test_joints_do_not_jump(motions):
    for motion in motions:
        rotations = local_rotations(motion.poses)
        relative = np.swapaxes(rotations[1:], -1, -2) @ rotations[:-1]
        steps = Rotation.from_matrix(relative.reshape(-1, 3, 3)).magnitude()
        assert steps.max() < FAST.get(motion.activity, 0.5)
        assert np.abs(np.diff(motion.translation, axis=0)).max() < 0.25


def test_knees_and_elbows_bend_one_way_only(motions):
    for motion in motions:
        poses = motion.poses.reshape(-1, 24, 3)
        for side in ("left", "right"):
            assert poses[:, SMPL24.index(f"{side}_knee"), 0].min() >= -1e-9
            forearm = local_rotations(motion.poses)[:, SMPL24.index(f"{side}_elbow")] @ [
                1.0 if side == "left" else -1.0,
                0,
                0,
            ]
            assert forearm[:, 2].min() >= -1e-9  # towards the front of the T-posed body, never behind


def test_the_lowest_point_stays_on_the_ground(motions):
    for motion in motions:
        rotations, joints = joint_frames(motion.poses)
        pelvis = motion.translation + REST_JOINTS_MM[0] / 1000
        lowest = (support_points(rotations, joints) + pelvis[:, None])[..., 1].min(axis=1)
        if motion.activity in ("jump", "run"):
            assert lowest.min() > -1e-9 and lowest.max() < 0.4
        else:
            np.testing.assert_allclose(lowest, 0.0, atol=1e-9)


def test_the_body_stands_on_its_soles():
    body = load_body()
    for seed in range(3):
        motion = sample_motion("walk", 8, np.random.default_rng(seed))
        rotations = torch.tensor(local_rotations(motion.poses), dtype=torch.float32)
        output = body(rotations, torch.zeros(8, 10), torch.tensor(motion.translation, dtype=torch.float32))
        lowest = output.vertices[..., 1].min(dim=1).values
        assert lowest.abs().max() < 0.03  # the support points stand for the soles to within 3 cm


def test_rest_joints_are_the_packaged_body_s():
    body = load_body()
    rest = body(torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 10), None).joints[0].numpy()
    np.testing.assert_allclose(REST_JOINTS_MM / 1000, rest, atol=0.006)


def test_forward_kinematics_agree_with_the_body():
    body = load_body()
    poses = np.stack([sample_pose(np.random.default_rng(seed)) for seed in range(5)])
    _, joints = joint_frames(poses)
    reference = body(torch.tensor(local_rotations(poses), dtype=torch.float32), torch.zeros(5, 10), None).joints
    reference = (reference - reference[:, :1]).numpy()
    np.testing.assert_allclose(joints, reference, atol=0.01)


def test_walking_goes_where_the_person_faces_and_feet_do_not_slide():
    for seed in range(5):
        motion = sample_motion("walk", 120, np.random.default_rng(seed))
        steps = np.diff(motion.translation, axis=0)
        facing = np.stack((np.sin(motion.heading), np.zeros(120), np.cos(motion.heading)), axis=1)[:-1]
        speed = (steps * facing).sum(axis=1).mean() * 30
        assert 0.5 < speed < 2.0
        rotations, joints = joint_frames(motion.poses)
        feet = (support_points(rotations, joints) + motion.translation[:, None])[:, :6]
        lowest = feet[..., 1].argmin(axis=1)
        frames = np.flatnonzero(lowest[1:] == lowest[:-1])
        slide = np.linalg.norm((feet[frames + 1, lowest[frames]] - feet[frames, lowest[frames]])[:, [0, 2]], axis=1)
        assert np.median(slide) * 30 < 0.35  # metres a second


def test_the_same_generator_state_gives_the_same_motion():
    for activity in ("walk", "dance"):
        first, second, other = (sample_motion(activity, 20, np.random.default_rng(seed)) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.poses, second.poses)
        np.testing.assert_array_equal(first.translation, second.translation)
        assert np.abs(first.poses - other.poses).max() > 0.1
    np.testing.assert_array_equal(sample_pose(np.random.default_rng(1)), sample_pose(np.random.default_rng(1)))


def test_both_sides_are_equally_frequent():
    mirrored = [sample_motion("kick", 1, np.random.default_rng(seed)).mirrored for seed in range(200)]
    assert 70 < sum(mirrored) < 130


def test_mirroring_angles_mirrors_the_pose_and_the_joints():
    rng = np.random.default_rng(0)
    angles = clip_to_limits({name: rng.normal(0, 0.5, 6) for name in LIMITS})
    heading = rng.normal(0, 1, 6)
    poses, mirrored = angles_to_pose(angles, heading), angles_to_pose(mirror_angles(angles), -heading)
    np.testing.assert_allclose(
        local_rotations(mirror_pose(poses)), local_rotations(mirrored), atol=1e-12, err_msg="as rotations"
    )
    _, joints = joint_frames(poses)
    _, seen = joint_frames(mirrored)
    np.testing.assert_allclose(seen, joints[:, SMPL24.flip_permutation] * [-1, 1, 1], atol=0.002)


@pytest.mark.parametrize(
    ("channel", "joint", "axis", "sign"),
    [
        ("l_hip_flex", "left_knee", 2, 1), ("r_hip_flex", "right_knee", 2, 1), ("l_hip_abd", "left_knee", 0, 1),
        ("r_hip_abd", "right_knee", 0, -1), ("l_knee", "left_ankle", 2, -1), ("l_arm_flex", "left_elbow", 2, 1),
        ("l_arm_abd", "left_elbow", 0, 1), ("r_arm_abd", "right_elbow", 0, -1), ("r_elbow", "right_wrist", 2, 1),
        ("bend", "head", 2, 1), ("side", "head", 0, 1), ("head_nod", "head", 2, 1), ("tilt", "head", 2, 1),
        ("l_ankle", "left_foot", 1, 1), ("list", "head", 0, 1),
    ],
)  # fmt: skip
def test_every_channel_turns_the_right_way(channel, joint, axis, sign):
    frames = [joint_frames(angles_to_pose(standing(**{channel: v}), np.zeros(1)))[1][0] for v in (0.0, 0.4)]
    moved = frames[1][SMPL24.index(joint)] - frames[0][SMPL24.index(joint)]
    assert moved[axis] * sign > 0.01


def test_positive_turns_go_to_the_left():
    for channel, joint in (("twist", "head"), ("head_turn", "head"), ("yaw", "head")):
        rotations, _ = joint_frames(angles_to_pose(standing(**{channel: 0.4}), np.zeros(1)))
        assert (rotations[0, SMPL24.index(joint)] @ [0, 0, 1.0])[0] > 0.1


def test_single_poses_are_finite_and_varied():
    rng = np.random.default_rng(0)
    poses = np.stack([sample_pose(rng) for _ in range(60)])
    assert np.isfinite(poses).all()
    assert poses.reshape(60, 24, 3)[:, SMPL24.index("left_shoulder")].std(axis=0).max() > 0.2


def test_unknown_activities_and_empty_motions_are_refused():
    with pytest.raises(InputError, match="walk"):
        sample_motion("moonwalk", 3, np.random.default_rng(0))
    with pytest.raises(InputError, match="num_frames"):
        sample_motion("walk", 0, np.random.default_rng(0))
