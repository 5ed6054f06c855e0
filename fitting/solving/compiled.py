"""The compiled solver: `solve_torch` for the CPU, frame by frame in machine code, threads over frames.

numba rather than C++: no compiler on the user's machine, wheels for every platform, and a kernel that reads like the
equations. Threads are Python's, over a kernel that gives up the interpreter lock, so no second threading library runs
beside torch's. The first call on a machine compiles (some seconds) and keeps the result beside the source.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch

from fitting.bodies.reduced_body import ReducedBody
from fitting.body_fits import Reason
from fitting.objective import MIN_DEPTH_M, Problem
from fitting.priors import Hinges
from fitting.refinement_config import SolverSettings
from fitting.solving.compiled_kernel import BETAS_PADDED, BodyArrays, ConstantValues, FrameArrays, fit_frames
from fitting.solving.solution import DAMPING_DOWN, DAMPING_MAX, DAMPING_MIN, DAMPING_UP, Solution

FRAMES_PER_TASK = 32


@lru_cache(maxsize=16)
def _body_arrays(body: ReducedBody, bends: Hinges) -> BodyArrays:
    rest, shape = body.rest.numpy().astype(float), body.rest_shape.numpy().astype(float)
    used = (np.abs(rest).max(1) > 0) | (np.abs(shape).max((0, 2)) > 0)  # U K
    surface_used = used.copy()
    for s, keypoint in enumerate(body.surface):
        surface_used[:, keypoint] |= body.share[s].numpy() != 0
    joint, keypoint = np.nonzero(used)
    arm_joint, arm_keypoint = np.nonzero(body.below.numpy().astype(float) @ surface_used)
    columns = [body.joints[u] - 1 for u in body.corrective_joints]
    corrective = body.corrective.numpy().astype(float)[:, :, columns]
    pair_shape = np.ascontiguousarray(shape.transpose(1, 3, 2, 0)[used])
    padding = ((0, 0), (0, 0), (0, BETAS_PADDED - pair_shape.shape[2]))
    origin_shape = body.origin_shape.numpy().astype(float).transpose(2, 1, 0)
    return BodyArrays(
        parents=np.array(body.parents, dtype=np.int64),
        pair_joint=joint,
        pair_keypoint=keypoint,
        pair_rest=rest.transpose(0, 2, 1)[used].ravel(),
        pair_rest_shape=np.ascontiguousarray(pair_shape.reshape(-1, shape.shape[0]).T),
        pair_shape=np.pad(pair_shape, padding),
        arm_joint=arm_joint,
        arm_keypoint=arm_keypoint,
        origin=np.ascontiguousarray(body.origin.numpy().astype(float).T),
        origin_shape=np.ascontiguousarray(np.pad(origin_shape, padding)),
        surface=body.surface.astype(np.int64),
        share=np.ascontiguousarray(body.share.numpy().astype(float)),
        corrective=np.ascontiguousarray(corrective.transpose(0, 2, 1, 3, 4)),
        corrective_joint=np.array(body.corrective_joints, dtype=np.int64),
        hinge_joint=np.array(bends.joints, dtype=np.int64),
        hinge_axis=np.array(bends.axes, dtype=np.int64),
        hinge_sign=np.array(bends.signs, dtype=float),
    )


def _constants(problem: Problem, settings: SolverSettings) -> ConstantValues:
    constants = problem.constants
    return ConstantValues(
        strength=float(constants.prior_strength),
        pixel_scale=float(constants.pixel_scale),
        knee_squared=float(constants.kernel_knee) ** 2,
        weighted=constants.kernel_on == "weighted",
        student=constants.kernel_on == "student",
        freedom=float(constants.degrees_of_freedom),
        hinge_std=float(constants.hinge_std),
        min_depth=MIN_DEPTH_M,
        max_iterations=settings.max_iterations,
        tolerance=float(settings.tolerance),
        initial_damping=float(settings.initial_damping),
        damping_up=DAMPING_UP,
        damping_down=DAMPING_DOWN,
        damping_min=DAMPING_MIN,
        damping_max=DAMPING_MAX,
        noise=8 * float(np.finfo(float).eps),
    )


def solve_compiled(problem: Problem, settings: SolverSettings) -> Solution:
    """Levenberg-Marquardt in float64 on the CPU. Each frame's result is the same for any number of threads."""
    names = ("xy", "weights", "focal", "centre", "rotations", "corrective", "betas", "translation", "std")
    arrays = {name: np.ascontiguousarray(getattr(problem, name).cpu().numpy(), dtype=np.float64) for name in names}
    data = FrameArrays(**arrays)
    count = len(problem)
    z = np.zeros(data.std.shape)
    value, initial_value = np.zeros(count), np.zeros(count)
    iterations, reason = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    codes = np.array([Reason.CONVERGED, Reason.ITERATION_LIMIT, Reason.DAMPING_LIMIT], dtype=np.int64)
    body, constants = _body_arrays(problem.body, problem.hinges), _constants(problem, settings)

    def fit(first: int) -> None:
        last = min(first + FRAMES_PER_TASK, count)
        fit_frames(body, constants, data, first, last, z, value, initial_value, iterations, reason, codes)

    starts = range(0, count, FRAMES_PER_TASK)
    threads = min(settings.threads or len(os.sched_getaffinity(0)), len(starts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fit, starts))
    else:
        for first in starts:
            fit(first)
    return Solution(*(torch.from_numpy(a) for a in (z, value, initial_value, iterations, reason)))
