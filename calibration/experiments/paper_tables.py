"""The paper's tables with our numbers beside them: the data are other, so compare orders and differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.aggregation import above_threshold, visibility_weighted
from calibration.ccnet.features import CachedFeatures
from calibration.ccnet.model import calibrate_cache
from calibration.ccnet.splits import closed_form_cells, network_of, split_features, training_persons
from calibration.ccnet.training import BRANCH_TRAININGS, TrainingPersons, train_branch
from calibration.coco.bootstrap import interval
from calibration.coco.wholebody import PART_COLUMNS, precision_of_parts, scores_of_parts, write_wholebody_results
from calibration.experiments.comparison import (
    ComparedConfidence,
    compare_confidences,
    detections_of,
    percent,
    truth_of,
)
from calibration.experiments.methods import all_confidences
from calibration.experiments.options import TablesOptions
from calibration.experiments.targets import JudgedTarget, Pck, judge_targets, target_confidences
from pose2d.errors import InputError
from pose2d.networks.base import PoseNetwork
from pose2d.networks.catalogue import NETWORKS, require_known
from pose2d.networks.packaged import is_foreign, packaged_checkpoint
from pose2d.tables import Cell, Number, ResultTable, Section, write_tables

FAMILIES = {"SBL": "sbl-small", "RLE": "rle-small", "IPR": "ipr-small"}
"""Families whose small networks come with weights."""
_LIKE = {"sbl-small": "sbl-r50", "rle-small": "rle-r50", "ipr-small": "ipr-r50"}
"""The paper's network that a small one is shown beside."""

TABLE_1 = {
    "sbl-r50": {"original": 72.4, "constant": 67.5, "mean": 72.2, "predicted": 73.0, "true": 73.6, "mAR": 75.6},
    "rle-r50": {"original": 72.2, "constant": 67.2, "mean": 71.8, "predicted": 73.2, "true": 73.3, "mAR": 75.4},
}
"""SBL-R50 and RLE-R50 on COCO val2017 at GT boxes (table 1); the oracle's AP equals mAR."""
TABLE_2: dict[str, tuple[tuple[str, float, float, float], ...]] = {
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
    "images/<split> or <split>; the packaged networks or --network NAME --checkpoint FILE",
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


def paper_tables(options: TablesOptions) -> Iterator[ResultTable]:
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
            yield ResultTable("", (), (), (f"table {number} needs {_NEEDS[_DATASET_OF[number]]}",))
            continue
        if options.dataset == "coco":
            table = {1: _table_1, 2: _table_2, 5: _table_5}[number](families)
            counted = [_counted(family.network, family.persons, family.images) for family in families]
        else:
            table, counted = (_table_3 if number == 3 else _table_4)(options)
        judged = f"ours: {'; '.join(counted)}, {options.dataset}, split {options.test_split}"
        table = replace(table, notes=(*table.notes, judged, "[low, high]: 95 % over resampled images."))
        write_tables(options.out / f"table_{number}.txt", [table])
        yield table


def _counted(network: str, persons: int, images: int) -> str:
    return f"{network} on {persons:,} persons of {images:,} images"


def _families(options: TablesOptions) -> Iterator[_Family]:
    names = FAMILIES
    if options.network:
        names = {_family_of(options.network): options.network}
    elif options.checkpoint is not None:
        raise InputError(f"--checkpoint {options.checkpoint}: name the --network that it is of")
    found = False
    for name, network_name in names.items():
        if options.checkpoint is None and not is_foreign(network_name):
            try:
                packaged_checkpoint(network_name)
            except InputError:
                continue
        found = True
        network, persons, test = _fitted_and_judged(options, network_name)
        cells = closed_form_cells(network, test)
        confidences = all_confidences(persons, test, cells, ("local",), network_name)
        rows = compare_confidences(test, confidences.by_name, ("raw", "constant"), None, options.bootstrap)
        images = len(np.unique(test.dataset.image_ids))
        yield _Family(name, network_name, {row.name: row for row in rows}, len(test), images)
    if not found:
        raise InputError(f"none of {', '.join(names.values())} comes with weights here: train them with train-pose")


def _fitted_and_judged(options: TablesOptions, name: str) -> tuple[PoseNetwork, TrainingPersons, CachedFeatures]:
    """A network, the persons that confidences are fitted on, and those that they are judged on."""
    network = network_of(replace(options, network=name)).network
    persons = training_persons(network, options, options.calibration_split, options.validation_split)
    test, _ = split_features(network, options, options.test_split)
    return network, persons, test


def _one_network(options: TablesOptions) -> tuple[str, TrainingPersons, CachedFeatures]:
    """The one network that tables 3 and 4 are of, by name; persons as `_fitted_and_judged`, without views."""
    if not options.network:
        raise InputError(f"name a --network and its --checkpoint: no packaged one is for {_NEEDS[options.dataset]}")
    _family_of(options.network)
    _, persons, test = _fitted_and_judged(replace(options, views=()), options.network)
    return options.network, persons, test


def _family_of(network: str) -> str:
    if is_foreign(network):
        return network
    require_known(network)
    return NETWORKS[network].family


def _as_published(value: float, digits: int = 1) -> Number:
    """A percentage of the paper's, as the share that ours are."""
    return Number(value / 100.0, digits=digits, factor=100.0)


def _share(value: float, digits: int = 1) -> Number:
    return Number(value, digits=digits, factor=100.0)


def _ap(row: ComparedConfidence | JudgedTarget) -> Number:
    return percent(row.ap, row.ap_interval)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *notes: str) -> ResultTable:
    return ResultTable(title, ("", *columns), (Section(None, rows),), notes)


