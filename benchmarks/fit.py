"""Speed and quality of the refinement against Adam through the full mesh: same frames, same body, same objective.

    python benchmarks/fit.py --frames 512 --json fit.json

The peer is what SPIN's SMPLify does, 100 + 100 steps of Adam at rate 0.01, every step through all vertices by autograd;
here it minimises the solver's own objective, so that the final values can be compared.

The floor is the time that the solver's floating-point operations would take at this machine's rate for large float64
matrix products on one core (symmetric products and the Cholesky factor counted once). It is strict: at the solver's
own sizes (38 x 61, many at a time) the same BLAS reaches 0.4 to 0.45 of that rate; `floor_ratio_small` divides by
this. Parts of the compiled kernel in us per frame and iteration, with a floor of 3.5 (7.8 at small sizes): pose 3.2,
value 0.5, Jacobian 9.0, A A^T and gradient 4.1, Cholesky and step 10.0, in all 27 to 30: 8 times the floor, 4 times
that at small sizes, where 3 was wanted. Only A A^T comes near the rate; the others work on rows of 3 to 40 numbers.
Offsets into flat arrays in place of views, with four rows taken off at a time and the right-hand side as a column of
the factor, were tried on a busy machine: the factor took longer, the Jacobian as long, so that was dropped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import roma
import torch

from fitting.bodies.body import Body, load_body
from fitting.bodies.reduced_body import ReducedBody, reduce_body
from fitting.body_fits import BodyFits
from fitting.inputs import FitInputs
from fitting.methods.preparation import prepare
from fitting.objective import Problem, unpack, value, value_of_keypoints
from fitting.priors import JOINT_STD_RAD
from fitting.refinement_config import RefinementConfig
from fitting.solving.solution import Solution
from fitting.solving.solvers import solve
from pose2d.skeletons import COCO17, SMPL24


@dataclass(frozen=True)
class Persons:
    """Random bodies seen by a camera: the truth, noisy 2D, and predictions with SPIN-like errors."""

    truth: BodyFits
    initial: BodyFits
    xy_px: np.ndarray
    weights: np.ndarray
    intrinsics: np.ndarray
    size_px: np.ndarray


def random_rotations(rng: np.random.Generator, std: np.ndarray) -> np.ndarray:
    return np.asarray(roma.rotvec_to_rotmat(torch.tensor(rng.normal(0, 1, std.shape) * std)).numpy())


def make_persons(body: Body, count: int, seed: int) -> Persons:
    """Persons 3 to 9 m away, focal length 1,500 px; 2D noise of 2 to 12 px in a 256-px box, true weights."""
    rng = np.random.default_rng(seed)
    std = np.array([JOINT_STD_RAD[name] for name in SMPL24.keypoints])[:, None] * np.ones(3)
    pose = random_rotations(rng, np.tile(2 * std, (count, 1, 1)))
    yaw = rng.uniform(-np.pi, np.pi, count)
    facing = roma.rotvec_to_rotmat(torch.tensor(np.stack([0 * yaw, yaw, 0 * yaw], 1))).numpy()
    pose[:, 0] = np.diag([1.0, -1.0, -1.0]) @ facing
    betas = rng.normal(0, 1, (count, 10))
    depth = rng.uniform(3, 9, count)
    translation = depth[:, None] * np.stack(
        [rng.uniform(-0.3, 0.3, count), rng.uniform(-0.1, 0.1, count), 1 + 0 * depth], 1
    )
    intrinsics = np.tile([[1500.0, 0.0, 959.5], [0.0, 1500.0, 539.5], [0.0, 0.0, 1.0]], (count, 1, 1))
    points = (
        reduce_body(body, COCO17).keypoint_positions(*(torch.tensor(a) for a in (pose, betas, translation))).numpy()
    )
    pixels = np.einsum("nij,nkj->nki", intrinsics, points)
    xy_px = pixels[..., :2] / pixels[..., 2:]
    size_px = np.ptp(xy_px, axis=1).max(1) * 1.1
    sigma = np.exp(rng.uniform(np.log(2), np.log(12), (count, 17)))
    xy_px = xy_px + rng.normal(0, 1, xy_px.shape) * (sigma * size_px[:, None] / 256)[..., None]
    weights = 1 / (sigma**2 + 16)
    initial = BodyFits(
        pose @ random_rotations(rng, np.tile(0.7 * std, (count, 1, 1))),
        0.4 * betas + rng.normal(0, 0.4, (count, 10)),
        translation + depth[:, None] * rng.normal(0, 1, (count, 3)) * np.array([0.008, 0.008, 0.06]),
    )
    weights /= weights.mean(1, keepdims=True)
    return Persons(BodyFits(pose, betas, translation), initial, xy_px, weights, intrinsics, size_px)


def adam_through_the_mesh(body: Body, problem: Problem, rotations: torch.Tensor, iterations: int) -> torch.Tensor:
    """Unknowns after `iterations` steps on root and translation and as many on everything, each through the mesh."""
    problem = problem.to(torch.float32)
    joints = list(problem.body.joints)
    change = torch.zeros_like(problem.std, requires_grad=True)  # radians, betas, metres: SPIN's scales
    placing = torch.zeros_like(problem.std)
    placing[:, :3] = placing[:, -3:] = 1

    def loss(mask: torch.Tensor) -> torch.Tensor:
        z = change * mask / problem.std
        turns, betas, translation = unpack(problem, z)
        local = problem.rotations @ roma.rotvec_to_rotmat(turns)
        pose = rotations.clone()
        pose[:, joints] = local
        points = body.keypoints(body(pose, betas, translation), COCO17)
        return value_of_keypoints(problem, z, points.mT, local).sum()

    for mask in (placing, torch.ones_like(placing)):
        optimiser = torch.optim.Adam([change], lr=1e-2)
        for _ in range(iterations):
            optimiser.zero_grad()
            loss(mask).backward()
            optimiser.step()
    return (change.detach() / problem.std).double()


def bodies_at(problem: Problem, initial: BodyFits, z: torch.Tensor) -> BodyFits:
    """The bodies of whitened unknowns."""
    turns, betas, translation = unpack(problem, z)
    rotations = initial.rotations.copy()
    rotations[:, list(problem.body.joints)] = (problem.rotations @ roma.rotvec_to_rotmat(turns)).numpy()
    return BodyFits(rotations, betas.numpy(), translation.numpy())


def mpjpe_mm(body: Body, fits: BodyFits, truth: BodyFits) -> float:
    def joints(bodies: BodyFits) -> np.ndarray:
        with torch.no_grad():
            posed = body(torch.tensor(bodies.rotations).float(), torch.tensor(bodies.betas).float(), None)
        points = body.evaluation_joints(posed.vertices).numpy()
        return np.asarray(points - points[:, :1])

    return float(1e3 * np.linalg.norm(joints(fits) - joints(truth), axis=2).mean())


def flops_per_iteration(reduced: ReducedBody, rows: int) -> float:
    """Multiplications and additions of one accepted step: Gram matrix, Cholesky, two products with A, the Jacobian."""
    unknowns, joints, keypoints = reduced.num_unknowns, len(reduced.joints), len(reduced.keypoints)
    pairs = int((reduced.rest.abs().amax(1) > 0).sum())
    arms = int(((reduced.below @ (reduced.rest.abs().amax(1) > 0).double()) > 0).sum())
    gram = rows * (rows + 1) * unknowns
    cholesky = rows**3 / 3 + 2 * rows**2
    products = 3 * 2 * rows * unknowns
    jacobian = arms * 2 * (9 + 3 * 6) + pairs * 10 * 3 * 6 + keypoints * 2 * 10 * 6
    pose = joints * (60 + 3 * 45) + pairs * (3 * 20 + 15) + 3 * keypoints * joints + keypoints * 3 * 20
    return gram + cholesky + products + jacobian + pose


def small_gemm_flops_per_second(clock: Callable[[], float], rows: int, unknowns: int, batch: int = 256) -> float:
    """The same for many products of the solver's size, A A^T."""
    a = np.random.default_rng(0).normal(size=(batch, rows, unknowns))
    b = np.ascontiguousarray(a.transpose(0, 2, 1))
    times = []
    for _ in range(5):
        start = clock()
        a @ b
        times.append(clock() - start)
    return 2 * batch * rows**2 * unknowns / min(times)


