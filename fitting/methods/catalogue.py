"""The readings of "we follow CLIFF to refine the initial predictions", behind one interface.

`params` moves each person's own parameters by the second-order solver, `network` fine-tunes the regressor's weights on
the same objective, `smplify` is SPIN's Adam schedule with SPIN's objective. `params` can also treat the frames of a
track as one problem (`MethodConfig.temporal`).

A new method is a module beside this one and an entry in `METHODS`, with a field of `MethodConfig` for its constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fitting.body_fits import BodyFits
from fitting.inputs import FitInputs
from fitting.methods.network import FinetuneConfig, finetune
from fitting.methods.parameters import refine
from fitting.methods.smplify import SmplifyConfig, smplify
from fitting.methods.track import TemporalConfig, refine_track
from fitting.refinement_config import RefinementConfig
from pose2d.errors import InputError


@dataclass(frozen=True)
class MethodConfig:
    """Constants of all methods, one field for each group."""

    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    """Of `params`, and of the objective that `network` shares with it."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    smplify: SmplifyConfig = field(default_factory=SmplifyConfig)
    temporal: TemporalConfig | None = None
    """Given, the frames of a track are fitted together."""


@dataclass(frozen=True)
class Method:
    """One way to refine bodies, and what a run must know about it."""

    fit: Callable[[FitInputs, MethodConfig], BodyFits]
    constants: tuple[str, ...]
    """Fields of `MethodConfig` that its results depend on, `temporal` apart."""
    moves_regressor: bool = False
    """It needs the regressor that predicted the initial bodies, and the crops that it saw."""
    all_frames: bool = False
    """It looks at all frames of a track at once even without a temporal term."""
    temporal: bool = False
    """It knows the temporal term."""
    probability: bool = False
    """It can minimise the objective in probabilities."""


def _params(inputs: FitInputs, config: MethodConfig) -> BodyFits:
    if config.temporal is None:
        return refine(inputs, config.refinement)
    return refine_track(inputs, config.refinement, config.temporal)


def _network(inputs: FitInputs, config: MethodConfig) -> BodyFits:
    return finetune(inputs, config.refinement, config.finetune)


def _smplify(inputs: FitInputs, config: MethodConfig) -> BodyFits:
    return smplify(inputs, config.smplify)


METHODS: dict[str, Method] = {
    "params": Method(_params, ("refinement",), temporal=True, probability=True),
    "network": Method(_network, ("refinement", "finetune"), moves_regressor=True, all_frames=True),
    "smplify": Method(_smplify, ("smplify",)),
}


def find_method(name: str, config: MethodConfig) -> Method:
    """A method by its name, if it can do what the configuration asks for.

    Raises:
        InputError: unknown method, or it has no temporal term though one is configured.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; known are {', '.join(METHODS)}")
    if config.temporal is not None and not METHODS[name].temporal:
        knowing = " or ".join(repr(other) for other, method in METHODS.items() if method.temporal)
        raise InputError(f"the temporal term belongs to method {knowing}: method {name!r} fits frames one by one")
    return METHODS[name]


def fit_bodies(method: str, inputs: FitInputs, config: MethodConfig = MethodConfig()) -> BodyFits:
    """Refine the initial bodies by `method`. A body that cannot be refined keeps its initial estimate and says why.

    Raises:
        InputError: unknown method, the inputs lack what it needs, or it has no temporal term though one is configured.
    """
    return find_method(method, config).fit(inputs, config)
