"""How wrong initial bodies are: standard deviations per joint and local axis, of the shape and of the translation.

A start is R0, beta0, t0; its error is d with R* = R0 exp(hat d_rotation), beta* = beta0 + d_beta,
t* = t0 + depth d_translation. The prior of d is a Gaussian without correlations, centred at 0: on the open world full
covariances, Student tails and a bias correction were no better. It belongs to the method that made the starts: the
errors of one method fitted to another's starts do harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.priors import JOINT_STD_RAD
from pose2d.errors import InputError
from pose2d.files.storage import read_json, write_json
from pose2d.skeletons import SMPL24

FORMAT = "calibrated-pose start prior 1"
MIN_FRAMES = 30
"""Fewer frames do not tell 85 standard deviations."""
FLOORS = (0.005, 0.01, 0.001)
"""Least standard deviation of a rotation (radians), a shape coefficient and a translation (of the depth): an error that
the split happened not to show is not impossible, and a deviation of 0 would make the covariance singular."""
_LARGEST = (math.pi, 10.0, 2.0)

Axes = tuple[float, float, float]


@dataclass(frozen=True)
class StartPrior:
    """Standard deviations of a method's errors. Tuples, so that a prior can be compared and written as JSON."""

    rotation_std_rad: tuple[Axes, ...]
    """Of SMPL's 24 joints, about the axes of the joint's own frame at the start."""
    betas_std: tuple[float, ...]
    translation_std: Axes
    """In x, y and z of the camera, as fractions of the depth."""
    method: str
    """Whose errors these are."""
    method_sha256: str = ""
    """Of the regressor's file; empty for a method that is known by its name alone."""
    body_sha256: str = ""
    """Of the neutral body's file; empty for the joint table, which fits every body."""
    num_frames: int = 0
    num_tracks: int = 0
    body_std_m: tuple[float, ...] = 24 * (0.0,)
    """Of each joint's place relative to the pelvis, at the right pose and shape: the true body may be a man's or a
    woman's where the fitted one is neither. It enters the posterior, not the fit."""
    posterior_scale: float = 1.0
    """Factor that makes the posterior's standard deviations hold on the data that the prior was fitted on."""
    floored: tuple[str, ...] = ()
    """Standard deviations that came out too small to be believed and were raised to the floor."""

    def __post_init__(self) -> None:
        shapes = (np.shape(self.rotation_std_rad), np.shape(self.betas_std), np.shape(self.translation_std))
        if shapes != ((24, 3), (10,), (3,)):
            raise InputError(f"a start prior has 24 x 3, 10 and 3 standard deviations, got shapes {shapes}")
        groups = (self.rotation_std_rad, self.betas_std, self.translation_std)
        for name, values, most in zip(_STDS, groups, _LARGEST, strict=True):
            array = np.asarray(values, dtype=float)
            if not (np.isfinite(array).all() and (array > 0).all() and (array <= most).all()):
                raise InputError(
                    f"{name} of a start prior must be above 0 and at most {most:.4g}, got {array.tolist()}"
                )
        body = np.asarray(self.body_std_m, dtype=float)
        if body.shape != (24,) or not ((body >= 0) & (body <= 1)).all():
            raise InputError(f"body_std_m of a start prior must hold 24 numbers in [0, 1], got {body.tolist()}")
        if not 0.1 <= self.posterior_scale <= 10:
            raise InputError(f"posterior_scale of a start prior must be in [0.1, 10], got {self.posterior_scale}")

    def scaled(self, scale: float) -> StartPrior:
        """All standard deviations times a factor, within what a prior may hold."""
        rotations = np.minimum(np.array(self.rotation_std_rad) * scale, _LARGEST[0])
        betas = np.minimum(np.array(self.betas_std) * scale, _LARGEST[1])
        translation = np.minimum(np.array(self.translation_std) * scale, _LARGEST[2])
        return replace(self, **_as_tuples(rotations, betas, translation))

    def unknowns_std(self, joints: Sequence[int]) -> Float[np.ndarray, " P"]:
        """Of a problem's unknowns, by SMPL's numbers of its joints; the last three as fractions of the depth."""
        rotations = np.array(self.rotation_std_rad)[list(joints)].ravel()
        return np.concatenate([rotations, self.betas_std, self.translation_std])

    def save(self, path: str | Path) -> None:
        """Write as JSON (whole or not at all)."""
        values = asdict(self)
        values["rotation_std_rad"] = dict(zip(SMPL24.keypoints, self.rotation_std_rad, strict=True))
        write_json(path, {"format": FORMAT, **values})

    @classmethod
    def load(cls, path: str | Path) -> StartPrior:
        """Read what `save` wrote.

        Raises:
            InputError: the file is no start prior.
        """
        values = read_json(path)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise InputError(f"{path} is no start prior (format {FORMAT!r}): write one by `calibrate-start`")
        try:
            rotations = values["rotation_std_rad"]
            loaded = cls(
                **_as_tuples(
                    *(
                        np.array(part, dtype=float)
                        for part in (
                            [rotations[joint] for joint in SMPL24.keypoints],
                            values["betas_std"],
                            values["translation_std"],
                        )
                    )
                ),
                **{name: kind(values[name]) for name, kind in _PLAIN.items()},
                body_std_m=tuple(float(value) for value in values["body_std_m"]),
                floored=tuple(str(name) for name in values["floored"]),
            )
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise InputError(
                f"{path}: a field of the start prior is missing or malformed ({error!r}): write it again by "
                "`calibrate-start`"
            ) from None
        return loaded


