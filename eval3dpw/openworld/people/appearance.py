"""What a person of the open world looks like: skin, hair, face and clothes, painted on the body, and how light falls.

Every colour is a function of the T-pose (template) position of the surface point under a pixel, so that the borders of
clothes are as sharp as the picture and do not depend on the mesh's triangles. The template stands with y up, faces +z
and has the person's left at +x. The face tells front from back; nothing tells left from right by colour: what is not
symmetric (a logo, a parting) falls on either side with equal chance.

Colours are linear light in [0, 1].
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from eval3dpw.drawing.rasteriser import Raster
from eval3dpw.openworld.people.appearance_painting import (
    BEANIE,
    CAP,
    CHECKS,
    LONG,
    MOTTLED,
    PINSTRIPES,
    PLAIN,
    Colour,
    dress_vertices,
    shade_pixels,
)
from eval3dpw.openworld.people.noise import linear_from_srgb

SKIN_TONES = (
    (255, 224, 200),
    (241, 200, 168),
    (224, 176, 138),
    (196, 144, 104),
    (152, 102, 70),
    (108, 70, 48),
    (72, 48, 36),
)
HAIR_TONES = (
    (18, 14, 12),
    (44, 30, 22),
    (82, 54, 34),
    (124, 84, 48),
    (196, 160, 104),
    (150, 70, 36),
    (150, 150, 148),
    (222, 220, 214),
)
USUAL_CLOTHES = (
    (22, 22, 24), (44, 46, 52), (92, 94, 98), (150, 152, 154), (226, 226, 224), (244, 242, 236), (28, 38, 68),
    (52, 74, 116), (92, 118, 158), (188, 170, 138), (120, 104, 76), (78, 84, 58), (108, 30, 34), (86, 58, 40),
)  # fmt: skip


class Appearance(NamedTuple):
    """One person's looks. Lengths and heights are positions on the template, metres."""

    skin: Colour
    lips: Colour
    hair_kind: int
    hair: Colour
    hairline: float
    hair_end: float
    beard: float
    facial_hair: Colour
    eyewear: int
    top: Colour
    top_second: Colour
    top_pattern: int
    top_period_m: float
    back: Colour
    back_differs: bool
    collar: float
    v_neck: float
    sleeve_end: float
    hem: float
    open_jacket: bool
    inside: Colour
    fastening: int
    logo: int
    logo_x: float
    logo_y: float
    logo_colour: Colour
    back_number: int
    trim: Colour
    bottom: Colour
    bottom_end: float
    bottom_pattern: int
    side_stripe: bool
    shoes: Colour
    shoes_top: float
    sole: Colour
    sock_top: float
    sock: Colour
    looseness_m: float
    seed: int


class Light(NamedTuple):
    """Sun, sky and ground light in the camera's frame; radiances are linear RGB, directions unit vectors."""

    to_sun: Colour
    up: Colour
    sun: Colour
    sky: Colour
    ground: Colour


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _tone(rng: np.random.Generator, tones: tuple[tuple[int, int, int], ...], spread: float = 6.0) -> Colour:
    """A colour on the way between two neighbours of a scale of display colours, with a little spread."""
    place = rng.uniform(0.0, len(tones) - 1.0)
    below = min(int(place), len(tones) - 2)
    part = place - below
    mixed = np.asarray(tones[below]) * (1.0 - part) + np.asarray(tones[below + 1]) * part + rng.normal(0.0, spread, 3)
    return linear_from_srgb(np.clip(mixed, 4, 252))


def clothes_colour(rng: np.random.Generator) -> Colour:
    """A colour as clothes have it: half of the time one of the usual dark, grey, blue and sand tones."""
    if _chance(rng, 0.5):
        chosen = np.asarray(USUAL_CLOTHES[int(rng.integers(len(USUAL_CLOTHES)))]) + rng.normal(0.0, 8.0, 3)
        return linear_from_srgb(np.clip(chosen, 6, 250))
    rgb = colorsys.hsv_to_rgb(rng.random(), _between(rng, 0.2, 0.95), _between(rng, 0.2, 0.95))
    return linear_from_srgb(np.asarray(rgb) * 250.0)


