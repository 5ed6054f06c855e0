"""The command line of the project: every subcommand is a frozen dataclass of some package; no maths lives here."""

from __future__ import annotations

import difflib
import errno
import importlib
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A subcommand: where its dataclass stands (imported only when asked for), what it is for, how it is called."""

    location: str
    purpose: str
    example: str


COMMANDS = {
    "demo": Entry("eval3dpw.commands:Demo", "the whole way on a small open world", "--out out/demo"),
    "compare": Entry(
        "eval3dpw.commands:Compare", "refine sequences under every weighting", "--root 3DPW --out out/3dpw"
    ),
    "fit": Entry(
        "eval3dpw.commands:Fit", "refine sequences under one weighting", "--root 3DPW --weighting ccnet --out out/fit"
    ),
    "evaluate": Entry(
        "eval3dpw.commands:Evaluate", "judge fits under any protocol", "--root 3DPW --fits out/fit --protocol vibe"
    ),
    "report": Entry("eval3dpw.report_commands:Report", "one page of a run, to look at", "--run-dir out/fit"),
    "view": Entry("eval3dpw.report_commands:View", "a run's bodies in 3D, live", "--fits out/fit"),
    "export": Entry(
        "eval3dpw.report_commands:Export", "videos, meshes, motions", "--fits out/fit --out out/videos --format mp4"
    ),
    "make-world": Entry("eval3dpw.commands:MakeWorld", "render the open world", "--out world --size small --seed 1"),
    "coco-eval": Entry(
        "eval3dpw.report_commands:CocoEvalWithReport",
        "judge the confidences of any detector",
        "--annotations GT.json --results A.json",
    ),
    "calibrate-file fit": Entry(
        "calibration.commands:CalibrateFileFit",
        "learn better scores from results alone",
        "--annotations GT.json --results A.json --out CAL",
    ),
    "calibrate-file apply": Entry(
        "calibration.commands:CalibrateFileApply", "and apply them", "--results A.json --calibrator CAL --out B.json"
    ),
    "networks": Entry("pose2d.commands:Networks", "list pose networks and their size", "--names hrnet-w32 rle-r50"),
    "detect": Entry(
        "pose2d.commands:Detect",
        "find keypoints in images",
        "--network sbl-small --images photos --out A.json",
    ),
    "calibrate": Entry(
        "calibration.ccnet_commands:Calibrate", "train a CCNet", "--data world/coco --out ccnet.safetensors"
    ),
    "ablate": Entry(
        "calibration.ccnet_commands:Ablate", "compare confidences and losses", "--data world/coco --out out/ablation"
    ),
    "tables": Entry(
        "calibration.ccnet_commands:Tables", "the paper's tables, ours beside", "--data world/coco --out out/tables"
    ),
    "figures theory": Entry(
        "calibration.ccnet_commands:FiguresTheory", "draw why raw scores are wrong", "--out out/figures"
    ),
    "figures occlusion": Entry(
        "calibration.ccnet_commands:FiguresOcclusion",
        "draw confidence as a patch grows",
        "--data world/coco --ccnet F --out patch.png",
    ),
    "train-pose": Entry(
        "pose2d.training_commands:TrainPose", "train a small pose network", "--data world/coco --out out/sbl"
    ),
    "train-regressor": Entry(
        "eval3dpw.commands:TrainRegressor", "train the small first guess", "--data world/coco --out out/regressor"
    ),
    "convert-body": Entry(
        "fitting.commands:ConvertBody", "read an SMPL .pkl safely, once", "basicmodel_m.pkl SMPL_MALE.npz"
    ),
    "convert-regressor": Entry(
        "fitting.commands:ConvertRegressor", "likewise SPIN's checkpoint", "model_checkpoint.pt spin.safetensors"
    ),
    "convert-checkpoint": Entry(
        "pose2d.commands:ConvertCheckpoint", "likewise a pose checkpoint", "hrnet.pth hrnet.safetensors"
    ),
}

_DESCRIPTION = "Calibrated confidences of 2D human keypoints, and the 3D bodies that they refine."


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        Exit status: 0 done, 2 a user's mistake (one sentence on stderr), 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        _print_help()
        return 0
    if words[0] == "--completion":
        return _print_completion(words[1] if len(words) > 1 else "bash")
    name = next((name for name in COMMANDS if words[: name.count(" ") + 1] == name.split(" ")), None)
    if name is None:
        return _unknown(words)
    return _run(name, words[name.count(" ") + 1 :])


def _run(name: str, words: list[str]) -> int:
    import tyro

    from pose2d.errors import InputError

    command = tyro.cli(_load(name), args=words, prog=f"run_fitting.py {name}")
    try:
        command.run()
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
            raise
        where = f" {error.filename}" if error.filename else ""
        return _fail(f"cannot write{where}: {error.strerror}; nothing half-written is left")
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def _load(name: str) -> Any:
    module, attribute = COMMANDS[name].location.split(":")
    return getattr(importlib.import_module(module), attribute)


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


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
    print("\n`run_fitting.py SUBCOMMAND --help` lists its options; `--completion bash` prints a completion script.")


def _print_completion(shell: str) -> int:
    import tyro

    if shell not in ("bash", "zsh", "tcsh"):
        return _fail(f"no completion for {shell!r}: bash, zsh and tcsh have one")
    commands = {name: _load(name) for name in COMMANDS if " " not in name}
    tyro.extras.subcommand_cli_from_dict(commands, prog="run_fitting.py", args=["--tyro-print-completion", shell])
    return 0


if __name__ == "__main__":
    sys.exit(main())
