"""The solver of `fitting.solving.solvers` written out for one frame and compiled by numba, float64.

Same objective, same steps, same tests of convergence; what differs is that sums skip what is zero by the body's build
(a keypoint has few joints above it) and that the model is only built where a step was accepted. `fitting.objective` and
`fitting.solving.solvers` say what each quantity is; the torch path is this one's oracle in the tests.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, no_type_check

import numpy as np
from numba import njit

# Without "nnan" and "ninf": refused steps are told by values that are not finite. `no_type_check` keeps jaxtyping's
# import hook, which the tests use, from wrapping what is to be compiled.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
kernel = njit(cache=True, nogil=True, fastmath=_FAST)
_NO_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner = njit(nogil=True, fastmath=_FAST, **_NO_WRAPPERS)
"""For functions called by the kernel only: without a way in from Python there is less to compile."""
COLUMN_BLOCK = 8
"""Rows of A and A A^T are padded with zeros to a multiple of this, for whole vector registers."""

BETAS_PADDED = 12


class BodyArrays(NamedTuple):
    """`ReducedBody` by its non-zero parts. U joints, K keypoints, N pairs (joint, keypoint) with a rest vector."""

    parents: np.ndarray  # U
    pair_joint: np.ndarray  # N
    pair_keypoint: np.ndarray  # N
    pair_rest: np.ndarray  # 3N
    pair_rest_shape: np.ndarray  # 10 3N
    pair_shape: np.ndarray  # N 3 12, the same numbers and two zeros
    arm_joint: np.ndarray  # M: joint above ...
    arm_keypoint: np.ndarray  # M: ... this keypoint
    origin: np.ndarray  # K 3
    origin_shape: np.ndarray  # K 3 12
    surface: np.ndarray  # S
    share: np.ndarray  # S U
    corrective: np.ndarray  # S C 3 3 3: vertex, joint, axis, entry of R - I
    corrective_joint: np.ndarray  # C
    hinge_joint: np.ndarray  # H
    hinge_axis: np.ndarray  # H
    hinge_sign: np.ndarray  # H


class ConstantValues(NamedTuple):
    """`Constants` and the stopping rule as numbers."""

    strength: float
    pixel_scale: float
    knee_squared: float
    weighted: bool
    student: bool
    freedom: float
    hinge_std: float
    min_depth: float
    max_iterations: int
    tolerance: float
    initial_damping: float
    damping_up: float
    damping_down: float
    damping_min: float
    damping_max: float
    noise: float


class FrameArrays(NamedTuple):
    """`Problem`'s arrays."""

    xy: np.ndarray  # n 2 K
    weights: np.ndarray  # n K
    focal: np.ndarray  # n 2
    centre: np.ndarray  # n 2
    rotations: np.ndarray  # n U 3 3
    corrective: np.ndarray  # n S 3
    betas: np.ndarray  # n 10
    translation: np.ndarray  # n 3
    std: np.ndarray  # n P


class Scratch(NamedTuple):
    """Memory of one thread."""

    betas: np.ndarray  # 10
    rest: np.ndarray  # 3N
    local: np.ndarray  # U 3 3
    right: np.ndarray  # U 3 3
    frames: np.ndarray  # U 3 3
    axes: np.ndarray  # U 3 3, turn in the camera's frame for each unknown
    arms: np.ndarray  # U K 3
    points: np.ndarray  # K 3
    error: np.ndarray  # 2 K
    slope: np.ndarray  # K
    bends: np.ndarray  # H
    gradient: np.ndarray  # 2 K 3
    shape: np.ndarray  # K 3 12
    jacobian: np.ndarray  # m Q, Q >= P
    residual: np.ndarray  # m
    gram: np.ndarray  # m M, M >= m
    factor: np.ndarray  # m M
    solved: np.ndarray  # m
    image: np.ndarray  # m
    downhill: np.ndarray  # P
    step: np.ndarray  # P
    candidate: np.ndarray  # P


@inner
@no_type_check
def make_scratch(joints, keypoints, hinges, pairs):
    rows, unknowns = 2 * keypoints + hinges, 3 * joints + 13
    wide = (unknowns + COLUMN_BLOCK - 1) // COLUMN_BLOCK * COLUMN_BLOCK
    padded = (rows + COLUMN_BLOCK - 1) // COLUMN_BLOCK * COLUMN_BLOCK
    return Scratch(
        np.zeros(10),
        np.zeros(3 * pairs),
        np.zeros((joints, 3, 3)),
        np.zeros((joints, 3, 3)),
        np.zeros((joints, 3, 3)),
        np.zeros((joints, 3, 3)),
        np.zeros((joints, keypoints, 3)),
        np.zeros((keypoints, 3)),
        np.zeros((2, keypoints)),
        np.zeros(keypoints),
        np.zeros(hinges),
        np.zeros((2, keypoints, 3)),
        np.zeros((keypoints, 3, BETAS_PADDED)),
        np.zeros((rows, wide)),
        np.zeros(rows),
        np.zeros((rows, padded)),
        np.zeros((rows, padded)),
        np.zeros(rows),
        np.zeros(rows),
        np.zeros(unknowns),
        np.zeros(unknowns),
        np.zeros(unknowns),
    )


