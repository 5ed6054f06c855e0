"""Bodies in SMPL's file format: the packaged open body, or the user's own SMPL files.

smplx does the posing (Loper et al., SIGGRAPH Asia 2015). It would unpickle any file it is given, so files are read
here, checked, and handed over as arrays.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pose2d.errors import InputError
from pose2d.files.boundary import reading
from pose2d.files.storage import read_npy, read_npz, require_directory, require_file, write_npz
from pose2d.files.unpickling import plain, restricted_load
from pose2d.skeletons import H36M17, SMPL24, SMPL_PARENTS, Skeleton

Gender = Literal["neutral", "male", "female"]
GENDERS: tuple[Gender, ...] = ("neutral", "male", "female")

OPEN_BODY_DIR = Path(__file__).parent
"""The packaged open body: `OPENBODY_{NEUTRAL,MALE,FEMALE}.npz` and its evaluation regressor."""

REGRESSOR_FILE = "J_regressor_h36m.npy"
NUM_BETAS = 10

# Landmark vertices by our keypoint names -> smplx's names for them (smplx/vertex_ids.py).
_LANDMARKS = {
    "nose": "nose",
    **{f"{side}_{part}": f"{side[0]}{part}" for side in ("left", "right") for part in ("eye", "ear")},
    **{
        f"{side}_{ours}": f"{side[0].upper()}{theirs}"
        for side in ("left", "right")
        for ours, theirs in (("big_toe", "BigToe"), ("small_toe", "SmallToe"), ("heel", "Heel"))
    },
    **{
        f"{side}_{finger}4": f"{side[0]}{tip}"
        for side in ("left", "right")
        for finger, tip in (
            *(("thumb", "thumb"), ("index", "index"), ("middle", "middle"), ("ring", "ring"), ("little", "pinky")),
        )
    },
}
# Keypoints that other skeletons name differently from the SMPL joint they lie on.
_SAME_JOINT = {"thorax": "neck", "upper_neck": "head", "left_hand_root": "left_wrist", "right_hand_root": "right_wrist"}

_SHAPES: dict[str, tuple[int | None, ...]] = {
    "v_template": (None, 3),
    "shapedirs": (None, 3, None),
    "posedirs": (None, 3, 207),
    "J_regressor": (24, None),
    "weights": (None, 24),
    "kintree_table": (2, 24),
    "f": (None, 3),
}


@dataclass(frozen=True)
class BodyOutput:
    """A posed body: metres, in the frame of the root rotation and translation that posed it."""

    vertices: Float[Tensor, "b v 3"]
    joints: Float[Tensor, "b 24 3"]


@dataclass(frozen=True)
class KeypointSource:
    """Where a keypoint lies on the body: on a joint or on a vertex."""

    kind: Literal["joint", "vertex"]
    number: int


class Body(nn.Module):
    """A body of one gender. Build it with `load_body`.

    Attributes:
        faces: triangles, int64 (f, 3), outward.
        parents: parent of each joint, -1 for the root.
        landmarks: vertex of each landmark, by keypoint name.
        path: the file it came from.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], path: Path, regressor: np.ndarray | None) -> None:
        super().__init__()
        import smplx

        data = {name: arrays[name] for name in _SHAPES}
        data["shapedirs"] = data["shapedirs"][:, :, :NUM_BETAS]
        with contextlib.redirect_stdout(io.StringIO()):  # smplx prints a warning about ten betas at each construction
            self._smpl = smplx.SMPL(
                str(path),
                data_struct=smplx.utils.Struct(**data),
                create_betas=False,
                create_global_orient=False,
                create_body_pose=False,
                create_transl=False,
            )
        self._smpl.requires_grad_(False)
        self.path = path
        self.faces: Int[np.ndarray, "f 3"] = np.asarray(arrays["f"], dtype=np.int64)
        self.parents = SMPL_PARENTS
        self.landmarks = _landmark_vertices(arrays)
        self.register_buffer("_regressor", None if regressor is None else torch.as_tensor(regressor).float())

    @property
    def v_template(self) -> Float[Tensor, "v 3"]:
        """The mean body in T-pose, metres."""
        values: Tensor = self._smpl.v_template
        return values

    @property
    def shapedirs(self) -> Float[Tensor, "v 3 10"]:
        """Vertex displacement for each beta."""
        values: Tensor = self._smpl.shapedirs
        return values

    @property
    def posedirs(self) -> Float[Tensor, "207 v3"]:
        """Vertex displacement for each entry of (R - I) of joints 1..23, row-major."""
        values: Tensor = self._smpl.posedirs
        return values

    @property
    def joint_regressor(self) -> Float[Tensor, "24 v"]:
        """Rest joints from rest vertices."""
        values: Tensor = self._smpl.J_regressor
        return values

    @property
    def skinning_weights(self) -> Float[Tensor, "v 24"]:
        """Share of each joint in each vertex."""
        values: Tensor = self._smpl.lbs_weights
        return values

    def forward(
        self,
        rotations: Float[Tensor, "b 24 3 3"],
        betas: Float[Tensor, "b 10"],
        translation: Float[Tensor, "b 3"] | None = None,
    ) -> BodyOutput:
        """Pose the body.

        Args:
            rotations: of each joint relative to its parent; the first is the root's orientation.
            betas: shape.
            translation: added to every point, metres. The root joint lies at `translation` plus its rest offset.
        """
        posed = self._smpl(
            betas=betas,
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            transl=translation,
            pose2rot=False,
        )
        return BodyOutput(posed.vertices, posed.joints[:, : len(SMPL24)])

    def keypoint_sources(self, skeleton: Skeleton) -> tuple[KeypointSource | None, ...]:
        """Joint or vertex of each keypoint of `skeleton`; None where the body has no such point."""
        return tuple(self._source(name) for name in skeleton.keypoints)

    def _source(self, name: str) -> KeypointSource | None:
        name = _SAME_JOINT.get(name, name)
        if name in SMPL24:
            return KeypointSource("joint", SMPL24.index(name))
        if name in self.landmarks:
            return KeypointSource("vertex", self.landmarks[name])
        return None

    def keypoints(self, output: BodyOutput, skeleton: Skeleton) -> Float[Tensor, "b k 3"]:
        """Keypoints of a posed body, by name.

        Raises:
            ValueError: the body has no point for some keypoint of `skeleton`.
        """
        points = []
        for name, source in zip(skeleton.keypoints, self.keypoint_sources(skeleton), strict=True):
            if source is None:
                raise ValueError(f"the body has no point for keypoint {name!r} of skeleton {skeleton.name}")
            points.append((output.joints if source.kind == "joint" else output.vertices)[:, source.number])
        return torch.stack(points, dim=1)

    def evaluation_joints(self, vertices: Float[Tensor, "b v 3"]) -> Float[Tensor, "b 17 3"]:
        """The 17 joints of Human3.6M from vertices, by the regressor beside the body's file.

        SMPL's rows do not sum exactly to 1: regress before adding a camera translation.

        Raises:
            InputError: no regressor lies beside the body.
        """
        if self._regressor is None:
            raise InputError(
                f"no {REGRESSOR_FILE} beside {self.path}: put it there, or take --protocol official, which needs none"
            )
        return torch.einsum("jv,bvc->bjc", self._regressor.to(vertices.dtype), vertices)


