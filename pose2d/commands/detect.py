"""The subcommand that finds the keypoints of persons in images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from pose2d.detection.options import DetectOptions
from pose2d.names import SkeletonName
from pose2d.networks.options import NetworkOptions


@dataclass(frozen=True)
class Detect:
    """Find the keypoints of persons in images and write them as COCO results with a score per keypoint.

    An interrupted run goes on where it was when it is called again. Images and boxes that cannot be used are skipped
    and listed at the end and in <out>.run.json.
    """

    images: Path
    """Folder of images, or one image."""
    out: Path
    """Results file to write (.json)."""
    pose: Annotated[NetworkOptions, tyro.conf.arg(name="")] = field(default_factory=NetworkOptions)
    """The pose network."""
    boxes: Path | None = None
    """Person boxes: COCO annotations, or a detector's results; each whole image is one person without it."""
    features: Path | None = None
    """Also write the penultimate features to this folder."""
    keypoints: SkeletonName = "coco17"
    """Keypoints that the checkpoint has."""
    min_box_score: float = 0.0
    """Leave detected boxes below this score out."""
    options: Annotated[DetectOptions, tyro.conf.arg(name="")] = field(default_factory=DetectOptions)
    """How persons are scored and duplicates removed."""

    def run(self) -> None:
        """Detect."""
        from pose2d.detection.detector import detect, skipped_lines
        from pose2d.detection.person_boxes import read_boxes, whole_images
        from pose2d.files.images import image_files
        from pose2d.networks.packaged import is_foreign, load_by_options, packaged_checkpoint
        from pose2d.skeletons import SKELETONS

        if self.pose.checkpoint is None and not is_foreign(self.pose.network):
            packaged_checkpoint(self.pose.network)  # a network without one is refused before boxes are read
        if self.boxes is None:
            persons = whole_images(image_files(self.images))
        else:
            persons = read_boxes(self.boxes, self.images, self.min_box_score)
        skeleton = SKELETONS[self.keypoints]
        loaded = load_by_options(self.pose, skeleton)
        result = detect(loaded, persons, skeleton, self.out, self.options, self.features)
        for line in skipped_lines(result.skipped, persons):
            print(line)
        suppressed = f", {result.suppressed} duplicates left out" if result.suppressed else ""
        print(f"{result.results} persons with keypoints in {self.out}{suppressed}")
