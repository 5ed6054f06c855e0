"""Places of the open world: parks, streets, squares, beaches and rooms, and the things that stand about in them.

A place is a function of the viewing ray and of the camera's centre, so that it moves rightly when the camera moves.
The world has y up and its ground at y = 0, metres; people are meant to be within `free_radius_m` of the origin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from eval3dpw.openworld.people.appearance import Light
from eval3dpw.openworld.places import materials as kinds
from eval3dpw.openworld.places.backdrop import Sky, draw_sky_and_ground
from eval3dpw.openworld.places.colours import pick, triple, vary
from eval3dpw.openworld.places.materials import Surface
from eval3dpw.openworld.places.rooms import room
from eval3dpw.openworld.places.solids import Solid, camera_arrays, draw_solids, pack
from eval3dpw.openworld.places.things import GROUNDS, outdoors, sample_light

SKY_TOPS = ((70, 120, 190), (96, 150, 214), (150, 170, 190), (186, 192, 198), (120, 140, 170))
SKY_BASES = ((190, 210, 228), (214, 222, 230), (226, 214, 196), (206, 208, 210))


@dataclass(frozen=True)
class Surroundings:
    """A place: its ground, sky, light and standing things. Directions and positions are the world's."""

    ground: Surface
    sky: Sky
    world_light: Light
    solids: tuple[Solid, ...]
    indoors: bool
    free_radius_m: float
    """Nothing stands nearer to the origin."""
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
        period_m = float(rng.uniform(0.12, 0.25) if ground_material == kinds.PLANKS else rng.uniform(0.25, 0.9))
        sky = Sky(
            top=vary(rng, SKY_TOPS[int(rng.integers(len(SKY_TOPS)))]),
            base=vary(rng, SKY_BASES[int(rng.integers(len(SKY_BASES)))]),
            cloudiness=float(rng.uniform(0.0, 1.0)),
            skyline=0.0 if rng.random() < 0.15 else float(rng.uniform(0.02, 0.14)),
            roughness=float(rng.choice((0.1, 0.5, 1.2))),
            far=pick(rng, ((60, 80, 50), (90, 104, 96), (120, 130, 140), (150, 140, 130), (70, 86, 70))),
        )
        ground = Surface(ground_material, colour, second, period_m)
        return Surroundings(ground, sky, light, tuple(solids), indoors, free, int(rng.integers(1 << 30)))

    def light(self, T_camera_world: Float[np.ndarray, "4 4"]) -> Light:
        """The place's light in the frame of a camera."""
        rotation = np.asarray(T_camera_world, dtype=np.float64)[:3, :3]
        to_sun, up = rotation @ np.asarray(self.world_light.to_sun), rotation @ np.asarray(self.world_light.up)
        return self.world_light._replace(to_sun=triple(to_sun), up=triple(up))

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
        self.draw(self.solids, intrinsics, T_camera_world, rgb, depth)
        camera = camera_arrays(intrinsics, T_camera_world)
        draw_sky_and_ground(camera, self.ground, self.sky, self.world_light, self.seed, rgb, depth)
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
            draw_solids(pack(solids), camera_arrays(intrinsics, T_camera_world), self.world_light, rgb, depth)
