"""First guess of the body from one crop: the HMR network in SPIN's form.

Kanazawa et al., CVPR 2018 (HMR); Kolotouros et al., ICCV 2019 (SPIN).

A ResNet's pooled feature goes three times through two linear layers which correct pose, shape and camera, starting
from mean parameters that the checkpoint holds. The same class is SPIN (ResNet-50, width 64, 224 px) and the packaged
small network (ResNet-18).

What a crop cannot tell, and how it is put back into the image:

* the camera is weakly perspective: a point X of the body lies at ``s (X + t_x)`` in the crop's [-1, 1] frame. CLIFF
  (Li et al., ECCV 2022) turns that into a translation in the full image's camera (`translation_in_camera`);
* a crop away from the image's centre shows the body from another side than the camera's axis does. SPIN ignores it
  (its orientation is evaluated as if it were the camera's), and so does CLIFF's conversion of the camera: a
  checkpoint with ``orientation="camera"``. The packaged network is trained in the frame of the ray through the
  crop's centre (``orientation="ray"``), and `place_in_camera` turns its bodies by that ray.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor, nn

from fitting.body_fits import BodyFits
from pose2d.crops import square_crop_affine, warp_crop
from pose2d.errors import InputError
from pose2d.files.boundary import reading
from pose2d.files.safetensor_files import read_safetensors, write_safetensors
from pose2d.files.storage import read_npz, require_file
from pose2d.files.torch_files import ForeignObjectError, read_torch_file
from pose2d.networks.resnet import ResNet

Orientation = Literal["camera", "ray"]

PACKAGED_REGRESSOR = Path(__file__).parents[1] / "weights" / "regressor-small.safetensors"
BOX_SCALE = 1.2
"""Side of the crop over the longer side of the person's box (SPIN's 3DPW preprocessing)."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_POSE, _SHAPE, _CAMERA = 144, 10, 3
_SPIN_ENTRIES = 331
_SMALLEST_SCALE = 0.05
_CONVERT = "convert it once with `run_fitting.py convert-regressor SOURCE TARGET`, which runs nothing that is in it"


@dataclass(frozen=True)
class RegressorConfig:
    """Shape of the network. The defaults are SPIN's.

    depth, width: of the ResNet. hidden: of the two linear layers. input_size: side of the crop in pixels.
    orientation: frame of the predicted root orientation, see the module's text. dropout: in training.
    """

    depth: int = 50
    width: int = 64
    hidden: int = 1024
    input_size: int = 224
    orientation: Orientation = "camera"
    dropout: float = 0.5