def gemm_flops_per_second(clock: Callable[[], float], size: int = 768) -> float:
    """Best of several float64 matrix products on one thread."""
    a = np.random.default_rng(0).normal(size=(size, size))
    times = []
    for _ in range(5):
        start = clock()
        a @ a
        times.append(clock() - start)
    return 2 * size**3 / min(times)


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def best_of(repeats: int, clock: Callable[[], float], run: Callable[[], Solution]) -> tuple[float, Solution]:
    times = []
    for _ in range(repeats):
        start = clock()
        result = run()
        times.append(clock() - start)
    return min(times), result


def solve_in_parts(problems: list[Problem], config: RefinementConfig) -> Solution:
    """Solutions of some problems after each other."""
    parts = [solve(problem, config) for problem in problems]
    return Solution(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Solution)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1024, help="frames for the solvers")
    parser.add_argument("--adam-frames", type=int, default=64, help="frames for the peer, the first of the same")
    parser.add_argument("--adam-iterations", type=int, default=100, help="in each of the peer's two stages")
    parser.add_argument("--repeats", type=int, default=3, help="each solver's time is the best of these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default="wall", help="cpu for a busy machine, one thread only"
    )
    parser.add_argument("--json", default=None, help="where to write the numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clock = CLOCKS[options.clock]

    body = load_body()
    reduced = reduce_body(body, COCO17)
    persons = make_persons(body, options.frames, options.seed)
    config = RefinementConfig()
    inputs = FitInputs(
        body, COCO17, persons.xy_px, persons.weights, persons.intrinsics, persons.initial, persons.size_px
    )
    prepared = prepare(inputs, config)
    if len(prepared.problem) < options.frames:
        raise SystemExit("some of the random persons cannot be fitted: choose another --seed")
    few = slice(0, options.adam_frames)
    few_problem = prepared.problem.select(few)
    rows = []

    def record(name: str, frames_per_second: float, z: torch.Tensor, iterations: float) -> dict[str, Any]:
        fits = bodies_at(few_problem, persons.initial.select(few), z[few])
        row = {
            "name": name,
            "frames_per_second": frames_per_second,
            "objective": float(value(few_problem, z[few]).mean()),
            "mpjpe_mm": mpjpe_mm(body, fits, persons.truth.select(few)),
            "iterations": iterations,
        }
        rows.append(row)
        print(
            f"{name:22s} {frames_per_second:10.1f} frames/s   objective {row['objective']:9.4f}   "
            f"MPJPE {row['mpjpe_mm']:6.2f} mm   {iterations:5.1f} iterations",
            flush=True,
        )
        return row

    print(f"initial: MPJPE {mpjpe_mm(body, persons.initial.select(few), persons.truth.select(few)):.2f} mm")
    start = clock()
    adam_z = adam_through_the_mesh(
        body, few_problem, torch.tensor(persons.initial.rotations[few]).float(), options.adam_iterations
    )
    adam_rate = len(few_problem) / (clock() - start)
    adam = record("Adam, full mesh", adam_rate, adam_z, 2.0 * options.adam_iterations)

    best: dict[str, dict[str, Any]] = {}
    solvers: tuple[Literal["torch", "compiled"], ...] = ("torch", "compiled")
    for solver, batch, threads in itertools.product(solvers, (64, 256), (1, 2)):
        if threads == 2 and options.clock == "cpu":
            continue  # processor time does not fall with threads
        chosen = replace(config, solver=solver, batch_size=batch, threads=threads)
        torch.set_num_threads(threads if solver == "torch" else 1)
        solve(prepared.problem.select(slice(0, 8)), chosen)  # compile, warm up
        starts = range(0, len(prepared.problem), batch)
        parts = [prepared.problem.select(slice(start, start + batch)) for start in starts]
        run = partial(solve_in_parts, parts, chosen)
        seconds, solution = best_of(options.repeats, clock, run)
        torch.set_num_threads(1)
        name = f"{solver}, batch {batch}, {threads} thread{'s' * (threads > 1)}"
        rate = len(prepared.problem) / seconds
        row = record(name, rate, solution.z, float(solution.iterations.double().mean()))
        if solver == "compiled" and threads == 1 and batch == 256:
            per_iteration = seconds / float(solution.iterations.sum())
        if solver not in best or row["frames_per_second"] > best[solver]["frames_per_second"]:
            best[solver] = row

    dual_rows = 2 * len(reduced.keypoints) + len(prepared.problem.hinges.joints)
    gemm = gemm_flops_per_second(clock)
    small_gemm = small_gemm_flops_per_second(clock, dual_rows, reduced.num_unknowns)
    flops = flops_per_iteration(reduced, dual_rows)
    floor = flops / gemm
    print(
        f"floor: {1e6 * floor:.1f} us per frame and iteration at {gemm / 1e9:.1f} GFLOP/s (float64, one core), "
        f"{1e6 * flops / small_gemm:.1f} us at the {small_gemm / 1e9:.1f} GFLOP/s of products of the solver's size; "
        f"compiled {1e6 * per_iteration:.1f} us"
    )
    summary = {
        "frames_per_second": best["compiled"]["frames_per_second"],
        "frames_per_second_torch": best["torch"]["frames_per_second"],
        "speedup_vs_smplify": best["compiled"]["frames_per_second"] / adam["frames_per_second"],
        "speedup_vs_smplify_torch": best["torch"]["frames_per_second"] / adam["frames_per_second"],
        "objective_ratio": best["compiled"]["objective"] / adam["objective"],
        "floor_ratio": per_iteration / floor,
        "floor_ratio_small": per_iteration * small_gemm / flops,
        "gemm_gflops": gemm / 1e9,
        "clock": options.clock,
        "frames": len(prepared.problem),
        "adam_frames": len(few_problem),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "machine": platform.machine(),
        "torch": torch.__version__,
        "rows": rows,
    }
    print(json.dumps({name: summary[name] for name in list(summary)[:7]}, indent=1))
    if options.json:
        from pose2d.files.storage import write_json

        write_json(options.json, summary)


if __name__ == "__main__":
    main()
