"""The door of every format: what the commands call on a file of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.generators import results, truth_of_two

Reader = Callable[[Path], Any]


def readers(folder: Path) -> dict[str, tuple[Reader, ...]]:
    """The readers of each format of `generators.generators`, by the same names.

    Args:
        folder: for files that stand beside the damaged one.
    """
    from calibration.ccnet.files import load_ccnet
    from calibration.coco.files import read_detections, read_truth
    from calibration.file_calibration.files import load_calibrator
    from eval3dpw.dataset.threedpw import read_sequence
    from eval3dpw.results.fits import TrackFits
    from eval3dpw.results.frame_errors import FrameTable
    from fitting.bodies.body import check_body, convert_body
    from fitting.regressor.files import convert_regressor
    from fitting.regressor.model import load_regressor
    from pose2d.datasets.coco import read_coco
    from pose2d.datasets.mpii import read_mpii
    from pose2d.detection.person_boxes import read_boxes
    from pose2d.files.images import image_header, read_image
    from pose2d.files.matlab import read_mat_array
    from pose2d.files.storage import read_json, read_npz
    from pose2d.files.torch_files import read_torch_file
    from pose2d.networks.checkpoints import convert_checkpoint, read_tensors
    from pose2d.poses import Poses2D

    (folder / "images").mkdir(exist_ok=True)
    for number in (1, 2):
        (folder / "images" / f"{number:012d}.jpg").touch()
    (folder / "images" / "a.jpg").touch()
    good = {"annotations": folder / "good.json", "results": folder / "good_results.json"}
    good["annotations"].write_text(json.dumps(truth_of_two()))
    good["results"].write_text(json.dumps(results()))
    truth = read_truth(good["annotations"])

    def as_coco(path: Path) -> Any:
        return read_coco(folder, "images", stem=path)

    def as_mpii(path: Path) -> Any:
        (folder / "annot").mkdir(exist_ok=True)
        (folder / "annot" / "train.json").write_bytes(path.read_bytes())
        return read_mpii(folder, "train")

    def written(convert: Callable[[Path, Path], Any], name: str) -> Reader:
        def reader(path: Path) -> Any:
            target = folder / name
            target.unlink(missing_ok=True)
            return convert(path, target)

        return reader

    checkpoint = (read_tensors, lambda path: read_torch_file(path, leave_out=True))
    convert = (written(convert_checkpoint, "c.safetensors"), written(convert_regressor, "r.safetensors"))
    image = (image_header, read_image, lambda path: read_image(path, upright=True))
    return {
        "sequence.pkl": (lambda path: read_sequence(path, None),),
        "body.pkl": (written(convert_body, "SMPL_BODY.npz"),),
        "annotations.json": (read_json, read_truth, as_coco, lambda path: read_boxes(path, folder / "images")),
        "results.json": (lambda path: read_detections(path, truth), lambda path: read_boxes(path, folder / "images")),
        "mpii.json": (as_mpii,),
        "initial.npz": (
            *(TrackFits.load, FrameTable.load, Poses2D.load, load_calibrator),
            lambda path: check_body(read_npz(path), path),
        ),
        "zip.pth": (*checkpoint, *convert, load_regressor),
        "legacy.pth": (*checkpoint, *convert, load_regressor),
        "a.safetensors": (read_tensors, load_regressor, load_ccnet),
        "a.jpg": image,
        "a.png": image,
        "a.webp": image,
        "a.mat": (lambda path: read_mat_array(path, "headboxes_src"),),
    }
