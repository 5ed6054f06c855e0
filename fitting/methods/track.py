"""Refinement of a whole track: the objective of every frame, constant velocity between frames, one shape.

    sum_i E_i(z_i) + sum over neighbouring triples of frames |acceleration|^2 / std^2

Accelerations are differences of velocities, of each joint's rotation (Log(R_i^T R_i+1) per frame) and of the
translation, in the camera's frame: a camera that moves evenly costs nothing. The track is one least-squares problem.
Each frame's unknowns touch those two frames on, so the normal equations are banded, with the shared shape as a border:
a banded Cholesky factor (LAPACK pbsv) and a Schur complement solve them in time linear in the number of frames.

Frames repeat each other: 79 % of the variance of a keypoint's error is constant over a track, and so is half of the
start's or more. The solution does not mind, for what is constant counts once a frame on both sides, keypoints and
start. A covariance would: summed over n frames it shrinks as if each were a new measurement. So how sure a joint is
(`fitting.start.posterior`) is told frame by frame in a track, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fitting.body_fits import BodyFits, Reason
from fitting.inputs import FitInputs
from fitting.methods.preparation import Prepared, prepare, refined
from fitting.objective import MIN_DEPTH_M, Problem, exp_and_jacobian, keypoints, linearise, unpack, value
from fitting.refinement_config import RefinementConfig
from fitting.solving.solution import DAMPING_DOWN, DAMPING_MAX, DAMPING_MIN, DAMPING_UP, Solution
from pose2d.errors import InputError


@dataclass(frozen=True)
class TemporalConfig:
    """How evenly bodies move. On twelve validation tracks of the open world the errors hardly depend on it (from 0.03
    to 0.015 rad they fall by 0.2 mm), the jitter does. The wider value leaves room for quicker movements than theirs.

    Attributes:
        rotation_std: joint acceleration that costs 1, radians per frame squared.
        translation_std_m: acceleration of the translation that costs 1, metres per frame squared.
        max_gap: frames further apart than this are not neighbours.
    """

    rotation_std: float = 0.03
    translation_std_m: float = 0.02
    max_gap: int = 3


@dataclass(frozen=True)
class _Accelerations:
    """Residuals of all triples (t, 3U + 3) and their derivatives by the unknowns of their three frames (t, q, q)."""

    residual: Tensor
    before: Tensor
    middle: Tensor
    after: Tensor


def log_and_jacobian(rotation: Float[Tensor, "*n 3 3"]) -> tuple[Float[Tensor, "*n 3"], Float[Tensor, "*n 3 3"]]:
    """v = Log R and the inverse right Jacobian J with Log(R exp(hat s)) = v + J s to first order.

    J^-1 of the left Jacobian is its transpose. Meant for turns below pi, as between neighbouring frames; finite at pi,
    too, where the axis has no sign.
    """
    vee = torch.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        -1,
    )
    sine = vee.norm(dim=-1) / 2
    cosine = (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    angle = torch.atan2(sine, cosine)
    small = angle < 1e-4
    turn = vee / 2 * torch.where(small, 1 + angle**2 / 6, angle / sine.clamp_min(1e-12))[..., None]
    return turn, torch.linalg.inv(exp_and_jacobian(turn)[1])


def triples(frame_ids: Int[np.ndarray, " n"], max_gap: int) -> tuple[Int[np.ndarray, " t"], Float[np.ndarray, "t 2"]]:
    """Middle rows of neighbouring triples, and the gaps before and after in frames. Frame numbers must rise."""
    gaps = np.diff(frame_ids)
    if (gaps <= 0).any():
        raise ValueError("frame_ids must rise")
    middle = np.flatnonzero((gaps[:-1] <= max_gap) & (gaps[1:] <= max_gap)) + 1
    return middle, np.stack([gaps[middle - 1], gaps[middle]], 1).astype(float)


def _accelerations(
    problem: Problem, z: Tensor, middle: np.ndarray, gaps: Tensor, config: TemporalConfig
) -> _Accelerations:
    turns, _, translation = unpack(problem, z)
    exponential, right = exp_and_jacobian(turns)
    rotations = problem.rotations @ exponential
    count, joints = len(middle), len(problem.body.joints)
    one, two = middle - 1, middle + 1
    first, first_slope = log_and_jacobian(rotations[one].mT @ rotations[middle])
    second, second_slope = log_and_jacobian(rotations[middle].mT @ rotations[two])
    h1, h2 = gaps[:, 0, None, None], gaps[:, 1, None, None]
    turned = (second / h2 - first / h1) / config.rotation_std
    shifted = (translation[two] - translation[middle]) / h2[:, 0] - (translation[middle] - translation[one]) / h1[:, 0]
    residual = torch.cat([turned.flatten(1), shifted / config.translation_std_m], 1)
    h1, h2 = h1[..., None], h2[..., None]
    unit = torch.eye(3, dtype=z.dtype) / config.translation_std_m
    blocks = []
    for rows, rotation_slope, translation_slope in (
        (one, first_slope.mT / h1, unit / h1[:, 0]),
        (middle, -second_slope.mT / h2 - first_slope / h1, -unit / h2[:, 0] - unit / h1[:, 0]),
        (two, second_slope / h2, unit / h2[:, 0]),
    ):
        block = z.new_zeros(count, 3 * joints + 3, 3 * joints + 3)
        slopes = rotation_slope / config.rotation_std @ right[rows]
        for u in range(joints):
            block[:, 3 * u : 3 * u + 3, 3 * u : 3 * u + 3] = slopes[:, u]
        block[:, -3:, -3:] = translation_slope
        std = problem.std[rows]
        blocks.append(block * torch.cat([std[:, :-13], std[:, -3:]], 1)[:, None])
    return _Accelerations(residual, *blocks)


def banded(diagonal: np.ndarray, off_one: np.ndarray, off_two: np.ndarray) -> np.ndarray:
    """Lower banded form (LAPACK) of a block matrix with blocks (i, i), (i + 1, i) and (i + 2, i), each (q, q)."""
    count, q, _ = diagonal.shape
    out = np.zeros((3 * q, count, q))
    row, column = np.mgrid[:q, :q]
    for offset, blocks in enumerate((diagonal, off_one, off_two)):
        kept = offset * q + row - column >= 0
        a, b = row[kept], column[kept]
        out[offset * q + a - b, : len(blocks), b] = blocks[:, a, b].T
    return out.reshape(3 * q, count * q)


def _objective(problem: Problem, z: Tensor, middle: np.ndarray, gaps: Tensor, config: TemporalConfig) -> float:
    frames = value(problem, z).sum()
    if not len(middle):
        return float(frames)
    return float(frames + _accelerations(problem, z, middle, gaps, config).residual.square().sum())


def _step(
    problem: Problem, z: Tensor, middle: np.ndarray, gaps: Tensor, config: TemporalConfig, damping: float
) -> tuple[Tensor, float]:
    """Damped Gauss-Newton step, and the decrease of the objective that it promises.

    Raises:
        LinAlgError: the system is not positive definite.
    """
    model = linearise(problem, z)
    count = len(problem)
    own = np.r_[0 : z.shape[1] - 13, z.shape[1] - 3 : z.shape[1]]
    shape = np.arange(z.shape[1] - 13, z.shape[1] - 3)
    jacobian, residual = model.jacobian.numpy(), model.residual.numpy()
    a_own, a_shape = jacobian[:, :, own], jacobian[:, :, shape]
    c = 1 + damping
    q = len(own)
    diagonal = a_own.transpose(0, 2, 1) @ a_own + c * np.eye(q)
    off_one, off_two = np.zeros((max(count - 1, 0), q, q)), np.zeros((max(count - 2, 0), q, q))
    slope = np.einsum("nmp,nm->np", a_own, residual) + z.numpy()[:, own]
    if len(middle):
        moves = _accelerations(problem, z, middle, gaps, config)
        strength = problem.constants.prior_strength
        acceleration = moves.residual.numpy() / strength
        before, at, after = (m.numpy() for m in (moves.before, moves.middle, moves.after))
        for rows, block in ((middle - 1, before), (middle, at), (middle + 1, after)):
            diagonal[rows] += block.transpose(0, 2, 1) @ block / strength
            slope[rows] += np.einsum("npr,np->nr", block, acceleration)
        off_one[middle - 1] += at.transpose(0, 2, 1) @ before / strength
        off_one[middle] += after.transpose(0, 2, 1) @ at / strength
        off_two[middle - 1] += after.transpose(0, 2, 1) @ before / strength
    border = (a_own.transpose(0, 2, 1) @ a_shape).reshape(-1, len(shape))
    corner = np.einsum("nmp,nmr->pr", a_shape, a_shape) + count * c * np.eye(len(shape))
    corner_slope = np.einsum("nmp,nm->p", a_shape, residual) + z.numpy()[:, shape].sum(0)
    solved = scipy.linalg.solveh_banded(
        banded(diagonal, off_one, off_two),
        np.concatenate([slope.reshape(-1, 1), border], 1),
        lower=True,
        check_finite=False,
    )
    schur = scipy.linalg.cho_factor(corner - border.T @ solved[:, 1:], check_finite=False)
    common = -scipy.linalg.cho_solve(schur, corner_slope - border.T @ solved[:, 0], check_finite=False)
    step = np.zeros(z.shape)
    step[:, own] = (-solved[:, 0] - solved[:, 1:] @ common).reshape(count, q)
    step[:, shape] = common
    promised = -(step[:, own] * slope).sum() - common @ corner_slope + damping * (step**2).sum()
    return torch.from_numpy(step), problem.constants.prior_strength * float(promised)


def refine_track(inputs: FitInputs, config: RefinementConfig, temporal: TemporalConfig = TemporalConfig()) -> BodyFits:
    """Refine the bodies of one person in a video together.

    Frames that cannot be fitted are left out and bridged like missing ones.

    Returns:
        Bodies with one shape; the objective of each frame without the temporal term.

    Raises:
        InputError: the inputs have no frame numbers.
    """
    if inputs.frame_ids is None:
        raise InputError("the temporal term needs frame_ids, the numbers of the frames in their video")
    prepared = prepare(inputs, config)
    if len(prepared.problem):
        prepared = _with_one_shape(prepared)
    problem = prepared.problem
    middle, spacing = triples(inputs.frame_ids[prepared.frames.numpy()], temporal.max_gap)
    z, iterations, reason = _minimise(problem, middle, torch.from_numpy(spacing), config, temporal)
    solution = Solution(
        z,
        value(problem, z),
        value(problem, torch.zeros_like(z)),
        torch.full((len(z),), iterations),
        torch.full((len(z),), int(reason)),
    )
    return refined(prepared, solution, inputs, config)


def _with_one_shape(prepared: Prepared) -> Prepared:
    """The frames' mean shape for all; a frame whose objective is not finite would spoil the others and is left out."""
    problem = prepared.problem
    problem = replace(problem, betas=problem.betas.mean(0, keepdim=True).expand_as(problem.betas))
    start = torch.zeros_like(problem.std)
    finite = torch.isfinite(value(problem, start))
    behind = ((keypoints(problem, start)[..., 2] <= MIN_DEPTH_M) & (problem.weights > 0)).any(1)
    refused = prepared.refused.clone()
    refused[prepared.frames[~finite]] = torch.where(behind, int(Reason.BEHIND_CAMERA), int(Reason.DIVERGED))[~finite]
    return Prepared(problem.select(finite), prepared.frames[finite], refused)


