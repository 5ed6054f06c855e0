"""Anatomical joint angles and the bodies they give: what the procedural motion is written in.

A posture is a dict of angle channels (radians, arrays over time), named as a physiotherapist would: ``l_knee`` is the
flexion of the left knee, ``r_arm_abd`` how far the right arm is raised to the side. Both sides share one sign
convention (flexion, abduction and inward rotation are positive), so mirroring is a swap of names.

The body stands in its own upright frame: y up, facing +z, the person's left along +x, arms along +-x in the T-pose.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from pose2d.skeletons import SMPL24, SMPL_PARENTS

Angles = dict[str, Float[np.ndarray, " n"]]

#: Angles of the whole body. Positive: tilt, bend and nod forward; list, side and head_side towards the left;
#: yaw, twist and head_turn towards the left.
CENTRAL = ("tilt", "list", "yaw", "bend", "side", "twist", "head_nod", "head_side", "head_turn")
#: Central angles that change their sign in a mirror.
ANTISYMMETRIC = ("list", "yaw", "side", "twist", "head_side", "head_turn")

_DEGREE = np.pi / 180.0
#: Range of motion of one side's channels in radians (from textbook ranges, a little inside them).
#: ``arm_flex`` and ``arm_abd`` are the two components of one swing from the hanging arm.
SIDED_LIMITS = {
    "hip_flex": (-25 * _DEGREE, 120 * _DEGREE),
    "hip_abd": (-20 * _DEGREE, 55 * _DEGREE),
    "hip_rot": (-45 * _DEGREE, 40 * _DEGREE),
    "knee": (0.0, 140 * _DEGREE),
    "ankle": (-45 * _DEGREE, 28 * _DEGREE),
    "toe": (-15 * _DEGREE, 45 * _DEGREE),
    "collar_up": (-10 * _DEGREE, 30 * _DEGREE),
    "collar_fwd": (-15 * _DEGREE, 25 * _DEGREE),
    "arm_flex": (-50 * _DEGREE, 175 * _DEGREE),
    "arm_abd": (-35 * _DEGREE, 175 * _DEGREE),
    "arm_rot": (-80 * _DEGREE, 85 * _DEGREE),
    "elbow": (0.0, 145 * _DEGREE),
    "pron": (-70 * _DEGREE, 70 * _DEGREE),
    "wrist_flex": (-50 * _DEGREE, 60 * _DEGREE),
    "wrist_dev": (-20 * _DEGREE, 30 * _DEGREE),
}
CENTRAL_LIMITS = {
    "tilt": (-25 * _DEGREE, 80 * _DEGREE),
    "list": (-25 * _DEGREE, 25 * _DEGREE),
    "yaw": (-60 * _DEGREE, 60 * _DEGREE),
    "bend": (-25 * _DEGREE, 75 * _DEGREE),
    "side": (-35 * _DEGREE, 35 * _DEGREE),
    "twist": (-45 * _DEGREE, 45 * _DEGREE),
    "head_nod": (-45 * _DEGREE, 45 * _DEGREE),
    "head_side": (-30 * _DEGREE, 30 * _DEGREE),
    "head_turn": (-65 * _DEGREE, 65 * _DEGREE),
}
#: Every channel and its range (low, high) in radians.
LIMITS: dict[str, tuple[float, float]] = CENTRAL_LIMITS | {
    f"{side}_{name}": limits for name, limits in SIDED_LIMITS.items() for side in "lr"
}

#: Rest joints of the packaged neutral body in millimetres, for forward kinematics without loading the body.
REST_JOINTS_MM = np.array(
    [
        [0, -220, 25], [111, -270, 34], [-111, -270, 34], [0, -176, 4], [139, -648, 34], [-139, -648, 34],
        [0, -26, 16], [171, -1074, 34], [-171, -1074, 34], [0, 100, 6], [181, -1123, 174], [-181, -1123, 174],
        [0, 281, 43], [23, 206, 57], [-23, 206, 57], [0, 378, 77], [176, 192, 53], [-176, 192, 53],
        [432, 192, 53], [-432, 192, 53], [662, 192, 53], [-662, 192, 53], [762, 192, 53], [-762, 192, 53],
    ]
)  # fmt: skip
#: What can carry the body, as (joint, offset in metres in its frame): heels, balls, toes, knees, seat, hands.
_SUPPORTS = (
    *((ankle, offset) for ankle in ("left_ankle", "right_ankle") for offset in ((0, -0.076, -0.09), (0, -0.076, 0.14))),
    *((foot, (0, -0.027, 0.055)) for foot in ("left_foot", "right_foot")),
    *((knee, (0, 0, 0.055)) for knee in ("left_knee", "right_knee")),
    ("pelvis", (0, -0.16, -0.08)),
    *((hand, (0, 0, 0)) for hand in ("left_hand", "right_hand")),
)
NUM_FOOT_POINTS = 6  # the first supports are the feet's


def mirror_angles(angles: Angles) -> Angles:
    """The posture seen in a mirror: left and right channels swapped, sideways ones negated."""
    swapped = {}
    for name, value in angles.items():
        if name in LIMITS and name not in CENTRAL:
            swapped[("r_" if name[0] == "l" else "l_") + name[2:]] = value
        else:
            swapped[name] = -value if name in ANTISYMMETRIC else value
    return swapped


def mirror_pose(poses: Float[np.ndarray, "*batch 72"]) -> Float[np.ndarray, "*batch 72"]:
    """Mirror axis-angle poses of SMPL's tree at the plane x = 0: what a flipped image of the person shows.

    A rotation vector (x, y, z) becomes (x, -y, -z), and left and right joints change places. Poses in a camera frame
    (x right) mirror in the same way, since the camera's image plane is flipped along x as well.
    """
    joints = poses.reshape(*poses.shape[:-1], 24, 3)[..., SMPL24.flip_permutation, :]
    return np.asarray((joints * np.array([1.0, -1.0, -1.0])).reshape(poses.shape))


def clip_to_limits(angles: Angles) -> Angles:
    """Put every channel within its range of motion; missing channels are zero."""
    size = len(next(iter(angles.values())))
    return {name: np.clip(angles.get(name, np.zeros(size)), low, high) for name, (low, high) in LIMITS.items()}


def _swing(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Rotation:
    return Rotation.from_rotvec(np.stack((x, y, z), axis=-1))


def _sided(angles: Angles) -> dict[str, Rotation]:
    """The limbs' rotations, left ones then right ones, the right ones as if they were left."""
    get = {name: np.concatenate([angles[f"l_{name}"], angles[f"r_{name}"]]) for name in SIDED_LIMITS}
    zero = np.zeros_like(get["knee"])
    hanging = Rotation.from_rotvec([0.0, 0.0, -np.pi / 2])
    # Part of a raised arm comes from the shoulder blade, and a wholly hanging arm keeps clear of the hip.
    raised = np.hypot(get["arm_abd"], get["arm_flex"])
    collar = np.clip(raised - 0.7, 0.0, None) * 0.18
    upper_arm = _swing(-get["arm_flex"], zero, get["arm_abd"] - collar * (get["arm_abd"] > 0)) * hanging
    return {
        "hip": _swing(-get["hip_flex"], zero, get["hip_abd"]) * _swing(zero, -get["hip_rot"], zero),
        "knee": _swing(get["knee"], zero, zero),
        "ankle": _swing(-get["ankle"], zero, zero),
        "foot": _swing(-get["toe"], zero, zero),
        "collar": _swing(zero, -get["collar_fwd"], get["collar_up"] + collar),
        "shoulder": upper_arm * _swing(get["arm_rot"], zero, zero),
        # The forearm's turn about itself happens between elbow and wrist; SMPL's tree has it at both ends.
        "elbow": _swing(zero, -get["elbow"], zero) * _swing(0.5 * get["pron"], zero, zero),
        "wrist": _swing(0.5 * get["pron"], zero, zero) * _swing(zero, -get["wrist_dev"], -get["wrist_flex"]),
        "hand": _swing(zero, zero, -0.25 - 0.3 * get["wrist_flex"]),
    }


