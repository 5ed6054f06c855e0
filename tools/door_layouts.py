"""What `check_doors` lays into a command's working folder, and what it looks for there afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def files_of(folder: Path) -> Iterator[Path]:
    """All files below a folder but the command's own streams."""
    return (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith((".out.", ".err.")))


def link(source: Path, name: str) -> Callable[[Path], None]:
    """Lay a copy of a file or folder under a name."""

    def lay(folder: Path) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)

    return lay


def both(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    """Do several."""

    def all_of_them(folder: Path) -> None:
        for step in steps:
            step(folder)

    return all_of_them


def no_files(folder: Path) -> str:
    """Nothing was written."""
    made = [file.name for file in files_of(folder) if file.name in ("x.safetensors", "SMPL_MALE.npz", "o.json")]
    return f"{made[0]} was written" if made else ""


def has(name: str) -> Callable[[Path], str]:
    """The good item's result is there."""
    return lambda folder: "" if (folder / name).is_file() else f"{name} is missing"


def has_ap(metric: str, value: float) -> Callable[[Path], str]:
    """The JSON of coco-eval has a metric, to the four digits that the reference is given in."""

    def check(folder: Path) -> str:
        found = _find(json.loads((folder / "e.json").read_text()), {metric, metric.replace("AP (M)", "APM")})
        return "" if found and abs(found[0] - value) < 6e-5 else f"{metric} is {found}, not {value}"

    return check


def _find(value: object, names: set[str]) -> list[float]:
    if isinstance(value, dict):
        here = [v for k, v in value.items() if k in names and isinstance(v, float)]
        return here + [found for child in value.values() for found in _find(child, names)]
    return [found for child in value for found in _find(child, names)] if isinstance(value, list) else []


def same_picture(folder: Path) -> str:
    """Both entries show one picture: the keypoints agree to JPEG's noise."""
    entries = json.loads((folder / "o.json").read_text())
    if len(entries) != 2:
        return f"{len(entries)} results"
    a, b = ([entry["keypoints"][axis::3] for axis in (0, 1)] for entry in entries)
    apart = [((x - u) ** 2 + (y - v) ** 2) ** 0.5 for x, y, u, v in zip(*a, *b, strict=True)]
    mean = sum(apart) / len(apart)
    return "" if mean < 3 else f"keypoints {mean:.0f} px apart"


def finite_body(folder: Path) -> str:
    """A body that was written holds finite numbers only."""
    import numpy as np

    if not (folder / "SMPL_MALE.npz").is_file():
        return ""
    with np.load(folder / "SMPL_MALE.npz") as arrays:
        return "" if all(np.isfinite(arrays[name]).all() for name in arrays) else "infinite numbers were written"


def an_image(folder: Path) -> None:
    """A folder i with one image."""
    import cv2
    import numpy as np

    (folder / "i").mkdir()
    cv2.imwrite(str(folder / "i" / "000000000001.jpg"), np.full((120, 160, 3), 90, np.uint8))


def a_result(folder: Path) -> None:
    """A results file of one detection."""
    entry = {"image_id": 1, "category_id": 1, "keypoints": [10.0, 20.0, 0.5] * 17, "score": 0.5}
    (folder / "r.json").write_text(json.dumps([entry]))


def a_truth(folder: Path) -> None:
    """An annotation file of one person."""
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [10.0, 20.0, 2] * 17, "num_keypoints": 17}
    person |= {"bbox": [5, 5, 30, 60], "area": 900.0, "iscrowd": 0}
    (folder / "gt.json").write_text(json.dumps({"images": [{"id": 1}], "annotations": [person]}))


def a_dataset(folder: Path) -> None:
    """Folders of images beside an annotation file, empty but for some that the file may name."""
    import cv2
    import numpy as np

    for place in ("d/train", "d/images/train", "d/images"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in ("000000000001.jpg", "1.jpg", "a.jpg", "2.jpg"):
            cv2.imwrite(str(folder / place / name), np.full((120, 160, 3), 90, np.uint8))


def an_mpii(folder: Path) -> None:
    """MPII's JSON of some persons beside head boxes."""
    a_dataset(folder)
    person = {"image": "a.jpg", "center": [80.0, 60.0], "scale": 0.4, "joints": [[50.0, 60.0]] * 16}
    entries = [person | {"joints_vis": [1] * 16} for _ in range(3)]
    (folder / "d/annot/train.json").write_text(json.dumps(entries))


def an_open_body(folder: Path) -> None:
    """The packaged bodies as a folder b."""
    from fitting.bodies.body import OPEN_BODY_DIR

    (folder / "b").mkdir()
    for file in OPEN_BODY_DIR.glob("*.npz"):
        shutil.copy(file, folder / "b" / file.name)


def an_averaged_checkpoint(folder: Path) -> None:
    """A checkpoint with every entry twice, as mmcv's running average saves it."""
    import torch
    from safetensors.torch import load_file

    import pose2d

    state = load_file(Path(pose2d.__file__).parent / "weights" / "sbl-small.safetensors")
    averages = {"ema_" + name.replace(".", "_"): value for name, value in state.items()}
    torch.save({"state_dict": state | averages}, folder / "ema.pth")


def honest_tracks(folder: Path) -> None:
    """A run's summary whose names stay inside it."""
    path = folder / "run" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary).replace("../../EVIL", "carry_test_22_0"))


def fits_of(cases: Path | None) -> Callable[[Path], None]:
    """A sequence r and fits f of it."""

    def lay(folder: Path) -> None:
        if cases is None:
            return
        link(cases / "sequence" / "root", "r")(folder)
        link(cases / "13" / "initial", "f/fits/raw")(folder)

    return lay