def _table_1(families: Sequence[_Family]) -> ResultTable:
    rows: list[list[Cell]] = []
    names = [*_COLUMNS_1, "mAR"]
    for family in families:
        if paper := TABLE_1.get(family.like):
            rows.append([f"{family.name} paper", *(_as_published(paper[name]) for name in names)])
        ours = [_ap(family.rows[name]) if name in family.rows else "–" for name in _COLUMNS_1.values()]
        rows.append([f"{family.name} ours", *ours, _share(family.rows["raw"].ar)])
    return _table("Table 1: mAP of closed-form corrections", names, rows)


def _published(family: _Family) -> Iterable[tuple[str, *tuple[float, ...]]]:
    """Table 2's rows of the paper's network; of a network that is not in it, its name for the own confidence alone."""
    return TABLE_2.get(family.like, (("own",),))


def _table_2(families: Sequence[_Family]) -> ResultTable:
    rows: list[list[Cell]] = []
    for family in families:
        ccnet = family.rows["CCNet local"]
        for name, *published in _published(family):
            title = f"{family.name} {name}"
            if published:
                own, calibrated, recall = published
                gain = Number((calibrated - own) / 100.0, digits=1, factor=100.0, signed=True)
                rows.append([f"{title} paper", *map(_as_published, (own, calibrated)), gain, _as_published(recall)])
            ours = family.rows[_OURS_2.get(name, "raw")]
            won = percent(*ccnet.gains[ours.name], digits=2, signed=True)
            rows.append([f"{title} ours", _ap(ours), _ap(ccnet), won, _share(ours.ar)])
    return _table("Table 2: mAP with CCNet", ("own", "+ CCNet", "gain", "mAR"), rows)


def _table_3(options: TablesOptions) -> tuple[ResultTable, list[str]]:
    """WholeBody's parts, ranked in three ways; the results files are left beside the table."""
    network, persons, test = _one_network(options)
    calibrated = calibrate_cache(train_branch(persons, BRANCH_TRAININGS["local"], network).branch, test)
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
    rows: list[list[Cell]] = []
    recalls: list[Cell] = []
    for way, scores in ways.items():
        rows.append([f"{way} paper", *map(_as_published, TABLE_3[way])])
        found = precision_of_parts(truth, detections, scores, options.bootstrap)
        rows.append([f"{way} ours", *(percent(one.ap, interval(one.samples)) for one in found.values())])
        recalls = [_share(one.ar) for one in found.values()]
        write_wholebody_results(options.out / f"wholebody_{way.strip('+').lower()}.json", truth, detections, scores)
    rows.append(["mAR paper", *map(_as_published, TABLE_3["mAR"])])
    rows.append(["mAR ours", *recalls])
    title = "Table 3: mAP of COCO-WholeBody's parts by what ranks them (Hand: mean of both)"
    return _table(title, tuple(PART_COLUMNS), rows), [_counted(network, len(test), len(truth.image_ids))]


def _table_4(options: TablesOptions) -> tuple[ResultTable, list[str]]:
    """MPII: confidences made to tell OKS and PCKh."""
    network, persons, test = _one_network(options)
    measures = [Pck(0.5), Pck(0.1)]
    judged = judge_targets(test, target_confidences(persons, test, measures, network), measures, options.bootstrap)
    names = [measure.name(test) for measure in measures]
    family = _family_of(network)
    rows: list[list[Cell]] = []
    for suffix, values in TABLE_4.get(family, {}).items():
        numbers = (_as_published(value, 1 if place < 4 else 2) for place, value in enumerate(values))
        rows.append([f"{family} {suffix}".strip() + " paper", *numbers])
    for row in judged.rows:
        shares = (_share(judged.pck[name]) for name in names)
        ause = (percent(row.ause[name], row.ause_intervals[name], digits=2) for name in names)
        rows.append([f"{family} {row.name}", *shares, _ap(row), _share(judged.ar), *ause])
    table = _table(
        "Table 4: MPII, OKS and PCKh as targets",
        (*names, "mAP", "mAR", *(f"AUSE {name}" for name in names)),
        rows,
        "OKS by the area of the tight box and mmpose's sigmas of MPII; PCKh without pelvis and thorax. "
        "AUSE in percent, not normalised; the paper does not say how its own is scaled.",
    )
    return table, [_counted(network, len(test), len(np.unique(test.dataset.image_ids)))]


def _table_5(families: Sequence[_Family]) -> ResultTable:
    rows: list[list[Cell]] = []
    for family in families:
        for name, row_name in (("raw", "raw"), ("CCNet", "CCNet local")):
            if paper := TABLE_5.get(family.name, {}).get(name):
                ap, keypoint, instance, area = paper
                numbers = (_as_published(ap), Number(keypoint), Number(instance), _as_published(area, 2))
                rows.append([f"{family.name} {name} paper", *numbers])
            row = family.rows[row_name]
            if row.keypoint is not None:
                pearsons = (Number(row.keypoint.pearson), Number(row.instance.pearson))
                rows.append([f"{family.name} {name} ours", _ap(row), *pearsons, _share(row.keypoint.ause_raw, 2)])
    return _table("Table 5: other tests of confidence", ("mAP", "kp r", "inst r", "kp AUSE"), rows)
