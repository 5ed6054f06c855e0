"""Named keypoint sets. No keypoint or joint number stands anywhere else: code asks a `Skeleton` by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_BODY_FLIP = ("left_", "right_")

BODY_SHARE_OF_BOX = 0.53
"""A person's segmented area over the area of its box, where no segmentation is known.

COCO-WholeBody's evaluation (xtcocotools, `use_area=False`) takes this number; the 1,354 persons with keypoints of 538
images of COCO val2017 have a mean of .525.
"""


@dataclass(frozen=True)
class Skeleton:
    """An ordered set of named keypoints.

    Attributes:
        name: of the set.
        keypoints: names in order; the two sides are `left_*` and `right_*` (the person's own).
        edges: pairs of names to draw a line between.
        oks_sigmas: COCO's annotation sigma of each keypoint (the OKS falloff is kappa = 2 sigma), or None.
        parts: ranges of keypoints judged apart (WholeBody), name -> slice.
    """

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[str, str], ...] = ()
    oks_sigmas: tuple[float, ...] | None = None
    parts: tuple[tuple[str, slice], ...] = ()

    def __len__(self) -> int:
        return len(self.keypoints)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.keypoints)}

    def index(self, name: str) -> int:
        """Number of one keypoint.

        Raises:
            KeyError: the skeleton has no such keypoint.
        """
        try:
            return self._numbers[name]
        except KeyError:
            raise KeyError(f"skeleton {self.name} has no keypoint {name!r}") from None

    def indices(self, names: Iterable[str]) -> np.ndarray:
        """Numbers of several keypoints, int64 (n,)."""
        return np.array([self.index(name) for name in names], dtype=np.int64)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    @cached_property
    def flip_permutation(self) -> np.ndarray:
        """For each keypoint the number of its mirror image, int64 (k,)."""

        def mirrored(name: str) -> str:
            for side, other in (_BODY_FLIP, _BODY_FLIP[::-1]):
                if name.startswith(side):
                    return other + name.removeprefix(side)
            return _FACE_MIRROR.get(name, name)

        return self.indices(mirrored(name) for name in self.keypoints)

    @cached_property
    def flip_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of numbers that a mirror swaps."""
        return tuple((a, int(b)) for a, b in enumerate(self.flip_permutation) if a < b)

    @cached_property
    def sigmas(self) -> np.ndarray:
        """COCO's per-keypoint sigmas, float64 (k,).

        Raises:
            ValueError: none are published for this skeleton.
        """
        if self.oks_sigmas is None:
            raise ValueError(f"no OKS sigmas are published for skeleton {self.name}")
        return np.array(self.oks_sigmas)


def remap(source: Skeleton, target: Skeleton) -> np.ndarray:
    """Numbers that reorder an array of `source` keypoints into `target`: `array[..., remap(source, target), :]`.

    Returns:
        int64 (len(target),); -1 where `source` lacks the keypoint.
    """
    return np.array([source.index(name) if name in source else -1 for name in target.keypoints], dtype=np.int64)


def _sides(*names: str) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


_FACE = ("nose", *_sides("eye", "ear"))
_BODY17 = _FACE + _sides("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_BODY17_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
    *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
_LIMBS = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("shoulder", "hip"))
) + (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"))
_HEAD_EDGES = (
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
    ("left_ear", "left_shoulder"),
    ("right_ear", "right_shoulder"),
)

COCO17 = Skeleton("coco17", _BODY17, _LIMBS + _HEAD_EDGES, _BODY17_SIGMAS)
"""COCO keypoints; sigmas from pycocotools' `Params.kpt_oks_sigmas`."""

MPII16 = Skeleton(
    "mpii16",
    (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("pelvis", "thorax", "upper_neck", "head_top"),
        *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
    ),
    (*_LIMBS, ("thorax", "upper_neck"), ("upper_neck", "head_top"), ("pelvis", "thorax")),
    (
        *(0.089, 0.083, 0.107, 0.107, 0.083, 0.089, 0.026, 0.026, 0.026, 0.026),
        *(0.062, 0.072, 0.179, 0.179, 0.072, 0.062),
    ),
)
"""MPII keypoints. MPII publishes no sigmas and the paper names none; these are mmpose's "adapted from COCO"
(`configs/_base_/datasets/mpii.py`): strict on pelvis, thorax, neck and head, lenient on shoulders."""

_OPENPOSE_BODY = (
    *("nose", "neck"),
    *(f"{side}_{name}" for side in ("right", "left") for name in ("shoulder", "elbow", "wrist")),
)
OPENPOSE18 = Skeleton(
    "openpose18",
    (
        *_OPENPOSE_BODY,
        *(f"{side}_{name}" for side in ("right", "left") for name in ("hip", "knee", "ankle")),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
    ),
    (*_LIMBS, ("nose", "neck")),
)
"""The order of 3DPW's `poses2d`."""

OPENPOSE25 = Skeleton(
    "openpose25",
    (
        *_OPENPOSE_BODY,
        "pelvis",
        *(f"{side}_{name}" for side in ("right", "left") for name in ("hip", "knee", "ankle")),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
        *(f"{side}_{name}" for side in ("left", "right") for name in ("big_toe", "small_toe", "heel")),
    ),
    (*_LIMBS, ("nose", "neck"), ("neck", "pelvis")),
)

SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each of SMPL's 24 joints, -1 for the root."""

_SMPL24 = (
    *("pelvis", *_sides("hip"), "spine1", *_sides("knee"), "spine2", *_sides("ankle"), "spine3", *_sides("foot")),
    *("neck", *_sides("collar"), "head", *_sides("shoulder", "elbow", "wrist", "hand")),
)
SMPL24 = Skeleton(
    "smpl24", _SMPL24, tuple((_SMPL24[parent], name) for name, parent in zip(_SMPL24, SMPL_PARENTS) if parent >= 0)
)

H36M17 = Skeleton(
    "h36m17",
    (
        *("pelvis", "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle"),
        *("spine", "neck", "head", "head_top"),
        *("left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist"),
    ),
)
"""Rows of SMPL's `J_regressor_h36m`, left leg first (VIBE, lib/data_utils/kp_utils.py)."""

LSP14 = Skeleton(
    "lsp14",
    (
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
        *("neck", "head_top"),
    ),
)
"""The 14 joints of the 3DPW and Human3.6M protocols; `remap(H36M17, LSP14)` is SPIN's `H36M_TO_J14`."""

_FEET = tuple(f"{side}_{name}" for side in ("left", "right") for name in ("big_toe", "small_toe", "heel"))
_FACE68 = tuple(f"face_{number}" for number in range(68))
_HAND21 = (
    "hand_root",
    *(f"{finger}{k}" for finger in ("thumb", "index", "middle", "ring", "little") for k in range(1, 5)),
)
# iBUG-68: which landmark lies opposite which (jaw, brows, nose, eyes, mouth); those on the midline are left out.
_FACE_OPPOSITE = (
    *((a, 16 - a) for a in range(8)),
    *((a, 43 - a) for a in range(17, 22)),
    *((31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),
)
_FACE_MIRROR = {f"face_{a}": f"face_{b}" for pair in _FACE_OPPOSITE for a, b in (pair, pair[::-1])}
_FOOT_SIGMAS = (0.068, 0.066, 0.066, 0.092, 0.094, 0.094)
_FACE_SIGMAS = (
    *(0.042, 0.043, 0.044, 0.043, 0.040, 0.035, 0.031, 0.025, 0.020, 0.023, 0.029, 0.032, 0.037, 0.038, 0.043, 0.041),
    *(0.045, 0.013, 0.012, 0.011, 0.011, 0.012, 0.012, 0.011, 0.011, 0.013, 0.015, 0.009, 0.007, 0.007, 0.007, 0.012),
    *(0.009, 0.008, 0.016, 0.010, 0.017, 0.011, 0.009, 0.011, 0.009, 0.007, 0.013, 0.008, 0.011, 0.012, 0.010, 0.034),
    *(0.008, 0.008, 0.009, 0.008, 0.008, 0.007, 0.010, 0.008, 0.009, 0.009, 0.009, 0.007, 0.007, 0.008, 0.011, 0.008),
    *(0.008, 0.008, 0.010, 0.008),
)
_HAND_SIGMAS = (
    *(0.029, 0.022, 0.035, 0.037, 0.047, 0.026, 0.025, 0.024, 0.035, 0.018, 0.024),
    *(0.022, 0.026, 0.017, 0.021, 0.021, 0.032, 0.020, 0.019, 0.022, 0.031),
)
WHOLEBODY133 = Skeleton(
    "wholebody133",
    (
        *(_BODY17 + _FEET + _FACE68),
        *(f"{side}_{name}" for side in ("left", "right") for name in _HAND21),
    ),
    _LIMBS + _HEAD_EDGES,
    _BODY17_SIGMAS + _FOOT_SIGMAS + _FACE_SIGMAS + _HAND_SIGMAS + _HAND_SIGMAS,
    (
        ("body", slice(0, 17)),
        ("foot", slice(17, 23)),
        ("face", slice(23, 91)),
        ("lefthand", slice(91, 112)),
        ("righthand", slice(112, 133)),
        ("wholebody", slice(0, 133)),
    ),
)
"""COCO-WholeBody; sigmas from mmpose's `configs/_base_/datasets/coco_wholebody.py`."""

WHOLEBODY_FIELDS = {
    "body": "keypoints",
    "foot": "foot_kpts",
    "face": "face_kpts",
    "lefthand": "lefthand_kpts",
    "righthand": "righthand_kpts",
}
"""Fields of COCO-WholeBody's annotations and results by part, in the order of the 133 keypoints (data_format.md)."""

SKELETONS = {
    skeleton.name: skeleton
    for skeleton in (COCO17, MPII16, OPENPOSE18, OPENPOSE25, SMPL24, H36M17, LSP14, WHOLEBODY133)
}
