"""A pose network and its CCNet as one ONNX file, for deployment by onnxruntime alone."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from calibration.ccnet.branches import BranchInputs
from calibration.ccnet.feature_parts import FeatureParts
from calibration.ccnet.features import peak_statistics
from calibration.ccnet.files import load_ccnet
from calibration.ccnet.model import CCNet, check_fits
from calibration.ccnet.packaged import packaged_ccnet
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path
from pose2d.networks.base import TorchPoseNetwork
from pose2d.networks.onnx_config import METADATA_KEY
from pose2d.networks.onnx_files import import_extra
from pose2d.networks.onnx_network import BOX_INPUT
from pose2d.networks.options import NetworkOptions
from pose2d.networks.packaged import load_by_options
from pose2d.skeletons import BODY_SHARE_OF_BOX, SKELETONS

OUTPUTS = ("xy_px", "raw_score", "confidence", "visibility", "presence", "sigma_px")
"""Of the graph, each (b, k) but the first, (b, k, 2); lengths in crop pixels."""
_OPSET = 18


@dataclass(frozen=True, kw_only=True)
class ExportOptions(NetworkOptions):
    """What is exported, and to where; the graph makes no flip test."""

    out: Path
    """The file to write (.onnx)."""
    ccnet: Path | None = None
    """CCNet of the network; the packaged one by default."""


class CalibratedNetwork(nn.Module):
    """A pose network and its CCNet as one function of images and box sizes.

    Args:
        network: in evaluation mode.
        branch: trained for it.
    """

    def __init__(self, network: TorchPoseNetwork, branch: CCNet) -> None:
        super().__init__()
        self.network, self.branch = network, branch.eval()
        self.register_buffer("sigmas", torch.tensor(SKELETONS[branch.spec.skeleton].sigmas, dtype=torch.float32))

    def forward(self, images: Float[Tensor, "b 3 h w"], box_wh_px: Float[Tensor, "b 2"]) -> tuple[Tensor, ...]:
        """The tensors of `OUTPUTS`.

        The spread is what the confidence implies (equation 12 inverted), with the body's area as a share of the box.

        Args:
            images: normalised crops.
            box_wh_px: width and height of the boxes in image pixels.
        """
        spec = self.network.input_spec
        output = self.network.decode(self.network(images))
        size = torch.tensor(spec.size_wh, dtype=torch.float32)
        inputs = BranchInputs(
            FeatureParts(output.feature.half().float()),
            output.raw_score,
            output.xy_px / size,
            peak_statistics(output, spec.size_wh),
            torch.log(box_wh_px.clamp_min(1.0)),
        )
        found = self.branch(inputs)
        scale = 1.0 / (spec.padding * (box_wh_px / size).amax(dim=1, keepdim=True))
        root_area = (BODY_SHARE_OF_BOX * box_wh_px.prod(dim=1, keepdim=True)).sqrt() * scale
        confidence = found.confidence
        likely = confidence.clamp(1e-6, 1.0 - 1e-6)
        sigma_px = 2.0 * self.sigmas * root_area * (1.0 / likely - 1.0).sqrt()  # type: ignore[operator]
        return output.xy_px, output.raw_score, confidence, found.visibility, found.presence, sigma_px


def export_network(options: ExportOptions) -> Path:
    """Write a network and its CCNet as one graph, with what the graph needs to be fed in its metadata.

    Raises:
        InputError: network, checkpoint and CCNet do not belong together, the network is no module of torch, or the
            extra is not installed.
    """
    onnx = import_extra("onnx")
    path = packaged_ccnet(options.network) if options.ccnet is None else options.ccnet
    branch = load_ccnet(path)
    skeleton = SKELETONS[branch.spec.skeleton]
    if skeleton.oks_sigmas is None:
        raise InputError(f"{path}: no OKS sigmas are published for {skeleton.name}, which sigma_px needs")
    network = load_by_options(options, skeleton, trainable=True).network
    if not isinstance(network, TorchPoseNetwork) or not any(True for _ in network.parameters()):
        raise InputError(f"--network {options.network}: only networks of torch can be exported")
    check_fits(branch, network.identity, skeleton, network.input_spec.size_wh)
    whole = CalibratedNetwork(network, branch)
    with atomic_path(options.out) as partial:
        _trace(whole, partial)
        model = onnx.load_model(partial)
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, json.dumps(_config(network))
        onnx.save_model(model, partial)
    return options.out


def _trace(whole: CalibratedNetwork, path: Path) -> None:
    width, height = whole.network.input_spec.size_wh
    given = (torch.rand(2, 3, height, width), torch.tensor([[80.0, 160.0], [100.0, 90.0]]))
    names = ("images", BOX_INPUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: sizes that it takes as constants are constants here
        torch.onnx.export(
            whole,
            given,
            str(path),
            input_names=list(names),
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in (*names, *OUTPUTS)},
            opset_version=_OPSET,
            dynamo=False,
        )


def _config(network: TorchPoseNetwork) -> dict[str, Any]:
    """The graph's configuration for `--network`: calibrated confidences are its scores."""
    spec = network.input_spec
    return {
        "decoding": "regression",
        "unit": "px",
        "outputs": {"xy": "xy_px", "score": "confidence", "sigma": "sigma_px"},
        "input_size": spec.size_wh,
        "colour": spec.colour,
        "mean": [255.0 * value for value in spec.mean],
        "std": [255.0 * value for value in spec.std],
        "padding": spec.padding,
        "udp": spec.udp,
        "flip_test": False,
        "instance_score": network.instance_score,
    }
