"""The paper's tables with our numbers beside them: the data are other, so compare orders and differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.calibrate import split_features, target_cells
from calibration.comparison import ComparedConfidence, compare_confidences, write_lines
from calibration.experiments import all_confidences
from pose2d.bundled import bundled_checkpoint, load_network
from pose2d.errors import InputError

if TYPE_CHECKING:
    from calibration.ccnet_commands import Tables

FAMILIES = {"SBL": "sbl-small", "RLE": "rle-small", "IPR": "ipr-small"}
"""The paper's name of a network family, and ours that comes with weights."""

TABLE_1 = {
    "SBL": {"original": 72.4, "constant": 67.5, "mean": 72.2, "predicted": 73.0, "true": 73.6, "mAR": 75.6},
    "RLE": {"original": 72.2, "constant": 67.2, "mean": 71.8, "predicted": 73.2, "true": 73.3, "mAR": 75.4},
}
"""SBL-R50 and RLE-R50 on COCO val2017 at GT boxes (table 1); the oracle's AP equals mAR."""
TABLE_2 = {
    "SBL": (("Hm", 72.4, 73.3, 75.6),),
    "RLE": (("Reg", 72.2, 73.6, 75.4),),
    "IPR": (("const.", 65.6, 70.8, 74.9), ("Hm", 69.5, 70.8, 74.9)),
}
"""Confidence, mAP with it, mAP with CCNet and mAR of the ResNet-50 networks (table 2)."""
_OURS_2 = {"Hm": "raw", "Reg": "raw", "const.": "constant"}
TABLE_5 = {
    "RLE": {"raw": (77.9, 0.700, 0.637, 5.03), "CCNet": (78.7, 0.782, 0.636, 4.22)},
    "SBL": {"raw": (76.7, 0.643, 0.543, 6.47), "CCNet": (78.9, 0.718, 0.628, 4.11)},
}
"""mAP, Pearson of keypoints and instances, AUSE of keypoints in percent (table 5).

The paper does not say how its AUSE is scaled; ours is the area between the curves of 1 - OKS, times 100.
"""
_COLUMNS_1 = {
    "original": "raw",
    "constant": "constant",
    "mean": "closed form, mean area",
    "predicted": "closed form, predicted area",
    "true": "closed form, true area",
}
_MISSING = {
    3: "table 3 needs COCO-WholeBody: annotations/coco_wholebody_val_v1.0.json, val2017/, a network of 133 keypoints",
    4: "table 4 needs MPII: images/ and annotations of its validation split, and a network of 16 keypoints",
}


@dataclass(frozen=True)
class _Family:
    name: str
    network: str
    rows: Mapping[str, ComparedConfidence]
    persons: int
    images: int


def paper_tables(options: Tables) -> Iterator[list[str]]:
    """The chosen tables, each written into the output directory too.

    Raises:
        InputError: the data cannot be used, or no family has weights.
    """
    for number in options.only:
        if number not in (1, 2, 3, 4, 5):
            raise InputError(f"--only {number}: the tables are 1 to 5 (table 6 is printed by `compare`)")
    families = list(_families(options)) if {1, 2, 5} & set(options.only) else []
    for number in options.only:
        if number in _MISSING:
            yield [_MISSING[number]]
            continue
        lines = {1: _table_1, 2: _table_2, 5: _table_5}[number](families)
        lines.append(
            "ours: " + "; ".join(f"{f.network} on {f.persons:,} persons of {f.images:,} images" for f in families)
        )
        lines.append("[low, high]: 95 % over resampled images.")
        write_lines(options.out / f"table_{number}.txt", lines)
        yield lines


def _families(options: Tables) -> Iterator[_Family]:
    found = False
    for name, network_name in FAMILIES.items():
        try:
            checkpoint = bundled_checkpoint(network_name)
        except InputError:
            continue
        found = True
        network, _ = load_network(network_name, checkpoint)
        calibration, validation, test = (
            split_features(network, options.data, split, options.cache, options.limit)
            for split in (options.calibration_split, options.validation_split, options.test_split)
        )
        mean_area = float(calibration.dataset.areas.mean())
        cells = target_cells(network, checkpoint) if calibration.poses.sigma_px is None else 1.0
        confidences = all_confidences(
            calibration, test, cells, mean_area, validation, ("local",), network_name=network_name
        )
        rows = compare_confidences(test, confidences.by_name, ("raw", "constant"), None, options.bootstrap)
        images = len(np.unique(test.dataset.image_ids))
        yield _Family(name, network_name, {row.name: row for row in rows}, len(test), images)
    if not found:
        raise InputError(f"none of {', '.join(FAMILIES.values())} comes with weights here: train them with train-pose")


def _cell(row: ComparedConfidence) -> str:
    return f"{100 * row.ap:.1f} [{100 * row.ap_interval.low:.1f}, {100 * row.ap_interval.high:.1f}]"


def _table_1(families: Sequence[_Family]) -> list[str]:
    names = [*_COLUMNS_1, "mAR"]
    lines = ["Table 1: mAP of closed-form corrections", f"{'':12s}" + "".join(f"{name:>20s}" for name in names)]
    for family in families:
        paper = TABLE_1.get(family.name)
        if paper:
            lines.append(f"{family.name + ' paper':12s}" + "".join(f"{paper[name]:>20.1f}" for name in names))
        cells = [_cell(family.rows[ours]) for ours in _COLUMNS_1.values()]
        recall = f"{100 * family.rows['raw'].ar:.1f}"
        lines.append(f"{family.name + ' ours':12s}" + "".join(f"{cell:>20s}" for cell in [*cells, recall]))
    return lines


def _table_2(families: Sequence[_Family]) -> list[str]:
    lines = ["Table 2: mAP with CCNet", f"{'':18s}{'own':>20s}{'+ CCNet':>20s}{'gain':>22s}{'mAR':>8s}"]
    for family in families:
        calibrated_row = family.rows["CCNet local"]
        for name, own, calibrated, recall in TABLE_2[family.name]:
            title, gain = f"{family.name} {name}", calibrated - own
            lines.append(f"{title + ' paper':18s}{own:>20.1f}{calibrated:>20.1f}{gain:>+22.1f}{recall:>8.1f}")
            own_row = family.rows[_OURS_2[name]]
            change, span = calibrated_row.gains[own_row.name]
            cell = f"{100 * change:+.2f} [{100 * span.low:+.2f}, {100 * span.high:+.2f}]"
            lines.append(
                f"{title + ' ours':18s}{_cell(own_row):>20s}{_cell(calibrated_row):>20s}{cell:>22s}"
                f"{100 * own_row.ar:>8.1f}"
            )
    return lines


def _table_5(families: Sequence[_Family]) -> list[str]:
    lines = ["Table 5: other tests of confidence", f"{'':20s}{'mAP':>20s}{'kp r':>8s}{'inst r':>8s}{'kp AUSE':>9s}"]
    for family in families:
        for name, row_name in (("raw", "raw"), ("CCNet", "CCNet local")):
            paper = TABLE_5.get(family.name, {}).get(name)
            if paper:
                ap, keypoint, instance, area = paper
                title = f"{family.name} {name} paper"
                lines.append(f"{title:20s}{ap:>20.1f}{keypoint:>8.3f}{instance:>8.3f}{area:>9.2f}")
            row = family.rows[row_name]
            if row.keypoint is not None:
                lines.append(
                    f"{f'{family.name} {name} ours':20s}{_cell(row):>20s}{row.keypoint.pearson:>8.3f}"
                    f"{row.instance.pearson:>8.3f}{100 * row.keypoint.ause_raw:>9.2f}"
                )
    return lines
