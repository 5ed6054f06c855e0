"""What a refinement minimises, and its linearisation, for a batch of independent frames.

    E(z) = sum_k D(w_k, |e_k|^2) + sum_hinges (bend / std)^2 + lambda |z|^2

e_k is the reprojection error in pixels of the 256-pixel person box, D the robust kernel of the weighted error,
lambda |z|^2 everything that pulls towards the initial prediction and the mean shape. z is *whitened*: each unknown is
its distance from the prior's centre in standard deviations,

    R_u = R0_u exp(hat(std_u z_u)),   beta = beta_c + std z_beta,   t = t0 + std z_t,

so the prior's Hessian is the identity. The two pulls on the shape, |beta - beta0|^2 + a |beta|^2, are one Gaussian
around beta_c = beta0 / (1 + a) and a constant, which E leaves out.

The paper's objective takes Geman-McClure's kernel, weights of mean 1 for each person, and a tuned lambda. The objective
in probabilities is twice a negative log posterior with lambda = 1:

* A keypoint's error has the precision tau = g / (sigma^2 + s0^2): sigma from its calibrated confidence, s0 the distance
  between the body's landmark and the annotators', g in {0, 1} whether it says anything at all, and 1 with the
  probability p that the keypoint is visible and in the picture. The mean of tau is w = p / (sigma^2 + s0^2): p is a
  factor on the precision. (As a mixture of densities it did worse.)
* The precision itself is uncertain. A Gamma distribution with mean w and shape nu / 2 makes the error Student's t,
  D = (nu + 2) log(1 + w e^2 / nu). On validation tracks the errors follow nu = 4 with s0 = 2 pixels, and no factor on
  sigma^2 (its likeliest value is 1.0). D is a log density, so that evidence of different priors can be compared.
* The start has an error of its own, whose standard deviations `std` are those of the method that made it
  (`fitting.start_prior`). |z|^2 is its negative log density, so lambda is 1.

A keypoint moves with joint u as w x arm_u, w the turn's axis in the camera frame; for an image row with gradient g,
g . (w x arm) = w . (arm x g): one cross product for each joint and row, no derivative of the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.bodies.reduced_body import ReducedBody
from fitting.priors import Hinges, hinge_values
from fitting.refinement_config import Constants
from fitting.residuals import (
    geman_mcclure,
    geman_mcclure_slope,
    projection_jacobian,
    reprojection,
    student,
    student_slope,
)

MIN_DEPTH_M = 0.1
"""A keypoint nearer to the camera than this makes the objective infinite: no step may go through the camera."""


@dataclass(frozen=True)
class Problem:
    """n frames to fit. K keypoints, U joints and S surface keypoints as in `ReducedBody`; P unknowns.

    Attributes:
        xy: observed keypoints in pixels of the 256-pixel box; anything finite where the weight is 0.
        weights: not negative.
        focal, centre: of the camera, in the same pixels.
        rotations: R0, the initial rotations of the U joints relative to their parents.
        corrective: part of the pose corrective that the fixed joints make.
        betas: beta_c, centre of the shape prior.
        translation: t0, metres.
        std: standard deviation of each unknown: radians, betas, metres.
    """

    body: ReducedBody
    hinges: Hinges
    constants: Constants
    xy: Float[Tensor, "n 2 K"]
    weights: Float[Tensor, "n K"]
    focal: Float[Tensor, "n 2"]
    centre: Float[Tensor, "n 2"]
    rotations: Float[Tensor, "n U 3 3"]
    corrective: Float[Tensor, "n S 3"]
    betas: Float[Tensor, "n 10"]
    translation: Float[Tensor, "n 3"]
    std: Float[Tensor, "n P"]

    def __len__(self) -> int:
        return len(self.xy)

    def select(self, frames: Int[Tensor, " m"] | Bool[Tensor, " n"] | slice) -> Problem:
        """Some of the frames."""
        names = ("xy", "weights", "focal", "centre", "rotations", "corrective", "betas", "translation", "std")
        return replace(self, **{name: getattr(self, name)[frames] for name in names})

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> Problem:
        """The same problem in another precision or on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device, dtype) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, body=self.body.to(dtype, device), **moved)


@dataclass(frozen=True)
class Linearisation:
    """E and its Gauss-Newton model at a point, E(z + s) ~ lambda (|A s + b|^2 + |z + s|^2) + constant.

    The rows of A are divided by sqrt(lambda), so that the prior is the identity. A row of weight 0 is 0.
    """

    value: Float[Tensor, " n"]
    jacobian: Float[Tensor, "n m P"]
    residual: Float[Tensor, "n m"]


