"""Pose networks in ONNX files, run by onnxruntime: heatmaps, SimCC, regression, ready coordinates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pose2d.decoding import decode_simcc
from pose2d.errors import InputError
from pose2d.networks.base import InputSpec, NetworkOutput, PoseNetwork, flip_permutation
from pose2d.networks.heatmap import HeatmapNetwork, HeatmapPrediction
from pose2d.networks.onnx_config import OnnxConfig, config_of, told
from pose2d.networks.onnx_files import OnnxFile, OnnxSession, feature_candidates, read_onnx
from pose2d.networks.regression import RegressionPrediction, average, decode_regression, mirror_back


def is_onnx(name: str) -> bool:
    """Whether a network's name is that of an ONNX file."""
    return name.lower().endswith(".onnx")


def load_onnx(path: str | Path, num_keypoints: int, config_path: Path | None = None) -> tuple[PoseNetwork, list[Path]]:
    """The pose network in an ONNX file, and the files that it came from.

    Args:
        path: of the model.
        num_keypoints: that it is to find.
        config_path: a TOML that says what the model does not (:class:`OnnxConfig`).

    Raises:
        InputError: the file is none that can be run, it does not say how, or the TOML contradicts it.
    """
    file = read_onnx(path)
    config = config_of(file, config_path)
    layout, size_wh = _image(file, config)
    config = replace(config, layout=layout, input_size=size_wh)
    source = config_path or file.path.with_suffix(".toml")
    files = [*file.files, *([source] if source.is_file() else [])]
    runner = _Runner(file, config)
    if config.decoding == "heatmap":
        return OnnxHeatmapNetwork(runner, num_keypoints), files
    if config.decoding == "simcc":
        return OnnxSimccNetwork(runner, num_keypoints), files
    return OnnxCoordinateNetwork(runner, num_keypoints), files


def _image(file: OnnxFile, config: OnnxConfig) -> tuple[str, tuple[int, int]]:
    """Layout of the images that a graph takes, and their width and height."""
    if not file.inputs:
        raise InputError(f"{file.path} has no input")
    shape = file.shapes.get(file.inputs[0], ())
    if len(shape) != 4 or (len(file.inputs) > 1 and file.inputs[1:] != [BOX_INPUT]):
        raise InputError(
            f"{file.path} takes {', '.join(f'{name} ({told(file.shapes.get(name, ()))})' for name in file.inputs)}; "
            "one batch of images (b, 3, h, w) or (b, h, w, 3) is needed"
        )
    layout = config.layout or ("nhwc" if shape[3] == 3 and shape[1] != 3 else "nchw")
    channels, height, width = (shape[3], *shape[1:3]) if layout == "nhwc" else shape[1:]
    if channels not in (3, None):
        raise InputError(f"{file.path}: its images have {channels} channels as {layout}, and RGB images have 3")
    if config.input_size is None:
        if width is None or height is None:
            raise InputError(
                f"{file.path} leaves the images' size open: write input_size = [width, height] into a TOML"
            )
        return layout, (width, height)
    for given, fixed in zip(config.input_size, (width, height), strict=True):
        if fixed is not None and fixed != given:
            raise InputError(
                f"{file.path} takes images of {width}x{height} and input_size says {told(config.input_size)}"
            )
    return layout, config.input_size


BOX_INPUT = "box_wh_px"
"""Second input of graphs that hold a CCNet: width and height of each person's box in image pixels."""


