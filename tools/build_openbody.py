"""Remake the packaged open body: SMPL-format files from anny's bodies (Apache-2.0; MakeHuman's data, CC0).

    pip install '.[openbody-builder]'
    python tools/build_openbody.py --out DIR

Writes OPENBODY_{NEUTRAL,MALE,FEMALE}.npz and J_regressor_h36m.npy; about half a minute for each body after anny has
started, which takes a minute or two the first time. No SMPL data is read: "SMPL" names the layout of the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from openbody_fitting import (
    SMPL_SLOTS,
    SurfaceMap,
    decimate,
    evaluation_regressor,
    fit_joint_regressor,
    fit_pose_directions,
    limit_influences,
    shape_space,
    slot_permutation,
)
from openbody_source import AnnyBody, joint_of_bone, sample_phenotypes

from pose2d.files.storage import atomic_path, write_npz
from pose2d.skeletons import SMPL24, SMPL_PARENTS

GENDERS = {"neutral": None, "male": 0.0, "female": 1.0}
"""anny's gender coordinate; None draws both."""

# SMPL's origin lies in the chest: where the pelvis is to be in the rest pose, metres.
_PELVIS = np.array([0.0, -0.22, 0.025])
_TOPOLOGY_SEED, _TOPOLOGY_SAMPLES = 123, 64
_BATCH = 50


@dataclass(frozen=True)
class BuildConfig:
    """What to build.

    Attributes:
        out: folder for the files.
        vertices: size of the mesh; not SMPL's 6890, so that a file made for SMPL's mesh is refused, not misread.
        samples: bodies behind the shape space of each gender.
        seed: of the samples.
        genders: which bodies.
    """

    out: Path
    vertices: int = 6880
    samples: int = 800
    seed: int = 0
    genders: tuple[str, ...] = tuple(GENDERS)


@dataclass(frozen=True)
class Topology:
    """What all genders share: the mesh, its tie to anny's, skinning weights, landmarks (before reordering)."""

    surface: SurfaceMap
    bone_weights: np.ndarray
    weights: np.ndarray
    face_points: dict[str, np.ndarray]
    vertices: np.ndarray


def make_topology(source: AnnyBody, num_vertices: int) -> Topology:
    """Decimate the mean of a fixed set of bodies, so that every gender gets the same mesh."""
    phenotypes = sample_phenotypes(_TOPOLOGY_SAMPLES, np.random.default_rng(_TOPOLOGY_SEED), None)
    fine = source.t_posed(*source.rest(phenotypes))[0].mean(0)
    surface = decimate(fine, source.faces, num_vertices)
    bone_weights = surface.apply(source.weights)
    weights = np.zeros((len(bone_weights), len(SMPL24)))
    for number, bone in enumerate(source.bones):
        weights[:, joint_of_bone(bone)] += bone_weights[:, number]
    return Topology(surface, bone_weights, limit_influences(weights), source.face_landmarks(fine), surface.apply(fine))


