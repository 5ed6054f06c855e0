"""What stands about in the open world, and the light there: trees, cars, houses, furniture.

Positions are the world's: y up, ground at y = 0, metres. Colours are linear light.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eval3dpw.openworld.people.appearance import Light, clothes_colour
from eval3dpw.openworld.people.appearance_painting import Colour
from eval3dpw.openworld.people.noise import linear_from_srgb
from eval3dpw.openworld.places import materials as kinds
from eval3dpw.openworld.places.colours import pick, triple
from eval3dpw.openworld.places.intersections import BOX, CYLINDER, ELLIPSOID
from eval3dpw.openworld.places.materials import Surface
from eval3dpw.openworld.places.solids import Solid

LEAVES = ((50, 78, 30), (70, 96, 40), (40, 62, 34), (96, 104, 46), (120, 96, 40))
WALLS = (
    (206, 200, 186),
    (180, 120, 92),
    (150, 146, 140),
    (222, 214, 200),
    (120, 84, 66),
    (168, 156, 132),
    (226, 226, 222),
)
GROUNDS: dict[int, tuple[tuple[int, int, int], ...]] = {
    kinds.GRASS: ((74, 100, 44), (96, 116, 58), (112, 116, 66)),
    kinds.PAVING: ((150, 146, 140), (170, 160, 146), (126, 124, 122)),
    kinds.BRICKS: ((150, 108, 88), (140, 130, 118)),
    kinds.ASPHALT: ((84, 84, 86), (110, 108, 106), (66, 66, 68)),
    kinds.SAND: ((206, 184, 142), (186, 164, 126)),
    kinds.PLANKS: ((150, 108, 70), (176, 140, 98), (96, 66, 44)),
    kinds.CHEQUER: ((196, 190, 180), (120, 110, 100)),
    kinds.PLAIN: ((120, 96, 88), (86, 96, 120), (150, 146, 138)),
}


def sample_light(rng: np.random.Generator, indoors: bool, ground: Colour) -> Light:
    """Direct and ambient light whose sum lights a flat grey thing about right; the frame is the world's."""
    elevation, azimuth = rng.uniform(0.5, 1.35), rng.uniform(0.0, 2.0 * np.pi)
    to_sun = (np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth))
    direct = rng.uniform(0.15, 0.6) if indoors or rng.random() < 0.4 else rng.uniform(0.6, 1.35)
    ambient = rng.uniform(0.55, 0.85) if indoors else rng.uniform(0.45, 0.8)
    warmth = rng.uniform(-0.05, 0.14)
    cool = rng.uniform(0.0, 0.1) if not indoors else rng.uniform(-0.12, 0.02)
    sun = (direct * (1.0 + warmth), direct, direct * (1.0 - warmth))
    sky = (ambient * (1.0 - cool), ambient, ambient * (1.0 + cool))
    bounce = (0.25 + np.asarray(ground)) * ambient * 0.6
    return Light(triple(to_sun), (0.0, 1.0, 0.0), triple(sun), triple(sky), triple(bounce))


