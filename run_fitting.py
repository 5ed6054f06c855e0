"""The command line of the project: every subcommand is a frozen dataclass of some package; no maths lives here."""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import inspect
import os
import sys
import traceback
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Union

from pose2d.console import interruption, progress

_NOTHING = "nothing was written; run the same command again"
_FINISHED = "what was finished is kept; run the same command again to go on"
_FILES = "files that were finished are kept; run the same command again for all of them"
_CHECKPOINT = "the last checkpoint is kept in --out; run the same command with --resume to go on from it"
_FEATURES = "features that were computed are kept; run the same command again to go on"


@dataclass(frozen=True)
class Entry:
    """A subcommand: where its dataclass stands (imported only when asked for), what it is for, how it is called."""

    location: str
    purpose: str
    example: str
    kept: str = _NOTHING
    """What Ctrl-C leaves, and how to go on."""


COMMANDS = {
    "demo": Entry("eval3dpw.commands.demo:Demo", "the whole way on a small open world", "--out out/demo", _FINISHED),
    "compare": Entry(
        "eval3dpw.commands.compare:Compare",
        "refine sequences under every weighting",
        "--root 3DPW --out out/3dpw",
        _FINISHED,
    ),
    "fit": Entry(
        "eval3dpw.commands.fit:Fit",
        "refine sequences under one weighting",
        "--root 3DPW --weighting ccnet --out out/fit",
        _FINISHED,
    ),
    "calibrate-start": Entry(
        "eval3dpw.commands.calibrate_start:CalibrateStart",
        "learn how wrong a method's bodies are",
        "--root 3DPW --initial BODIES --out prior.json",
    ),
    "start-study": Entry(
        "eval3dpw.commands.start_study:StartStudy",
        "how good must a start be to be refined",
        "--root world/3dpw --prior-root val/3dpw --out out/study",
    ),
    "evaluate": Entry(
        "eval3dpw.commands.evaluate:Evaluate",
        "judge fits under any protocol",
        "--root 3DPW --fits out/fit --protocol vibe",
    ),
    "report": Entry("eval3dpw.commands.report:Report", "one page of a run, to look at", "--run-dir out/fit"),
    "view": Entry("eval3dpw.commands.view:View", "a run's bodies in 3D, live", "--fits out/fit"),
    "export": Entry(
        "eval3dpw.commands.export:Export",
        "videos, meshes, motions",
        "--fits out/fit --out out/videos --format mp4",
        _FILES,
    ),
    "make-world": Entry(
        "eval3dpw.commands.make_world:MakeWorld",
        "render the open world",
        "--out world --size small --seed 1",
        "the unfinished world was removed; run the same command again",
    ),
    "coco-eval": Entry(
        "eval3dpw.commands.coco_eval_report:CocoEvalWithReport",
        "judge the confidences of any detector",
        "--annotations GT.json --results A.json",
    ),
    "calibrate-file fit": Entry(
        "calibration.commands.calibrate_file:CalibrateFileFit",
        "learn better scores from results alone",
        "--annotations GT.json --results A.json --out CAL",
    ),
    "calibrate-file apply": Entry(
        "calibration.commands.calibrate_file:CalibrateFileApply",
        "and apply them",
        "--results A.json --calibrator CAL --out B.json",
    ),
    "calibrate-file shift": Entry(
        "calibration.commands.calibrate_file:CalibrateFileShift",
        "and judge them on other data",
        "--annotations GT.json --results C.json --calibrators CAL",
    ),
    "networks": Entry(
        "calibration.commands.networks:NetworksWithCCNet",
        "list pose networks and their cost",
        "--names hrnet-w32 rle-r50",
    ),
    "detect": Entry(
        "pose2d.commands.detect:Detect",
        "find keypoints in images",
        "--network sbl-small --images photos --out A.json",
        _FINISHED,
    ),
    "calibrate": Entry(
        "calibration.commands.calibrate:Calibrate",
        "train a CCNet",
        "--data world/coco --out ccnet.safetensors",
        _FEATURES,
    ),
    "export-network": Entry(
        "calibration.commands.export_network:ExportNetwork",
        "network and CCNet as one ONNX file",
        "--network sbl-small --out calibrated.onnx",
    ),
    "ablate": Entry(
        "calibration.commands.ablate:Ablate",
        "compare confidences and losses",
        "--data world/coco --out out/ablation",
        _FEATURES,
    ),
    "tables": Entry(
        "calibration.commands.tables:Tables",
        "the paper's tables, ours beside",
        "--data world/coco --out out/tables",
        _FEATURES,
    ),
    "figures theory": Entry(
        "calibration.commands.figures:FiguresTheory",
        "draw why raw scores are wrong",
        "--out out/figures",
        _FILES,
    ),
    "figures occlusion": Entry(
        "calibration.commands.figures:FiguresOcclusion",
        "draw confidence as a patch grows",
        "--data world/coco --ccnet F --out patch.png",
        _NOTHING,
    ),
    "train-pose": Entry(
        "pose2d.commands.train_pose:TrainPose",
        "train a small pose network",
        "--data world/coco --out out/sbl",
        _CHECKPOINT,
    ),
    "train-regressor": Entry(
        "eval3dpw.commands.train_regressor:TrainRegressor",
        "train the small first guess",
        "--data world/coco --out out/regressor",
        _CHECKPOINT,
    ),
    "convert-body": Entry(
        "fitting.commands.convert:ConvertBody", "read an SMPL .pkl safely, once", "basicmodel_m.pkl SMPL_MALE.npz"
    ),
    "convert-regressor": Entry(
        "fitting.commands.convert:ConvertRegressor",
        "likewise SPIN's checkpoint",
        "model_checkpoint.pt spin.safetensors",
    ),
    "convert-checkpoint": Entry(
        "pose2d.commands.convert_checkpoint:ConvertCheckpoint",
        "likewise a pose checkpoint",
        "hrnet.pth hrnet.safetensors",
    ),
}

