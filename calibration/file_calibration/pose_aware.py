"""The pose-aware calibrator: small networks that see the pose in its crop, all scores and the size of the person.

Each network has learnt from all folds of the images but one. On images that none of them knows they speak together; on
the images of a fit, the one that has not seen an image speaks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from calibration.coco.accuracy import Accuracy
from calibration.file_calibration.features import Features, Standardisation
from calibration.file_calibration.logistic import LogisticLine, log_odds
from calibration.file_calibration.mixer import KeypointMixer, Targets, predict, train_mixer


@dataclass(frozen=True)
class Member:
    """One network and the scale of the inputs that it was trained on."""

    standardisation: Standardisation
    network: KeypointMixer

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, for a file."""
        scale = {name: getattr(self.standardisation, name) for name in Standardisation.sizes()}
        return scale | {name: values.numpy() for name, values in self.network.state_dict().items()}


def network_from_arrays(arrays: Mapping[str, np.ndarray], prefix: str, num_keypoints: int) -> KeypointMixer:
    """The network whose weights stand in a file under names that begin with `prefix`.

    Raises:
        KeyError: a weight is missing.
        ValueError: a weight has another shape or is not finite.
    """
    network = KeypointMixer(num_keypoints)
    state = {}
    for name, expected in network.state_dict().items():
        values = arrays.get(prefix + name)
        if values is None:
            raise KeyError(f"{prefix}{name} is missing")
        if values.shape != tuple(expected.shape) or values.dtype != np.float32 or not np.isfinite(values).all():
            raise ValueError(f"{prefix}{name} is not {tuple(expected.shape)} finite numbers in single precision")
        state[name] = torch.from_numpy(values.copy())
    network.load_state_dict(state)
    return network.eval()


@dataclass(frozen=True)
class PoseAware:
    """Several members that speak together.

    Attributes:
        members: trained on different persons.
        flip: number of each keypoint's mirror image.
        line: of the log odds of expected OKS, from what the members said of images that they had not seen.
    """

    members: tuple[Member, ...]
    flip: Int[np.ndarray, " k"]
    line: LogisticLine

    def predict(self, features: Features) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Expected OKS and visibility of each keypoint."""
        found = [
            predict(member.network, member.standardisation.apply(features), self.flip, mirrored=number % 2 == 1)
            for number, member in enumerate(self.members)
        ]
        confidence, visibility = np.mean(found, axis=0)
        return self.line(log_odds(confidence)), visibility


def fit_member(
    features: Features, accuracy: Accuracy, chosen: Int[np.ndarray, " c"], flip: Int[np.ndarray, " k"], seed: int
) -> Member:
    """Train on those of the chosen detections that stand for their person."""
    chosen = chosen[accuracy.speaks[chosen]]
    seen = features.subset(chosen)
    standardisation = Standardisation.of(seen)
    targets = Targets(accuracy.keypoint_oks[chosen], accuracy.oks[chosen])
    return Member(standardisation, train_mixer(standardisation.apply(seen), targets, flip, seed))
