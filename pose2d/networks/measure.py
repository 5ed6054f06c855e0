"""Parameters and multiply-accumulates of the networks, measured, beside the paper's figures."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from pose2d.networks.catalogue import NETWORKS, Size, build_network

_FLOW = ("flow", "enc_flow", "dec_flow")


@dataclass(frozen=True)
class PaperRow:
    """A network in table 2 of "On the Calibration of Human Pose Estimation".

    Attributes:
        input: width and height as the table gives them, height first.
        params_m: parameters in millions.
        gflops: what the table calls GFLOPs; its entries are multiply-accumulates, not always at the size beside them.
    """

    input: str
    params_m: float
    gflops: float


PAPER: dict[str, PaperRow] = {
    "sbl-r50": PaperRow("256x192", 34.00, 5.46),
    "sbl-r152": PaperRow("384x288", 68.64, 12.77),
    "hrnet-w32": PaperRow("256x192", 28.54, 7.7),
    "hrnet-w48": PaperRow("384x288", 63.62, 15.31),
    "vitpose-b": PaperRow("256x192", 89.99, 17.85),
    "rle-r50": PaperRow("256x192", 23.6, 4.0),
    "rle-r152": PaperRow("384x288", 58.3, 11.3),
    "rle-hrnet-w32": PaperRow("256x192", 39.3, 7.1),
    "rle-hrnet-w48": PaperRow("384x288", 75.6, 33.3),
    "ipr-r50": PaperRow("256x192", 34.0, 5.5),
    "poseur-r50": PaperRow("256x192", 33.1, 4.6),
}


@dataclass(frozen=True)
class NetworkRow:
    """A network's size.

    Attributes:
        name: in the catalogue.
        family: SBL, HRNet, ViTPose, RLE, IPR or Poseur.
        input: height and width of the crop, as papers write it (256x192).
        params_m: parameters used to predict, in millions; the flow that RLE and Poseur train with is left out.
        gmacs: multiply-accumulates of one forward pass, in units of 1e9.
        paper: the table's row, or None.
    """

    name: str
    family: str
    input: str
    params_m: float
    gmacs: float
    paper: PaperRow | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_network(name: str, num_keypoints: int = 17, input_size: Size | None = None) -> NetworkRow:
    """Count a network's parameters and multiply-accumulates; nothing is computed but shapes.

    Convolutions, transposed convolutions and matrix products are counted, attention among them; normalisation,
    activations and sampling are not, as usual.

    Raises:
        InputError: there is no such network, or its input cannot have that size.
    """
    with torch.device("meta"):
        network = build_network(name, num_keypoints, input_size)
    network.eval()
    width, height = network.input_spec.size_wh
    flow = sum(p.numel() for n, p in network.named_parameters() if set(n.split(".")) & set(_FLOW))
    parameters = sum(p.numel() for p in network.parameters()) - flow
    return NetworkRow(
        name,
        NETWORKS[name].family,
        f"{height}x{width}",
        round(parameters / 1e6, 3),
        round(count_macs(network, (width, height)) / 1e9, 3),
        PAPER.get(name),
    )


def count_macs(network: nn.Module, size_wh: Size) -> int:
    """Multiply-accumulates of one image's forward pass, by torch's counter on meta tensors."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    images = torch.empty(1, 3, size_wh[1], size_wh[0], device="meta")
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused kernel hides its products from the counter
    try:
        with counter, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops() // 2
