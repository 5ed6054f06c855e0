"""Confidence-weighted refinement of predicted bodies: 2D keypoints, weights and a camera in, SMPL parameters out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.bodies.body import Body
from fitting.bodies.reduced_body import ReducedBody, reduce_body
from fitting.methods.stages import FITTABLE, FirstStage, refusals, translation_stage
from fitting.objective import Constants, KernelOn, Problem, exp_and_jacobian, unpack
from fitting.priors import hinges, joint_std_rad
from fitting.residuals import scaled_focal
from fitting.solving.solvers import SOLVERS, Reason, Solution, SolverSettings
from fitting.weightings import BOX_PX
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from pose2d.skeletons import Skeleton


@dataclass(frozen=True)
class RefinementConfig:
    """Every constant of the refinement; the same for all weightings that are compared.

    `tools/choose_constants.py` chose the defaults on the open world's validation split, with the raw weighting.

    Attributes:
        prior_strength: lambda, the pull of everything that is not a 2D keypoint.
        pixel_scale: reprojection error that counts as 1, in pixels of a person box scaled to 256 pixels.
        kernel_knee: c of the Geman-McClure kernel in units of `pixel_scale`; a large one makes it least squares.
        kernel_on: "weighted" robustifies weight times squared error, "error" the error alone (SPIN's form).
        rotation_std_scale: factor on the table of joint standard deviations (`fitting.priors.JOINT_STD_RAD`).
        beta_std: standard deviation of the shape around the initial one.
        mean_shape_pull: strength of the pull to the mean shape, relative to that to the initial shape.
        translation_std: standard deviation of the translation (x, y, z) as fractions of the depth.
        hinge_std_rad: forbidden bend of a knee or elbow that costs 1.
        first_stage_above: mean weighted reprojection error of the initial prediction, in pixels of the 256-pixel box,
            above which a first stage moves the body before its pose is touched. The solver moves it anyway; the stage
            is for predictions whose camera is far off, and harms good ones, whose pose error it turns into depth.
        first_stage_std: how far the first stage may move the body, as fractions of the depth (x, y, z).
        first_stage_iterations: its rounds.
        max_iterations, tolerance, initial_damping: of the solver (`fitting.solving.solvers.SolverSettings`).
        max_beta: a shape beyond this many standard deviations is an error, not a body.
        solver: "torch" (any device) or "compiled" (CPU).
        precision: floating point of the torch solver; the compiled one always uses float64.
        batch_size: frames solved together by the torch solver.
        threads: of the compiled solver; 0 for all cores.
    """

    prior_strength: float = 16.0
    pixel_scale: float = 3.0
    kernel_knee: float = 10.0
    kernel_on: KernelOn = "error"
    rotation_std_scale: float = 1.5
    beta_std: float = 2.0
    mean_shape_pull: float = 0.1
    translation_std: tuple[float, float, float] = (0.1, 0.1, 0.3)
    hinge_std_rad: float = 0.1
    first_stage_above: float = 30.0
    first_stage_std: tuple[float, float, float] = (0.2, 0.2, 0.2)
    first_stage_iterations: int = 5
    max_iterations: int = 50
    tolerance: float = 1e-4
    initial_damping: float = 0.01
    max_beta: float = 10.0
    solver: Literal["torch", "compiled"] = "torch"
    precision: Literal["float32", "float64"] = "float32"
    batch_size: int = 256
    threads: int = 0

    def constants(self) -> Constants:
        """The objective's part."""
        return Constants(self.prior_strength, self.pixel_scale, self.kernel_knee, self.kernel_on, self.hinge_std_rad)

    def first_stage(self) -> FirstStage:
        """The first stage's part."""
        return FirstStage(
            self.first_stage_above,
            self.first_stage_std,
            self.first_stage_iterations,
            self.pixel_scale,
            self.kernel_knee,
            self.prior_strength,
        )

    def solver_settings(self) -> SolverSettings:
        """The solver's part."""
        return SolverSettings(self.max_iterations, self.tolerance, self.initial_damping, self.threads)


@dataclass(frozen=True)
class BodyFits:
    """Bodies of n persons in their cameras' frames: an initial prediction or the result of a refinement.

    Attributes:
        rotations: of each joint relative to its parent; the first is the root's orientation in the camera.
        betas: shape.
        translation: metres; the root joint lies at `translation` plus its rest offset.
        reason: why the refinement of each ended (`fitting.solving.solvers.Reason`); None for a prediction.
        iterations: of the solver.
        initial_objective, objective: before and after the solver (after the translation stage both); NaN where it did
            not run.
    """

    rotations: Float[np.ndarray, "n 24 3 3"]
    betas: Float[np.ndarray, "n 10"]
    translation: Float[np.ndarray, "n 3"]
    reason: Int[np.ndarray, "n"] | None = None
    iterations: Int[np.ndarray, "n"] | None = None
    initial_objective: Float[np.ndarray, "n"] | None = None
    objective: Float[np.ndarray, "n"] | None = None

    def __len__(self) -> int:
        return len(self.rotations)

    def reason_counts(self) -> dict[str, int]:
        """How many frames ended for which reason, by name."""
        if self.reason is None:
            return {}
        return {
            Reason(code).name.lower(): int(count) for code, count in zip(*np.unique(self.reason, return_counts=True))
        }

    def select(self, frames: np.ndarray | slice) -> BodyFits:
        """Some of the persons."""
        chosen: dict[str, Any] = {
            f.name: None if (array := getattr(self, f.name)) is None else array[frames] for f in fields(self)
        }
        return BodyFits(**chosen)

    def save(self, path: str | Path) -> None:
        """Write as .npz (whole or not at all)."""
        write_npz(path, **{f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None})

    @classmethod
    def load(cls, path: str | Path) -> BodyFits:
        """Read what `save` wrote, or any .npz with rotations (n, 24, 3, 3), betas (n, 10) and translation (n, 3).

        Raises:
            InputError: the file is not such an .npz.
        """
        arrays = read_npz(path)
        for name, shape in (("rotations", (24, 3, 3)), ("betas", (10,)), ("translation", (3,))):
            if name not in arrays:
                raise InputError(f"{path} holds no body predictions: it lacks {name}")
            if arrays[name].shape[1:] != shape or len(arrays[name]) != len(arrays["rotations"]):
                raise InputError(
                    f"{path}: field {name} has shape {arrays[name].shape}, (n, {', '.join(map(str, shape))}) is needed"
                )
        return cls(**{f.name: arrays[f.name] for f in fields(cls) if f.name in arrays})


@dataclass(frozen=True)
class Prepared:
    """Frames that can be fitted, as the solver's problem.

    Attributes:
        problem: the n frames of `frames`, in float64.
        frames: their numbers among all.
        refused: `Reason` of every frame that cannot be fitted, `FITTABLE` of the others.
    """

    problem: Problem
    frames: Int[Tensor, "n"]
    refused: Int[Tensor, "m"]


def prepare(
    reduced: ReducedBody,
    xy_px: Float[np.ndarray, "n k 2"],
    weights: Float[np.ndarray, "n k"],
    intrinsics: Float[np.ndarray, "n 3 3"],
    initial: BodyFits,
    size_px: Float[np.ndarray, "n"],
    config: RefinementConfig,
) -> Prepared:
    """Sort out frames that cannot be fitted, run the translation stage and state the problem of the others."""
    xy, weight = (torch.tensor(a[:, reduced.keypoints], dtype=torch.float64) for a in (xy_px, weights))
    camera, size, rotations, betas, translation = (
        torch.tensor(a, dtype=torch.float64)
        for a in (intrinsics, size_px, initial.rotations, initial.betas, initial.translation)
    )
    refused = refusals(xy, weight, camera, rotations, betas, translation, size, config.max_beta)
    frames = (refused == FITTABLE).nonzero()[:, 0]
    xy, weight, camera, size, rotations, betas, translation = (
        a[frames] for a in (xy, weight, camera, size, rotations, betas, translation)
    )
    at_origin = reduced.keypoint_positions(rotations, betas, torch.zeros_like(translation))
    pixels_per_unit = size / BOX_PX
    start, in_front = translation_stage(
        at_origin, xy, weight, camera, translation, pixels_per_unit, config.first_stage()
    )
    refused[frames[~in_front]] = int(Reason.BEHIND_CAMERA)
    focal, centre = scaled_focal(camera, pixels_per_unit)
    fixed = torch.ones(24, 1, 1, dtype=torch.float64)
    fixed[[reduced.joints[u] for u in reduced.corrective_joints]] = 0
    eye = torch.eye(3, dtype=torch.float64)
    problem = Problem(
        body=reduced,
        hinges=hinges(reduced.joints),
        constants=config.constants(),
        xy=torch.where(weight[:, None] > 0, (xy / pixels_per_unit[:, None, None]).mT, 0.0),
        weights=weight,
        focal=focal,
        centre=centre,
        rotations=rotations[:, list(reduced.joints)],
        corrective=reduced.corrective_offset(eye + fixed * (rotations - eye)),
        betas=betas / (1 + config.mean_shape_pull),
        translation=start,
        std=_unknown_std(reduced, config, start[:, 2]),
    )
    return Prepared(problem.select(in_front), frames[in_front], refused)


def _unknown_std(reduced: ReducedBody, config: RefinementConfig, depth: Float[Tensor, "n"]) -> Float[Tensor, "n P"]:
    turns = np.repeat(joint_std_rad(reduced.joints) * config.rotation_std_scale, 3)
    shape = np.full(10, config.beta_std / (1 + config.mean_shape_pull) ** 0.5)
    body = torch.tensor(np.concatenate([turns, shape]))
    translation = depth[:, None] * depth.new_tensor(config.translation_std)
    return torch.cat([body.expand(len(depth), -1), translation], 1)


def apply_solution(prepared: Prepared, solution: Solution, initial: BodyFits, max_beta: float) -> BodyFits:
    """Put a solver's unknowns into the initial bodies. A frame that failed keeps its initial estimate."""
    problem = prepared.problem
    turns, betas, translation = unpack(problem, solution.z)
    rotations = problem.rotations @ exp_and_jacobian(turns)[0]
    good = torch.isfinite(solution.z).all(1) & torch.isfinite(solution.value) & (betas.abs() <= max_beta).all(1)
    count = len(initial)
    reason = prepared.refused.clone()
    reason[prepared.frames] = torch.where(good, solution.reason, int(Reason.DIVERGED))
    iterations = torch.zeros(count, dtype=torch.int64)
    iterations[prepared.frames] = solution.iterations
    before, after = (torch.full((count,), torch.nan, dtype=torch.float64) for _ in range(2))
    before[prepared.frames], after[prepared.frames] = solution.initial_value, solution.value
    out = {name: np.array(getattr(initial, name)) for name in ("rotations", "betas", "translation")}
    kept = prepared.frames[good].numpy()
    for u, joint in enumerate(problem.body.joints):
        out["rotations"][kept, joint] = rotations[good, u].numpy()
    out["betas"][kept] = betas[good].numpy()
    out["translation"][kept] = translation[good].numpy()
    return BodyFits(
        **out,
        reason=reason.numpy(),
        iterations=iterations.numpy(),
        initial_objective=before.numpy(),
        objective=after.numpy(),
    )


def solve(problem: Problem, config: RefinementConfig) -> Solution:
    """Run the configured solver in its precision, in batches; the solution comes back in float64."""
    if config.solver not in SOLVERS:
        raise InputError(f"unknown solver {config.solver!r}; known are {', '.join(SOLVERS)}")
    solver, settings = SOLVERS[config.solver], config.solver_settings()
    if config.solver == "torch":
        problem = problem.to(getattr(torch, config.precision))
        starts = range(0, max(len(problem), 1), config.batch_size)
        parts = [solver(problem.select(slice(s, s + config.batch_size)), settings) for s in starts]
    else:
        parts = [solver(problem, settings)]
    joined = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Solution)}
    return Solution(**{name: a.double() if a.is_floating_point() else a for name, a in joined.items()})


