"""Which prior of the start a run takes: a file's, the packaged regressor's, or the joint table scaled by evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval3dpw.dataset.sequences import SequenceRef
from eval3dpw.run.options import FitOptions
from eval3dpw.run.pipeline import Observations, Stages, fit_inputs, observe, read_fittable
from eval3dpw.run.sequence_job import SequenceJob
from fitting.bodies.body import load_body
from fitting.body_fits import BodyFits
from fitting.inputs import FitInputs
from fitting.methods.preparation import prepare
from fitting.regressor.model import PACKAGED_REGRESSOR
from fitting.start.evidence import FALLBACK_SCALE, ScaleChoice, choose_scale
from fitting.start.posterior import body_std_m
from fitting.start_prior import StartPrior, joint_table
from pose2d.console.progress import say
from pose2d.errors import InputError
from pose2d.files.storage import sha256
from pose2d.parallel import single_thread

PACKAGED_PRIOR = PACKAGED_REGRESSOR.with_name("start-prior-regressor-small.json")
"""Errors of the packaged regressor on validation tracks (`calibrate-start`)."""
EVIDENCE_SEQUENCES, EVIDENCE_FRAMES = 48, 4
"""How many sequences, and frames of each track in them, the evidence is taken from."""
_BEST_CALIBRATED = ("ccnet", "precision", "rescored", "raw", "uniform")


@dataclass(frozen=True)
class ChosenPrior:
    """A prior, and why it was taken, ready for JSON."""

    prior: StartPrior
    record: dict[str, Any]

    @property
    def told(self) -> str:
        """One sentence for the terminal."""
        if "joint_table_scale" not in self.record:
            return f"Start prior: {self.record['source']}."
        low, high = self.record["interval"]
        scale = self.record["joint_table_scale"]
        chosen = f"joint table x {scale:.2f} [{low:.2f}, {high:.2f}] by {self.record['chosen_by']}"
        return f"Start prior: {self.record['source']} ({chosen}, {self.record['tracks']} tracks)."


def choose_prior(options: FitOptions, job: SequenceJob, sequences: Sequence[SequenceRef]) -> ChosenPrior | None:
    """The prior of a run; None under an objective that takes none.

    Raises:
        InputError: the file is no start prior, or belongs to another method or body.
    """
    if job.stages.objective != "probability":
        return None
    if isinstance(options.start_prior, Path):
        return _of_file(options.start_prior, options)
    if options.start_prior is None and options.initial is None and options.regressor is None:
        packaged = StartPrior.load(PACKAGED_PRIOR)
        if _mismatch(packaged, options) is None:
            return ChosenPrior(packaged, {"source": "packaged, of the packaged regressor", **_about(packaged)})
    return _by_evidence(job, sequences)


def with_prior(job: SequenceJob, chosen: ChosenPrior | None) -> SequenceJob:
    """The job with a prior in its constants."""
    if chosen is None:
        return job
    fitting = job.stages.fitting
    refinement = replace(fitting.refinement, start_prior=chosen.prior)
    return replace(job, stages=replace(job.stages, fitting=replace(fitting, refinement=refinement)))


def method_identity(options: FitOptions) -> tuple[str, str]:
    """Name and file hash of what makes the starts; no hash for another method's bodies, whose files are its results."""
    if options.initial is not None:
        return options.initial.name, ""
    path = options.regressor or PACKAGED_REGRESSOR
    return path.stem, sha256(path)


def body_identity(options: FitOptions) -> str:
    """Hash of the neutral body's file."""
    return sha256(load_body(options.body_dir, "neutral").path)


def _of_file(path: Path, options: FitOptions) -> ChosenPrior:
    prior = StartPrior.load(path)
    wrong = _mismatch(prior, options)
    if wrong is not None:
        raise InputError(f"{path} holds the errors of another {wrong}: fit a prior to this one by `calibrate-start`")
    return ChosenPrior(prior, {"source": f"file {path.name}", **_about(prior)})


def _mismatch(prior: StartPrior, options: FitOptions) -> str | None:
    if prior.method_sha256 != method_identity(options)[1]:
        return f"method ({prior.method})"
    if prior.body_sha256 != body_identity(options):
        return "body"
    return None


