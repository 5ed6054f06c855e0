"""The command line of the project: every subcommand is a frozen dataclass of some package; no maths lives here."""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Any

# Subcommand -> where its dataclass stands. Modules of commands import nothing heavy until they run.
COMMANDS = {
    "demo": "eval3dpw.commands:Demo",
    "compare": "eval3dpw.commands:Compare",
    "fit": "eval3dpw.commands:Fit",
    "evaluate": "eval3dpw.commands:Evaluate",
    "make-world": "eval3dpw.commands:MakeWorld",
    "convert-body": "fitting.commands:ConvertBody",
}


def _command(location: str) -> type:
    module, name = location.split(":")
    return getattr(importlib.import_module(module), name)


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; 0 when done, 2 for a user's mistake (one sentence on stderr), 130 when interrupted."""
    import tyro

    from pose2d.errors import InputError

    commands: dict[str, Any] = {name: _command(location) for name, location in COMMANDS.items()}
    command = tyro.extras.subcommand_cli_from_dict(
        commands, prog="run_fitting.py", description=__doc__ and _DESCRIPTION, args=arguments
    )
    try:
        command.run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: cannot write{where}: {error.strerror}; nothing half-written is left", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept", file=sys.stderr)
        return 130
    return 0


_DESCRIPTION = "Calibrated 2D keypoint confidences, and the 3D bodies they refine."

if __name__ == "__main__":
    sys.exit(main())