def sample_appearance(rng: np.random.Generator) -> Appearance:
    """Draw one person's looks."""
    skin = _tone(rng, SKIN_TONES)
    hair_kind = int(rng.choice(5, p=(0.08, 0.44, 0.28, 0.13, 0.07)))
    natural = _tone(rng, HAIR_TONES[:6] if _chance(rng, 0.85) else HAIR_TONES[5:])
    hair = clothes_colour(rng) if hair_kind in (CAP, BEANIE) else natural
    top, bottom = clothes_colour(rng), clothes_colour(rng)
    # 0 tank top, 1 short, 2 three quarters, 3 long sleeves
    sleeve = int(rng.choice(4, p=(0.08, 0.45, 0.1, 0.37)))
    sleeve_end = (0.15, _between(rng, 0.28, 0.40), _between(rng, 0.46, 0.56), _between(rng, 0.645, 0.68))[sleeve]
    # 0 trousers, 1 shorts, 2 short skirt or tight shorts, 3 a dress
    legs = int(rng.choice(4, p=(0.62, 0.23, 0.07, 0.08)))
    bottom_end = (_between(rng, -1.09, -0.95), _between(rng, -0.68, -0.46), _between(rng, -0.5, -0.38), -0.4)[legs]
    hem = _between(rng, -0.62, -0.42) if legs == 3 else _between(rng, -0.34, -0.16)
    side = 1.0 if _chance(rng, 0.5) else -1.0
    open_jacket = sleeve == 3 and _chance(rng, 0.35)
    return Appearance(
        skin=skin,
        lips=(skin[0] * 0.72, skin[1] * 0.42, skin[2] * 0.42),
        hair_kind=hair_kind,
        hair=hair,
        hairline=_between(rng, 0.470, 0.500),
        hair_end=_between(rng, 0.10, 0.30) if hair_kind == LONG else _between(rng, 0.32, 0.36),
        beard=_between(rng, 0.3, 0.95) if hair_kind != LONG and _chance(rng, 0.25) else 0.0,
        facial_hair=natural,
        eyewear=int(rng.choice(3, p=(0.8, 0.12, 0.08))),
        top=top,
        top_second=clothes_colour(rng),
        top_pattern=int(rng.choice(6, p=(0.55, 0.16, 0.05, 0.1, 0.05, 0.09))),
        top_period_m=_between(rng, 0.03, 0.11),
        back=clothes_colour(rng),
        back_differs=_chance(rng, 0.15),
        collar=_between(rng, 0.235, 0.285),
        v_neck=_between(rng, 0.05, 0.16) if _chance(rng, 0.35) else 0.0,
        sleeve_end=sleeve_end,
        hem=hem,
        open_jacket=open_jacket,
        inside=clothes_colour(rng),
        fastening=int(rng.choice(3, p=(0.55, 0.2, 0.25))),
        logo=int(rng.choice(4, p=(0.5, 0.2, 0.15, 0.15))),
        logo_x=side * _between(rng, 0.05, 0.09),
        logo_y=_between(rng, 0.06, 0.15),
        logo_colour=clothes_colour(rng),
        back_number=int(rng.integers(1, 100)) if _chance(rng, 0.18) else 0,
        trim=clothes_colour(rng),
        bottom=bottom,
        bottom_end=bottom_end,
        bottom_pattern=int(rng.choice((PLAIN, PINSTRIPES, CHECKS, MOTTLED), p=(0.72, 0.06, 0.07, 0.15))),
        side_stripe=_chance(rng, 0.12),
        shoes=clothes_colour(rng),
        shoes_top=_between(rng, -1.10, -1.06) if _chance(rng, 0.8) else _between(rng, -1.05, -0.85),
        sole=linear_from_srgb((235, 235, 230)) if _chance(rng, 0.5) else linear_from_srgb((30, 28, 26)),
        sock_top=_between(rng, -1.04, -0.75) if _chance(rng, 0.5) else -1.2,
        sock=linear_from_srgb((236, 236, 234)) if _chance(rng, 0.5) else clothes_colour(rng),
        looseness_m=_between(rng, 0.002, 0.016),
        seed=int(rng.integers(1 << 30)),
    )


def dress(
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    template: Float[np.ndarray, "v 3"],
    appearance: Appearance,
) -> Float[np.ndarray, "v 3"]:
    """Move the skin outward to where hair and clothes lie (millimetres to two centimetres), metres in and out."""
    return np.asarray(
        dress_vertices(
            np.asarray(vertices, dtype=np.float64),
            np.asarray(normals, dtype=np.float64),
            np.asarray(template, dtype=np.float64),
            appearance,
        )
    )


@dataclass(frozen=True)
class DressedBody:
    """One person with hair and clothes on, in the camera's frame; metres."""

    vertices: Float[np.ndarray, "v 3"]
    normals: Float[np.ndarray, "v 3"]
    """Of the skin."""
    faces: Integer[np.ndarray, "f 3"]
    template: Float[np.ndarray, "v 3"]
    """The body in its T-pose, to which clothes and hair are fixed."""
    appearance: Appearance


def shade(raster: Raster, body: DressedBody, light: Light, occlusion_radius_px: float) -> Float[np.ndarray, "h w 3"]:
    """Linear RGB of each pixel of one person's raster, 0 where there is none.

    Diffuse sun and half-sphere sky and ground light, a slight gloss, and darkening where nearer parts of the same body
    stand within `occlusion_radius_px` of the pixel.
    """
    rgb = np.zeros((*raster.depth.shape, 3), dtype=np.float32)
    arrays = (np.asarray(values, dtype=np.float64) for values in (body.vertices, body.normals, body.template))
    corners = np.ascontiguousarray(body.faces, dtype=np.int32)
    seen = (raster.depth, raster.face, raster.barycentric)
    shade_pixels(*seen, corners, *arrays, body.appearance, light, float(occlusion_radius_px), rgb)
    return rgb
