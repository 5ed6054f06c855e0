"""Places of the open world: parks, streets, squares, beaches and rooms, and the things that stand about in them.

A place is a function of the viewing ray and of the camera's centre, so that it moves rightly when the camera moves.
The world has y up and its ground at y = 0, metres; people are meant to be within `free_radius_m` of the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit

from eval3dpw.openworld.people.appearance import Light
from eval3dpw.openworld.people.noise import noise2
from eval3dpw.openworld.places import solids as kinds
from eval3dpw.openworld.places.solids import Colour, Solid, draw_solids, material_colour, pack
from eval3dpw.openworld.places.things import (
    GROUNDS,
    outdoors,
    pick,
    room,
    sample_light,
    sample_prop,
    triple,
    vary,
)

__all__ = ["Surroundings", "camera_arrays", "sample_prop"]

SKY_TOPS = ((70, 120, 190), (96, 150, 214), (150, 170, 190), (186, 192, 198), (120, 140, 170))
SKY_BASES = ((190, 210, 228), (214, 222, 230), (226, 214, 196), (206, 208, 210))


@dataclass(frozen=True)
class Surroundings:
    """A place: its ground, sky, light and standing things. Directions and positions are the world's."""

    ground_material: int
    ground_colour: Colour
    ground_second: Colour
    ground_period_m: float
    sky_top: Colour
    sky_base: Colour
    cloudiness: float
    skyline: float
    skyline_roughness: float
    skyline_colour: Colour
    to_sun: Colour
    sun: Colour
    sky_light: Colour
    ground_light: Colour
    solids: tuple[Solid, ...]
    indoors: bool
    free_radius_m: float
    seed: int

    @staticmethod
    def sample(rng: np.random.Generator, free_radius_m: float | None = None) -> Surroundings:
        """Draw a place. `free_radius_m`: nothing stands nearer to the origin (default: 3 to 9 m by kind of place)."""
        place = str(rng.choice(("park", "street", "square", "field", "room"), p=(0.24, 0.26, 0.14, 0.12, 0.24)))
        indoors = place == "room"
        default = rng.uniform(3.0, 6.0) if indoors else rng.uniform(4.5, 9.0)
        free = float(default) if free_radius_m is None else float(free_radius_m)
        choices = {
            "park": (kinds.GRASS, kinds.GRASS, kinds.SAND, kinds.PAVING),
            "street": (kinds.ASPHALT, kinds.PAVING, kinds.BRICKS),
            "square": (kinds.PAVING, kinds.BRICKS, kinds.CHEQUER),
            "field": (kinds.SAND, kinds.GRASS, kinds.ASPHALT),
            "room": (kinds.PLANKS, kinds.CHEQUER, kinds.PLAIN, kinds.PAVING),
        }[place]
        ground_material = int(rng.choice(choices))
        tones = GROUNDS[ground_material]
        colour = vary(rng, tones[int(rng.integers(len(tones)))])
        second = vary(rng, tones[int(rng.integers(len(tones)))], 22.0)
        light = sample_light(rng, indoors, colour)
        solids = room(rng, free) if indoors else outdoors(rng, place, free)
        return Surroundings(
            ground_material=ground_material,
            ground_colour=colour,
            ground_second=second,
            ground_period_m=float(
                rng.uniform(0.12, 0.25) if ground_material == kinds.PLANKS else rng.uniform(0.25, 0.9)
            ),
            sky_top=vary(rng, SKY_TOPS[int(rng.integers(len(SKY_TOPS)))]),
            sky_base=vary(rng, SKY_BASES[int(rng.integers(len(SKY_BASES)))]),
            cloudiness=float(rng.uniform(0.0, 1.0)),
            skyline=0.0 if rng.random() < 0.15 else float(rng.uniform(0.02, 0.14)),
            skyline_roughness=float(rng.choice((0.1, 0.5, 1.2))),
            skyline_colour=pick(rng, ((60, 80, 50), (90, 104, 96), (120, 130, 140), (150, 140, 130), (70, 86, 70))),
            to_sun=light.to_sun,
            sun=light.sun,
            sky_light=light.sky,
            ground_light=light.ground,
            solids=tuple(solids),
            indoors=indoors,
            free_radius_m=free,
            seed=int(rng.integers(1 << 30)),
        )

    def light(self, T_camera_world: Float[np.ndarray, "4 4"]) -> Light:
        """The place's light in the frame of a camera."""
        rotation = np.asarray(T_camera_world, dtype=np.float64)[:3, :3]
        to_sun, up = rotation @ np.asarray(self.to_sun), rotation @ np.asarray((0.0, 1.0, 0.0))
        return Light(triple(to_sun), triple(up), self.sun, self.sky_light, self.ground_light)

    def render(
        self,
        intrinsics: Float[np.ndarray, "3 3"],
        T_camera_world: Float[np.ndarray, "4 4"],
        size_hw: tuple[int, int],
    ) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
        """Linear RGB (float32) and depth (z, metres; inf for the sky) as a camera sees the place."""
        height, width = size_hw
        rgb = np.zeros((height, width, 3), dtype=np.float32)
        depth = np.full((height, width), np.inf, dtype=np.float32)
        rotation, origin, matrix = camera_arrays(intrinsics, T_camera_world)
        self.draw(self.solids, intrinsics, T_camera_world, rgb, depth)
        _draw_sky_and_ground(
            rotation, origin, matrix, self.ground_material, self.ground_colour, self.ground_second,
            self.ground_period_m, self.sky_top, self.sky_base, self.cloudiness, self.to_sun, self.sun, self.sky_light,
            self.skyline, self.skyline_roughness, self.skyline_colour, self.seed, rgb, depth,
        )  # fmt: skip
        return rgb, depth

    def draw(
        self,
        solids: tuple[Solid, ...],
        intrinsics: Float[np.ndarray, "3 3"],
        T_camera_world: Float[np.ndarray, "4 4"],
        rgb: Float[np.ndarray, "h w 3"],
        depth: Float[np.ndarray, "h w"],
    ) -> None:
        """Draw more solids, lit by this place's light, in front of what `rgb` (linear) and `depth` hold."""
        if solids:
            rotation, origin, matrix = camera_arrays(intrinsics, T_camera_world)
            draw_solids(
                pack(solids),
                rotation,
                origin,
                matrix,
                self.to_sun,
                self.sun,
                self.sky_light,
                self.ground_light,
                rgb,
                depth,
            )


