"""The readings of "we follow CLIFF to refine the initial predictions", behind one interface.

`params` moves each person's own parameters by the second-order solver, `network` fine-tunes the regressor's weights on
the same objective, `smplify` is SPIN's Adam schedule with SPIN's objective. `params` can also treat the frames of a
track as one problem (`MethodConfig.temporal`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from fitting.bodies.body import Body
from fitting.bodies.reduced_body import reduce_body
from fitting.body_fits import BodyFits
from fitting.methods.network import Crops, FinetuneConfig, finetune
from fitting.methods.parameters import refine
from fitting.methods.smplify import SmplifyConfig, smplify
from fitting.methods.track import TemporalConfig, refine_track
from fitting.refinement_config import RefinementConfig
from fitting.regressor.model import Regressor
from pose2d.errors import InputError
from pose2d.skeletons import Skeleton


@dataclass(frozen=True)
class FitInputs:
    """All that a method may need for n persons; arrays as of `fitting.methods.parameters.refine`.

    Attributes:
        regressor, crops: what made the initial predictions, for `network`; None where they come from elsewhere.
        frame_ids: rising frame numbers of one person's track, for the temporal term.
    """

    body: Body
    skeleton: Skeleton
    xy_px: Float[np.ndarray, "n k 2"]
    weights: Float[np.ndarray, "n k"]
    intrinsics: Float[np.ndarray, "n 3 3"]
    initial: BodyFits
    size_px: Float[np.ndarray, "n"]
    regressor: Regressor | None = None
    crops: Crops | None = None
    frame_ids: Int[np.ndarray, "n"] | None = None


@dataclass(frozen=True)
class MethodConfig:
    """Constants of each method; `network` uses those of the refinement for its objective.

    Attributes:
        temporal: given, `params` fits the frames of a track together.
    """

    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    smplify: SmplifyConfig = field(default_factory=SmplifyConfig)
    temporal: TemporalConfig | None = None


def _params(inputs: FitInputs, config: MethodConfig) -> BodyFits:
    if config.temporal is not None:
        return _track(inputs, config.refinement, config.temporal)
    return refine(
        reduce_body(inputs.body, inputs.skeleton),
        inputs.skeleton,
        inputs.xy_px,
        inputs.weights,
        inputs.intrinsics,
        inputs.initial,
        inputs.size_px,
        config.refinement,
    )


def _track(inputs: FitInputs, config: RefinementConfig, temporal: TemporalConfig) -> BodyFits:
    if inputs.frame_ids is None:
        raise InputError("the temporal term needs frame_ids, the numbers of the frames in their video")
    return refine_track(
        reduce_body(inputs.body, inputs.skeleton),
        inputs.skeleton,
        inputs.xy_px,
        inputs.weights,
        inputs.intrinsics,
        inputs.initial,
        inputs.size_px,
        inputs.frame_ids,
        config,
        temporal,
    )


def _network(inputs: FitInputs, config: MethodConfig) -> BodyFits:
    if inputs.regressor is None or inputs.crops is None:
        raise InputError(
            "method 'network' fine-tunes the regressor, so the initial bodies must come from one, not a file"
        )
    return finetune(
        inputs.regressor,
        inputs.crops,
        inputs.body,
        inputs.skeleton,
        inputs.xy_px,
        inputs.weights,
        inputs.intrinsics,
        inputs.initial,
        inputs.size_px,
        config.refinement,
        config.finetune,
    )


def _smplify(inputs: FitInputs, config: MethodConfig) -> BodyFits:
    return smplify(
        inputs.body,
        inputs.skeleton,
        inputs.xy_px,
        inputs.weights,
        inputs.intrinsics,
        inputs.initial,
        inputs.size_px,
        config.smplify,
    )


Method = Callable[[FitInputs, MethodConfig], BodyFits]

METHODS: dict[str, Method] = {"params": _params, "network": _network, "smplify": _smplify}


def fit_bodies(method: str, inputs: FitInputs, config: MethodConfig = MethodConfig()) -> BodyFits:
    """Refine the initial bodies by `method`. A body that cannot be refined keeps its initial estimate and says why.

    Raises:
        InputError: unknown method, the inputs lack what it needs, or it knows no temporal term.
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    if config.temporal is not None and method != "params":
        raise InputError(f"the temporal term belongs to method 'params': method {method!r} fits frames one by one")
    return METHODS[method](inputs, config)
