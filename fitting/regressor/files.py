"""Regressor checkpoints and other methods' predictions that a user brings.

SPIN's released file holds optimiser objects beside the network. `convert_regressor` keeps the network's tensors and
leaves everything else out; nothing in the file is run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fitting.body_fits import BodyFits
from fitting.regressor.model import Regressor, check_entries, model_of, released_config, save_regressor
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, require_file, sha256
from pose2d.files.torch_files import read_torch_file

_LARGEST = 1e6
"""Radians, metres or shape coefficients; beyond it squares overflow in single precision before anything is fitted."""


def convert_regressor(source: str | Path, target: str | Path) -> None:
    """Write the network of a checkpoint in SPIN's released layout as .safetensors, which `load_regressor` reads.

    Args:
        source: the released file (e.g. model_checkpoint.pt). Only its tensors are read.
        target: path ending in .safetensors.

    Raises:
        InputError: the file is no such checkpoint, or its network does not fit.
    """
    source, target = require_file(source), Path(target)
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: the converted regressor's name ends in .safetensors")
    loaded = read_torch_file(source, leave_out=True)
    regressor, model = Regressor(released_config(loaded, source)), model_of(loaded)
    check_entries(source, regressor.state_dict(), model)
    regressor.load_state_dict(model)
    save_regressor(regressor, target, {"source": source.name, "source_sha256": sha256(source)})


def load_initial_npz(path: str | Path, count: int | None = None) -> BodyFits:
    """Initial bodies that another method predicted, to refine in place of the regressor's.

    The .npz has, for n persons in the order of the 2D poses:

    * ``rotations`` (n, 24, 3, 3), or ``poses`` (n, 72) axis-angle: the root's orientation in the image's OpenCV camera;
    * ``betas`` (n, 10) or (10,), shared by all;
    * ``translation`` (n, 3): metres in the camera's frame, SMPL's ``transl``.

    Args:
        path: the file.
        count: how many persons there must be; None for any number.

    Raises:
        InputError: a field is missing, has another shape, is not finite, or holds no rotations.
    """
    arrays = read_npz(path)
    if "rotations" in arrays:
        rotations = _field(arrays, "rotations", (None, 24, 3, 3), path)
        error = np.abs(np.swapaxes(rotations, -1, -2) @ rotations - np.eye(3)).max(initial=0.0)
        if error > 1e-3 or (np.linalg.det(rotations) < 0).any():
            raise InputError(
                f"{path}: field rotations holds no rotation matrices (R'R is {error:.2g} off the identity)"
            )
    else:
        poses = _field(arrays, "poses", (None, 72), path, instead=" (or rotations (n, 24, 3, 3))")
        rotations = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    persons = len(rotations)
    if count is not None and persons != count:
        raise InputError(f"{path} holds {persons} bodies, {count} persons are to be fitted: give one body for each")
    if "betas" in arrays and arrays["betas"].ndim == 1:
        arrays["betas"] = np.tile(arrays["betas"], (persons, 1))
    betas = _field(arrays, "betas", (persons, 10), path)
    return BodyFits(rotations, betas, _field(arrays, "translation", (persons, 3), path))


def _field(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int | None, ...], path: str | Path, instead: str = ""
) -> np.ndarray:
    wanted = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
    if name not in arrays:
        raise InputError(f"{path}: field {name} {wanted}{instead} is missing; the file has {', '.join(sorted(arrays))}")
    value = arrays[name]
    if value.ndim != len(shape) or any(w not in (None, g) for w, g in zip(shape, value.shape, strict=True)):
        raise InputError(f"{path}: field {name} has shape {value.shape}, not {wanted}")
    if value.dtype.kind not in "fiu" or not np.isfinite(value).all():
        raise InputError(f"{path}: field {name} holds values that are not finite numbers")
    value = value.astype(np.float64)
    if np.abs(value).max(initial=0.0) > _LARGEST:
        raise InputError(
            f"{path}: field {name} holds {np.abs(value).max():.3g}, which no body in metres and radians has"
        )
    return value
