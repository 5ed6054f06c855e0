"""What a run records about itself beside its results: configuration, versions and hashes of its inputs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pose2d.files.storage import sha256

_SOURCES = ("pose2d", "calibration", "fitting", "eval3dpw")
_PACKAGES = ("calibrated-pose", "numba", "numpy", "opencv-python-headless", "roma", "scipy", "smplx", "torch")


def configuration(command: Any) -> dict[str, Any]:
    """A command's dataclass as JSON, paths as text."""
    return _plain_dict(dataclasses.asdict(command))


def _plain_dict(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def versions() -> dict[str, str]:
    """Versions of Python, this project and the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@functools.cache
def code_hash() -> str:
    """SHA-256 over this project's own sources as this process found them.

    Results of an interrupted run are continued by the same code only.
    """
    digest = hashlib.sha256()
    for package in _SOURCES:
        root = Path(str(importlib.util.find_spec(package).submodule_search_locations[0]))  # type: ignore[union-attr,index]
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def input_hashes(paths: Iterable[str | Path]) -> dict[str, str]:
    """SHA-256 of every file, by path. Images are not among them: they are many, and named by their sequence file."""
    return {str(path): sha256(path) for path in sorted({Path(path) for path in paths})}