@dataclass(frozen=True)
class RegressorOutput:
    """The network's prediction for n crops.

    rotations: of each joint relative to its parent, the first the root's in the frame of the checkpoint's orientation.
    betas: shape. camera: (s, t_x, t_y), see the module's text.
    """

    rotations: Float[Tensor, "n 24 3 3"]
    betas: Float[Tensor, "n 10"]
    camera: Float[Tensor, "n 3"]

    def select(self, rows: Int[np.ndarray, " m"] | slice) -> RegressorOutput:
        """The crops in `rows`, in that order."""
        return RegressorOutput(self.rotations[rows], self.betas[rows], self.camera[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[RegressorOutput]) -> RegressorOutput:
        """The crops of all parts, one part after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def rotations_from_6d(pose: Float[Tensor, "n 144"]) -> Float[Tensor, "n 24 3 3"]:
    """SPIN's continuous rotations (Zhou et al., CVPR 2019): six numbers per joint are a 3x2 matrix, row by row.

    Its two columns, made orthonormal, are the first two columns of the rotation.
    """
    columns = pose.reshape(-1, 24, 3, 2)
    first = nn.functional.normalize(columns[..., 0], dim=-1)
    second = columns[..., 1] - (first * columns[..., 1]).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(second, dim=-1)
    return torch.stack((first, second, torch.linalg.cross(first, second)), dim=-1)


def rotations_to_6d(rotations: Float[Tensor, "n 24 3 3"]) -> Float[Tensor, "n 144"]:
    """The first two columns of each rotation, as `rotations_from_6d` reads them."""
    return rotations[..., :2].reshape(-1, _POSE)


class Regressor(ResNet):
    """SPIN's network over any ResNet. The state dict has the released checkpoint's names.

    Attributes:
        config: its shape.
        metadata: of its checkpoint (seed, measured errors, ...), by name.
    """

    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor

    def __init__(self, config: RegressorConfig, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(config.depth, config.width)
        self.config = config
        self.metadata = dict(metadata or {})
        parameters = _POSE + _SHAPE + _CAMERA
        self.fc1 = nn.Linear(self.out_channels + parameters, config.hidden)
        self.drop1 = nn.Dropout(config.dropout)
        self.fc2 = nn.Linear(config.hidden, config.hidden)
        self.drop2 = nn.Dropout(config.dropout)
        self.decpose = nn.Linear(config.hidden, _POSE)
        self.decshape = nn.Linear(config.hidden, _SHAPE)
        self.deccam = nn.Linear(config.hidden, _CAMERA)
        for decoder in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(decoder.weight, gain=0.01)
        # The body upright before a camera whose y points down.
        upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
        rest = torch.cat((upright[None], torch.eye(3).expand(23, 3, 3)))[None]
        self.register_buffer("init_pose", rotations_to_6d(rest))
        self.register_buffer("init_shape", torch.zeros(1, _SHAPE))
        self.register_buffer("init_cam", torch.tensor([[0.9, 0.0, 0.0]]))

    def forward(self, images: Tensor, iterations: int = 3) -> Any:
        """Normalised crops (b, 3, size, size) to rotations (b, 24, 3, 3), betas (b, 10), camera (b, 3)."""
        feature = super().forward(images).mean(dim=(2, 3))
        pose, shape, camera = (
            init.expand(len(images), -1) for init in (self.init_pose, self.init_shape, self.init_cam)
        )
        for _ in range(iterations):
            hidden = self.drop1(self.fc1(torch.cat((feature, pose, shape, camera), dim=1)))
            hidden = self.drop2(self.fc2(hidden))
            pose = pose + self.decpose(hidden)
            shape = shape + self.decshape(hidden)
            camera = camera + self.deccam(hidden)
        return rotations_from_6d(pose), shape, camera


def normalise(crops: UInt8[np.ndarray, "n h w 3"] | UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """RGB crops as the network takes them: in [0, 1], less ImageNet's mean, over its standard deviation."""
    images = torch.as_tensor(crops).permute(0, 3, 1, 2).float().div_(255.0)
    mean, std = (torch.tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD))
    return images.sub_(mean).div_(std)


