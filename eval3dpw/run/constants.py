"""Constants of the fitting methods as the command line names them: `name=value`, or `group.name=value`."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from eval3dpw.run.provenance import configuration
from fitting.methods.catalogue import METHODS, MethodConfig
from fitting.methods.track import TemporalConfig
from fitting.refinement_config import ObjectiveName, objective_constants
from pose2d.errors import InputError

_REFINEMENT = "refinement"


def method_config(
    constants: Iterable[str] = (), temporal: bool = False, objective: ObjectiveName = "paper"
) -> MethodConfig:
    """The constants of all methods with some of them changed.

    Args:
        constants: `name=value` for the refinement's, `group.name=value` for those of another field of `MethodConfig`;
            values as Python writes them.
        temporal: fit the frames of a track together.
        objective: whose constants are changed.

    Raises:
        InputError: no such constant, a value of another type, or one of a temporal term that is not wanted.
    """
    defaults = MethodConfig(refinement=objective_constants(objective), temporal=TemporalConfig())
    groups: dict[str, Any] = {group.name: getattr(defaults, group.name) for group in fields(defaults)}
    for text in constants:
        name, equals, value = text.partition("=")
        group, dot, name = name.rpartition(".")
        group = group if dot else _REFINEMENT
        if group not in groups:
            raise InputError(f"--constants {text!r}: no such group, known are {', '.join(groups)}")
        if group == "temporal" and not temporal:
            raise InputError(f"--constants {text!r} changes a term that is left out: add --temporal")
        known = {
            field.name: getattr(groups[group], field.name)
            for field in fields(groups[group])
            if field.name != "start_prior"
        }
        if not equals or name not in known:
            raise InputError(f"--constants {text!r}: expected name=value with a name of {', '.join(known)}")
        groups[group] = replace(groups[group], **{name: _value_like(name, value, known[name])})
    return MethodConfig(**groups | {"temporal": groups["temporal"] if temporal else None})


def used_constants(method: str, config: MethodConfig) -> dict[str, Any]:
    """The constants that a run by `method` depends on, ready for JSON, by group."""
    groups: dict[str, Any] = {name: getattr(config, name) for name in METHODS[method].constants}
    if config.temporal is not None:
        groups["temporal_term"] = config.temporal
    return {name: configuration(group) for name, group in groups.items()}


def _value_like(name: str, text: str, example: Any) -> Any:
    if isinstance(example, str):
        return text
    if example is None or isinstance(example, Path):
        return Path(text)
    try:
        value = ast.literal_eval(text)
        if isinstance(example, tuple):
            value = tuple(float(part) for part in value)
            if len(value) == len(example):
                return value
        elif isinstance(example, bool) or isinstance(value, bool):
            if type(value) is type(example):
                return value
        elif isinstance(value, (int, float)) and float(value) == type(example)(value):
            return type(example)(value)
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
        pass
    raise InputError(f"--constants {name}={text[:60]}: expected a value like {example!r}")