def camera_arrays(intrinsics: Any, T_camera_world: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World-to-camera rotation (3, 3), the camera's centre in the world (3,), intrinsics (3, 3), all float64."""
    transform = np.asarray(T_camera_world, dtype=np.float64)
    rotation = np.ascontiguousarray(transform[:3, :3])
    return rotation, -rotation.T @ transform[:3, 3], np.ascontiguousarray(intrinsics, dtype=np.float64)


def _near_first(rows: Any, origin: Any) -> Any:
    """Packed solids by distance: what hides is drawn before what is hidden, and little is painted twice."""
    return rows[np.argsort(np.linalg.norm(rows[:, 1:4] - origin, axis=1), kind="stable")]


@njit(cache=True, error_model="numpy")
@no_type_check
def _draw_sky_and_ground(
    rotation: Any, origin: Any, intrinsics: Any, material: int, colour: Any, second: Any, period: float,
    sky_top: Any, sky_base: Any, cloudiness: float, to_sun: Any, sun: Any, sky: Any,
    skyline: float, rough: float, far: Any, seed: int, rgb: Any, depth: Any,
) -> None:  # fmt: skip
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    for y in range(height):
        for x in range(width):
            rx, ry = (x - cx) / fx, (y - cy) / fy
            dx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0]
            dy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1]
            dz = rotation[0, 2] * rx + rotation[1, 2] * ry + rotation[2, 2]
            length = np.sqrt(dx * dx + dy * dy + dz * dz)
            haze = 0.0
            red, green, blue = 0.0, 0.0, 0.0
            t = -origin[1] / dy if dy < 0.0 and origin[1] > 0.0 else 1e30
            on_ground = t < 150.0
            if min(t, 1e30) >= depth[y, x] and (on_ground or depth[y, x] < 1e30):
                continue
            if on_ground:
                depth[y, x] = t
                # A pixel's length on the ground along the ray grows with the slant.
                footprint = t / fx * min(length / -dy, 6.0)
                u, v = origin[0] + t * dx, origin[2] + t * dz
                red, green, blue = material_colour(material, u, v, footprint, colour, second, period, seed)
                red = red * (sky[0] + sun[0] * to_sun[1])
                green = green * (sky[1] + sun[1] * to_sun[1])
                blue = blue * (sky[2] + sun[2] * to_sun[1])
                haze = min(t * length / 150.0, 1.0)
            if not on_ground or haze > 0.0:
                up = max(dy / length, 0.0)
                # A far skyline, of the azimuth alone: hills, woods or roofs.
                level = np.sqrt(dx * dx + dz * dz) + 1e-9
                ax, az = dx / level, dz / level
                line = skyline * (
                    0.3 + noise2(2.0 * ax, 2.0 * az, seed + 7) + rough * noise2(40.0 * ax, 40.0 * az, seed + 8)
                )
                rise = np.sqrt(up)
                r = sky_base[0] * (1.0 - rise) + sky_top[0] * rise
                g = sky_base[1] * (1.0 - rise) + sky_top[1] * rise
                b = sky_base[2] * (1.0 - rise) + sky_top[2] * rise
                if up > 0.02 and not on_ground:
                    u, v = 2.0 * dx / (dy + 0.12 * length), 2.0 * dz / (dy + 0.12 * length)
                    cloud = (
                        0.55 * noise2(u, v, seed)
                        + 0.3 * noise2(2.3 * u, 2.3 * v, seed + 1)
                        + 0.15 * noise2(5.0 * u, 5.0 * v, seed + 2)
                    )
                    cover = min(max(3.0 * (cloud - 1.0 + cloudiness), 0.0), 1.0) * min(up * 8.0, 1.0)
                    r, g, b = r + (0.85 - r) * cover, g + (0.86 - g) * cover, b + (0.88 - b) * cover
                if up * length < line * level:
                    dim = 0.75 + 0.4 * noise2(60.0 * ax, 60.0 * az, seed + 9)
                    r, g, b = (
                        0.35 * r + 0.65 * far[0] * dim,
                        0.35 * g + 0.65 * far[1] * dim,
                        0.35 * b + 0.65 * far[2] * dim,
                    )
                if on_ground:
                    red, green, blue = red + (r - red) * haze, green + (g - green) * haze, blue + (b - blue) * haze
                else:
                    red, green, blue = r, g, b
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = red, green, blue