def crop_squares(boxes_xywh: Shaped[np.ndarray, "n 4"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Centres and sides (image pixels) of the square crops of some boxes: side = 1.2 x the box's longer side.

    Raises:
        InputError: a box is not finite or has no area.
    """
    boxes = np.asarray(boxes_xywh, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1) | ~(boxes[:, 2:] > 0).all(axis=1))
    if len(bad):
        raise InputError(f"box {bad[0]} is {boxes[bad[0]].tolist()}: a box needs a positive width and height in pixels")
    return boxes[:, :2] + 0.5 * boxes[:, 2:], BOX_SCALE * boxes[:, 2:].max(axis=1)


def crop_person(
    image: UInt8[np.ndarray, "h w 3"], center_px: Shaped[np.ndarray, "2"], side_px: float, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """One square crop, by a float affine map (SPIN's own code cuts the corners to whole pixels)."""
    affine = square_crop_affine(np.asarray(center_px)[None], np.array([side_px]), size)[0]
    return warp_crop(image, affine, (size, size))


@torch.no_grad()
def predict(regressor: Regressor, crops: UInt8[np.ndarray, "n size size 3"], batch_size: int = 64) -> RegressorOutput:
    """Bodies in crops.

    Args:
        regressor: from `load_regressor`.
        crops: RGB, of the regressor's input size (`crop_person`).
        batch_size: crops at a time.

    Raises:
        InputError: the crops have another size.
    """
    size = regressor.config.input_size
    if crops.shape[1:3] != (size, size):
        raise InputError(f"crops are {crops.shape[2]}x{crops.shape[1]} px, this regressor takes {size}x{size} px")
    regressor.eval()
    device = regressor.init_cam.device
    parts = [
        regressor(normalise(crops[start : start + batch_size]).to(device)) for start in range(0, len(crops), batch_size)
    ]
    if not parts:
        return RegressorOutput(torch.zeros(0, 24, 3, 3), torch.zeros(0, _SHAPE), torch.zeros(0, _CAMERA))
    rotations, betas, camera = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return RegressorOutput(rotations, betas, camera)


def translation_in_camera(
    camera: Shaped[np.ndarray, "n 3"],
    centers_px: Shaped[np.ndarray, "n 2"],
    sides_px: Shaped[np.ndarray, " n"],
    intrinsics: Shaped[np.ndarray, "n 3 3"],
) -> Float[np.ndarray, "n 3"]:
    """The crop's weak-perspective camera as a translation (metres) in the full image's camera.

    CLIFF's conversion (common/utils.py, cam_crop2full): with crop side b, t_z = 2 f / (b s) and
    t_x += 2 (c_x - p_x) / (b s). Here f is the mean of both focal lengths for the depth, and each axis keeps its own.
    At that depth the body's origin projects to where the crop's camera puts it.

    Raises:
        InputError: the camera's scale is not positive (the person would stand behind the camera).
    """
    scale, shift = camera[:, 0].astype(np.float64), camera[:, 1:].astype(np.float64)
    if not (scale > 0).all():
        first = int(np.flatnonzero(~(scale > 0))[0])
        raise InputError(f"camera {first} has scale {scale[first]}: a body in front of the camera needs a positive one")
    focal, principal = intrinsics[:, [0, 1], [0, 1]], intrinsics[:, :2, 2]
    half = 0.5 * sides_px * scale  # image pixels per metre
    depth = focal.mean(axis=1) / half
    offset_px = half[:, None] * shift + np.asarray(centers_px, dtype=np.float64) - principal
    return np.concatenate((offset_px * depth[:, None] / focal, depth[:, None]), axis=1)


def ray_rotations(
    centers_px: Shaped[np.ndarray, "n 2"], intrinsics: Shaped[np.ndarray, "n 3 3"]
) -> Float[np.ndarray, "n 3 3"]:
    """Rotations that take the camera's axis to the rays through image points, by the shortest way (camera <- ray)."""
    ray = np.concatenate(
        ((centers_px - intrinsics[:, :2, 2]) / intrinsics[:, [0, 1], [0, 1]], np.ones((len(intrinsics), 1))), axis=1
    )
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    # Rodrigues for the axis z x ray, whose length is the sine of the angle and ray_z its cosine.
    cross = np.zeros((len(ray), 3, 3))
    cross[:, 0, 2], cross[:, 1, 2] = ray[:, 0], ray[:, 1]
    cross[:, 2, 0], cross[:, 2, 1] = -ray[:, 0], -ray[:, 1]
    return np.eye(3) + cross + cross @ cross / (1.0 + ray[:, 2])[:, None, None]


def place_in_camera(
    output: RegressorOutput,
    centers_px: Shaped[np.ndarray, "n 2"],
    sides_px: Shaped[np.ndarray, " n"],
    intrinsics: Shaped[np.ndarray, "n 3 3"],
    orientation: Orientation,
) -> BodyFits:
    """Bodies of crops in the frames of the images' cameras, ready for refinement.

    Args:
        output: of `predict`.
        centers_px: of the square crops, image pixels.
        sides_px: of the square crops, image pixels.
        intrinsics: of the images' cameras.
        orientation: of the checkpoint: `regressor.config.orientation`.

    A scale below 0.05 is taken for 0.05, so that a prediction gone wrong still stands before the camera: far away. NaN
    stays NaN elsewhere: a refinement refuses that person alone.
    """
    rotations = output.rotations.numpy().astype(np.float64)
    if orientation == "ray":
        rotations[:, 0] = ray_rotations(np.asarray(centers_px, dtype=np.float64), intrinsics) @ rotations[:, 0]
    camera = output.camera.numpy().copy()
    camera[:, 0] = np.fmax(camera[:, 0], _SMALLEST_SCALE)
    translation = translation_in_camera(camera, centers_px, sides_px, intrinsics)
    return BodyFits(rotations, output.betas.numpy().astype(np.float64), translation)


def load_regressor(path: str | Path | None = None, mean_params: str | Path | None = None) -> Regressor:
    """Read a regressor.

    Args:
        path: a .safetensors written by `save_regressor`, or a checkpoint in SPIN's released layout (a dictionary whose
            ``model`` has 331 entries); None for the packaged small network.
        mean_params: SPIN's smpl_mean_params.npz, to start from instead of the checkpoint's own init buffers; needed
            only where those are missing.

    Raises:
        InputError: the file is missing or not such a checkpoint, holds other objects than tensors, lacks entries, has
            entries too many, or entries of other shapes: a network is never loaded by halves.
    """
    path = require_file(PACKAGED_REGRESSOR if path is None else path)
    config, state, metadata = _read_safetensors(path) if path.suffix == ".safetensors" else _read_released(path)
    if mean_params is not None:
        state = state | _read_mean_params(mean_params)
    with torch.device("meta"):  # nothing is allocated before the file is known to hold it
        wanted = Regressor(config, metadata).state_dict()
    check_entries(path, wanted, state)
    regressor = Regressor(config, metadata)
    regressor.load_state_dict(state)
    return regressor.eval()


def save_regressor(regressor: Regressor, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a regressor and what is known of it as .safetensors, whole or not at all.

    Numbers are kept in the precision of the regressor's parameters; `load_regressor` computes in float32.
    """
    notes = {**regressor.metadata, **(metadata or {}), "regressor": json.dumps(asdict(regressor.config))}
    state = {name: value.contiguous() for name, value in regressor.state_dict().items()}
    write_safetensors(path, state, notes)


def _read_safetensors(path: Path) -> tuple[RegressorConfig, dict[str, Tensor], dict[str, str]]:
    state, metadata = read_safetensors(path)
    with reading(path, "a regressor: its metadata lacks a valid field 'regressor'"):
        config = RegressorConfig(**json.loads(metadata.pop("regressor")))
    _check_config(config, path)
    return config, {n: v.float() if v.is_floating_point() else v for n, v in state.items()}, metadata


def _check_config(config: RegressorConfig, path: Path) -> None:
    """Refuse what no ResNet has before one is built."""
    whole = (config.depth, config.width, config.hidden, config.input_size)
    numbers = all(type(value) is int for value in whole) and type(config.dropout) in (int, float)
    if not numbers or config.orientation not in get_args(Orientation) or not 0 <= config.dropout < 1:
        raise InputError(f"{path}: the metadata's field 'regressor' is {config}, not the configuration of a regressor")
    limits = ((18, 152), (1, 1 << 10), (1, 1 << 14), (32, 1 << 12))
    for name, value, (low, high) in zip(("depth", "width", "hidden", "input_size"), whole, limits, strict=True):
        if not low <= value <= high:
            raise InputError(f"{path}: the metadata's {name} is {value}, outside {low} to {high}")


def _read_released(path: Path) -> tuple[RegressorConfig, dict[str, Tensor], dict[str, str]]:
    try:
        loaded = read_torch_file(path)
    except ForeignObjectError as foreign:
        raise InputError(
            f"{path} holds other objects than tensors ({foreign.name}) and is not opened: {_CONVERT}"
        ) from None
    return released_config(loaded, path), model_of(loaded), {"source": path.name}


def model_of(loaded: Any) -> dict[str, Tensor]:
    """The entries of a checkpoint in SPIN's layout; none where it has another layout."""
    model = loaded.get("model") if isinstance(loaded, Mapping) else None
    return dict(model) if isinstance(model, Mapping) else {}


def released_config(loaded: Any, path: Path) -> RegressorConfig:
    """SPIN's configuration, if what a checkpoint holds has SPIN's layout.

    Raises:
        InputError: it has another one.
    """
    model = model_of(loaded)
    if not model:
        raise InputError(f"{path} has no field 'model' with named tensors: SPIN's checkpoint is {{'model': ...}}")
    strange = [name for name, value in model.items() if not isinstance(value, Tensor)]
    if strange:
        raise InputError(f"{path}: model[{strange[0]!r}] is no tensor: {_CONVERT}")
    return RegressorConfig()


def _read_mean_params(path: str | Path) -> dict[str, Tensor]:
    arrays = read_npz(path)
    state = {}
    for ours, theirs, size in (("init_pose", "pose", _POSE), ("init_shape", "shape", _SHAPE), ("init_cam", "cam", 3)):
        if theirs not in arrays or arrays[theirs].size != size:
            came = arrays[theirs].shape if theirs in arrays else "missing"
            raise InputError(f"{path}: field {theirs} is {came}, smpl_mean_params.npz has ({size},)")
        state[ours] = torch.as_tensor(arrays[theirs].reshape(1, size), dtype=torch.float32)
    return state


def check_entries(path: Path, wanted: Mapping[str, Tensor], came: Mapping[str, Tensor]) -> None:
    """Raise an InputError that names the first entries of ``path`` that the network lacks, or lack in it."""
    missing, extra = sorted(wanted.keys() - came.keys()), sorted(came.keys() - wanted.keys())
    shapes = [name for name in wanted.keys() & came.keys() if wanted[name].shape != came[name].shape]
    told = []
    for names, what in ((missing, "missing"), (extra, "unknown"), (sorted(shapes), "of another shape")):
        if names:
            told.append(f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    if told:
        raise InputError(
            f"{path} does not fit the network, entries are {'; '.join(told)}: "
            f"{len(came)} came, {len(wanted)} are needed (SPIN's released model has {_SPIN_ENTRIES})"
        )
    wild = next((name for name, value in came.items() if not value.isfinite().all()), None)
    if wild is not None:
        raise InputError(f"{path}: entry {wild} holds NaN or infinite numbers: the file is damaged")