def exp_and_jacobian(turn: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n 3 3"], Float[Tensor, "*n 3 3"]]:
    """exp(hat d) and the right Jacobian J with exp(hat(d + s)) = exp(hat d) exp(hat(J s)) to first order.

    Rodrigues' formula and Chirikjian's; both by their series below 0.01 rad, where the quotients lose their digits.
    """
    squared = (turn * turn).sum(-1)[..., None, None]
    small = squared < 1e-4
    safe = torch.where(small, 1.0, squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6 + squared**2 / 120, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, (1 - angle.cos()) / safe)
    third = torch.where(small, 1 / 6 - squared / 120 + squared**2 / 5040, (angle - angle.sin()) / (safe * angle))
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    hat = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    square = hat @ hat
    eye = torch.eye(3, dtype=turn.dtype, device=turn.device)
    return eye + sine * hat + cosine * square, eye - cosine * hat + third * square


def unpack(
    problem: Problem, z: Float[Tensor, "n P"]
) -> tuple[Float[Tensor, "n U 3"], Float[Tensor, "n 10"], Float[Tensor, "n 3"]]:
    """Turns of the joints from R0 (radians), betas and translation (metres) of whitened unknowns."""
    change = z * problem.std
    turns = change[:, :-13].unflatten(1, (-1, 3))
    return turns, problem.betas + change[:, -13:-3], problem.translation + change[:, -3:]


@dataclass(frozen=True)
class _Posed:
    rotations: Tensor  # n U 3 3, relative to the parent
    right_jacobian: Tensor  # n U 3 3
    frames: Tensor  # n U 3 3, global
    arms: Tensor  # n U 3 K, what hangs below each joint, from that joint, camera frame
    points: Tensor  # n 3 K


def _pose(problem: Problem, z: Tensor) -> _Posed:
    body = problem.body
    turns, betas, translation = unpack(problem, z)
    exponential, right_jacobian = exp_and_jacobian(turns)
    rotations = problem.rotations @ exponential
    frames = body.global_rotations(rotations)
    vectors = frames @ body.rest_vectors(betas, _corrective_offset(problem, rotations))
    arms = (body.below @ vectors.flatten(2)).unflatten(2, (3, -1))
    origin = body.origin + torch.tensordot(betas, body.origin_shape, 1)
    return _Posed(rotations, right_jacobian, frames, arms, arms[:, 0] + origin + translation[..., None])


def _corrective_offset(problem: Problem, rotations: Tensor) -> Tensor:
    positions = problem.body.corrective_joints
    if not positions:
        return problem.corrective
    columns = [problem.body.joints[u] - 1 for u in positions]
    change = rotations[:, positions] - torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return problem.corrective + torch.einsum("sxjab,njab->nsx", problem.body.corrective[:, :, columns], change)


def keypoints(problem: Problem, z: Float[Tensor, "n P"]) -> Float[Tensor, "n K 3"]:
    """The keypoints of the body at z, camera frame, metres."""
    return _pose(problem, z).points.mT


def _data(problem: Problem, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Error (n, 2, K) in units of the pixel scale, cost (n,) and the square root of each keypoint's IRLS weight."""
    constants = problem.constants
    used = problem.weights > 0
    visible = points[:, 2] > MIN_DEPTH_M
    error = reprojection(points, problem.xy, problem.focal, problem.centre) / constants.pixel_scale
    error = torch.where((used & visible)[:, None], error, 0.0)
    cost, slope = _cost_and_slope(problem, (error**2).sum(1))
    behind = (used & ~visible).any(1)
    return error, torch.where(behind, torch.inf, cost.sum(1)), (problem.weights * slope).sqrt()


def keypoint_costs(problem: Problem) -> Float[Tensor, "n K"]:
    """D of each keypoint at the start; infinite where a weighted one lies behind the camera."""
    points = _pose(problem, torch.zeros_like(problem.std)).points
    used, visible = problem.weights > 0, points[:, 2] > MIN_DEPTH_M
    squared = (reprojection(points, problem.xy, problem.focal, problem.centre) / problem.constants.pixel_scale) ** 2
    costs = _cost_and_slope(problem, torch.where(used & visible, squared.sum(1), 0.0))[0]
    return torch.where(used & ~visible, torch.inf, costs)


def _cost_and_slope(problem: Problem, squared: Tensor) -> tuple[Tensor, Tensor]:
    """D of squared errors in units of the pixel scale, and what iterated reweighting multiplies the weight by."""
    constants, weighted = problem.constants, problem.weights * squared
    if constants.kernel_on == "student":
        return student(weighted, constants.degrees_of_freedom), student_slope(weighted, constants.degrees_of_freedom)
    knee = constants.kernel_knee
    if constants.kernel_on == "weighted":
        return geman_mcclure(weighted, knee), geman_mcclure_slope(weighted, knee)
    return problem.weights * geman_mcclure(squared, knee), geman_mcclure_slope(squared, knee)


def _total(problem: Problem, z: Tensor, data: Tensor, bends: Tensor) -> Tensor:
    constants = problem.constants
    return data + (bends**2).sum(1) / constants.hinge_std**2 + constants.prior_strength * (z**2).sum(1)


def value(problem: Problem, z: Float[Tensor, "n P"]) -> Float[Tensor, " n"]:
    """E, infinite where a weighted keypoint lies behind the camera. Differentiable."""
    posed = _pose(problem, z)
    return value_of_keypoints(problem, z, posed.points, posed.rotations)


def value_of_keypoints(
    problem: Problem, z: Float[Tensor, "n P"], points: Float[Tensor, "n 3 K"], rotations: Float[Tensor, "n U 3 3"]
) -> Float[Tensor, " n"]:
    """E of keypoints and joint rotations that another body model (the full mesh) computed from z."""
    return _total(problem, z, _data(problem, points)[1], hinge_values(rotations, problem.hinges)[0])


def linearise(problem: Problem, z: Float[Tensor, "n P"]) -> Linearisation:
    """E and its Gauss-Newton model with the kernel's reweighting, at z."""
    body, constants = problem.body, problem.constants
    posed = _pose(problem, z)
    error, data, root_weight = _data(problem, posed.points)
    root_weight = root_weight / constants.prior_strength**0.5
    # Image rows: gradient by the point, with the row's weight.
    gradient = (
        projection_jacobian(posed.points, problem.focal) * (root_weight / constants.pixel_scale)[:, None, :, None]
    )
    gradient = torch.where((root_weight > 0)[:, None, :, None], gradient, 0.0)  # n 2 K 3
    axes = posed.frames @ posed.right_jacobian  # turn of the unknown -> turn in the camera frame
    arms = posed.arms.mT[:, :, None]  # n U 1 K 3
    torque = torch.linalg.cross(arms.expand(-1, -1, 2, -1, -1), gradient[:, None])  # n U 2 K 3
    rotation_columns = (torque.flatten(2, 3) @ axes).transpose(1, 2)  # n 2K U 3
    if body.corrective_joints:
        rotation_columns = rotation_columns + _corrective_columns(problem, posed, gradient)
    by_shape = body.origin_shape + torch.einsum("nuxy,buyk->nbxk", posed.frames, body.rest_shape)  # n 10 3 K
    shape_columns = torch.einsum("nakx,nbxk->nakb", gradient, by_shape)
    frames = len(problem)
    image_rows = torch.cat([rotation_columns.flatten(2), shape_columns.flatten(1, 2), gradient.flatten(1, 2)], 2)
    bends, slopes = hinge_values(posed.rotations, problem.hinges)
    hinge_scale = 1 / (constants.hinge_std * constants.prior_strength**0.5)
    hinge_rows = z.new_zeros(frames, len(problem.hinges.joints), z.shape[1])
    for h, joint in enumerate(problem.hinges.joints):
        hinge_rows[:, h, 3 * joint : 3 * joint + 3] = (slopes[:, h, None] @ posed.right_jacobian[:, joint]).squeeze(
            1
        ) * hinge_scale
    return Linearisation(
        value=_total(problem, z, data, bends),
        jacobian=torch.cat([image_rows, hinge_rows], 1) * problem.std[:, None],
        residual=torch.cat([(root_weight[:, None] * error).flatten(1), bends * hinge_scale], 1),
    )


def _corrective_columns(problem: Problem, posed: _Posed, gradient: Tensor) -> Tensor:
    """What the pose correctives add to the rotation columns, n 2K U 3."""
    body = problem.body
    positions = body.corrective_joints
    columns = [body.joints[u] - 1 for u in positions]
    blended = torch.einsum("su,nuxy->nsxy", body.share, posed.frames)
    rows = torch.einsum("nasx,nsxy->nasy", gradient[:, :, body.surface], blended)
    by_entry = torch.einsum("nasy,syjbc->nasjbc", rows, body.corrective[:, :, columns])
    # R hat(e_d) for the three axes d; hat(e_d)[c', c] = -epsilon_{d c' c}.
    epsilon = torch.zeros(3, 3, 3, dtype=rows.dtype, device=rows.device)
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        epsilon[a, b, c], epsilon[a, c, b] = 1.0, -1.0
    turned = torch.einsum("njbe,dec->njbcd", posed.rotations[:, positions], -epsilon)
    slope = torch.einsum("nasjbc,njbcd,njde->nasje", by_entry, turned, posed.right_jacobian[:, positions])
    out = gradient.new_zeros(len(problem), 2, gradient.shape[2], len(body.joints), 3)
    positions_in = torch.as_tensor(positions)
    for s, keypoint in enumerate(body.surface):
        out[:, :, keypoint, positions_in] = slope[:, :, s]
    return out.flatten(1, 2)
