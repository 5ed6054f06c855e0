"""Rooms of the open world: a ceiling, four walls, and what hangs on them or stands against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eval3dpw.openworld.people.appearance import clothes_colour
from eval3dpw.openworld.people.appearance_painting import Colour
from eval3dpw.openworld.people.noise import linear_from_srgb
from eval3dpw.openworld.places.colours import pick, triple
from eval3dpw.openworld.places.intersections import BOX, WALL
from eval3dpw.openworld.places.materials import BRICKS, CHEQUER, PICTURE, PLAIN, PLANKS, WINDOWS, Surface
from eval3dpw.openworld.places.solids import Point, Solid
from eval3dpw.openworld.places.things import GROUNDS, solid

_PAINTS = ((226, 222, 212), (200, 206, 206), (206, 190, 166), (150, 164, 150), (176, 150, 140), (232, 232, 230))
_TRIMS = ((240, 240, 238), (96, 70, 50))
_WHITE = (236, 236, 232)


@dataclass(frozen=True)
class _Wall:
    """One wall, seen from inside the room."""

    along_x: bool
    sign: float
    """Of the coordinate across the wall."""
    half_long: float
    far: float
    """From the origin, metres."""
    trim: Colour
    """Of what is mounted on it."""

    def against(
        self, rng: np.random.Generator, place: tuple[float, float], half: Point, surface: Surface, shape: int = WALL
    ) -> Solid:
        """A solid against the wall.

        Args:
            rng: for its pattern.
            place: of its centre, along the wall and up; metres.
            half: half-sizes along the wall, up and out of it.
            surface: what it is painted with.
            shape: of the solid.
        """
        (along, y), (long, tall, deep) = place, half
        across = self.sign * (self.far - deep)
        if self.along_x:
            return solid(rng, shape, (along, y, across), (long, tall, deep), surface)
        return solid(rng, shape, (across, y, along), (deep, tall, long), surface)


def _door(rng: np.random.Generator, wall: _Wall, along: float) -> list[Solid]:
    wood = pick(rng, ((232, 230, 224), (120, 84, 56), (84, 60, 44)))
    frame = wall.against(rng, (along, 1.04), (0.52, 1.04, 0.03), Surface(PLAIN, wall.trim, wall.trim, 1.0))
    return [frame, wall.against(rng, (along, 1.0), (0.45, 1.0, 0.035), Surface(PLAIN, wood, wood, 0.4))]


def _picture(rng: np.random.Generator, wall: _Wall, along: float) -> list[Solid]:
    half_w, half_h = rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.5)
    border = Surface(PLAIN, wall.trim, wall.trim, 1.0)
    frame = wall.against(rng, (along, 1.6), (half_w + 0.04, half_h + 0.04, 0.025), border)
    canvas = Surface(PICTURE, clothes_colour(rng), clothes_colour(rng), rng.uniform(0.1, 0.4))
    return [frame, wall.against(rng, (along, 1.6), (half_w, half_h, 0.03), canvas)]


def _window(rng: np.random.Generator, wall: _Wall, along: float) -> list[Solid]:
    white, sky = linear_from_srgb(_WHITE), linear_from_srgb((226, 236, 246))
    frame = wall.against(rng, (along, 1.6), (0.66, 0.66, 0.02), Surface(PLAIN, wall.trim, wall.trim, 1.0))
    panes = Surface(WINDOWS, white, triple(np.asarray(sky) * 1.5), 1.2)
    return [frame, wall.against(rng, (along, 1.6), (0.6, 0.6, 0.025), panes)]


def _cupboard(rng: np.random.Generator, wall: _Wall, along: float) -> list[Solid]:
    wood = pick(rng, GROUNDS[PLANKS])
    tall, deep = rng.uniform(0.35, 1.0), rng.uniform(0.15, 0.3)
    half = (rng.uniform(0.3, 0.8), tall, deep)
    return [wall.against(rng, (along, tall), half, Surface(PLANKS, wood, wood, 0.4), BOX)]


def _sofa(rng: np.random.Generator, wall: _Wall, along: float) -> list[Solid]:
    cloth = clothes_colour(rng)
    surface = Surface(PLAIN, cloth, cloth, 0.3)
    seat = wall.against(rng, (along, 0.22), (0.8, 0.22, 0.4), surface, BOX)
    return [seat, wall.against(rng, (along, 0.45), (0.8, 0.45, 0.12), surface, BOX)]


_FURNISHINGS: tuple[tuple[Callable[[np.random.Generator, _Wall, float], list[Solid]], float], ...] = (
    (_door, 0.2),
    (_picture, 0.3),
    (_window, 0.2),
    (_cupboard, 0.15),
    (_sofa, 0.15),
)
"""Each with how often it is drawn."""


def room(rng: np.random.Generator, free: float) -> list[Solid]:
    """A furnished room; its walls are farther from the origin than `free` metres."""
    half_x, half_z, height = free + rng.uniform(0.2, 1.5), free + rng.uniform(0.2, 1.5), rng.uniform(2.6, 3.8)
    paint, trim = pick(rng, _PAINTS), pick(rng, _TRIMS)
    material = int(rng.choice((PLAIN, PLAIN, BRICKS, PLANKS)))
    white = linear_from_srgb(_WHITE)
    ceiling = Surface(CHEQUER, white, triple(np.asarray(white) * 0.94), 0.6)
    solids = [solid(rng, BOX, (0.0, height + 0.06, 0.0), (half_x + 0.2, 0.05, half_z + 0.2), ceiling)]
    painted = Surface(material, paint, triple(np.asarray(paint) * 0.9), 0.9 if material == PLAIN else 0.15)
    for side in range(4):
        along_x = side < 2
        half_long, far = (half_x, half_z) if along_x else (half_z, half_x)
        wall = _Wall(along_x, 1.0 if side % 2 == 0 else -1.0, half_long, far, trim)
        solids.append(wall.against(rng, (0.0, 0.5 * height), (half_long, 0.5 * height, 0.01), painted))
        skirting = Surface(PLAIN, trim, trim, 1.0)
        solids.append(wall.against(rng, (0.0, 0.06), (half_long, 0.06, 0.02), skirting))
        places = rng.permutation(np.linspace(-0.75, 0.75, 5)) * half_long
        for along in places[: int(rng.integers(2, 6))]:
            furnish = _FURNISHINGS[int(rng.choice(len(_FURNISHINGS), p=[often for _, often in _FURNISHINGS]))][0]
            solids += furnish(rng, wall, float(along))
    return solids