_QUIET = ("--quiet", "-q")
_OF_THE_MACHINE = {
    errno.ENOSPC: "make room, or write elsewhere",
    errno.EDQUOT: "make room, or write elsewhere",
    errno.EFBIG: "write to another disk",
    errno.EACCES: "allow it, or name another file or folder",
    errno.EPERM: "allow it, or name another file or folder",
    errno.EROFS: "write elsewhere",
    errno.ENOTDIR: "a part of that path is a file: name another folder",
    errno.EEXIST: "a file is where a folder is needed: name another",
    errno.EIO: "the disk does not answer",
    errno.EISDIR: "name a file in it",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ENOENT: "name one that is there",
}
_NO_MEMORY = "out of memory; nothing half-written is left: try fewer at a time (--limit, --batch, --workers)"
_TRACEBACK = "CALIBRATED_POSE_TRACEBACK"
_DESCRIPTION = "Calibrated confidences of 2D human keypoints, and the 3D bodies that they refine."


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        Exit status: 0 done, 2 a user's mistake (one sentence on stderr), 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else arguments
    name = next((name for name in COMMANDS if _named(words, name)), None)
    farewell = [f"interrupted: {COMMANDS[name].kept if name else _NOTHING}"]
    if arguments is None:
        interruption.watch(lambda: farewell.pop() if farewell else "")
    try:
        status = _main(name, words)
        if arguments is None:
            interruption.finished()
        return status
    except KeyboardInterrupt:
        progress.stop_showing()
        if farewell:
            print(farewell.pop(), file=sys.stderr, flush=True)
        return interruption.STATUS


def _main(name: str | None, words: list[str]) -> int:
    plain = [word for word in words if word not in _QUIET]
    progress.set_quiet(len(plain) < len(words))
    if not plain or plain[0] in ("-h", "--help"):
        _print_help()
        return 0
    if plain[0] == "--completion":
        return _print_completion(plain[1] if len(plain) > 1 else "bash")
    if name is None:
        return _unknown(plain)
    return _run(name, plain[name.count(" ") + 1 :])