def sample_bodies(
    source: AnnyBody, topology: Topology, count: int, rng: np.random.Generator, gender: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """T-posed bodies (n, v, 3) and their joints (n, 24, 3), pelvis at the same place."""
    phenotypes = sample_phenotypes(count, rng, gender)
    bodies, joints = [], []
    for start in range(0, count, _BATCH):
        batch = {name: values[start : start + _BATCH] for name, values in phenotypes.items()}
        vertices, heads = source.t_posed(*source.rest(batch))
        found = source.joints24(heads)
        shift = _PELVIS - found[:, :1]
        bodies.append(topology.surface.apply(vertices) + shift)
        joints.append(found + shift)
    return np.concatenate(bodies), np.concatenate(joints)


def find_landmarks(source: AnnyBody, topology: Topology) -> dict[str, int]:
    """Landmark vertices by smplx's names: extremes of head, fingers, toes and heels; eyes and ears from anny."""
    vertices = topology.vertices

    def carried(bone: str, least: float) -> np.ndarray:
        return np.flatnonzero(topology.bone_weights[:, source.bone(bone)] > least)

    def nearest(point: np.ndarray) -> int:
        return int(np.linalg.norm(vertices - point, axis=1).argmin())

    head = carried("head", 0.5)
    middle = head[np.abs(vertices[head, 0]) < 0.02]
    landmarks = {"nose": int(middle[vertices[middle, 2].argmax()])}
    for side, prefix, long in (("L", "l", "left"), ("R", "r", "right")):
        for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), start=1):
            tip = carried(f"finger{number}-3.{side}", 0.5)
            landmarks[prefix + finger] = int(tip[np.abs(vertices[tip, 0]).argmax()])
        for name, bone in (("BigToe", "toe1-2"), ("SmallToe", "toe5-3")):
            toe = carried(f"{bone}.{side}", 0.4)
            landmarks[side + name] = int(toe[vertices[toe, 2].argmax()])
        foot = carried(f"foot.{side}", 0.5)
        sole = foot[vertices[foot, 1] < vertices[foot, 1].min() + 0.03]
        landmarks[f"{side}Heel"] = int(sole[vertices[sole, 2].argmin()])
        for part in ("eye", "ear"):
            landmarks[prefix + part] = nearest(topology.face_points[f"{long}_{part}"])
    return landmarks


def build_body(source: AnnyBody, topology: Topology, gender: str, config: BuildConfig) -> dict[str, np.ndarray]:
    """One body's arrays, in SMPL's layout and with the landmarks in smplx's slots."""
    rng = np.random.default_rng(config.seed)
    bodies, joints = sample_bodies(source, topology, config.samples, rng, GENDERS[gender])
    mean, directions, explained = shape_space(bodies)
    regressor, errors = fit_joint_regressor(bodies, joints, topology.weights, rng)
    rest_joints = regressor @ mean
    correctives = fit_pose_directions(mean, rest_joints, topology.weights, rng)
    print(
        f"{gender}: stature {np.ptp(bodies[..., 1], axis=1).mean():.3f} m, "
        f"10 betas explain {100 * explained:.2f} %, joints {1000 * errors.mean():.1f} mm from the bones"
    )

    landmarks = find_landmarks(source, topology)
    slots = {name: SMPL_SLOTS[name] for name in landmarks}
    order = slot_permutation(landmarks, len(mean))
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    parents = np.array(SMPL_PARENTS)
    meta = {
        "vertex_ids": slots,
        "joint_names": list(SMPL24.keypoints),
        "source": "anny 0.6.2 (Apache-2.0) / MakeHuman MPFB2 assets (CC0-1.0)",
        "gender": gender,
    }
    return {
        "v_template": mean[order].astype(np.float32),
        "shapedirs": directions[order].astype(np.float32),
        "posedirs": correctives[order],
        "J_regressor": regressor[:, order].astype(np.float32),
        "weights": topology.weights[order].astype(np.float32),
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(24)]).astype(np.uint32),
        "f": number[topology.surface.faces].astype(np.uint32),
        "bs_type": np.array("lrotmin"),
        "bs_style": np.array("lbs"),
        "J": rest_joints.astype(np.float32),
        "vertex_id_names": np.array(list(slots)),
        "vertex_id_values": np.array(list(slots.values())),
        "meta": np.array(json.dumps(meta)),
    }


def main(config: BuildConfig) -> None:
    """Build the bodies and write them."""
    source = AnnyBody.load()
    topology = make_topology(source, config.vertices)
    for gender in config.genders:
        body = build_body(source, topology, gender, config)
        write_npz(config.out / f"OPENBODY_{gender.upper()}.npz", **body)
        if gender == "neutral":
            rows = evaluation_regressor(body["J_regressor"], body["v_template"], SMPL_SLOTS)
            with atomic_path(config.out / "J_regressor_h36m.npy") as path, open(path, "wb") as file:
                np.save(file, rows.astype(np.float32))


if __name__ == "__main__":
    main(tyro.cli(BuildConfig, description=__doc__))