def refine(
    body: Body | ReducedBody,
    skeleton: Skeleton,
    xy_px: Float[np.ndarray, "n k 2"],
    weights: Float[np.ndarray, "n k"],
    intrinsics: Float[np.ndarray, "n 3 3"],
    initial: BodyFits,
    size_px: Float[np.ndarray, "n"],
    config: RefinementConfig = RefinementConfig(),
) -> BodyFits:
    """Refine predicted bodies by weighted 2D keypoints (CLIFF's full-image camera, `fitting.objective`).

    Args:
        body: the body, or `reduce_body(body, skeleton)` where many calls share it.
        skeleton: names the keypoints; those that the body does not have are left out.
        xy_px: full-image pixels. Where the weight is 0 anything, NaN too.
        weights: not negative, mean about 1 (`fitting.weightings`). 0 means exactly no influence.
        intrinsics: of the full image.
        initial: predictions in the camera's frame.
        size_px: size of each person, the larger side of its box; errors are measured relative to it.

    Returns:
        Refined bodies, each with the reason why its fit ended. A frame that cannot be fitted keeps its initial
        estimate; no frame disturbs another.

    Raises:
        InputError: arrays of different lengths, or an unknown solver.
    """
    lengths = {len(a) for a in (xy_px, weights, intrinsics, initial, size_px)}
    if len(lengths) > 1 or xy_px.shape[1] != len(skeleton):
        raise InputError(
            f"refine needs as many poses, weights, cameras, predictions and sizes, got {sorted(lengths)}, "
            f"and {len(skeleton)} keypoints, got {xy_px.shape[1]}"
        )
    reduced = body if isinstance(body, ReducedBody) else reduce_body(body, skeleton)
    prepared = prepare(reduced, xy_px, weights, intrinsics, initial, size_px, config)
    return apply_solution(prepared, solve(prepared.problem, config), initial, config.max_beta)
