"""What CCNet costs: parameters, multiply-accumulates and time beside the bare network; an epoch from the cache.

python benchmarks/ccnet.py            # SBL-ResNet-50 at 256x192, random weights, one thread
python benchmarks/ccnet.py --network sbl-small --batch 32
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from calibration.branches import HEADS, BranchInputs
from calibration.ccnet import BranchSpec, CCNet
from calibration.features import peak_statistics
from calibration.losses import squared_error
from pose2d.networks.base import predict
from pose2d.networks.catalogue import build_network


@dataclass(frozen=True)
class Benchmark:
    """Options of the benchmark."""

    network: str = "sbl-r50"
    """Pose network."""
    batch: int = 8
    """Persons a step."""
    repeats: int = 5
    """Timed repetitions; the median counts."""
    threads: int = 1
    """Of torch."""


def main(options: Benchmark) -> None:
    """Measure and print."""
    torch.set_num_threads(options.threads)
    network = build_network(options.network)
    assert isinstance(network, nn.Module)
    network.eval()
    width, height = network.input_spec.size_wh
    images = torch.randn(options.batch, 3, height, width)
    output = predict(network, images)
    inputs = BranchInputs(
        output.feature,
        output.raw_score,
        torch.rand(options.batch, 17, 2),
        peak_statistics(output, (width, height)),
        torch.rand(options.batch, 2),
    )
    bare_macs = _macs(lambda: network(images)) / options.batch
    bare = _seconds(lambda: predict(network, images), options.repeats)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"{options.network} at {height}x{width}: {parameters / 1e6:.2f} M parameters, {bare_macs / 1e9:.2f} GMACs")
    print(f"{'branch':8s} {'parameters':>12s} {'GMACs':>8s} {'time':>8s} {'epoch from cache / re-running':>32s}")
    for head in HEADS:
        members = 3 if head == "local" else 1
        spec = BranchSpec(head, "coco17", output.feature.shape[1], output.feature.ndim == 4, "", "", members)
        branch = CCNet(spec).eval()
        with torch.inference_mode():
            macs = _macs(lambda: branch(inputs)) / options.batch  # noqa: B023
            extra = _seconds(lambda: branch(inputs), options.repeats)  # noqa: B023
        step = _seconds(_training_step(branch, inputs), options.repeats)
        speed = (bare + extra + step) / step
        size, share = f"{branch.num_parameters / 1e6:.4f} M", f"{100 * extra / bare:+.2f}%"
        print(f"{head:8s} {size:>12s} {macs / 1e9:>8.4f} {share:>8s} {speed:>30.0f} x")


def _training_step(branch: CCNet, inputs: BranchInputs) -> Callable[[], None]:
    with torch.inference_mode():
        kept = branch.condense(inputs)
    condensed = tuple(tensor.clone() for tensor in kept)
    target = torch.rand(inputs.raw_score.shape)
    labelled = torch.ones_like(target, dtype=torch.bool)
    optimiser = torch.optim.Adam(branch.parameters())

    def step() -> None:
        loss = squared_error(branch.decide(*condensed).confidence, target, labelled)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def _macs(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def _seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