def _minimise(
    problem: Problem, middle: np.ndarray, gaps: Tensor, config: RefinementConfig, temporal: TemporalConfig
) -> tuple[Tensor, int, Reason]:
    """Levenberg-Marquardt on the whole track, with one damping."""
    z = torch.zeros_like(problem.std)
    if not len(problem):
        return z, 0, Reason.CONVERGED
    now, damping = _objective(problem, z, middle, gaps, temporal), config.initial_damping
    for iteration in range(1, config.max_iterations + 1):
        try:
            step, promised = _step(problem, z, middle, gaps, temporal, damping)
        except scipy.linalg.LinAlgError:
            step, promised = torch.full_like(z, torch.nan), np.nan
        trial = _objective(problem, z + step, middle, gaps, temporal)
        if np.isfinite(trial) and trial < now:
            decrease, z, now = now - trial, z + step, trial
            damping = max(damping / DAMPING_DOWN, DAMPING_MIN)
            if decrease <= config.tolerance * now:
                return z, iteration, Reason.CONVERGED
        elif promised <= 0.1 * config.tolerance * now:
            return z, iteration, Reason.CONVERGED
        else:
            damping *= DAMPING_UP
            if damping > DAMPING_MAX:
                return z, iteration, Reason.DAMPING_LIMIT
    return z, config.max_iterations, Reason.ITERATION_LIMIT