@inner
@no_type_check
def _exponential(x, y, z, rotation, right):
    squared = x * x + y * y + z * z
    if squared < 1e-4:
        sine = 1 - squared / 6 + squared * squared / 120
        cosine = 0.5 - squared / 24 + squared * squared / 720
        third = 1 / 6 - squared / 120 + squared * squared / 5040
    else:
        angle = math.sqrt(squared)
        sine = math.sin(angle) / angle
        cosine = (1 - math.cos(angle)) / squared
        third = (1 - sine) / squared
    # Entries of hat(d)^2: d d^T - |d|^2 I.
    for matrix, first, second in ((rotation, sine, cosine), (right, -cosine, third)):
        matrix[0, 0] = 1 + second * (x * x - squared)
        matrix[1, 1] = 1 + second * (y * y - squared)
        matrix[2, 2] = 1 + second * (z * z - squared)
        matrix[0, 1] = second * x * y - first * z
        matrix[1, 0] = second * x * y + first * z
        matrix[0, 2] = second * x * z + first * y
        matrix[2, 0] = second * x * z - first * y
        matrix[1, 2] = second * y * z - first * x
        matrix[2, 1] = second * y * z + first * x


@inner
@no_type_check
def _product(left, right, out):
    for i in range(3):
        for j in range(3):
            out[i, j] = left[i, 0] * right[0, j] + left[i, 1] * right[1, j] + left[i, 2] * right[2, j]


@inner
@no_type_check
def _pose(body, data, n, z, s):
    """Pose the body at z into the scratch."""
    joints, keypoints = s.frames.shape[0], s.points.shape[0]
    std = data.std[n]
    for u in range(joints):
        _exponential(
            z[3 * u] * std[3 * u], z[3 * u + 1] * std[3 * u + 1], z[3 * u + 2] * std[3 * u + 2], s.axes[u], s.right[u]
        )
        _product(data.rotations[n, u], s.axes[u], s.local[u])
        if u == 0:
            s.frames[0] = s.local[0]
        else:
            _product(s.frames[body.parents[u]], s.local[u], s.frames[u])
        _product(s.frames[u], s.right[u], s.axes[u])
        for x in range(3):
            for c in range(3):
                s.axes[u, x, c] *= std[3 * u + c]
    for b in range(10):
        s.betas[b] = data.betas[n, b] + z[3 * joints + b] * std[3 * joints + b]
    s.rest[:] = body.pair_rest
    for b in range(10):
        beta, change = s.betas[b], body.pair_rest_shape[b]
        for i in range(len(s.rest)):
            s.rest[i] += beta * change[i]
    s.arms[:] = 0
    for i in range(len(body.pair_joint)):
        u = body.pair_joint[i]
        frame, arm = s.frames[u], s.arms[u, body.pair_keypoint[i]]
        x, y, w = s.rest[3 * i], s.rest[3 * i + 1], s.rest[3 * i + 2]
        for a in range(3):
            arm[a] = frame[a, 0] * x + frame[a, 1] * y + frame[a, 2] * w
    for i in range(len(body.surface)):
        _add_corrective(body, data, n, i, s)
    for u in range(joints - 1, 0, -1):
        parent = body.parents[u]
        for k in range(keypoints):
            for a in range(3):
                s.arms[parent, k, a] += s.arms[u, k, a]
    for k in range(keypoints):
        for a in range(3):
            point = body.origin[k, a] + data.translation[n, a] + z[3 * joints + 10 + a] * std[3 * joints + 10 + a]
            for b in range(10):
                point += body.origin_shape[k, a, b] * s.betas[b]
            s.points[k, a] = point + s.arms[0, k, a]