def angles_to_pose(angles: Angles, heading: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 72"]:
    """Angle channels and the heading about y (radians, 0 = facing +z) as axis-angle poses in SMPL's 24-joint tree."""
    poses = np.zeros((len(heading), 24, 3))

    def put(joint: str, vectors: np.ndarray) -> None:
        poses[:, SMPL24.index(joint)] = vectors

    zero = np.zeros(len(heading))
    pelvis = _swing(angles["tilt"], zero, -angles["list"])
    put("pelvis", (_swing(zero, heading + angles["yaw"], zero) * pelvis).as_rotvec())
    spine = np.stack((angles["bend"], angles["twist"], -angles["side"]), axis=-1)
    for joint, share in (("spine1", 0.4), ("spine2", 0.35), ("spine3", 0.25)):
        put(joint, share * spine)
    head = np.stack((angles["head_nod"], angles["head_turn"], -angles["head_side"]), axis=-1)
    for joint, share in (("neck", 0.45), ("head", 0.55)):
        put(joint, share * head)
    for joint, rotation in _sided(angles).items():
        vectors = rotation.as_rotvec()
        put(f"left_{joint}", vectors[: len(heading)])
        put(f"right_{joint}", vectors[len(heading) :] * np.array([1.0, -1.0, -1.0]))
    return poses.reshape(-1, 72)


def joint_frames(poses: Float[np.ndarray, "n 72"]) -> tuple[Float[np.ndarray, "n 24 3 3"], Float[np.ndarray, "n 24 3"]]:
    """Forward kinematics of the neutral body: global rotations and joints (metres), the pelvis at the origin."""
    rest = REST_JOINTS_MM / 1000.0
    local = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    rotations, joints = local.copy(), np.zeros((len(poses), 24, 3))
    for joint in range(1, 24):
        parent = int(SMPL_PARENTS[joint])
        rotations[:, joint] = rotations[:, parent] @ local[:, joint]
        joints[:, joint] = joints[:, parent] + rotations[:, parent] @ (rest[joint] - rest[parent])
    return rotations, joints


def support_points(
    rotations: Float[np.ndarray, "n 24 3 3"], joints: Float[np.ndarray, "n 24 3"]
) -> Float[np.ndarray, "n s 3"]:
    """Points that can touch the ground (metres, relative to the pelvis): the feet's six first."""
    points = [
        joints[:, SMPL24.index(name)] + rotations[:, SMPL24.index(name)] @ np.asarray(offset, dtype=float)
        for name, offset in _SUPPORTS
    ]
    return np.stack(points, axis=1)


def clear_of_trunk(angles: Angles, passes: int = 3) -> Angles:
    """Swing arms out of the trunk: cheap check of forearms and hands against an ellipse about the upper body."""
    angles = dict(angles)
    for _ in range(passes):
        rotations, joints = joint_frames(angles_to_pose(angles, np.zeros_like(angles["tilt"])))
        chest = SMPL24.index("spine3")
        inside = False
        for side, prefix in (("l", "left"), ("r", "right")):
            elbow, wrist, hand = (joints[:, SMPL24.index(f"{prefix}_{j}")] for j in ("elbow", "wrist", "hand"))
            for point in (0.5 * (elbow + wrist), wrist, hand):
                local = np.einsum("nji,nj->ni", rotations[:, chest], point - joints[:, chest])
                across, depth = local[:, 0] / 0.21, (local[:, 2] - 0.03) / 0.18
                # fades out above the shoulders and below the hips, where there is no trunk
                height = np.clip((0.16 - local[:, 1]) / 0.06, 0, 1) * np.clip((local[:, 1] + 0.55) / 0.08, 0, 1)
                push = 0.5 * np.clip(1.0 - np.hypot(across, depth), 0, None) * height
                if not push.any():
                    continue
                inside = True
                # Out to the side, and forwards where the point is in front of the trunk's middle.
                forward = np.clip(depth, 0, None) ** 2 / (across**2 + depth**2 + 1e-6)
                angles[f"{side}_arm_flex"] = angles[f"{side}_arm_flex"] + push * forward
                angles[f"{side}_arm_abd"] = angles[f"{side}_arm_abd"] + push * (1 - forward)
        if not inside:
            break
    return clip_to_limits(angles)
