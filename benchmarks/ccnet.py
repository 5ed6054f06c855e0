"""What CCNet costs: parameters, multiply-accumulates and time beside the bare network; an epoch from the cache.

python benchmarks/ccnet.py            # SBL-ResNet-50 at 256x192, random weights, one thread
python benchmarks/ccnet.py --network sbl-small --batch 32 --data world/coco --json out/ccnet.json

Without --data an epoch is a training step on made-up features against that step and the network's pass. With --data
it is an epoch of `train_branch` on the real cached features of some persons against the pass that made the cache
(images read and cropped, the flip test) and that epoch: what training without a cache would do again every time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro

from calibration.ccnet.branches import HEADS, BranchInputs
from calibration.ccnet.cost import measure_ccnet
from calibration.ccnet.feature_cache import CacheOptions, cache_features
from calibration.ccnet.feature_parts import FeatureParts
from calibration.ccnet.features import peak_statistics
from calibration.ccnet.losses import squared_error
from calibration.ccnet.model import BranchSpec, CCNet
from calibration.ccnet.options import Head
from calibration.ccnet.training import BRANCH_TRAININGS, TrainingPersons, train_branch
from pose2d.datasets.coco import read_coco
from pose2d.files.storage import write_json
from pose2d.networks.base import PoseNetwork, predict
from pose2d.networks.catalogue import build_network
from pose2d.networks.measure import measure_network
from pose2d.skeletons import COCO17


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
    data: Path | None = None
    """Directory in COCO's layout: also time an epoch from a real cache against running the network again."""
    split: str = "calibration"
    """Of --data."""
    persons: int = 256
    """Of the split."""
    json: Path | None = None
    """Also write the figures here."""


@dataclass(frozen=True)
class BranchRow:
    """One form of the branch.

    Attributes:
        head: form.
        parameters, macs: that it adds.
        time_share: of a forward pass, over the bare network's.
        epoch_speedup: training from the cache against running the network in every epoch.
        real_epoch_s, real_epoch_speedup: the same with real features and all that a pass does; None without --data.
    """

    head: Head
    parameters: int
    macs: int
    time_share: float
    epoch_speedup: float
    real_epoch_s: float | None = None
    real_epoch_speedup: float | None = None


def main(options: Benchmark) -> None:
    """Measure, print, write."""
    torch.set_num_threads(options.threads)
    network = build_network(options.network)
    network.eval()
    width, height = network.input_spec.size_wh
    images = torch.randn(options.batch, 3, height, width)
    output = predict(network, images)
    inputs = BranchInputs(
        FeatureParts(output.feature),
        output.raw_score,
        torch.rand(options.batch, len(COCO17), 2),
        peak_statistics(output, (width, height)),
        torch.rand(options.batch, 2),
    )
    bare = _seconds(lambda: predict(network, images), options.repeats)
    size = measure_network(options.network)
    rows = [_row(head, options, inputs, bare) for head in HEADS]
    pass_s = None
    if options.data is not None:
        pass_s, rows = _with_real_features(network, rows, options)
    print(f"{options.network} at {size.input}: {size.params_m:.2f} M parameters, {size.gmacs:.2f} GMACs")
    print(f"{'branch':8s} {'parameters':>12s} {'GMACs':>8s} {'time':>8s} {'epoch from cache / re-running':>32s}")
    for row in rows:
        line = f"{row.head:8s} {row.parameters / 1e6:>10.4f} M {row.macs / 1e9:>8.4f} {100 * row.time_share:>+7.2f}%"
        line += f" {row.epoch_speedup:>30.0f} x"
        if row.real_epoch_s is not None:
            line += f"; real features: {row.real_epoch_s:.2f} s, {row.real_epoch_speedup:.0f} x"
        print(line)
    if pass_s is not None:
        print(f"a pass over {options.persons} persons of {options.split}: {pass_s:.1f} s")
    if options.json is not None:
        about = {"network": asdict(size), "batch": options.batch, "threads": options.threads, "pass_s": pass_s}
        write_json(options.json, about | {"rows": [asdict(row) for row in rows]})


def _row(head: Head, options: Benchmark, inputs: BranchInputs, bare: float) -> BranchRow:
    cost = measure_ccnet(options.network, head)
    feature, members = inputs.feature.whole, BRANCH_TRAININGS[head].members
    assert feature is not None
    spec = BranchSpec(head, COCO17.name, feature.shape[1], feature.ndim == 4, "", "", members, presence=True)
    branch = CCNet(spec).eval()
    with torch.inference_mode():
        extra = _seconds(lambda: branch(inputs), options.repeats)
    step = _seconds(_training_step(branch, inputs), options.repeats)
    return BranchRow(head, cost.parameters, cost.macs, extra / bare, (bare + extra + step) / step)


def _with_real_features(
    network: PoseNetwork, rows: list[BranchRow], options: Benchmark
) -> tuple[float, list[BranchRow]]:
    """Seconds of a pass over the persons, and the rows with an epoch of each form on them."""
    assert options.data is not None
    dataset = read_coco(options.data, options.split)
    dataset = dataset.select(np.arange(min(options.persons, len(dataset))))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cache = cache_features(network, dataset, folder, CacheOptions("coarse"))
        pass_s = time.perf_counter() - start
        persons, timed = TrainingPersons(cache), []
        for row in rows:
            # Two trainings, one of them ten epochs longer: what they share drops out.
            training = replace(BRANCH_TRAININGS[row.head], epochs=2, patience=99)
            short = _seconds(lambda: train_branch(persons, training), 2)  # noqa: B023
            long = _seconds(lambda: train_branch(persons, replace(training, epochs=12)), 2)  # noqa: B023
            epoch = max(long - short, 1e-9) / 10
            timed.append(replace(row, real_epoch_s=epoch, real_epoch_speedup=(pass_s + epoch) / epoch))
    return pass_s, timed


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
