"""The subcommands about 2D pose networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

SkeletonName = Literal["coco17", "mpii16", "wholebody133"]
InstanceScoreName = Literal["rescored", "mean-and-maximum", "mean"]
Decoding = Literal["argmax", "quarter-offset", "dark", "dark-udp", "expected-oks"]


@dataclass(frozen=True)
class Networks:
    """List the pose networks: parameters, multiply-accumulates and inputs, measured, beside the paper's table 2."""

    json: Path | None = None
    """Also write the rows here."""
    names: tuple[str, ...] = ()
    """Only these networks; all when none is named."""

    def run(self) -> None:
        """Measure and print."""
        from rich.console import Console
        from rich.table import Table

        from pose2d.files.storage import write_json
        from pose2d.networks.catalogue import NETWORKS
        from pose2d.networks.measure import measure_network

        rows = [measure_network(name) for name in self.names or NETWORKS]
        further = {row.name: self.further(row.name) for row in rows}
        table = Table(title="Pose networks (17 keypoints), and the paper's table 2")
        for title in ("name", "family", "input"):
            table.add_column(title, no_wrap=True)
        for title in ("params M", "GMACs", *further[rows[0].name], "paper's input", "params M", "GFLOPs"):
            table.add_column(title, justify="right")
        for row in rows:
            paper = ("", "", "")
            if row.paper is not None:
                paper = (row.paper.input, f"{row.paper.params_m:.2f}", f"{row.paper.gflops:.2f}")
            own = (f"{row.params_m:.2f}", f"{row.gmacs:.2f}", *(f"{value:.4f}" for value in further[row.name].values()))
            table.add_row(row.name, row.family, row.input, *own, *paper)
        console = Console()
        (console if console.is_terminal else Console(width=120)).print(table)
        if self.json is not None:
            write_json(self.json, {"rows": [row.as_dict() | further[row.name] for row in rows]})

    def further(self, name: str) -> dict[str, float]:
        """Further figures of a network by the title of their column; none here, CCNet's on the command line."""
        return {}


@dataclass(frozen=True)
class ConvertCheckpoint:
    """Copy the tensors of a torch checkpoint into safetensors, running nothing that lies in it."""

    source: Annotated[Path, tyro.conf.Positional]
    """Checkpoint as released (.pth, .pth.tar, .pt)."""
    target: Annotated[Path, tyro.conf.Positional]
    """File to write, ending in .safetensors."""

    def run(self) -> None:
        """Convert."""
        from pose2d.networks.checkpoints import convert_checkpoint

        count = convert_checkpoint(self.source, self.target)
        print(f"{count} tensors written to {self.target}")


@dataclass(frozen=True)
class Detect:
    """Find the keypoints of persons in images and write them as COCO results with a score a keypoint.

    An interrupted run goes on where it was when it is called again. Images and boxes that cannot be used are skipped
    and listed at the end and in <out>.run.json.
    """

    network: str
    """Network by its name (`networks` lists them)."""
    images: Path
    """Folder of images, or one image."""
    out: Path
    """Results file to write (.json)."""
    checkpoint: Path | None = None
    """The network's checkpoint; the packaged one of the small networks by default."""
    boxes: Path | None = None
    """Person boxes: COCO annotations, or a detector's results; each whole image is one person without it."""
    features: Path | None = None
    """Also write the penultimate features to this folder."""
    keypoints: SkeletonName = "coco17"
    """Keypoints that the checkpoint has."""
    input_size: tuple[int, int] | None = None
    """Width and height of the crop; the network's default otherwise."""
    min_box_score: float = 0.0
    """Leave detected boxes below this score out."""
    flip: bool = True
    """Average with the mirrored image's prediction."""
    decoding: Decoding | None = None
    """How heatmaps become coordinates; the family's own way by default."""
    instance_score: InstanceScoreName | None = None
    """How keypoint scores become the instance's; the family's own way by default."""
    oks_threshold: float = 0.9
    """Of two poses of detected boxes more alike than this the lower scored is left out; 1 keeps all."""
    batch: int = 32
    """Persons a step."""
    expert: int = 0
    """Data set of a ViTPose+ checkpoint; 0 is COCO."""
    threads: int = 0
    """Threads of the network; 0 for torch's own choice."""

    def run(self) -> None:
        """Detect."""
        import torch

        import pose2d
        from pose2d.detection.detector import DetectOptions, detect, skipped_lines
        from pose2d.detection.person_boxes import read_boxes, whole_images
        from pose2d.errors import InputError
        from pose2d.files.images import image_files
        from pose2d.networks.acceleration import prepare_for_inference
        from pose2d.networks.catalogue import allocate_network
        from pose2d.networks.checkpoints import load_checkpoint
        from pose2d.networks.heatmap import HeatmapNetwork
        from pose2d.skeletons import SKELETONS

        if self.batch < 1:
            raise InputError(f"--batch is {self.batch}; at least one person a step is needed")
        if self.threads > 0:
            torch.set_num_threads(self.threads)
        skeleton = SKELETONS[self.keypoints]
        checkpoint = self.checkpoint
        if checkpoint is None:
            checkpoint = Path(pose2d.__file__).parent / "weights" / f"{self.network}.safetensors"
            if not checkpoint.is_file():
                raise InputError(f"network {self.network} has no packaged checkpoint: name one with --checkpoint")
        files = image_files(self.images)
        persons = whole_images(files) if self.boxes is None else read_boxes(self.boxes, self.images, self.min_box_score)
        network = allocate_network(self.network, len(skeleton), self.input_size)
        loaded = load_checkpoint(checkpoint, network, self.expert)
        prepare_for_inference(network)
        if self.decoding is not None:
            if not isinstance(network, HeatmapNetwork):
                raise InputError(f"--decoding is for heatmap networks, and {self.network} regresses coordinates")
            if self.decoding == "expected-oks":
                network.set_expected_oks([2.0 * sigma for sigma in skeleton.sigmas])
            else:
                network.set_decoding(self.decoding)
        options = DetectOptions(self.flip, self.batch, self.instance_score, self.oks_threshold)
        result = detect(network, loaded, persons, skeleton, self.out, options, self.features)
        for line in skipped_lines(result.skipped, persons):
            print(line)
        suppressed = f", {result.suppressed} doubles left out" if result.suppressed else ""
        print(f"{result.results} persons with keypoints in {self.out}{suppressed}")
