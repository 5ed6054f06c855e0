"""Pinhole cameras of the open world: single views, windows cut from them, and hand-held tracks.

World: metres, +y up, the ground at y = 0. Camera: OpenCV (+x right, +y down, +z forward), no lens distortion.
The centre of pixel (0, 0) has the coordinates (0, 0), so an image of width w reaches from -0.5 to w - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

WORLD_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class PinholeCamera:
    """A camera of one picture."""

    intrinsics: Float[np.ndarray, "3 3"]
    T_camera_world: Float[np.ndarray, "4 4"]
    size_wh: tuple[int, int]
    """Of the picture, px."""

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, as arrays have them."""
        return self.size_wh[1], self.size_wh[0]


def intrinsics_of(focal_px: float, size_wh: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
    """Camera matrix with square pixels and the principal point in the middle of an image of ``size_wh``."""
    width, height = size_wh
    return np.array([[focal_px, 0.0, (width - 1) / 2], [0.0, focal_px, (height - 1) / 2], [0.0, 0.0, 1.0]])


def focal_of_field(field_of_view: float, long_side_px: int) -> float:
    """Focal length in pixels of a view that spans ``field_of_view`` radians along its long side."""
    return float(long_side_px / 2 / np.tan(field_of_view / 2))


def window_intrinsics(intrinsics: Float[np.ndarray, "3 3"], left: int, top: int) -> Float[np.ndarray, "3 3"]:
    """Camera matrix of the part of an image that starts at pixel (left, top)."""
    shifted = intrinsics.copy()
    shifted[:2, 2] -= (left, top)
    return shifted


def look_at(
    position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], roll: float = 0.0
) -> Float[np.ndarray, "4 4"]:
    """``T_camera_world`` of a camera at ``position`` whose optical axis passes through ``target``.

    ``roll`` turns the camera about its optical axis, in radians; at 0 the horizon is level.
    """
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, WORLD_UP)
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    rotation = np.stack([cos * right + sin * down, -sin * right + cos * down, forward])
    T_camera_world = np.eye(4)
    T_camera_world[:3, :3] = rotation
    T_camera_world[:3, 3] = -rotation @ position
    return T_camera_world


def turned_camera(
    T_camera_world: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
    target: Float[np.ndarray, "3"],
    at_px: Float[np.ndarray, "2"],
) -> Float[np.ndarray, "4 4"]:
    """Turn a camera about its own centre, as a photographer does, until ``target`` is seen at ``at_px``."""
    wanted = np.linalg.solve(intrinsics, np.append(at_px, 1.0))
    wanted = wanted / np.linalg.norm(wanted)
    seen = T_camera_world[:3, :3] @ target + T_camera_world[:3, 3]
    seen = seen / np.linalg.norm(seen)
    axis, cosine = np.cross(seen, wanted), float(seen @ wanted)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(4)
    turn[:3, :3] += skew + skew @ skew / (1 + cosine)
    return np.asarray(turn @ T_camera_world)


def transform(
    T_target_source: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "*batch 3"]
) -> Float[np.ndarray, "*batch 3"]:
    """Map points from the source frame to the target frame."""
    return np.asarray(points @ T_target_source[:3, :3].T + T_target_source[:3, 3])


def project(
    points_camera: Float[np.ndarray, "*batch 3"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*batch 2"]:
    """Pixels of points in the camera frame; points behind the camera give numbers without meaning."""
    depth = points_camera[..., 2:]
    depth = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    return np.asarray(points_camera[..., :2] / depth * np.diag(intrinsics)[:2] + intrinsics[:2, 2])


def smooth_noise(
    rng: np.random.Generator, num_frames: int, channels: int, seconds: float, frame_rate: float
) -> Float[np.ndarray, "n c"]:
    """Noise of unit variance whose correlation dies out over about ``seconds``."""
    sigma = max(seconds * frame_rate, 1e-3)
    margin = int(np.ceil(4 * sigma))
    raw = rng.standard_normal((num_frames + 2 * margin, channels))
    smooth = gaussian_filter1d(raw, sigma, axis=0)[margin : margin + num_frames]
    # The variance of white noise after a Gaussian filter of width sigma is 1 / (2 sqrt(pi) sigma).
    return np.asarray(smooth * np.sqrt(2 * np.sqrt(np.pi) * sigma) if sigma > 1 else smooth)


def lagging(points: Float[np.ndarray, "n 3"], seconds: float, frame_rate: float) -> Float[np.ndarray, "n 3"]:
    """Follow a path late, as a cameraman does: a first-order lag with the given time constant."""
    gain = 1 - np.exp(-1 / (seconds * frame_rate))
    followed = np.empty_like(points)
    state = points[0]
    for frame, point in enumerate(points):
        state = state + gain * (point - state)
        followed[frame] = state
    return followed


def handheld_track(
    rng: np.random.Generator,
    targets: Float[np.ndarray, "n 3"],
    azimuth: float,
    distance: float,
    height: float,
    frame_rate: float = 30.0,
) -> Float[np.ndarray, "n 4 4"]:
    """``T_camera_world`` of a hand-held camera that films the path ``targets``.

    The cameraman stands ``distance`` metres away in the direction ``azimuth`` (0 looks along -z, so that a person who
    faces +z is seen from the front), holds the camera at ``height``, walks along with a part of the actor's movement,
    sways, and turns after the actor with a lag.
    """
    num_frames = len(targets)
    start = targets[0]
    stand = np.array([start[0] + distance * np.sin(azimuth), height, start[2] + distance * np.cos(azimuth)])
    walks_along = rng.uniform(0.0, 0.9)
    late = lagging(targets, rng.uniform(0.3, 0.8), frame_rate) - start
    late[:, 1] = 0.0
    seconds = np.arange(num_frames) / frame_rate
    circle = rng.normal(0.0, 0.12) * distance * np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    sway = smooth_noise(rng, num_frames, 3, 0.35, frame_rate) * 0.02
    positions = stand + walks_along * late + seconds[:, None] * circle + sway
    aim = lagging(targets, rng.uniform(0.1, 0.3), frame_rate)
    aim = aim + smooth_noise(rng, num_frames, 3, 0.4, frame_rate) * 0.012 * distance
    roll = rng.normal(0.0, 0.02) + smooth_noise(rng, num_frames, 1, 0.5, frame_rate)[:, 0] * 0.012
    return np.stack([look_at(p, a, r) for p, a, r in zip(positions, aim, roll, strict=True)])
