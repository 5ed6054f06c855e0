"""Speed of every family's forward pass beside the official code's, and of the command `detect` beside its network.

    python benchmarks/networks.py --official DIR [--families sbl-r50 ...] [--batch 4] [--rounds 5] [--json FILE]

DIR holds checkouts of the official repositories under their names (human-pose-estimation.pytorch,
deep-high-resolution-net.pytorch, res-loglikelihood-regression, or OWNER+NAME); what is not there is not compared. The
reference of ViTPose is the forward pass of the package transformers. References run as their own test scripts run
them: evaluation mode, no gradients, no further preparation. Rounds alternate between both, so that a busy machine slows
them alike; a ratio is the median of those of the rounds. Poseur has no reference: its official code needs mmcv 1 with
compiled operators; that of IPR is SBL's with a softmax, as in mmpose.

Learnt: on two AVX2 cores torch.compile gave SBL-R50 nothing (11.7-12.3 images/s against 11.3-12.2 with folded batch
norms and channels_last) and HRNet-W32 11 % (10.1 against 9.1) for 32 s of compiling, so it is left out. `detect` pays
a fixed second at its start: 0.83 of the bare forward pass over 48 persons, 1.03 over 160.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FAMILIES = ("sbl-r50", "hrnet-w32", "vitpose-b", "rle-r50", "ipr-r50", "poseur-r50")
DETECT_TARGET = 0.85


def load_module(path: Path) -> ModuleType:
    """A single file of an official repository as a module."""
    spec = importlib.util.spec_from_file_location(f"official_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def checkout(official: Path | None, name: str) -> Path | None:
    """Where a repository lies, if it does."""
    if official is None:
        return None
    found = [path for path in official.iterdir() if path.name.split("+")[-1] == name]
    return found[0] if found else None


def official_sbl(official: Path | None) -> nn.Module | None:
    """The official pose_resnet."""
    root = checkout(official, "human-pose-estimation.pytorch")
    if root is None:
        return None
    extra = SimpleNamespace(
        NUM_LAYERS=50,
        DECONV_WITH_BIAS=False,
        NUM_DECONV_LAYERS=3,
        NUM_DECONV_FILTERS=[256] * 3,
        NUM_DECONV_KERNELS=[4] * 3,
        FINAL_CONV_KERNEL=1,
    )
    config = SimpleNamespace(MODEL=SimpleNamespace(NUM_JOINTS=17, STYLE="pytorch", INIT_WEIGHTS=False, EXTRA=extra))
    network: nn.Module = load_module(root / "lib/models/pose_resnet.py").get_pose_net(config, False)
    return network


def official_hrnet(official: Path | None) -> nn.Module | None:
    """The official pose_hrnet."""
    root = checkout(official, "deep-high-resolution-net.pytorch")
    if root is None:
        return None

    def stage(modules: int, branches: int) -> dict[str, Any]:
        channels = [32 * 2**branch for branch in range(branches)]
        return {
            "NUM_MODULES": modules,
            "NUM_BRANCHES": branches,
            "BLOCK": "BASIC",
            "NUM_BLOCKS": [4] * branches,
            "NUM_CHANNELS": channels,
            "FUSE_METHOD": "SUM",
        }

    extra: dict[str, Any] = {"STAGE2": stage(1, 2), "STAGE3": stage(4, 3), "STAGE4": stage(3, 4)}
    extra |= {"FINAL_CONV_KERNEL": 1, "PRETRAINED_LAYERS": ["*"]}
    config = {"MODEL": {"NUM_JOINTS": 17, "INIT_WEIGHTS": False, "EXTRA": extra}}
    network: nn.Module = load_module(root / "lib/models/pose_hrnet.py").get_pose_net(config, False)
    return network


def official_rle(official: Path | None) -> nn.Module | None:
    """The official RLE's backbone, pooling and layers (its class itself needs torchvision and a download)."""
    root = checkout(official, "res-loglikelihood-regression")
    if root is None:
        return None
    backbone = load_module(root / "rlepose/models/layers/Resnet.py").ResNet("resnet50")
    return nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 68))


def official_ipr(official: Path | None) -> nn.Module | None:
    """SBL's network and a softmax."""
    trunk = official_sbl(official)
    return None if trunk is None else nn.Sequential(trunk, nn.Flatten(2), nn.Softmax(2))


def transformers_vitpose(official: Path | None) -> nn.Module | None:
    """The package's own network."""
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(layer_norm_eps=1e-6, out_indices=[12])  # type: ignore[call-arg]
    names = {number: str(number) for number in range(17)}
    return VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, use_simple_decoder=False, id2label=names))


REFERENCES: dict[str, Callable[[Path | None], nn.Module | None]] = {
    "sbl-r50": official_sbl,
    "hrnet-w32": official_hrnet,
    "vitpose-b": transformers_vitpose,
    "rle-r50": official_rle,
    "ipr-r50": official_ipr,
}


