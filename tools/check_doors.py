"""Run every hostile and every awkward input of two folders through the command line, and print how each one ended.

    python tools/check_doors.py --hostile HOSTILE --cases CASES [--only 06 19] [--table FILE.md]

The folders do not travel with the project; README.md in each says what its inputs are. Each command runs in a process
forked from this one, in an empty folder of its own, with limits on time and memory. An input holds when the command
ends with the expected status, its last line on stderr is one sentence of at most 300 characters (a list of several
sequences may be longer), there is no traceback, no signal, and nothing half-written is left.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MEMORY_MB = 2048
SECONDS = 60.0
SENTENCE = 300


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
    check: Callable[[Path, str], str] | None = None


@dataclass
class Ending:
    """How a command ended."""

    status: int
    seconds: float
    memory_mb: int
    out: str
    err: str
    left: list[str] = field(default_factory=list)


def run(arguments: list[str], folder: Path, seconds: float = SECONDS) -> Ending:
    """Run the command line in a forked process, in a folder of its own."""
    streams = [open(folder / f".{name}", "w+") for name in ("out", "err")]  # noqa: SIM115 - closed below
    before, start = set(_files(folder)), time.perf_counter()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream.fileno(), number)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        status = 70
        try:
            import run_fitting

            status = run_fitting.main([*arguments, "--quiet"])
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    code, usage = _wait(child, start + seconds)
    texts = []
    for stream in streams:
        stream.seek(0)
        texts.append(stream.read())
        stream.close()
    left = sorted(str(file.relative_to(folder)) for file in set(_files(folder)) - before)
    return Ending(code, time.perf_counter() - start, usage // 1024, *texts, left)


def _wait(child: int, deadline: float) -> tuple[int, int]:
    while True:
        pid, code, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(code), usage.ru_maxrss
        if time.perf_counter() > deadline:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return -999, usage.ru_maxrss
        time.sleep(0.01)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file() and file.name not in (".out", ".err"))


def verdict(one: Input, ending: Ending, folder: Path) -> str:
    """What is wrong with an ending; empty where it holds."""
    lines = ending.err.strip().splitlines()
    wrong = []
    if ending.status == -999:
        wrong.append(f"ran for more than {SECONDS:.0f} s")
    elif ending.status != one.status:
        wrong.append(f"status {ending.status}, not {one.status}")
    if "Traceback" in ending.err + ending.out:
        wrong.append("a traceback")
    if one.status == 2 and not (lines and lines[-1].startswith("error: ")):
        wrong.append("no sentence")
    if one.status == 2 and len(lines) > 1 and "Traceback" not in ending.err:
        wrong.append(f"{len(lines)} lines on stderr")
    if lines and len(lines[-1]) > SENTENCE + 7 and "sequences could not be used" not in lines[-1]:
        wrong.append(f"a message of {len(lines[-1])} characters")
    wrong += [f"does not say {words!r}" for words in one.says if words not in ending.out + ending.err]
    if ending.memory_mb > MEMORY_MB:
        wrong.append(f"{ending.memory_mb} MB")
    halves = [name for name in ending.left if "partial" in name]
    if halves:
        wrong.append(f"left {halves[0]}")
    if one.check is not None and ending.status == one.status:
        wrong.append(one.check(folder, ending.out))
    return "; ".join(part for part in wrong if part)


# The inputs. Folders hold what their README says.


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


def hostile_inputs(root: Path, cases: Path | None) -> Iterator[Input]:
    """Every input of the hostile folder that is one file or one folder."""
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
    if cases is not None:
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
                yield Input(
                    f"{file.parent.name}/{file.name}", ["fit", "--root", "r", *options], prepare=link(good, "r")
                )
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
            check=lambda folder, _: "EVIL was written" if list(folder.glob("a/**/*EVIL*")) else "",
        )
        for file in sorted(root.glob("23_*/npz_errors*")):
            track = "errors/carry_test_22_0.npz"
            yield Input(
                f"{file.parent.name}/{file.name}",
                ["report", "--run-dir", "run"],
                prepare=both(link(run_folder, "run"), link(file, f"run/{track}"), honest_tracks),
            )
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


def no_files(folder: Path, printed: str) -> str:
    """Nothing was written."""
    made = [file.name for file in _files(folder) if file.name in ("x.safetensors", "SMPL_MALE.npz", "o.json")]
    return f"{made[0]} was written" if made else ""


def has(name: str) -> Callable[[Path, str], str]:
    """The good item's result is there."""
    return lambda folder, printed: "" if (folder / name).is_file() else f"{name} is missing"