_STDS = ("rotation_std_rad", "betas_std", "translation_std")
_PLAIN: dict[str, Any] = {
    "method": str,
    "method_sha256": str,
    "body_sha256": str,
    "num_frames": int,
    "num_tracks": int,
    "posterior_scale": float,
}


def _as_tuples(rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray) -> dict[str, Any]:
    """Fields of a prior, whose shapes it checks itself."""
    return {
        "rotation_std_rad": tuple(tuple(float(value) for value in axes) for axes in rotations),
        "betas_std": tuple(float(value) for value in betas),
        "translation_std": tuple(float(value) for value in translation),
    }


def joint_table(scale: float) -> StartPrior:
    """The table of what initial predictions are known to get wrong (`fitting.priors.JOINT_STD_RAD`), times a factor."""
    table = [3 * (JOINT_STD_RAD[joint],) for joint in SMPL24.keypoints]
    whole = StartPrior(**_as_tuples(np.array(table), np.full(10, 1.5), np.array([0.05, 0.05, 0.25])), method="any")
    return whole.scaled(scale)


@dataclass(frozen=True)
class StartErrors:
    """How far n initial bodies are from the truth, as `StartPrior` measures it."""

    rotation_rad: Float[np.ndarray, "n 24 3"]
    betas: Float[np.ndarray, "n 10"]
    translation: Float[np.ndarray, "n 3"]
    """As fractions of the depth."""
    num_tracks: int


def fit_prior(errors: StartErrors, method: str, method_sha256: str, body_sha256: str) -> StartPrior:
    """The prior under which the errors are most likely: their root mean squares, each at least its floor.

    Raises:
        InputError: there are fewer than `MIN_FRAMES` frames, or an error is not finite.
    """
    frames = len(errors.betas)
    if frames < MIN_FRAMES:
        raise InputError(
            f"a start prior needs at least {MIN_FRAMES} frames with truth, this split gives {frames}: take more "
            "sequences or a larger --limit"
        )
    parts = (errors.rotation_rad, errors.betas, errors.translation)
    if not all(np.isfinite(part).all() for part in parts):
        raise InputError("some errors of the initial bodies are not finite, so no start prior can be fitted to them")
    stds, floored = [], []
    for name, part, floor, most in zip(_STDS, parts, FLOORS, _LARGEST, strict=True):
        std = np.minimum(np.sqrt((part**2).mean(0)), most)
        floored += [f"{name}{list(map(int, place))}" for place in np.argwhere(std < floor)]
        stds.append(np.maximum(std, floor))
    return StartPrior(
        **_as_tuples(*stds),
        method=method,
        method_sha256=method_sha256,
        body_sha256=body_sha256,
        num_frames=frames,
        num_tracks=errors.num_tracks,
        floored=tuple(floored),
    )
