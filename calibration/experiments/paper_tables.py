"""The paper's tables with our numbers beside them: the data are other, so compare orders and differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calibration.aggregation import above_threshold, visibility_weighted
from calibration.ccnet.calibrate import features_of_splits, network_of, target_cells, views_of_splits
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.training import train_branch
from calibration.coco.bootstrap import Interval, interval
from calibration.coco.wholebody import PART_COLUMNS, precision_of_parts, scores_of_parts, write_wholebody_results
from calibration.experiments.comparison import (
    ComparedConfidence,
    compare_confidences,
    detections_of,
    truth_of,
    write_lines,
)
from calibration.experiments.methods import BRANCH_TRAININGS, all_confidences
from calibration.experiments.targets import JudgedTarget, Pck, judge_targets, target_confidences
from pose2d.errors import InputError
from pose2d.networks.catalogue import NETWORKS
from pose2d.networks.packaged import packaged_checkpoint

if TYPE_CHECKING:
    from calibration.commands.ccnet_commands import Tables

FAMILIES = {"SBL": "sbl-small", "RLE": "rle-small", "IPR": "ipr-small"}
"""Families whose small networks come with weights."""
_LIKE = {"sbl-small": "sbl-r50", "rle-small": "rle-r50", "ipr-small": "ipr-r50"}
"""The paper's network that a small one is shown beside."""

TABLE_1 = {
    "sbl-r50": {"original": 72.4, "constant": 67.5, "mean": 72.2, "predicted": 73.0, "true": 73.6, "mAR": 75.6},
    "rle-r50": {"original": 72.2, "constant": 67.2, "mean": 71.8, "predicted": 73.2, "true": 73.3, "mAR": 75.4},
}
"""SBL-R50 and RLE-R50 on COCO val2017 at GT boxes (table 1); the oracle's AP equals mAR."""
TABLE_2 = {
    "sbl-r50": (("Hm", 72.4, 73.3, 75.6),),
    "sbl-r152": (("Hm", 76.5, 77.3, 79.3),),
    "hrnet-w32": (("Hm", 76.0, 77.0, 79.3),),
    "hrnet-w48": (("Hm", 77.4, 78.3, 80.9),),
    "vitpose-b": (("Hm", 77.3, 78.1, 80.4),),
    "rle-r50": (("Reg", 72.2, 73.6, 75.4),),
    "rle-r152": (("Reg", 76.3, 77.1, 79.2),),
    "rle-hrnet-w32": (("Reg", 76.7, 77.5, 79.4),),
    "rle-hrnet-w48": (("Reg", 77.9, 78.8, 80.6),),
    "poseur-r50": (("Reg", 76.8, 77.7, 79.7),),
    "ipr-r50": (("const.", 65.6, 70.8, 74.9), ("Hm", 69.5, 70.8, 74.9)),
}
"""Confidence, mAP with it, mAP with CCNet, mAR (table 2)."""
_OURS_2 = {"Hm": "raw", "Reg": "raw", "const.": "constant"}
TABLE_3 = {
    "Whole": (67.2, 63.6, 84.6, 58.3, 61.0),
    "Part": (68.5, 68.9, 85.9, 62.5, 61.0),
    "+CCNet": (69.9, 69.2, 86.4, 62.7, 63.3),
    "mAR": (72.3, 72.9, 88.1, 65.4, 67.2),
}
"""mAP of each part when ranked by the whole person's score, by the part's, by CCNet's; mAR (table 3)."""
TABLE_4 = {
    "RLE": {"": (86.2, 32.9, 75.4, 78.8, 3.35, 1.76), "+CCNet": (86.2, 32.9, 76.6, 78.8, 2.98, 1.49)},
    "SBL": {"": (88.5, 33.9, 77.3, 80.5, 3.90, 2.36), "+CCNet": (88.5, 33.9, 77.7, 80.5, 3.52, 1.95)},
}
"""PCKh@.5, PCKh@.1, mAP, mAR, AUSE of PCKh@.5 and of PCKh@.1 in percent (table 4)."""
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
_DATASET_OF = {1: "coco", 2: "coco", 3: "wholebody", 4: "mpii", 5: "coco"}
_NEEDS = {
    "coco": "COCO: --dataset coco --data DIR, where DIR holds annotations/person_keypoints_<split>.json and "
    "images/<split> or <split>; the bundled networks or --network NAME --checkpoint FILE",
    "wholebody": "COCO-WholeBody: --dataset wholebody --data DIR --network vitpose-b --checkpoint FILE (of 133 "
    "keypoints), where DIR holds annotations/coco_wholebody_val_v1.0.json and val2017/; --calibration-split train2017 "
    "--validation-split None --test-split val2017",
    "mpii": "MPII: --dataset mpii --data DIR --network sbl-r50 --checkpoint FILE (of 16 keypoints) --input-size "
    "256 256, where DIR holds annot/train.json, annot/valid.json, annot/gt_valid.mat and images/; --calibration-split "
    "train --validation-split None --test-split valid (tools/export_mpii.py lays the open world out like this)",
}