def with_bodies(prior: StartPrior, stages: Stages) -> StartPrior:
    """The prior with the differences between the fitted body and those that the truth may have."""
    gendered = [stages.find_body(gender) for gender in ("male", "female")]
    return replace(prior, body_std_m=body_std_m(stages.find_body("neutral"), gendered))


def _about(prior: StartPrior) -> dict[str, Any]:
    return {
        "method": prior.method,
        "frames": prior.num_frames,
        "tracks": prior.num_tracks,
        "raised_to_floor": list(prior.floored),
    }


def _by_evidence(job: SequenceJob, sequences: Sequence[SequenceRef]) -> ChosenPrior:
    weighting = next((name for name in _BEST_CALIBRATED if name in job.weightings), "raw")
    say(f"choosing the start's prior by the evidence of the 2D keypoints (weighting {weighting})")
    seen = look_at_some(job, sequences)
    return prior_by_evidence(seen, weighting, job.stages)


def look_at_some(job: SequenceJob, sequences: Sequence[SequenceRef]) -> list[Observations]:
    """A few frames of every track of some sequences, evenly spread; those that cannot be used are left out."""
    places = np.unique(np.linspace(0, len(sequences) - 1, min(len(sequences), EVIDENCE_SEQUENCES)).round().astype(int))
    frames = EVIDENCE_FRAMES if job.limit is None else min(job.limit, EVIDENCE_FRAMES)
    seen: list[Observations] = []
    with single_thread():
        for place in places:
            try:
                tracks = read_fittable(job.dataset, sequences[place], job.protocol, frames)
                seen += observe(tracks, job.stages, oracle=False)
            except InputError:
                continue  # the run itself says why
    return seen


def prior_by_evidence(seen: Sequence[Observations], weighting: str, stages: Stages) -> ChosenPrior:
    """The joint table at the scale that makes the keypoints of some tracks most likely.

    Where the starts agree with the keypoints as closely as the truth would, their errors are those of a network that
    has seen the same image, and the packaged regressor's prior is taken: see `fitting.start.evidence`.
    """
    choice = _choice(seen, weighting, stages)
    if choice is None:
        record = {"source": f"joint table x {FALLBACK_SCALE}: no track can be fitted"}
        return ChosenPrior(with_bodies(joint_table(FALLBACK_SCALE), stages), record)
    record = {"weighting": weighting, **choice.record()}
    if choice.agreement <= 1:
        prior = replace(StartPrior.load(PACKAGED_PRIOR), method="a network that saw the same images")
        told = "the starts agree with the keypoints as the truth would: errors as of the packaged regressor"
        return ChosenPrior(prior, {"source": told, **record})
    return ChosenPrior(with_bodies(choice.prior(), stages), {"source": "evidence of the keypoints", **record})


def _choice(seen: Sequence[Observations], weighting: str, stages: Stages) -> ScaleChoice | None:
    refinement = replace(stages.fitting.refinement, start_prior=joint_table(1.0), posterior=False)
    inputs = (
        joined([fit_inputs(one, stages.weights(weighting, one.evidence), stages) for one in seen]) if seen else None
    )
    if inputs is None:
        return None
    prepared = prepare(inputs, refinement)
    if not len(prepared.problem):
        return None
    owners = np.repeat(np.arange(len(seen)), [len(one.track) for one in seen])
    return choose_scale(prepared.problem, owners[prepared.frames.numpy()], refinement)


def joined(parts: Sequence[FitInputs]) -> FitInputs:
    """The persons of several inputs of one body and skeleton, without what belongs to a track or a network."""
    bodies = [part.initial for part in parts]
    return FitInputs(
        body=parts[0].body,
        skeleton=parts[0].skeleton,
        xy_px=np.concatenate([part.xy_px for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        intrinsics=np.concatenate([part.intrinsics for part in parts]),
        initial=BodyFits(
            np.concatenate([body.rotations for body in bodies]),
            np.concatenate([body.betas for body in bodies]),
            np.concatenate([body.translation for body in bodies]),
        ),
        size_px=np.concatenate([part.size_px for part in parts]),
    )