class _Runner:
    """A session with its configuration: outputs by role, and the feature."""

    def __init__(self, file: OnnxFile, config: OnnxConfig) -> None:
        assert config.input_size is not None and config.layout is not None
        self.file, self.config, self.size_wh = file, config, config.input_size
        self.feature = config.feature or self._usual_feature()
        self.session = OnnxSession(file, [*config.outputs.values(), self.feature], config.layout)
        self.reads_boxes = BOX_INPUT in file.inputs

    def _usual_feature(self) -> str:
        needed = [name for role, name in self.config.outputs.items() if role not in ("score", "sigma")]
        candidates = feature_candidates(self.file, needed)
        maps = [name for name, shape in candidates if len(shape) == 4]
        if not candidates:  # no shapes are known inside: what it gives is all that can be read
            return needed[0]
        return maps[0] if maps and self.config.decoding != "heatmap" else candidates[0][0]

    @property
    def identity(self) -> str:
        """Of the files, and of what the configuration chose of them."""
        config = self.config
        chosen = (config.decoding, config.colour, config.mean, config.std, config.udp, config.padding, config.order)
        words = (self.file.hashes(), chosen, config.unit, config.split_ratio, config.input_size, self.feature)
        return hashlib.sha256(repr((*words, sorted(config.outputs.items()))).encode()).hexdigest()

    @property
    def input_spec(self) -> InputSpec:
        return self.config.input_spec(self.size_wh)

    def run(self, images: Tensor, box_wh_px: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Tensors by role, and the feature."""
        further = []
        if self.reads_boxes:
            if box_wh_px is None:
                box_wh_px = torch.tensor(self.size_wh).float().expand(len(images), 2) / self.config.padding
            further = [box_wh_px.float().cpu().numpy()]
        found = self.session.run(images, *further)
        feature = found[self.feature]
        if self.feature in self.config.outputs.values() and feature.ndim == 3:
            feature = feature.flatten(1)
        feature = feature.mean(dim=1) if feature.ndim == 3 else feature  # tokens: their mean
        return {role: found[name] for role, name in self.config.outputs.items()}, feature

    def require(self, role: str, values: Tensor, right: bool, wanted: str) -> None:
        """Refuse an output of a shape that the configuration contradicts."""
        if not right:
            name, shape = self.config.outputs[role], told(tuple(values.shape[1:]))
            raise InputError(f"{self.file.path}: {name} ({role}) has shape {shape} per person where {wanted} is needed")


class OnnxHeatmapNetwork(HeatmapNetwork):
    """A network of heatmaps, decoded as those of the catalogue.

    Args:
        runner: its session.
        num_keypoints: that it is to find.
    """

    def __init__(self, runner: _Runner, num_keypoints: int) -> None:
        config = runner.config
        super().__init__(num_keypoints, runner.input_spec, config.heatmap_decoding)
        self.runner = runner
        self.target_cells = config.target_cells
        self.instance_score = config.instance_score
        self.has_flip_test = config.flip_test
        shape = runner.file.shapes.get(config.outputs["heatmaps"], ())
        columns = shape[3] if len(shape) == 4 else None
        self.cell_px = config.cell_px or (runner.size_wh[0] / columns if columns else 4.0)

    @property
    def identity(self) -> str:
        """Of the files and their configuration."""
        return self.runner.identity

    def move_to(self, device: torch.device) -> None:
        """Run on that device where onnxruntime can."""
        self.runner.session.move_to(device)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> HeatmapPrediction:
        """Heatmaps, and the feature."""
        found, feature = self.runner.run(images)
        maps = found["heatmaps"]
        right = maps.ndim == 4 and maps.shape[1] == self.num_keypoints
        self.runner.require("heatmaps", maps, right, f"{self.num_keypoints} maps")
        return HeatmapPrediction(maps, feature)


class _OnnxPoseNetwork(PoseNetwork):
    """What the networks without heatmaps to decode share.

    Args:
        runner: its session.
        num_keypoints: that it is to find.
    """

    def __init__(self, runner: _Runner, num_keypoints: int) -> None:
        self.runner, self.num_keypoints = runner, num_keypoints
        self.input_spec = runner.input_spec
        self.has_flip_test = runner.config.flip_test
        self.instance_score = runner.config.instance_score
        self.reads_boxes = runner.reads_boxes

    @property
    def identity(self) -> str:
        """Of the files and their configuration."""
        return self.runner.identity

    @property
    def device(self) -> torch.device:
        """Images lie in main memory."""
        return torch.device("cpu")

    def move_to(self, device: torch.device) -> None:
        """Run on that device where onnxruntime can."""
        self.runner.session.move_to(device)


@dataclass(frozen=True)
class SimccPrediction:
    """Bins along each axis, per keypoint.

    Attributes:
        x: along the width.
        y: along the height.
        feature: what a CCNet reads.
    """

    x: Float[Tensor, "b k bins_x"]
    y: Float[Tensor, "b k bins_y"]
    feature: Tensor


class OnnxSimccNetwork(_OnnxPoseNetwork):
    """A SimCC network (RTMPose, RTMW), decoded as mmpose decodes it."""

    @property
    def output_choices(self) -> Mapping[str, str]:
        """Its decoding."""
        return {"decoding": "simcc"}

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> SimccPrediction:
        """Bins, and the feature."""
        found, feature = self.runner.run(images)
        for role, side in (("simcc_x", 0), ("simcc_y", 1)):
            bins = round(self.runner.size_wh[side] * self.runner.config.split_ratio)
            right = found[role].shape[1:] == (self.num_keypoints, bins)
            self.runner.require(role, found[role], right, f"{self.num_keypoints}x{bins} (split_ratio times the side)")
        return SimccPrediction(found["simcc_x"], found["simcc_y"], feature)

    def average_flipped(
        self, raw: SimccPrediction, flipped: SimccPrediction, flip_pairs: Sequence[tuple[int, int]]
    ) -> SimccPrediction:
        """The flip test of mmpose's heads: bins averaged with those of the mirrored images, mirrored back."""
        order = flip_permutation(self.num_keypoints, flip_pairs)
        x, y = flipped.x[:, order].flip(-1), flipped.y[:, order]
        return SimccPrediction(0.5 * (raw.x + x), 0.5 * (raw.y + y), raw.feature)

    def decode(self, raw: SimccPrediction) -> NetworkOutput:
        """Coordinates in crop pixels, and the smaller of both axes' maxima as scores."""
        xy_px, score = decode_simcc(raw.x, raw.y, self.runner.config.split_ratio)
        return NetworkOutput(xy_px, score, None, raw.feature, None)


@dataclass(frozen=True)
class CoordinatePrediction(RegressionPrediction):
    """Coordinates of a graph that may also give heatmaps, for the shapes of their peaks."""

    heatmaps: Tensor | None = None


class OnnxCoordinateNetwork(_OnnxPoseNetwork):
    """A network of coordinates: a regression with or without spreads, or keypoints with their scores."""

    def __init__(self, runner: _Runner, num_keypoints: int) -> None:
        super().__init__(runner, num_keypoints)
        self.target_cells = runner.config.target_cells
        if "heatmaps" in runner.config.outputs:
            shape = runner.file.shapes.get(runner.config.outputs["heatmaps"], ())
            columns = shape[3] if len(shape) == 4 else None
            self.cell_px = runner.config.cell_px or (runner.size_wh[0] / columns if columns else 4.0)

    def __call__(
        self, images: Float[Tensor, "b 3 h w"], box_wh_px: Float[Tensor, "b 2"] | None = None
    ) -> CoordinatePrediction:
        """Coordinates as fractions of the crop, spreads, scores, and the feature."""
        found, feature = self.runner.run(images, box_wh_px)
        xy, sigma, score = self._keypoints(found) if "keypoints" in found else self._regression(found)
        if self.runner.config.order == "yx":
            xy, sigma = xy.flip(-1), None if sigma is None else sigma.flip(-1)
        if self.runner.config.unit == "px":
            size = torch.tensor(self.runner.size_wh, dtype=xy.dtype)
            xy, sigma = xy / size, None if sigma is None else sigma / size
        return CoordinatePrediction(xy, sigma, score, feature, found.get("heatmaps"))

    def _keypoints(self, found: dict[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor]:
        """One tensor of coordinates and scores; an axis of one person, as MoveNet has, is dropped."""
        values = found["keypoints"]
        right = values.ndim >= 3 and tuple(values.shape[-2:]) == (self.num_keypoints, 3)
        right = right and all(length == 1 for length in values.shape[1:-2])
        self.runner.require("keypoints", values, right, f"{self.num_keypoints}x3")
        values = values.reshape(len(values), self.num_keypoints, 3)
        return values[..., :2], None, values[..., 2]

    def _regression(self, found: dict[str, Tensor]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Coordinates, and spreads from a tensor of their own or as third and fourth number (mmpose's RLE)."""
        values, keypoints = found["xy"], self.num_keypoints
        width = values.shape[-1] if values.ndim == 3 else 2
        right = tuple(values.shape[1:]) in ((2 * keypoints,), (keypoints, 2), (keypoints, 4))
        self.runner.require("xy", values, right, f"{keypoints}x2 or {keypoints}x4")
        values = values.reshape(len(values), keypoints, width)
        sigma = values[..., 2:] if width == 4 else None
        if "sigma" in found:
            sides = found["sigma"].reshape(len(values), keypoints, -1)
            self.runner.require("sigma", found["sigma"], sides.shape[2] in (1, 2), f"{keypoints}, or {keypoints}x2")
            sigma = sides.expand(-1, -1, 2)
        if "score" in found:
            self.runner.require("score", found["score"], found["score"][0].numel() == keypoints, str(keypoints))
            return values[..., :2], sigma, found["score"].reshape(len(values), keypoints)
        return values[..., :2], sigma, torch.ones(values.shape[:2]) if sigma is None else 1.0 - sigma.mean(dim=-1)

    def average_flipped(
        self, raw: CoordinatePrediction, flipped: CoordinatePrediction, flip_pairs: Sequence[tuple[int, int]]
    ) -> CoordinatePrediction:
        """The flip test: means with the mirrored prediction mirrored back."""
        both = average(raw, mirror_back(flipped, flip_pairs, 1.0 / self.input_spec.size_wh[0]))
        return CoordinatePrediction(both.xy, both.sigma, both.score, raw.feature, raw.heatmaps)

    def decode(self, raw: CoordinatePrediction) -> NetworkOutput:
        """Coordinates and spreads in crop pixels."""
        return replace(decode_regression(raw, self.input_spec), heatmaps=raw.heatmaps)