def _named(words: list[str], name: str) -> bool:
    plain = [word for word in words if word not in _QUIET]
    return plain[: name.count(" ") + 1] == name.split(" ")


def _run(name: str, words: list[str]) -> int:
    import tyro

    from pose2d.errors import InputError

    command_class = _load(name)
    command = tyro.cli(
        command_class, args=words, prog=f"run_fitting.py {name}", description=_about(name, command_class)
    )
    try:
        command.run()
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = _OF_THE_MACHINE.get(error.errno or 0, "look at the disk and the path, and run the command again")
        return _fail(f"{where}{error.strerror or error}; nothing half-written is left: {remedy}")
    except Exception as error:
        if isinstance(error, MemoryError):
            return _fail(_NO_MEMORY)
        if _TRACEBACK in os.environ:
            raise
        return _fail(_defect(error), status=1)
    return 0


def _defect(error: Exception) -> str:
    """What to say where a check is missing that should have said it better."""
    from pose2d.errors import one_line

    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(Path(__file__).parent)] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    return one_line(
        f"an unexpected {type(error).__name__} at {place} ({error}): a defect of this program, or an input that no "
        f"check covers; {_TRACEBACK}=1 shows where it came from"
    )


def _about(name: str, command_class: Any) -> str:
    entry = COMMANDS[name]
    return (
        f"{inspect.cleandoc(command_class.__doc__)}\n\n"
        f"Example: run_fitting.py {name} {entry.example}\n\n"
        f"Progress goes to stderr; --quiet shows none. Ctrl-C ends it: {entry.kept}."
    )


def _load(name: str) -> Any:
    module, attribute = COMMANDS[name].location.split(":")
    return getattr(importlib.import_module(module), attribute)


def _fail(sentence: str, status: int = 2) -> int:
    progress.stop_showing()
    print(f"error: {sentence}", file=sys.stderr)
    return status


def _unknown(words: list[str]) -> int:
    asked = " ".join(words[:2]) if any(name.startswith(words[0] + " ") for name in COMMANDS) else words[0]
    near = difflib.get_close_matches(asked, COMMANDS, n=2, cutoff=0.5)
    meant = f": did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(COMMANDS)}"
    return _fail(f"no subcommand {asked!r}{meant}")


def _print_help() -> None:
    names = max(map(len, COMMANDS))
    purposes = max(len(entry.purpose) for entry in COMMANDS.values())
    print(f"usage: run_fitting.py SUBCOMMAND [options]\n\n{_DESCRIPTION}\n")
    for name, entry in COMMANDS.items():
        print(f"  {name:<{names}}  {entry.purpose:<{purposes}}  {entry.example}")
    print("\nSUBCOMMAND --help lists its options; --quiet, anywhere, shows no progress; Ctrl-C ends any of them within")
    print("2 s and says what is kept; --completion bash prints a completion script (zsh and tcsh have one too).")


def _command_tree() -> dict[str, Any]:
    """Every subcommand's class by its first word; those of two words are choices of one class."""
    import tyro

    tree: dict[str, Any] = {}
    groups: dict[str, list[Any]] = {}
    for name in COMMANDS:
        first, _, second = name.partition(" ")
        if second:
            groups.setdefault(first, []).append(Annotated[_load(name), tyro.conf.subcommand(second)])
        else:
            tree[name] = _load(name)
    for first, choices in groups.items():
        union: Any = Union[tuple(choices)]  # noqa: UP007
        choice: Any = Annotated[union, tyro.conf.OmitSubcommandPrefixes]
        tree[first] = make_dataclass(first.replace("-", "_"), [("command", choice)])
    return tree


def _print_completion(shell: str) -> int:
    import tyro

    if shell not in ("bash", "zsh", "tcsh"):
        return _fail(f"no completion for {shell!r}: bash, zsh and tcsh have one")
    program = Path(sys.argv[0]).name
    arguments = ["--tyro-print-completion", shell]
    with contextlib.suppress(SystemExit):  # tyro leaves so after printing
        tyro.extras.subcommand_cli_from_dict(_command_tree(), prog=program, args=arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
