"""Names that a command line offers, where they are keys of tables too.

A file of its own that imports nothing: `--help` must not wait for torch. A test holds each against its table.
"""

from __future__ import annotations

from typing import Literal

SkeletonName = Literal["coco17", "mpii16", "openpose18", "openpose25", "smpl24", "h36m17", "lsp14", "wholebody133"]
"""Keys of `pose2d.skeletons.SKELETONS`."""

DatasetName = Literal["coco", "mpii", "wholebody"]
"""Keys of `pose2d.datasets.kinds.DATASETS`."""

InstanceScoreName = Literal["mean-above-0.2", "mean-and-maximum", "mean"]
"""Keys of `pose2d.detection.oks_nms.INSTANCE_SCORES`."""

Decoding = Literal["argmax", "quarter-offset", "dark", "dark-udp", "expected-oks"]
"""Keys of `pose2d.decoding.HEATMAP_DECODERS`, and the one that needs OKS falloffs too."""
