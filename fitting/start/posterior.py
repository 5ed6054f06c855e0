"""How sure a refined body is: the Laplace covariance of its unknowns, carried to the joints.

At the solution the objective of `fitting.objective` with lambda = 1 is E ~ |A s + b|^2 + |z + s|^2, twice the negative
log posterior, so the unknowns' covariance is

    (I + A^T A)^-1 = I - A^T (I + A A^T)^-1 A.

Frames are taken one by one. That is right where a keypoint's error stays the same over a track: then neighbouring
frames repeat one measurement, and the covariance of many frames is hardly smaller than that of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from fitting.bodies.body import Body
from fitting.objective import Linearisation, Problem, exp_and_jacobian, linearise, unpack
from fitting.start_prior import StartPrior

BATCH = 256


def joint_std_mm(
    problem: Problem, z: Float[Tensor, "n P"], body: Body, rotations: Float[Tensor, "n 24 3 3"], prior: StartPrior
) -> Float[Tensor, "n 24 3"]:
    """Standard deviation of each SMPL joint relative to the pelvis, along the camera's axes, millimetres.

    Joints that no keypoint moves (wrists and ankles) keep the prior's uncertainty.

    Args:
        problem: what was solved; `prior_strength` must be 1.
        z: its solution.
        body: whose joints are meant.
        rotations: of all joints of the refined bodies.
        prior: of the start; its `posterior_scale` multiplies the result.
    """
    parts = [
        _batch(problem.select(part), z[part], body, rotations[part], prior)
        for part in (slice(first, first + BATCH) for first in range(0, max(len(z), 1), BATCH))
    ]
    return 1000 * prior.posterior_scale * torch.cat(parts)


def joint_covariance_factor(
    model: Linearisation, moves: Float[Tensor, "n c P"]
) -> tuple[Float[Tensor, "n c P"], Float[Tensor, "n m c"]]:
    """`moves` M and the W of M (I + A^T A)^-1 M^T = M M^T - W^T W."""
    gram = model.jacobian @ model.jacobian.mT
    factor = torch.linalg.cholesky(gram + torch.eye(gram.shape[1], dtype=gram.dtype))
    return moves, torch.linalg.solve_triangular(factor, model.jacobian @ moves.mT, upper=False)


def _batch(problem: Problem, z: Tensor, body: Body, rotations: Tensor, prior: StartPrior) -> Tensor:
    rest, by_shape = _rest_joints(body)
    turns, betas, _ = unpack(problem, z)
    joints = list(problem.body.joints)
    parents = body.parents
    frames = [rotations[:, 0]]
    places = [torch.zeros_like(rotations[:, 0, 0])]
    shape = [rotations.new_zeros(len(z), 3, betas.shape[1])]
    bones = torch.cat([rest[:1], rest[1:] - rest[list(parents[1:])]])
    bone_slopes = torch.cat([by_shape[:1], by_shape[1:] - by_shape[list(parents[1:])]])
    for joint in range(1, 24):
        up = parents[joint]
        bone = bones[joint] + betas @ bone_slopes[joint].T
        places.append(places[up] + (frames[up] @ bone[..., None])[..., 0])
        shape.append(shape[up] + frames[up] @ bone_slopes[joint])
        frames.append(frames[up] @ rotations[:, joint])
    place, frame = torch.stack(places, 1), torch.stack(frames, 1)  # n 24 3, n 24 3 3
    below = _below(parents).to(place)
    arms = (place[:, None] - place[:, :, None]) * below[..., None]  # n u j 3: joint j from joint u, where it hangs
    axes = frame.clone()
    axes[:, joints] = frame[:, joints] @ exp_and_jacobian(turns)[1]
    # d p_j / d turn_u = axis x arm, one column for each of the turn's three components.
    columns = torch.linalg.cross(axes.mT[:, :, None], arms[:, :, :, None], dim=-1)  # n u j component 3
    columns = columns.permute(0, 2, 4, 1, 3)  # n j 3 u component
    known = columns[:, :, :, joints].flatten(3)
    moves = torch.cat([known, torch.stack(shape, 1), torch.zeros_like(known[..., :3])], 3).flatten(1, 2)
    prior_part, seen = joint_covariance_factor(linearise(problem, z), moves * problem.std[:, None])
    variance = (prior_part**2).sum(2) - (seen**2).sum(1)
    fixed = [joint for joint in range(24) if joint not in joints]
    if fixed:
        unseen = columns[:, :, :, fixed] * columns.new_tensor(prior.rotation_std_rad)[fixed]
        variance = variance + (unseen**2).sum((3, 4)).flatten(1)
    body_variance = columns.new_tensor(prior.body_std_m) ** 2
    std: Tensor = (variance.clamp_min(0).unflatten(1, (24, 3)) + body_variance[:, None]).sqrt()
    return std


def body_std_m(body: Body, others: Sequence[Body]) -> tuple[float, ...]:
    """How far the joints of other bodies lie from those of `body` at rest and mean shape, relative to the pelvis: root
    mean square over the bodies and the three axes, metres."""
    rest = [_rest_joints(one)[0] for one in (body, *others)]
    rest = [joints - joints[:1] for joints in rest]
    squared = [((joints - rest[0]) ** 2).mean(1) for joints in rest[1:]]
    return tuple(torch.stack(squared).mean(0).sqrt().tolist()) if squared else 24 * (0.0,)


@lru_cache(maxsize=16)
def _rest_joints(body: Body) -> tuple[Float[Tensor, "24 3"], Float[Tensor, "24 3 b"]]:
    """Joints of the mean body at rest, and their change with the shape."""
    regressor = body.joint_regressor.double()
    rest = regressor @ body.v_template.double()
    return rest, torch.einsum("jv,vxb->jxb", regressor, body.shapedirs.double())


@lru_cache(maxsize=4)
def _below(parents: tuple[int, ...]) -> Float[Tensor, "24 24"]:
    """1 where the column's joint hangs below the row's."""
    below = torch.zeros(len(parents), len(parents))
    for joint in range(1, 24):
        up = parents[joint]
        below[:, joint] = below[:, up]
        below[up, joint] = 1
    return below
