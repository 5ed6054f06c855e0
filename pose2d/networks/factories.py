"""Pose networks of users' own Python: a factory named on the command line, called, and tried on one black crop."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pose2d.errors import InputError
from pose2d.networks.base import InputSpec, NetworkOutput, PoseNetwork, predict
from pose2d.skeletons import Skeleton


def is_factory(name: str) -> bool:
    """Whether a network's name is that of a factory, package.module:factory."""
    return ":" in name


def build_from_factory(name: str, checkpoint: Path | None = None) -> tuple[PoseNetwork, list[Path]]:
    """A network that a factory returns, and the files that it came from.

    The module is looked for where Python looks, and then in the working directory.

    Args:
        name: package.module:factory.
        checkpoint: handed to the factory as its only argument; None: it is called without one.

    Raises:
        InputError: there is no such module or factory, it raises, or it returns something else than a PoseNetwork.
    """
    factory = _find(name)
    try:
        network = factory() if checkpoint is None else factory(checkpoint)
    except Exception as error:
        raise InputError(f"--network {name} raised {_told(error)}") from error
    if not isinstance(network, PoseNetwork):
        raise InputError(
            f"--network {name} returned {type(network).__name__}, not a PoseNetwork: derive its class from "
            "pose2d.networks.base.PoseNetwork"
        )
    if isinstance(network, nn.Module):
        network.eval().requires_grad_(False)
    source = getattr(sys.modules[factory.__module__], "__file__", None)
    files = [Path(source)] if source else []
    return network, [*files, *([] if checkpoint is None else [checkpoint])]


def _find(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute.isidentifier():
        raise InputError(f"--network {name}: a network in Python is named package.module:factory")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        factory: Any = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        raise InputError(f"--network {name}: no module {error.name} is found here or where Python looks") from None
    except AttributeError:
        raise InputError(f"--network {name}: module {module_name} has no {attribute}") from None
    except Exception as error:  # whatever the user's module does when it is imported
        raise InputError(f"--network {name}: importing {module_name} raised {_told(error)}") from error
    if not callable(factory):
        raise InputError(f"--network {name}: {attribute} is {type(factory).__name__} and cannot be called")
    made: Callable[..., Any] = factory
    return made


def check_network(network: PoseNetwork, name: str, skeleton: Skeleton) -> None:
    """Run a network of foreign origin on a black crop, before it is run on thousands.

    Args:
        network: to try.
        name: of the network, for the message.
        skeleton: that it is to find.

    Raises:
        InputError: it lacks what a PoseNetwork has, raises, or its output is of another number or shape.
    """
    for attribute, kind in (("num_keypoints", int), ("input_spec", InputSpec), ("identity", str)):
        if not isinstance(getattr(network, attribute, None), kind):
            raise InputError(f"--network {name} has no {attribute} of type {kind.__name__}: PoseNetwork asks for one")
    if network.num_keypoints != len(skeleton):
        raise InputError(
            f"--network {name} has {network.num_keypoints} keypoints and skeleton {skeleton.name} has {len(skeleton)}"
        )
    width, height = network.input_spec.size_wh
    black = torch.from_numpy(np.zeros((1, height, width, 3), np.uint8)).to(network.device)
    try:
        output = predict(network, network.input_spec.normalise(black), skeleton.flip_pairs)
    except InputError:
        raise
    except Exception as error:  # whatever the user's code does
        raise InputError(f"--network {name} on a black crop of {width}x{height} raised {_told(error)}") from error
    _check_output(output, name, len(skeleton))


def _check_output(output: NetworkOutput, name: str, keypoints: int) -> None:
    if not isinstance(output, NetworkOutput):
        raise InputError(f"--network {name}: decode returned {type(output).__name__}, not a NetworkOutput")
    wanted = {"xy_px": (1, keypoints, 2), "raw_score": (1, keypoints)}
    wanted |= {} if output.sigma_px is None else {"sigma_px": (1, keypoints)}
    for field, shape in wanted.items():
        found = tuple(getattr(output, field).shape)
        if found != shape:
            raise InputError(f"--network {name}: {field} has shape {found} for one crop where {shape} is needed")
    if output.feature.ndim not in (2, 4):
        raise InputError(
            f"--network {name}: feature has shape {tuple(output.feature.shape)} for one crop; a vector (1, c) or a map "
            "(1, c, h, w) is needed"
        )


def _told(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
