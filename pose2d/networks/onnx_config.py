"""What an ONNX file does not say of a pose network: its input, its decoding, its feature; presets of common exports."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pose2d.decoding import HEATMAP_DECODERS
from pose2d.errors import InputError
from pose2d.names import InstanceScoreName
from pose2d.networks.base import InputSpec
from pose2d.networks.onnx_files import OnnxFile, Shape

METADATA_KEY = "calibrated-pose"
"""Entry of a file's metadata that holds its configuration as JSON, in files that this project exports."""
DecodingKind = Literal["heatmap", "simcc", "regression", "coordinates"]
_IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
PRESETS: dict[str, dict[str, Any]] = {
    "rtmpose": {"decoding": "simcc", **_IMAGENET},
    "rtmw": {"decoding": "simcc", **_IMAGENET},
    "vitpose": {
        "decoding": "heatmap",
        "heatmap_decoding": "dark-udp",
        "udp": True,
        "flip_shift": False,
        **_IMAGENET,
    },
    "movenet": {
        "decoding": "coordinates",
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "order": "yx",
        "flip_test": False,
        "instance_score": "mean",
    },
}
"""Keys of a configuration by the name of a preset: mmdeploy's SimCC exports, ViTPose's, Google's MoveNet."""


@dataclass(frozen=True)
class OnnxConfig:
    """How an ONNX pose network is fed and read; each attribute is a key of the TOML.

    Attributes:
        decoding: heatmap; simcc (RTMPose); regression (coordinates, with a spread where there is one); coordinates
            (one tensor of coordinates and scores).
        input_size: width and height of the crop; needed where the graph leaves them open.
        layout: of the images, "nchw" or "nhwc"; by default what the graph's input looks like.
        colour: "rgb" or "bgr".
        mean, std: per channel, of pixel values in 0 to 255.
        padding: factor by which boxes are enlarged.
        udp: crops and heatmaps follow the UDP convention.
        flip_test: whether averaging with the mirrored image makes sense.
        flip_shift: whether mirrored heatmaps are moved by one column.
        heatmap_decoding: a name of `pose2d.decoding.HEATMAP_DECODERS`.
        split_ratio: bins per pixel of SimCC.
        order: "xy" or "yx" in regression and coordinates.
        unit: of these coordinates: "fraction" of the crop, or "px" of the crop.
        outputs: tensors by role: heatmaps; simcc_x, simcc_y; xy, score, sigma; keypoints. By default the graph's.
        feature: tensor that a CCNet reads; by default what feeds the last layer.
        cell_px: side of a heatmap's cell in crop pixels; by default from the sizes.
        target_cells: standard deviation of the heatmaps trained on, in cells.
        instance_score: rule for a person's score.
    """

    decoding: DecodingKind
    input_size: tuple[int, int] | None = None
    layout: str | None = None
    colour: str = "rgb"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    padding: float = 1.25
    udp: bool = False
    flip_test: bool = True
    flip_shift: bool = True
    heatmap_decoding: str = "quarter-offset"
    split_ratio: float = 2.0
    order: str = "xy"
    unit: str = "fraction"
    outputs: Mapping[str, str] = field(default_factory=dict)
    feature: str = ""
    cell_px: float | None = None
    target_cells: float | None = None
    instance_score: str = "mean-above-0.2"

    def input_spec(self, size_wh: tuple[int, int]) -> InputSpec:
        """How crops of that size are made into the network's input."""
        mean, std = (tuple(value / 255.0 for value in values) for values in (self.mean, self.std))
        return InputSpec(size_wh, self.colour, mean, std, self.udp, self.padding, self.flip_shift)  # type: ignore[arg-type]


ROLES: dict[str, tuple[str, ...]] = {
    "heatmap": ("heatmaps",),
    "simcc": ("simcc_x", "simcc_y"),
    "regression": ("xy",),
    "coordinates": ("keypoints",),
}
"""Outputs that each decoding needs."""
_FURTHER_ROLES = ("score", "sigma", "heatmaps")
_CHOICES: dict[str, tuple[str, ...]] = {
    "decoding": get_args(DecodingKind),
    "layout": ("nchw", "nhwc"),
    "colour": ("rgb", "bgr"),
    "order": ("xy", "yx"),
    "unit": ("fraction", "px"),
    "heatmap_decoding": tuple(HEATMAP_DECODERS),
    "instance_score": get_args(InstanceScoreName),
}
_NUMBERS = {"input_size": 2, "mean": 3, "std": 3, "padding": 1, "split_ratio": 1, "cell_px": 1, "target_cells": 1}
_POSITIVE = ("input_size", "std", "padding", "split_ratio", "cell_px", "target_cells")