def images_per_second(forward: Callable[[Tensor], Any], images: Tensor, clock: Callable[[], float]) -> float:
    """One timed pass."""
    start = clock()
    forward(images)
    return len(images) / (clock() - start)


def compare(name: str, official: Path | None, batch: int, rounds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """A family's speed, its reference's, and their ratio."""
    from pose2d.networks.acceleration import prepare_for_inference
    from pose2d.networks.catalogue import build_network

    network = build_network(name)
    prepare_for_inference(network)
    width, height = network.input_spec.size_wh
    images = torch.randn(batch, 3, height, width)
    ours_input = images.contiguous(memory_format=torch.channels_last)
    reference = REFERENCES[name](official) if name in REFERENCES else None
    if reference is not None:
        reference.eval()

    def ours(batch_of: Tensor) -> None:
        with torch.inference_mode():
            network(batch_of)

    def theirs(batch_of: Tensor) -> None:
        assert reference is not None
        with torch.no_grad():
            reference(batch_of)

    ours_speed, their_speed = [], []
    for number in range(rounds + 1):  # the first is for warming up
        speeds = (
            images_per_second(ours, ours_input, clock),
            images_per_second(theirs, images, clock) if reference is not None else None,
        )
        if number:
            ours_speed.append(speeds[0])
            if speeds[1] is not None:
                their_speed.append(speeds[1])
    row: dict[str, Any] = {"name": name, "images_per_s": round(statistics.median(ours_speed), 2)}
    if their_speed:
        ratio = statistics.median(a / b for a, b in zip(ours_speed, their_speed, strict=True))
        row |= {"reference_images_per_s": round(statistics.median(their_speed), 2), "ratio": round(ratio, 3)}
    return row


def measure_detect(name: str, persons: int, batch: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Persons a second of the whole command (decoding images, cropping, writing) beside those of its network alone."""
    import cv2
    from safetensors.torch import save_file

    from pose2d.commands.detect import Detect
    from pose2d.console.progress import set_quiet
    from pose2d.detection.options import DetectOptions
    from pose2d.networks.acceleration import prepare_for_inference
    from pose2d.networks.catalogue import build_network
    from pose2d.networks.options import NetworkOptions

    set_quiet(True)
    network = build_network(name)
    width, height = network.input_spec.size_wh
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "images").mkdir()
        save_file(network.state_dict(), root / "a.safetensors")
        entries = []
        for number in range(1, persons // 2 + 1):  # two persons an image of COCO's size
            image = cv2.resize(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8), (640, 480))
            cv2.imwrite(str(root / "images" / f"{number:012d}.jpg"), image)
            entries += [
                {"image_id": number, "category_id": 1, "score": 0.9, "bbox": box}
                for box in ([50, 60, 120, 300], [300, 40, 200, 380])
            ]
        (root / "boxes.json").write_text(json.dumps(entries))
        prepare_for_inference(network)
        images = torch.randn(batch, 3, height, width).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            network(images)
            bare = []
            for _ in range(max(persons // batch, 1)):
                bare.append(images_per_second(network, images, clock))
        options = NetworkOptions(network=name, checkpoint=root / "a.safetensors", flip=False)
        how = DetectOptions(batch=batch)
        command = Detect(root / "images", root / "out.json", options, root / "boxes.json", options=how)
        warm = Detect(root / "images" / "000000000001.jpg", root / "w.json", options, options=how)
        warm.run()
        start = clock()
        command.run()
        wall = clock() - start
        # Building and filling the network is paid once a run, not per person.
        start = clock()
        warm.run()
        once = clock() - start - 1.0 / statistics.median(bare)
    speed = persons / max(wall - once, 1e-9)
    return {
        "name": name,
        "persons": persons,
        "detect_persons_per_s": round(speed, 2),
        "forward_persons_per_s": round(statistics.median(bare), 2),
        "ratio": round(speed / statistics.median(bare), 3),
        "target": DETECT_TARGET,
    }


def main() -> int:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--detect", default="sbl-r50", help="network of the detect measurement, or none")
    parser.add_argument("--persons", type=int, default=64)
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds: for one thread on a busy machine")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    rows = []
    for name in arguments.families:
        rows.append(compare(name, arguments.official, arguments.batch, arguments.rounds, clock))
        print(rows[-1], flush=True)
    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "torch": torch.__version__,
        },
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "clock": "CPU seconds" if arguments.cpu_time else "wall seconds",
        "load_average": os.getloadavg(),
        "rows": rows,
    }
    if arguments.detect != "none":
        result["detect"] = measure_detect(arguments.detect, arguments.persons, arguments.batch, clock)
        print(result["detect"])
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
