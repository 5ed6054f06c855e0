"""The networks by name."""

from collections.abc import Callable
from dataclasses import replace

from pose2d.errors import InputError
from pose2d.networks.base import InputSpec, PoseNetwork
from pose2d.networks.sbl import SBL, SBL_INPUT

Size = tuple[int, int]

SMALL_INPUT = InputSpec(size_wh=(96, 128))
"""Input of the small networks, which are trained on the open world."""


def _sbl(depth: int, **options: object) -> Callable[[int, Size | None], PoseNetwork]:
    def build(num_keypoints: int, size: Size | None) -> PoseNetwork:
        return SBL(depth, num_keypoints, input_spec=_sized(SBL_INPUT, size), **options)  # type: ignore[arg-type]

    return build


def _sized(spec: InputSpec, size: Size | None) -> InputSpec:
    return spec if size is None else replace(spec, size_wh=size)


NETWORKS: dict[str, Callable[[int, Size | None], PoseNetwork]] = {
    "sbl-r50": _sbl(50),
    "sbl-r101": _sbl(101),
    "sbl-r152": _sbl(152),
    "sbl-r50-caffe": _sbl(50, stride_on="caffe"),
    "sbl-r101-caffe": _sbl(101, stride_on="caffe"),
    "sbl-r152-caffe": _sbl(152, stride_on="caffe"),
    "sbl-small": lambda k, size: SBL(18, k, 32, 64, input_spec=_sized(SMALL_INPUT, size)),
}
"""Every network by name: a function of the number of keypoints and the input's width and height (None: the default)."""


def build_network(name: str, num_keypoints: int = 17, input_size: Size | None = None) -> PoseNetwork:
    """A network with untrained weights.

    Args:
        name: one of ``NETWORKS``.
        num_keypoints: 17 for COCO, 16 for MPII, 133 for COCO-WholeBody, or any other.
        input_size: width and height of the crops; None for the network's default.

    Raises:
        InputError: there is no such network, or its input cannot have that size.
    """
    if name not in NETWORKS:
        raise InputError(f"there is no network {name!r}; known are {', '.join(NETWORKS)}")
    if input_size is not None and (min(input_size) <= 0 or any(side % 32 for side in input_size)):
        raise InputError(f"input size {input_size[0]}x{input_size[1]} will not do: both sides must be multiples of 32")
    return NETWORKS[name](num_keypoints, input_size)