def _landmark_vertices(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    if "vertex_id_names" in arrays:
        names, values = map(str, arrays["vertex_id_names"]), map(int, arrays["vertex_id_values"])
        theirs = dict(zip(names, values, strict=True))
    else:
        theirs = _smplx_landmarks()
    head = arrays["weights"][:, SMPL24.index("head")] > 0.5
    height = np.where(head, arrays["v_template"][:, 1], -np.inf)
    return {ours: theirs[name] for ours, name in _LANDMARKS.items()} | {"head_top": int(height.argmax())}


def _smplx_landmarks() -> dict[str, int]:
    from smplx.vertex_ids import vertex_ids

    return {name: vertex_ids["smplh"][name] for name in _LANDMARKS.values()}


@cache
def load_body(
    body_dir: str | Path | None = None, gender: Gender = "neutral", regressor: str | Path | None = None
) -> Body:
    """Read a body; each is read once a process.

    Args:
        body_dir: directory with one `*_NEUTRAL.npz`, `*_MALE.npz`, `*_FEMALE.npz`; None for the packaged open body.
        gender: which of the three.
        regressor: evaluation regressor (17, v) as .npy; by default `J_regressor_h36m.npy` in `body_dir`.

    Raises:
        InputError: a file is missing, is not such a body, or regressor and body have different topologies.
    """
    directory = OPEN_BODY_DIR if body_dir is None else require_directory(body_dir)
    path = _find(directory, gender)
    arrays = check_body(read_npz(path), path)
    return Body(arrays, path, _read_regressor(directory, regressor, arrays["v_template"].shape[0], path))


def _find(directory: Path, gender: Gender) -> Path:
    found = sorted(directory.glob(f"*_{gender.upper()}.npz"))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{directory} holds several {gender} bodies ({', '.join(p.name for p in found)}): keep one")
    pickles = ", ".join(p.name for p in sorted(directory.glob("*.pkl")))
    convert = f"; convert its .pkl files ({pickles}) once with `run_fitting.py convert-body`" if pickles else ""
    raise InputError(f"{directory} holds no {gender} body: a file SMPL_{gender.upper()}.npz is needed{convert}")


def _read_regressor(directory: Path, given: str | Path | None, vertices: int, body: Path) -> np.ndarray | None:
    path = directory / REGRESSOR_FILE if given is None else require_file(given)
    if not path.is_file():
        return None
    regressor = read_npy(path)
    if regressor.dtype.kind not in "fiu" or not np.isfinite(regressor).all():
        raise InputError(f"{path} holds values that are not finite numbers")
    if regressor.shape != (len(H36M17), vertices):
        raise InputError(
            f"{path} regresses from another topology: its shape is {regressor.shape}, "
            f"{body.name} with {vertices} vertices needs ({len(H36M17)}, {vertices})"
        )
    return regressor


def check_body(arrays: Mapping[str, np.ndarray], path: str | Path) -> dict[str, np.ndarray]:
    """`arrays` if they make an SMPL-format body.

    Raises:
        InputError: a field is missing, has another shape, is not finite, or the kinematic tree is not SMPL's.
    """
    vertices = arrays["v_template"].shape[0] if "v_template" in arrays and arrays["v_template"].ndim else 0
    for name, shape in _SHAPES.items():
        if name not in arrays:
            raise InputError(f"{path} is no SMPL-format body: field {name} is missing")
        came = arrays[name].shape
        if len(came) != len(shape) or any(want not in (None, got) for want, got in zip(shape, came, strict=True)):
            wanted = tuple("*" if want is None else want for want in shape)
            raise InputError(f"{path}: field {name} has shape {came}, an SMPL-format body has {wanted}")
        if not _all_within_float32(arrays[name]):
            raise InputError(f"{path}: field {name} holds NaN, infinite or other values than finite 32-bit numbers")
    if vertices == 0 or len(arrays["f"]) == 0:
        raise InputError(f"{path} is no SMPL-format body: it has no vertices or no faces")
    for name, axis in (("shapedirs", 0), ("posedirs", 0), ("weights", 0), ("J_regressor", 1)):
        if arrays[name].shape[axis] != vertices:
            raise InputError(f"{path}: field {name} is made for {arrays[name].shape[axis]} vertices, not {vertices}")
    if arrays["shapedirs"].shape[2] < NUM_BETAS:
        raise InputError(f"{path}: field shapedirs has {arrays['shapedirs'].shape[2]} betas, {NUM_BETAS} are needed")
    if not 0 <= arrays["f"].min() <= arrays["f"].max() < vertices:
        raise InputError(
            f"{path}: field f names vertices {arrays['f'].min()} to {arrays['f'].max()} of a body with {vertices}"
        )
    _check_landmarks(arrays, vertices, path)
    parents = tuple(int(p) for p in arrays["kintree_table"][0, 1:])
    if parents != SMPL_PARENTS[1:]:
        raise InputError(f"{path}: field kintree_table is not SMPL's tree of 24 joints")
    return dict(arrays)


def _all_within_float32(values: np.ndarray) -> bool:
    """Whether all are numbers that stay finite in the precision that bodies are kept and posed in."""
    if values.dtype.kind not in "fiub":
        return False
    return bool((np.abs(values.astype(np.float64)) <= np.finfo(np.float32).max).all())


def _check_landmarks(arrays: Mapping[str, np.ndarray], vertices: int, path: str | Path) -> None:
    if "vertex_id_names" not in arrays:
        if vertices <= max(_smplx_landmarks().values()):
            raise InputError(f"{path}: with {vertices} vertices it needs vertex_id_names and vertex_id_values")
        return
    names, values = arrays["vertex_id_names"], arrays.get("vertex_id_values")
    if values is None or names.ndim != 1 or values.shape != names.shape or values.dtype.kind not in "iu":
        raise InputError(f"{path}: field vertex_id_values needs one vertex for each of vertex_id_names")
    lacking = set(_LANDMARKS.values()) - set(map(str, names))
    if lacking:
        raise InputError(f"{path}: field vertex_id_names lacks {', '.join(sorted(lacking)[:4])}")
    if len(values) and not 0 <= values.min() <= values.max() < vertices:
        raise InputError(f"{path}: field vertex_id_values names vertices that a body with {vertices} has not")


def convert_body(source: str | Path, target: str | Path) -> None:
    """Convert an official SMPL .pkl into the .npz that `load_body` reads. Nothing in the pickle is run.

    Raises:
        InputError: `source` is no SMPL body, or holds anything but arrays.
    """
    loaded = restricted_load(source)
    if not isinstance(loaded, dict):
        raise InputError(f"{source} is no SMPL body: it holds a {type(loaded).__name__}, not a dictionary")
    _refuse_other_gender(source, target)
    arrays: dict[str, np.ndarray] = {}
    for name in _SHAPES:
        if name in loaded:
            with reading(source, f"an SMPL body: field {name}"):
                arrays[name] = plain(loaded[name])
    tree = arrays.get("kintree_table")
    if tree is not None and tree.dtype.kind in "fiu":
        arrays["kintree_table"] = tree.astype(np.int64).astype(np.uint32)  # the root's parent is -1, or 2^32 - 1
    arrays = check_body(arrays, source)
    floats = {name: value.astype(np.float32) for name, value in arrays.items() if value.dtype.kind == "f"}
    write_npz(target, **(arrays | floats | {"f": arrays["f"].astype(np.uint32)}))


def _refuse_other_gender(source: str | Path, target: str | Path) -> None:
    """SMPL's files say in their names whose they are: basicmodel_m, basicModel_f, basicmodel_neutral, SMPL_MALE."""
    found = re.search(r"(?:basicmodel|smpl)_(neutral|female|male|m|f|n)(?![a-z])", Path(source).name.lower())
    gender = {"m": "male", "f": "female", "n": "neutral"}.get(found[1], found[1]) if found else None
    if gender is not None and not Path(target).stem.lower().endswith(f"_{gender}"):
        raise InputError(
            f"{source} is by its name the {gender} body, which {Path(target).name} would give out for another: name "
            f"the target SMPL_{gender.upper()}.npz, or rename the source if it is not"
        )
