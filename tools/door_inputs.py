"""The inputs that `check_doors` runs: commands on every file of the hostile folder, and on every case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.door_layouts import (
    a_dataset,
    a_result,
    a_truth,
    an_averaged_checkpoint,
    an_image,
    an_mpii,
    an_open_body,
    both,
    finite_body,
    fits_of,
    has,
    has_ap,
    honest_tracks,
    link,
    no_files,
    same_picture,
)


@dataclass(frozen=True)
class Input:
    """One command on one input.

    Attributes:
        name: folder and file.
        arguments: of run_fitting.py; paths relative to the working folder, or absolute.
        status: expected.
        says: words that must be printed, on either stream.
        prepare: lays out the working folder.
        check: further conditions; returns what is wrong.
    """

    name: str
    arguments: list[str]
    status: int = 2
    says: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None
    check: Callable[[Path], str] | None = None


def hostile_inputs(root: Path, cases: Path | None) -> Iterator[Input]:
    """Every input of the hostile folder that is one file or one folder."""
    yield from _checkpoints_and_bodies(root)
    if cases is not None:
        yield from _sequences(root, cases)
    yield from _images_and_runs(root)
    yield from _results_and_datasets(root, cases)


def _checkpoints_and_bodies(root: Path) -> Iterator[Input]:
    for file in sorted(root.glob("01_*/*.pt")) + sorted(root.glob("1[67]_*/*")):
        name, path = f"{file.parent.name}/{file.name}", str(file)
        if "convert_regressor__AssertionError__d8b7e7" not in name:  # its tensors are whole, but no regressor's
            yield Input(f"{name} (checkpoint)", ["convert-checkpoint", path, "x.safetensors"], check=no_files)
        yield Input(f"{name} (regressor)", ["convert-regressor", path, "x.safetensors"], check=no_files)
        yield Input(
            f"{name} (detect)",
            ["detect", "--network", "sbl-small", "--checkpoint", path, "--images", "i", "--out", "o.json"],
            prepare=an_image,
        )
    for file in sorted(root.glob("03_*/*.pkl")) + sorted(root.glob("*/pkl_body*.pkl")) + sorted(root.glob("05_*/*")):
        silent = "88cb38" in file.name or "94fde3" in file.name or "966dbc" in file.name
        yield Input(
            f"{file.parent.name}/{file.name} (body)",
            ["convert-body", str(file), "SMPL_MALE.npz"],
            check=no_files if not silent else finite_body,
        )


def _sequences(root: Path, cases: Path) -> Iterator[Input]:
    good = cases / "sequence" / "root"
    bad = [*root.glob("04_*/dtype_lie.pkl"), *root.glob("*/pkl_sequence*.pkl"), *root.glob("05_*/*.pkl")]
    for file in sorted(bad):
        yield Input(
            f"{file.parent.name}/{file.name} (beside a good sequence)",
            ["fit", "--root", "r", "--weighting", "raw", "--limit", "2", "--out", "o"],
            says=("1 of 2 sequences could not be used",),
            prepare=both(link(good, "r"), link(file, "r/sequenceFiles/test/aaa.pkl")),
            check=has("o/fits/raw/cross_arms_wave_test_15_0.npz"),
        )
    file = good / "sequenceFiles/test/cross_arms_wave_test_15.pkl"
    yield Input(
        "07_same_sequence_field",
        ["fit", "--root", "r", "--weighting", "raw", "--limit", "2", "--out", "o"],
        prepare=both(link(good, "r"), link(file, "r/sequenceFiles/test/another.pkl")),
    )
    for file in sorted(root.glob("26_*/npz_body*")):
        yield Input(
            f"{file.parent.name}/{file.name}",
            ["fit", "--root", "r", "--weighting", "raw", "--limit", "1", "--out", "o", "--body-dir", "b"],
            prepare=both(link(good, "r"), link(file, "b/SMPL_NEUTRAL.npz"), link(file, "b/SMPL_MALE.npz")),
        )
    for file in sorted(root.glob("27_*/npz_initial*")):
        yield Input(
            f"{file.parent.name}/{file.name}",
            ["fit", "--root", "r", "--weighting", "raw", "--initial", "i", "--out", "o"],
            prepare=both(
                link(good, "r"), *(link(file, f"i/cross_arms_wave_test_15_{actor}.npz") for actor in range(2))
            ),
        )
    for file in sorted(root.glob("27_*/st_regressor*")):
        yield Input(
            f"{file.parent.name}/{file.name}",
            ["fit", "--root", "r", "--weighting", "raw", "--regressor", str(file), "--limit", "1", "--out", "o"],
            prepare=link(good, "r"),
        )
    for file in sorted(root.glob("27_*/*.safetensors")):
        if "regressor" not in file.name:
            options = ["--weighting", "ccnet", "--ccnet", str(file), "--limit", "1", "--out", "o"]
            yield Input(f"{file.parent.name}/{file.name}", ["fit", "--root", "r", *options], prepare=link(good, "r"))


def _images_and_runs(root: Path) -> Iterator[Input]:
    for folder in sorted(root.glob("06_*/*")):
        yield Input(
            f"06_image_bomb/{folder.name}",
            ["detect", "--network", "sbl-small", "--images", str(folder), "--out", "o.json"],
            status=0,
            says=("1 of 2 persons were skipped", "pixels are too many"),
        )
    run_folder = root / "10_export_traversal" / "stranger_run"
    if run_folder.is_dir():
        yield Input(
            "10_export_traversal",
            ["export", "--fits", "run", "--out", "a/b/out", "--format", "npz"],
            prepare=link(run_folder, "run"),
            check=lambda folder: "EVIL was written" if list(folder.glob("a/**/*EVIL*")) else "",
        )
        for file in sorted(root.glob("23_*/npz_errors*")):
            track = "errors/carry_test_22_0.npz"
            yield Input(
                f"{file.parent.name}/{file.name}",
                ["report", "--run-dir", "run"],
                prepare=both(link(run_folder, "run"), link(file, f"run/{track}"), honest_tracks),
            )


def _results_and_datasets(root: Path, cases: Path | None) -> Iterator[Input]:
    for file in sorted(root.glob("13_*/*")):
        yield Input(
            f"{file.parent.name}/{file.name}",
            ["calibrate-file", "apply", "--results", "r.json", "--calibrator", str(file), "--out", "o.json"],
            prepare=a_result,
            check=no_files,
        )
    for file in sorted(root.glob("18_*/*")):
        truth = "annotations" in file.name
        given = ["--annotations", str(file) if truth else "gt.json", "--results", "r.json" if truth else str(file)]
        yield Input(
            f"{file.parent.name}/{file.name}",
            ["coco-eval", *given, "--bootstrap", "0"],
            status=0 if "ValueError" in file.name else 2,
            prepare=both(a_truth, a_result),
        )
    for file in sorted(root.glob("19_*/*")) + sorted(root.glob("20_*/*")):
        name = f"{file.parent.name}/{file.name}"
        if "boxes" in file.name:
            arguments = ["detect", "--network", "sbl-small", "--images", "i", "--boxes", str(file), "--out", "o.json"]
            skips = "ann__ValueError__9ff681" in name or "det__ValueError__950f9f" in name  # one person of several
            yield Input(name, arguments, status=0 if skips else 2, prepare=an_image, check=None if skips else no_files)
        else:
            mpii = "mpii" in file.name
            place = "d/annot/train.json" if mpii else "d/annotations/person_keypoints_train.json"
            arguments = ["train-pose", "--data", "d", "--out", "o", "--minutes", "0.01"]
            yield Input(
                name, [*arguments, *(["--dataset", "mpii"] if mpii else [])], prepare=both(link(file, place), a_dataset)
            )
    for file in sorted(root.glob("26_*/npy*")):
        yield Input(
            f"{file.parent.name}/{file.name}",
            ["evaluate", "--root", "r", "--fits", "f", "--body-dir", "b"],
            prepare=both(an_open_body, link(file, "b/J_regressor_h36m.npy"), fits_of(cases)),
        )
    for file in sorted(root.glob("28_*/*")):
        yield Input(
            f"{file.parent.name}/{file.name}",
            ["train-pose", "--dataset", "mpii", "--data", "d", "--out", "o", "--minutes", "0.01"],
            prepare=both(link(file, "d/annot/gt_train.mat"), an_mpii),
        )


def case_inputs(root: Path) -> Iterator[Input]:
    """The situations of the cases folder, as its README lists them."""

    def detect(number: str, boxes: str | None = "boxes.json", images: str = "images") -> list[str]:
        place = root / number
        given = ["--boxes", str(place / boxes)] if boxes else []
        return ["detect", "--network", "sbl-small", "--images", str(place / images), *given, "--out", "o.json"]

    yield Input("01 phone photo", detect("01"), status=0, check=same_picture)
    yield Input("02 truncated JPEG", detect("02"), status=0, says=("000002.jpg", "breaks off"))
    yield Input("03 same number in two names", detect("03"), says=("could be",))
    fit = ["fit", "--weighting", "raw", "--out", "o"]
    yield Input("04 resized images", [*fit, "--root", str(root / "04/root"), "--limit", "6"], says=("672x378",))
    sequence = ["--root", str(root / "sequence/root")]
    yield Input("05 no translation", [*fit, *sequence, "--initial", str(root / "05/initial")], says=("no frame",))
    for number, ap in (("06", None), ("07", 0.0559), ("08", 0.0559)):
        files = ["--annotations", str(root / number / "gt.json"), "--results", str(root / number / "dt.json")]
        yield Input(
            f"{number} coco-eval",
            ["coco-eval", *files, "--bootstrap", "0", "--json", "e.json"],
            status=0,
            check=has_ap("AP" if ap else "AP (M)", ap or 0.0737),
        )
    for boxes in sorted((root / "10").glob("boxes_*.json")):
        kept = boxes.stem in ("boxes_area_null", "boxes_kp_null", "boxes_width_null", "boxes_id_string")
        yield Input(f"10 {boxes.name}", detect("10", boxes.name), status=0 if kept else 2)
    yield Input("10 long name", detect("10", None, "images_long_name"), status=0)
    export = root / "11" / "export"
    for images in (export, export / "images"):
        arguments = ["detect", "--network", "sbl-small", "--images", str(images), "--boxes"]
        yield Input(f"11 {images.name}", [*arguments, str(export / "result.json"), "--out", "o.json"], status=0)
    initial = ["--initial", str(root / "13/initial")]
    yield Input("13 predictions without frame_ids", [*fit, *sequence, *initial], status=0)
    yield Input(
        "14 checkpoint with ema_ entries",
        ["detect", "--network", "sbl-small", "--images", "i", "--checkpoint", "ema.pth", "--out", "o.json"],
        status=0,
        prepare=both(an_image, an_averaged_checkpoint),
    )
    smplh = str(root / "15" / "SMPLH_MALE.npz")
    yield Input("15 SMPL+H", ["convert-body", smplh, "SMPL_MALE.npz"], says=("zip archive",))
    for name, words in (("pose_hrnet.pth", "web page"), ("lfs.pth", "Git LFS pointer")):
        checkpoint = ["--checkpoint", str(root / "16" / name)]
        yield Input(f"16 {name}", [*detect("16", None), *checkpoint], says=(words, "download it"))
    files = ["--annotations", str(root / "18/gt.json"), "--results", str(root / "18/dt.json")]
    yield Input("18 no area", ["coco-eval", *files, "--bootstrap", "0"], says=("--no-use-area",))