def _tree(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    height, spread = rng.uniform(1.8, 3.5), rng.uniform(1.0, 2.4)
    bark, leaf = pick(rng, ((70, 54, 40), (96, 84, 70))), pick(rng, LEAVES)
    lighter = triple(np.asarray(leaf) * 1.9)
    solids = [
        solid(rng, CYLINDER, (x, 0.5 * height, z), (0.16, 0.5 * height, 0.16), Surface(kinds.PLANKS, bark, bark, 0.07))
    ]
    for _ in range(int(rng.integers(2, 5))):
        offset = rng.uniform(-0.7, 0.7, 3) * spread
        centre = (x + offset[0], height + 0.4 * spread + 0.6 * abs(offset[1]), z + offset[2])
        half = (spread * rng.uniform(0.6, 1.0), spread * rng.uniform(0.5, 0.9), spread * rng.uniform(0.6, 1.0))
        solids.append(solid(rng, ELLIPSOID, centre, half, Surface(kinds.FOLIAGE, leaf, lighter, rng.uniform(0.2, 0.5))))
    return solids


def _bush(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    leaf = pick(rng, LEAVES)
    half = (rng.uniform(0.4, 1.1), rng.uniform(0.35, 0.8), rng.uniform(0.4, 1.1))
    lighter = triple(np.asarray(leaf) * 1.8)
    return [
        solid(rng, ELLIPSOID, (x, 0.7 * half[1], z), half, Surface(kinds.FOLIAGE, leaf, lighter, rng.uniform(0.1, 0.3)))
    ]


def _car(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    paint, glass, black = clothes_colour(rng), linear_from_srgb((40, 48, 56)), linear_from_srgb((18, 18, 20))
    yaw = float(rng.choice((0.0, np.pi / 2))) + rng.normal(0.0, 0.15)
    c, s = np.cos(yaw), np.sin(yaw)
    solids = [
        solid(rng, BOX, (x, 0.58, z), (2.1, 0.33, 0.85), Surface(kinds.PLAIN, paint, paint, 2.0), yaw),
        solid(rng, BOX, (x, 1.12, z), (1.15, 0.26, 0.72), Surface(kinds.CAR, paint, glass, 0.6), yaw),
        solid(rng, BOX, (x, 1.40, z), (1.0, 0.03, 0.68), Surface(kinds.PLAIN, paint, paint, 2.0), yaw),
    ]
    for along in (-1.3, 1.3):
        for across in (-0.78, 0.78):
            centre = (x + c * along + s * across, 0.31, z - s * along + c * across)
            solids.append(
                solid(rng, ELLIPSOID, centre, (0.33, 0.31, 0.12), Surface(kinds.PLAIN, black, black, 1.0), yaw)
            )
    return solids


def _table(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    wood, yaw = pick(rng, GROUNDS[kinds.PLANKS]), float(rng.uniform(0.0, np.pi))
    half_x, half_z, top = rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.5), rng.uniform(0.42, 0.95)
    c, s = np.cos(yaw), np.sin(yaw)
    solids = [solid(rng, BOX, (x, top, z), (half_x, 0.025, half_z), Surface(kinds.PLANKS, wood, wood, 0.15), yaw)]
    for along in (-0.9 * half_x, 0.9 * half_x):
        for across in (-0.9 * half_z, 0.9 * half_z):
            centre = (x + c * along + s * across, 0.5 * top, z - s * along + c * across)
            solids.append(
                solid(rng, BOX, centre, (0.025, 0.5 * top, 0.025), Surface(kinds.PLAIN, wood, wood, 1.0), yaw)
            )
    return solids


def _pole(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    radius, height = rng.uniform(0.04, 0.16), rng.uniform(1.1, 5.0)
    colour = pick(rng, ((60, 64, 66), (150, 150, 148), (60, 84, 66), (96, 72, 50)))
    return [
        solid(
            rng,
            CYLINDER,
            (x, 0.5 * height, z),
            (radius, 0.5 * height, radius),
            Surface(kinds.PLAIN, colour, colour, 1.0),
        )
    ]


def _crate(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    half = rng.uniform(0.15, 0.55, 3)
    material = int(rng.choice((kinds.PLAIN, kinds.PLANKS, kinds.PICTURE, kinds.BRICKS)))
    first, second, yaw = clothes_colour(rng), clothes_colour(rng), float(rng.uniform(0.0, np.pi))
    return [
        solid(rng, BOX, (x, half[1], z), triple(half), Surface(material, first, second, rng.uniform(0.1, 0.4)), yaw)
    ]


def _low_wall(rng: np.random.Generator, x: float, z: float) -> list[Solid]:
    height, yaw = rng.uniform(0.4, 1.2), float(rng.uniform(-0.5, 0.5) + rng.choice((0.0, np.pi / 2)))
    material = int(rng.choice((kinds.BRICKS, kinds.PLAIN, kinds.PLANKS)))
    tone, half = pick(rng, WALLS), (rng.uniform(0.5, 1.6), 0.5 * height, 0.08)
    return [solid(rng, BOX, (x, 0.5 * height, z), half, Surface(material, tone, pick(rng, WALLS), 0.12), yaw)]


OUTDOOR_THINGS = (_tree, _bush, _car, _pole, _crate, _low_wall, _table)
PROPS = (_bush, _car, _pole, _crate, _crate, _low_wall, _table, _table)


def sample_prop(rng: np.random.Generator, x: float, z: float) -> tuple[Solid, ...]:
    """A thing that can hide part of a person, standing on the ground at (x, z) of the world, metres."""
    return tuple(PROPS[int(rng.integers(len(PROPS)))](rng, x, z))


def solid(rng: np.random.Generator, shape: int, centre: Any, half: Any, surface: Surface, yaw: float = 0.0) -> Solid:
    """A solid whose pattern has a seed of its own."""
    surface = surface._replace(period_m=float(surface.period_m))
    return Solid(shape, triple(centre), triple(half), float(yaw), surface, int(rng.integers(1 << 30)))


def outdoors(rng: np.random.Generator, place: str, free: float) -> list[Solid]:
    """Houses and things about a park, street, square or field; none nearer to the origin than `free` metres."""
    solids: list[Solid] = []
    buildings = {"park": 0.35, "street": 1.0, "square": 0.9, "field": 0.15}[place]
    turn = rng.uniform(0.0, 2.0 * np.pi)
    for k in range(10):
        if rng.random() > buildings:
            continue
        angle = turn + 2.0 * np.pi * k / 10.0 + rng.normal(0.0, 0.08)
        half = (rng.uniform(3.0, 7.0), rng.uniform(2.5, 8.0), rng.uniform(2.0, 4.0))
        far = free + half[2] + rng.uniform(0.5, 8.0) + 2.5 * half[2] * (place == "park")
        centre = (far * np.sin(angle), half[1], far * np.cos(angle))
        glass = linear_from_srgb(np.asarray((60, 72, 86)) + rng.normal(0.0, 15.0, 3).clip(-40, 40))
        material = int(rng.choice((kinds.WINDOWS, kinds.WINDOWS, kinds.WINDOWS, kinds.BRICKS)))
        period = rng.uniform(1.3, 3.0) if material == kinds.WINDOWS else 0.2
        solids.append(solid(rng, BOX, centre, half, Surface(material, pick(rng, WALLS), glass, period), angle))
    for _ in range(int(rng.integers(6, 18))):
        angle, far = rng.uniform(0.0, 2.0 * np.pi), free + 0.8 + rng.gamma(1.5, 5.0)
        weights = np.asarray(
            {"park": (6, 4, 0.3, 1, 1, 1, 1), "field": (3, 3, 1, 1, 1, 1, 0.5)}.get(place, (2, 1, 4, 3, 2, 1, 1)), float
        )
        thing = OUTDOOR_THINGS[int(rng.choice(len(OUTDOOR_THINGS), p=weights / weights.sum()))]
        if thing is _car:
            far += 2.0
        solids.extend(thing(rng, float(far * np.sin(angle)), float(far * np.cos(angle))))
    return solids