def has_ap(metric: str, value: float) -> Callable[[Path, str], str]:
    """The JSON of coco-eval has a metric, to the four digits that the reference is given in."""

    def check(folder: Path, printed: str) -> str:
        found = _find(json.loads((folder / "e.json").read_text()), {metric, metric.replace("AP (M)", "APM")})
        return "" if found and abs(found[0] - value) < 6e-5 else f"{metric} is {found}, not {value}"

    return check


def _find(value: object, names: set[str]) -> list[float]:
    if isinstance(value, dict):
        here = [v for k, v in value.items() if k in names and isinstance(v, float)]
        return here + [found for child in value.values() for found in _find(child, names)]
    return [found for child in value for found in _find(child, names)] if isinstance(value, list) else []


def same_picture(folder: Path, printed: str) -> str:
    """Both entries show one picture: the keypoints agree to JPEG's noise."""
    entries = json.loads((folder / "o.json").read_text())
    if len(entries) != 2:
        return f"{len(entries)} results"
    a, b = ([entry["keypoints"][axis::3] for axis in (0, 1)] for entry in entries)
    apart = [((x - u) ** 2 + (y - v) ** 2) ** 0.5 for x, y, u, v in zip(*a, *b, strict=True)]
    mean = sum(apart) / len(apart)
    return "" if mean < 3 else f"keypoints {mean:.0f} px apart"


def finite_body(folder: Path, printed: str) -> str:
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


def main() -> int:
    """Run all, print the table; status 1 if one does not hold, 77 if there is nothing to run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hostile", type=Path)
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    folders = [folder for folder in (options.hostile, options.cases) if folder is not None and folder.is_dir()]
    if not folders:
        print("there is no folder of hostile inputs or cases on this machine: nothing to run")
        return 77
    import torch

    torch.set_num_threads(1)
    _import_everything()
    inputs: list[Input] = []
    cases = options.cases.resolve() if options.cases is not None and options.cases.is_dir() else None
    if options.hostile is not None and options.hostile.is_dir():
        inputs += hostile_inputs(options.hostile.resolve(), cases)
    if cases is not None:
        inputs += case_inputs(cases)
    chosen = [one for one in inputs if not options.only or one.name.startswith(tuple(options.only))]
    rows, failures = ["| input | ended | s | MB | says |", "|---|---|---|---|---|"], 0
    for one in chosen:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if one.prepare is not None:
                one.prepare(folder)
            ending = run(one.arguments, folder)
            wrong = verdict(one, ending, folder)
        failures += bool(wrong)
        last = ((ending.err if one.status else ending.out).strip().splitlines() or [""])[-1][:150].replace("|", "/")
        held = "holds" if not wrong else f"**{wrong}**"
        rows.append(f"| {one.name} | {held} | {ending.seconds:.1f} | {ending.memory_mb} | {last} |")
        print(rows[-1], flush=True)
    print(f"\n{len(chosen) - failures} of {len(chosen)} hold")
    if options.table is not None:
        options.table.write_text("\n".join([*rows, "", f"{len(chosen) - failures} of {len(chosen)} hold", ""]))
    return int(failures > 0)


def _import_everything() -> None:
    """Import what the commands import, once, so that each fork is quick."""
    import cv2

    import run_fitting

    cv2.setNumThreads(1)
    for name in run_fitting.COMMANDS:
        run_fitting._load(name)
    from eval3dpw.run import fit  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
