"""Figures of the theory: raw scores against the ideal confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calibration import oks, theory
from pose2d.files.storage import atomic_path
from pose2d.skeletons import COCO17

_CROP_HEIGHT_PX = 256.0
_CELL_PX = 4.0
_TARGET_CELLS = 2.0
_PADDING = 1.25
_AREA_SHARE = 0.25
"""A standing person's area over the square of the height (0.53 of a box of aspect 0.47)."""


def draw_theory(directory: str | Path) -> list[Path]:
    """Draw ideal and actual confidences over sigma, over the person's size, and over keypoints; the files written."""
    return [_over_sigma(Path(directory)), _over_size(Path(directory)), _imperfect(Path(directory))]


def _write(figure: Any, path: Path) -> Path:
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150, bbox_inches="tight")
    return path


def _figure(columns: int, title: str) -> Any:  # matplotlib is imported late: importing it takes half a second
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * columns, 3.8), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _falloff_in_crop(keypoint: str) -> float:
    """l_k in crop pixels of a person that fills the crop's inner part."""
    height = _CROP_HEIGHT_PX / _PADDING
    return float(oks.falloff_px(_AREA_SHARE * height**2, COCO17.sigmas[COCO17.index(keypoint)]))


def _over_sigma(directory: Path) -> Path:
    figure, (left, right) = _figure(2, "Confidence of a perfect prediction, 256 x 192 crop")
    sigma = np.linspace(0.0, 40.0, 200)
    target = _TARGET_CELLS * _CELL_PX
    for keypoint in ("left_eye", "left_wrist", "left_hip"):
        ideal = oks.expected_oks(sigma, _falloff_in_crop(keypoint))
        (line,) = left.plot(sigma, ideal, label=f"expected OKS, {keypoint.removeprefix('left_')}")
        right.plot(sigma, theory.regression_confidence(sigma, _CROP_HEIGHT_PX) - ideal, color=line.get_color(), ls="--")
        right.plot(sigma, theory.heatmap_confidence(sigma, target) - ideal, color=line.get_color())
    left.plot(sigma, theory.heatmap_confidence(sigma, target), "k", label="heatmap maximum (eq. 17)")
    left.plot(sigma, theory.regression_confidence(sigma, _CROP_HEIGHT_PX), "k--", label="1 - sigma (eq. 19)")
    left.set(xlabel="sigma [crop px]", ylabel="confidence")
    left.legend(fontsize=8)
    right.axhline(0.0, color="0.6", lw=0.8)
    right.set(xlabel="sigma [crop px]", ylabel="confidence - expected OKS")
    right.set_title("scaling gap (solid), form gap (dashed)", fontsize=10)
    return _write(figure, directory / "theory_sigma.png")


def _over_size(directory: Path) -> Path:
    figure, axes = _figure(2, "The same ambiguity in the image, persons of different size")
    height = np.geomspace(30.0, 600.0, 200)
    scale = _CROP_HEIGHT_PX / (_PADDING * height)
    for axis, sigma in zip(axes, (3.0, 10.0)):
        for keypoint in ("left_eye", "left_wrist", "left_hip"):
            falloff = oks.falloff_px(_AREA_SHARE * height**2, COCO17.sigmas[COCO17.index(keypoint)])
            axis.semilogx(height, oks.expected_oks(sigma, falloff), label=keypoint.removeprefix("left_"))
        axis.semilogx(height, theory.heatmap_confidence(sigma * scale, _TARGET_CELLS * _CELL_PX), "k", label="heatmap")
        axis.semilogx(
            height,
            np.maximum(theory.regression_confidence(sigma * scale, _CROP_HEIGHT_PX), 0),
            "k--",
            label="1 - sigma",
        )
        axis.set(xlabel="person's height [image px]", ylabel="confidence", title=f"sigma = {sigma:g} image px")
        axis.set_xticks([30, 60, 120, 240, 480], ["30", "60", "120", "240", "480"])
        axis.minorticks_off()
        axis.legend(fontsize=8)
    return _write(figure, directory / "theory_size.png")


def _imperfect(directory: Path) -> Path:
    figure, axes = _figure(2, "A prediction off the mean (A.5), sigma = 8 crop px")
    offset = np.linspace(0.0, 30.0, 60)
    target, sigma = _TARGET_CELLS * _CELL_PX, 8.0
    falloff = _falloff_in_crop("left_wrist")
    axes[0].plot(offset, oks.expected_oks(sigma, falloff, offset), label="expected OKS, wrist")
    axes[0].plot(
        offset, [theory.displaced_heatmap(sigma, target, float(d)).amplitude for d in offset], "k", label="heatmap"
    )
    spread = theory.regression_sigma(sigma, offset)
    axes[0].plot(offset, theory.regression_confidence(spread, _CROP_HEIGHT_PX), "k--", label="1 - sigma")
    axes[0].set(xlabel="|prediction - mean| [crop px]", ylabel="confidence")
    axes[0].legend(fontsize=8)
    sigmas = np.linspace(0.5, 40.0, 100)
    axes[1].plot(sigmas, theory.regression_confidence(sigmas, _CROP_HEIGHT_PX), "k--", label="Gaussian model")
    axes[1].plot(sigmas, 1.0 - theory.laplace_scale(sigmas) / _CROP_HEIGHT_PX, "k:", label="Laplace model (A.6)")
    axes[1].plot(sigmas, oks.expected_oks(sigmas, falloff), label="expected OKS, wrist")
    axes[1].set(xlabel="sigma [crop px]", ylabel="confidence", title="a misspecified model")
    axes[1].legend(fontsize=8)
    return _write(figure, directory / "theory_imperfect.png")