@dataclass(frozen=True)
class _Family:
    name: str
    network: str
    rows: Mapping[str, ComparedConfidence]
    persons: int
    images: int

    @property
    def like(self) -> str:
        """The paper's network."""
        return _LIKE.get(self.network, self.network)


def paper_tables(options: Tables) -> Iterator[list[str]]:
    """The chosen tables, each written into the output directory too; of those that need other data, what they need.

    Raises:
        InputError: the data cannot be used, or no family has weights.
    """
    for number in options.only:
        if number not in _DATASET_OF:
            raise InputError(f"--only {number}: the tables are 1 to 5 (table 6 is printed by `compare`)")
    ours = [number for number in options.only if _DATASET_OF[number] == options.dataset]
    families = list(_families(options)) if options.dataset == "coco" and ours else []
    for number in options.only:
        if number not in ours:
            yield [f"table {number} needs {_NEEDS[_DATASET_OF[number]]}"]
            continue
        if options.dataset == "coco":
            lines = {1: _table_1, 2: _table_2, 5: _table_5}[number](families)
            counted = [_counted(family.network, family.persons, family.images) for family in families]
        else:
            lines, counted = (_table_3 if number == 3 else _table_4)(options)
        lines.append(f"ours: {'; '.join(counted)}, {options.dataset}, split {options.test_split}")
        lines.append("[low, high]: 95 % over resampled images.")
        write_lines(options.out / f"table_{number}.txt", lines)
        yield lines


def _counted(network: str, persons: int, images: int) -> str:
    return f"{network} on {persons:,} persons of {images:,} images"


def _families(options: Tables) -> Iterator[_Family]:
    names = FAMILIES
    if options.network is not None:
        names = {_family_of(options.network): options.network}
    elif options.checkpoint is not None:
        raise InputError(f"--checkpoint {options.checkpoint}: name the --network that it is of")
    found = False
    for name, network_name in names.items():
        if options.checkpoint is None:
            try:
                packaged_checkpoint(network_name)
            except InputError:
                continue
        found = True
        network, _ = network_of(options, network_name)
        calibration, validation, test = features_of_splits(network, options)
        mean_area = float(calibration.dataset.areas.mean())
        cells = target_cells(network) if calibration.poses.sigma_px is None else 1.0
        views, validation_views = views_of_splits(network, options)
        confidences = all_confidences(
            calibration,
            test,
            cells,
            mean_area,
            validation,
            ("local",),
            network_name=network_name,
            views=views,
            validation_views=validation_views,
        )
        rows = compare_confidences(test, confidences.by_name, ("raw", "constant"), None, options.bootstrap)
        images = len(np.unique(test.dataset.image_ids))
        yield _Family(name, network_name, {row.name: row for row in rows}, len(test), images)
    if not found:
        raise InputError(f"none of {', '.join(names.values())} comes with weights here: train them with train-pose")


def _family_of(network: str) -> str:
    if network not in NETWORKS:
        raise InputError(f"there is no network {network!r}; known are {', '.join(NETWORKS)}")
    return NETWORKS[network].family


def _cell(row: ComparedConfidence | JudgedTarget) -> str:
    return _spanned(row.ap, row.ap_interval)


def _spanned(value: float, span: Interval, digits: int = 1) -> str:
    if np.isnan(value):
        return "–"
    return f"{100 * value:.{digits}f} [{100 * span.low:.{digits}f}, {100 * span.high:.{digits}f}]"


def _table_1(families: Sequence[_Family]) -> list[str]:
    names = [*_COLUMNS_1, "mAR"]
    lines = ["Table 1: mAP of closed-form corrections", f"{'':12s}" + "".join(f"{name:>20s}" for name in names)]
    for family in families:
        if paper := TABLE_1.get(family.like):
            lines.append(f"{family.name + ' paper':12s}" + "".join(f"{paper[name]:>20.1f}" for name in names))
        cells = [_cell(family.rows[ours]) for ours in _COLUMNS_1.values()]
        recall = f"{100 * family.rows['raw'].ar:.1f}"
        lines.append(f"{family.name + ' ours':12s}" + "".join(f"{cell:>20s}" for cell in [*cells, recall]))
    return lines


def _table_2(families: Sequence[_Family]) -> list[str]:
    lines = ["Table 2: mAP with CCNet", f"{'':20s}{'own':>20s}{'+ CCNet':>20s}{'gain':>25s}{'mAR':>8s}"]
    for family in families:
        ccnet = family.rows["CCNet local"]
        paper_rows = TABLE_2.get(family.like, (("own", None, None, None),))
        for name, own, calibrated, recall in paper_rows:
            title = f"{family.name} {name}"
            if own is not None and calibrated is not None:
                gain = calibrated - own
                lines.append(f"{title + ' paper':20s}{own:>20.1f}{calibrated:>20.1f}{gain:>+25.1f}{recall:>8.1f}")
            ours = family.rows[_OURS_2.get(name, "raw")]
            change, span = ccnet.gains[ours.name]
            cell = f"{100 * change:+.2f} [{100 * span.low:+.2f}, {100 * span.high:+.2f}]"
            lines.append(f"{title + ' ours':20s}{_cell(ours):>20s}{_cell(ccnet):>20s}{cell:>25s}{100 * ours.ar:>8.1f}")
    return lines