@inner
@no_type_check
def _add_corrective(body, data, n, i, s):
    offset = np.empty(3)
    for a in range(3):
        total = data.corrective[n, i, a]
        for c in range(len(body.corrective_joint)):
            u = body.corrective_joint[c]
            for p in range(3):
                for q in range(3):
                    total += body.corrective[i, c, a, p, q] * (s.local[u, p, q] - (1.0 if p == q else 0.0))
        offset[a] = total
    for u in range(s.frames.shape[0]):
        share = body.share[i, u]
        if share != 0:
            for a in range(3):
                turned = s.frames[u, a, 0] * offset[0] + s.frames[u, a, 1] * offset[1] + s.frames[u, a, 2] * offset[2]
                s.arms[u, body.surface[i], a] += share * turned


@inner
@no_type_check
def _value(body, constants, data, n, z, s):
    """E of the posed body; fills error, slope and bends."""
    total = 0.0
    for k in range(s.points.shape[0]):
        weight = data.weights[n, k]
        s.slope[k] = 0
        s.error[0, k] = s.error[1, k] = 0
        if weight <= 0:
            continue
        depth = s.points[k, 2]
        if not depth > constants.min_depth:
            return math.inf
        squared = 0.0
        for a in range(2):
            pixel = data.focal[n, a] * s.points[k, a] / depth + data.centre[n, a]
            s.error[a, k] = (pixel - data.xy[n, a, k]) / constants.pixel_scale
            squared += s.error[a, k] ** 2
        if constants.student:
            squared *= weight
            total += (constants.freedom + 2) * math.log(1 + squared / constants.freedom)
            s.slope[k] = weight * (constants.freedom + 2) / (constants.freedom + squared)
            continue
        knee = constants.knee_squared
        if constants.weighted:
            squared *= weight
            total += knee * squared / (knee + squared)
        else:
            total += weight * knee * squared / (knee + squared)
        s.slope[k] = weight * (knee / (knee + squared)) ** 2
    for h in range(len(body.hinge_joint)):
        axis = body.hinge_axis[h]
        one, two = (axis + 2) % 3, (axis + 1) % 3
        turned = s.local[body.hinge_joint[h]]
        s.bends[h] = max(body.hinge_sign[h] * (turned[one, two] - turned[two, one]) / 2, 0.0)
        total += (s.bends[h] / constants.hinge_std) ** 2
    prior = 0.0
    for p in range(len(z)):
        prior += z[p] * z[p]
    return total + constants.strength * prior