def config_of(file: OnnxFile, path: Path | None = None) -> OnnxConfig:
    """How a network is fed and read: by a TOML, by what the file itself says, or by what its outputs tell.

    Args:
        file: the network.
        path: the TOML; None for one of the model's name beside it, if it is there.

    Raises:
        InputError: the TOML is wrong, contradicts the graph, or there is none and the outputs could be anything.
    """
    beside = file.path.with_suffix(".toml")
    path = beside if path is None and beside.is_file() else path
    where = str(path or file.path)
    said: dict[str, Any] = {}
    if METADATA_KEY in file.metadata:
        try:
            said = dict(json.loads(file.metadata[METADATA_KEY]))
        except (ValueError, TypeError):
            raise InputError(f"{file.path}: the configuration in its metadata is damaged") from None
    if path is not None:
        said |= _read_toml(path)
    preset = said.pop("preset", None)
    if preset is None and not said:
        preset = _guess(file)
    if preset is not None and preset not in PRESETS:
        raise InputError(f"{where}: there is no preset {preset!r}; known are {', '.join(PRESETS)}")
    values = PRESETS.get(preset or "", {}) | said
    if "decoding" not in values:
        raise InputError(f"{where}: decoding is missing: one of {', '.join(_CHOICES['decoding'])}, or a preset")
    return _with_outputs(OnnxConfig(**_checked(values, where)), file, where)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--network-config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--network-config {path} is no TOML: {str(error).splitlines()[0]}") from None


def _guess(file: OnnxFile) -> str:
    """A preset where names and shapes leave no doubt."""
    if {"simcc_x", "simcc_y"} <= set(file.outputs):
        return "rtmpose"
    shapes = [file.shapes.get(name, ()) for name in file.outputs]
    image = file.shapes.get(file.inputs[0] if file.inputs else "", ())
    if len(shapes) == 1 and shapes[0][-2:] == (17, 3) and len(image) == 4 and image[-1] == 3:
        return "movenet"
    listed = ", ".join(f"{name} {told(shape)}" for name, shape in zip(file.outputs, shapes, strict=True))
    raise InputError(
        f'{file.path} (outputs {listed}) does not say how it is fed and read: write preset = "vitpose" or '
        f"decoding, mean, std and the rest into a TOML and name it by --network-config (presets: {', '.join(PRESETS)})"
    )


def told(shape: Shape) -> str:
    """A shape in a message; open axes as ?."""
    return "x".join("?" if length is None else str(length) for length in shape) or "of unknown shape"


def _checked(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = [one.name for one in fields(OnnxConfig)]
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{where}: there is no key {key!r}; known are preset, {', '.join(known)}")
        if value is None:
            continue
        found[key] = _checked_value(key, value, where)
    return found


def _checked_value(key: str, value: Any, where: str) -> Any:
    if key in _CHOICES and value not in _CHOICES[key]:
        raise InputError(f"{where}: {key} is {value!r}; it is one of {', '.join(_CHOICES[key])}")
    if key in _NUMBERS:
        numbers = list(value) if isinstance(value, list | tuple) else [value]
        right = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
        if not right or len(numbers) != _NUMBERS[key] or (key in _POSITIVE and not all(one > 0 for one in numbers)):
            amount = "a number" if _NUMBERS[key] == 1 else f"{_NUMBERS[key]} numbers"
            above = " above 0" if key in _POSITIVE else ""
            raise InputError(f"{where}: {key} is {value!r}; it is {amount}{above}")
        if key == "input_size":
            return tuple(int(one) for one in numbers)
        return float(numbers[0]) if _NUMBERS[key] == 1 else tuple(float(one) for one in numbers)
    if key in ("udp", "flip_test", "flip_shift") and not isinstance(value, bool):
        raise InputError(f"{where}: {key} is {value!r}; it is true or false")
    if key == "feature" and not isinstance(value, str):
        raise InputError(f"{where}: {key} is {value!r}; it is a name")
    if key == "outputs":
        roles = {role for needed in ROLES.values() for role in needed} | set(_FURTHER_ROLES)
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value.values()):
            raise InputError(f"{where}: outputs is a table of tensor names by role")
        if unknown := sorted(set(value) - roles):
            raise InputError(f"{where}: outputs has no role {unknown[0]!r}; known are {', '.join(sorted(roles))}")
    return value


def _with_outputs(config: OnnxConfig, file: OnnxFile, where: str) -> OnnxConfig:
    """With the tensor of every role that the decoding needs, by the TOML, by name, or as the only one there is."""
    outputs = dict(config.outputs)
    for role in ROLES[config.decoding]:
        if role in outputs:
            continue
        if role in file.outputs:
            outputs[role] = role
        elif len(ROLES[config.decoding]) == 1 and len(file.outputs) == 1:
            outputs[role] = file.outputs[0]
        else:
            raise InputError(
                f"{where}: which tensor is {role}? Write outputs = {{{role} = NAME}}; the graph's are "
                f"{', '.join(file.outputs)}"
            )
    for role, name in outputs.items():
        file.require(name, f"outputs.{role}")
    if config.feature:
        file.require(config.feature, "feature")
    return replace(config, outputs=outputs)