def _one_network(options: Tables) -> tuple[CachedFeatures, CachedFeatures | None, CachedFeatures, str]:
    """Features of the splits under the one network that tables 3 and 4 are of, and its name."""
    if options.network is None:
        raise InputError(f"name a --network and its --checkpoint: no bundled one is for {_NEEDS[options.dataset]}")
    _family_of(options.network)
    network, _ = network_of(options, options.network)
    return *features_of_splits(network, options), options.network


def _table_3(options: Tables) -> tuple[list[str], list[str]]:
    """WholeBody's parts, ranked in three ways; the results files are left beside the table."""
    calibration, validation, test, network = _one_network(options)
    branch = train_branch(calibration, BRANCH_TRAININGS["local"], network, validation).branch
    calibrated = calibrate_cache(branch, test)
    truth, skeleton = truth_of(test), test.dataset.skeleton
    detections = detections_of(test, truth)
    raw = np.clip(test.poses.raw_score, 0.0, 1.0)
    whole = above_threshold(raw)
    ways = {
        "Whole": {part: whole for part, _ in skeleton.parts},
        "Part": scores_of_parts(raw, skeleton, lambda keypoint, _: above_threshold(keypoint)),
        "+CCNet": scores_of_parts(
            calibrated.confidence,
            skeleton,
            lambda keypoint, where: visibility_weighted(keypoint, calibrated.visibility[:, where]),
        ),
    }
    lines = [
        "Table 3: mAP of COCO-WholeBody's parts by what ranks them (Hand: mean of both)",
        f"{'':14s}" + "".join(f"{column:>20s}" for column in PART_COLUMNS),
    ]
    for way, scores in ways.items():
        lines.append(f"{way + ' paper':14s}" + "".join(f"{value:>20.1f}" for value in TABLE_3[way]))
        found = precision_of_parts(truth, detections, scores, options.bootstrap)
        cells = [_spanned(one.ap, interval(one.samples)) for one in found.values()]
        lines.append(f"{way + ' ours':14s}" + "".join(f"{cell:>20s}" for cell in cells))
        write_wholebody_results(options.out / f"wholebody_{way.strip('+').lower()}.json", truth, detections, scores)
    lines.append(f"{'mAR paper':14s}" + "".join(f"{value:>20.1f}" for value in TABLE_3["mAR"]))
    recalls = ["–" if np.isnan(one.ar) else f"{100 * one.ar:.1f}" for one in found.values()]
    lines.append(f"{'mAR ours':14s}" + "".join(f"{cell:>20s}" for cell in recalls))
    return lines, [_counted(network, len(test), len(truth.image_ids))]


def _table_4(options: Tables) -> tuple[list[str], list[str]]:
    """MPII: confidences made to tell OKS and PCKh."""
    calibration, validation, test, network = _one_network(options)
    measures = [Pck(0.5), Pck(0.1)]
    confidences = target_confidences(calibration, validation, test, measures, network)
    table = judge_targets(test, confidences, measures, options.bootstrap)
    names = [measure.name(test) for measure in measures]
    columns = [*names, "mAP", "mAR", *(f"AUSE {name}" for name in names)]
    lines = ["Table 4: MPII, OKS and PCKh as targets", f"{'':26s}" + "".join(f"{column:>25s}" for column in columns)]
    family = _family_of(network)
    for suffix, values in TABLE_4.get(family, {}).items():
        cells = [f"{value:.{1 if place < 4 else 2}f}" for place, value in enumerate(values)]
        lines.append(f"{f'{family} {suffix}'.strip() + ' paper':26s}" + "".join(f"{cell:>25s}" for cell in cells))
    for row in table.rows:
        cells = [f"{100 * table.pck[name]:.1f}" for name in names] + [_cell(row), f"{100 * table.ar:.1f}"]
        cells += [_spanned(row.ause[name], row.ause_intervals[name], 2) for name in names]
        lines.append(f"{f'{family} {row.name}':26s}" + "".join(f"{cell:>25s}" for cell in cells))
    lines.append(
        "OKS by the area of the tight box and mmpose's sigmas of MPII; PCKh without pelvis and thorax. "
        "AUSE in percent, not normalised; the paper does not say how its own is scaled."
    )
    return lines, [_counted(network, len(test), len(np.unique(test.dataset.image_ids)))]


def _table_5(families: Sequence[_Family]) -> list[str]:
    lines = ["Table 5: other tests of confidence", f"{'':20s}{'mAP':>20s}{'kp r':>8s}{'inst r':>8s}{'kp AUSE':>9s}"]
    for family in families:
        for name, row_name in (("raw", "raw"), ("CCNet", "CCNet local")):
            if paper := TABLE_5.get(family.name, {}).get(name):
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