@inner
@no_type_check
def _add_rows(out, a, one, b, two, c, three):
    """out += a one + b two + c three, by fours."""
    for block in range(len(out) // 4):
        p = 4 * block
        w = out[p] + a * one[p] + b * two[p] + c * three[p]
        x = out[p + 1] + a * one[p + 1] + b * two[p + 1] + c * three[p + 1]
        y = out[p + 2] + a * one[p + 2] + b * two[p + 2] + c * three[p + 2]
        z = out[p + 3] + a * one[p + 3] + b * two[p + 3] + c * three[p + 3]
        out[p], out[p + 1], out[p + 2], out[p + 3] = w, x, y, z


@inner
@no_type_check
def _image_rows(body, constants, data, n, s):
    """Rows of A and b of the keypoints at the posed body."""
    joints, keypoints = s.frames.shape[0], s.points.shape[0]
    std = data.std[n]
    for k in range(keypoints):
        root = math.sqrt(s.slope[k] / constants.strength)
        depth = s.points[k, 2]
        for a in range(2):
            s.residual[a * keypoints + k] = root * s.error[a, k]
            scale = 0.0 if root == 0 else root * data.focal[n, a] / (depth * constants.pixel_scale)
            s.gradient[a, k, 0] = s.gradient[a, k, 1] = 0
            s.gradient[a, k, a] = scale
            s.gradient[a, k, 2] = 0.0 if root == 0 else -scale * s.points[k, a] / depth
            for x in range(3):
                s.jacobian[a * keypoints + k, 3 * joints + 10 + x] = s.gradient[a, k, x] * std[3 * joints + 10 + x]
    for i in range(len(body.surface)):  # a corrective reaches joints that are not above the keypoint
        for a in range(2):
            s.jacobian[a * keypoints + body.surface[i], : 3 * joints] = 0
    for i in range(len(body.arm_joint)):
        u, k = body.arm_joint[i], body.arm_keypoint[i]
        arm, axes = s.arms[u, k], s.axes[u]
        for a in range(2):
            g, row = s.gradient[a, k], s.jacobian[a * keypoints + k]
            x = arm[1] * g[2] - arm[2] * g[1]
            y = arm[2] * g[0] - arm[0] * g[2]
            w = arm[0] * g[1] - arm[1] * g[0]
            for c in range(3):
                row[3 * u + c] = x * axes[0, c] + y * axes[1, c] + w * axes[2, c]
    for i in range(len(body.surface)):
        _add_corrective_columns(body, data, n, i, s)
    s.shape[:] = body.origin_shape
    for i in range(len(body.pair_joint)):
        frame, out, shape = s.frames[body.pair_joint[i]], s.shape[body.pair_keypoint[i]], body.pair_shape[i]
        for x in range(3):
            _add_rows(out[x], frame[x, 0], shape[0], frame[x, 1], shape[1], frame[x, 2], shape[2])
    for k in range(keypoints):
        for a in range(2):
            g, row = s.gradient[a, k], s.jacobian[a * keypoints + k]
            for b in range(10):
                column = 3 * joints + b
                row[column] = std[column] * (
                    g[0] * s.shape[k, 0, b] + g[1] * s.shape[k, 1, b] + g[2] * s.shape[k, 2, b]
                )


@inner
@no_type_check
def _add_corrective_columns(body, data, n, i, s):
    keypoints, k = s.points.shape[0], body.surface[i]
    blended, entry, turned = np.zeros((3, 3)), np.empty((3, 3)), np.empty(3)
    for u in range(s.frames.shape[0]):
        if body.share[i, u] != 0:
            blended += body.share[i, u] * s.frames[u]
    for a in range(2):
        g, row = s.gradient[a, k], s.jacobian[a * keypoints + k]
        for c in range(len(body.corrective_joint)):
            u = body.corrective_joint[c]
            entry[:] = 0
            for y in range(3):
                along = g[0] * blended[0, y] + g[1] * blended[1, y] + g[2] * blended[2, y]
                for p in range(3):
                    for q in range(3):
                        entry[p, q] += along * body.corrective[i, c, y, p, q]
            local, right = s.local[u], s.right[u]
            # R^T E : hat(d) = d . vee, for a turn d in the joint's own frame.
            for x in range(3):
                p, q = (x + 2) % 3, (x + 1) % 3
                turned[x] = 0
                for r in range(3):
                    turned[x] += local[r, p] * entry[r, q] - local[r, q] * entry[r, p]
            for x in range(3):
                column = 3 * u + x
                slope = turned[0] * right[0, x] + turned[1] * right[1, x] + turned[2] * right[2, x]
                row[column] += slope * data.std[n, column]


@inner
@no_type_check
def _hinge_rows(body, constants, data, n, s):
    first = 2 * s.points.shape[0]
    scale = 1 / (constants.hinge_std * math.sqrt(constants.strength))
    for h in range(len(body.hinge_joint)):
        u, axis = body.hinge_joint[h], body.hinge_axis[h]
        local, right, row = s.local[u], s.right[u], s.jacobian[first + h]
        s.residual[first + h] = s.bends[h] * scale
        factor = body.hinge_sign[h] * scale / 2 if s.bends[h] > 0 else 0.0
        trace = local[0, 0] + local[1, 1] + local[2, 2]
        for c in range(3):
            slope = 0.0
            for y in range(3):
                slope += ((trace if y == axis else 0.0) - local[y, axis]) * right[y, c]
            row[3 * u + c] = factor * slope * data.std[n, 3 * u + c]


@inner
@no_type_check
def _normal(z, s):
    """A A^T (upper half), g = A^T b + z and A g."""
    rows, columns = s.jacobian.shape
    unknowns = len(z)
    for i in range(rows):
        left = s.jacobian[i]
        # Four products at a time share the loads of row i.
        j = 0
        while j + 3 <= i:
            one, two, three, four = s.jacobian[j], s.jacobian[j + 1], s.jacobian[j + 2], s.jacobian[j + 3]
            a = b = c = d = 0.0
            for p in range(columns):
                a += left[p] * one[p]
                b += left[p] * two[p]
                c += left[p] * three[p]
                d += left[p] * four[p]
            s.gram[j, i], s.gram[j + 1, i], s.gram[j + 2, i], s.gram[j + 3, i] = a, b, c, d
            j += 4
        while j <= i:
            other = s.jacobian[j]
            a = 0.0
            for p in range(columns):
                a += left[p] * other[p]
            s.gram[j, i] = a
            j += 1
    s.downhill[:] = z
    for i in range(rows):
        b = s.residual[i]
        if b != 0:
            for p in range(unknowns):
                s.downhill[p] += b * s.jacobian[i, p]
    for i in range(rows):
        a = 0.0
        for p in range(unknowns):
            a += s.jacobian[i, p] * s.downhill[p]
        s.image[i] = a


@inner
@no_type_check
def _subtract_rows(row, one, two, a, b, first):
    """row -= a one + b two from column 4 * first on, by fours; what stands left of the diagonal is never read."""
    for block in range(first, len(row) // 4):
        p = 4 * block
        w = row[p] - a * one[p] - b * two[p]
        x = row[p + 1] - a * one[p + 1] - b * two[p + 1]
        y = row[p + 2] - a * one[p + 2] - b * two[p + 2]
        z = row[p + 3] - a * one[p + 3] - b * two[p + 3]
        row[p], row[p + 1], row[p + 2], row[p + 3] = w, x, y, z


@inner
@no_type_check
def _dual_step(damping, s):
    """Step into the scratch; returns the decrease promised, not finite where the factorisation fails."""
    rows = len(s.image)
    unknowns = len(s.step)
    c = 1 + damping
    for i in range(rows):
        s.factor[i] = s.gram[i]
        s.factor[i, i] += c
        s.solved[i] = s.image[i]
    # M = U^T U by rows of U, two rows taken off all rows below at a time; the diagonal holds 1 / U_jj.
    for j in range(0, rows, 2):
        one = s.factor[j]
        if not one[j] > 0:
            return math.nan
        scale = 1 / math.sqrt(one[j])
        for p in range(j, rows):
            one[p] *= scale
        one[j] = scale
        s.solved[j] *= scale
        if j + 1 == rows:
            break
        two, across = s.factor[j + 1], one[j + 1]
        for p in range(j + 1, rows):
            two[p] -= across * one[p]
        if not two[j + 1] > 0:
            return math.nan
        scale = 1 / math.sqrt(two[j + 1])
        for p in range(j + 1, rows):
            two[p] *= scale
        two[j + 1] = scale
        s.solved[j + 1] = (s.solved[j + 1] - across * s.solved[j]) * scale
        for i in range(j + 2, rows):
            _subtract_rows(s.factor[i], one, two, one[i], two[i], i // 4)
            s.solved[i] -= one[i] * s.solved[j] + two[i] * s.solved[j + 1]
    for i in range(rows - 1, -1, -1):
        row = s.factor[i]
        total = s.solved[i]
        for p in range(i + 1, rows):
            total -= row[p] * s.solved[p]
        s.solved[i] = total * row[i]
    s.step[:] = s.downhill
    for i in range(rows):
        a = s.solved[i]
        for p in range(unknowns):
            s.step[p] -= a * s.jacobian[i, p]
    promised = 0.0
    for p in range(unknowns):
        s.step[p] /= -c
        promised += damping * s.step[p] ** 2 - s.step[p] * s.downhill[p]
    return promised


@inner
@no_type_check
def _linearise(body, constants, data, n, z, s):
    _image_rows(body, constants, data, n, s)
    _hinge_rows(body, constants, data, n, s)
    _normal(z, s)


@kernel
@no_type_check
def fit_frames(body, constants, data, first, last, z, value, initial_value, iterations, reason, codes):
    """Fit frames first..last-1 in place. `codes`: converged, iteration limit, damping limit."""
    s = make_scratch(data.rotations.shape[1], data.weights.shape[1], len(body.hinge_joint), len(body.pair_joint))
    for n in range(first, last):
        at = z[n]
        _pose(body, data, n, at, s)
        now = _value(body, constants, data, n, at, s)
        initial_value[n] = now
        reason[n] = codes[1]
        iterations[n] = constants.max_iterations
        if not math.isfinite(now):
            reason[n], iterations[n], value[n] = codes[2], 0, now
            continue
        _linearise(body, constants, data, n, at, s)
        damping = constants.initial_damping
        for iteration in range(1, constants.max_iterations + 1):
            promised = _dual_step(damping, s)
            for p in range(len(at)):
                s.candidate[p] = at[p] + s.step[p]
            trial = math.inf
            if math.isfinite(promised):
                _pose(body, data, n, s.candidate, s)
                trial = _value(body, constants, data, n, s.candidate, s)
            decrease = now - trial
            floor = constants.noise * (now + 1)
            tolerated = constants.tolerance * now + floor
            if math.isfinite(trial) and decrease > 0:
                at[:] = s.candidate
                now = trial
                if decrease <= tolerated:
                    reason[n], iterations[n] = codes[0], iteration
                    break
                damping = max(damping / constants.damping_down, constants.damping_min)
                _linearise(body, constants, data, n, at, s)
            else:
                if constants.strength * promised <= max(floor, 0.1 * tolerated) or abs(decrease) <= floor:
                    reason[n], iterations[n] = codes[0], iteration
                    break
                damping *= constants.damping_up
                if damping > constants.damping_max:
                    reason[n], iterations[n] = codes[2], iteration
                    break
        value[n] = now
