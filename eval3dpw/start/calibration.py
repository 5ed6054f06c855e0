"""Fitting a start prior to a method's errors on a split with truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval3dpw.dataset.catalogue import open_dataset
from eval3dpw.dataset.ground_truth import CameraTruth, camera_truth
from eval3dpw.judging.posterior import joint_errors_mm
from eval3dpw.run.loading import load_job
from eval3dpw.run.options import FitOptions
from eval3dpw.run.pipeline import Observations, Stages, fit_inputs, observe, read_fittable
from eval3dpw.run.sequence_job import SequenceJob
from eval3dpw.run.start_priors import body_identity, method_identity, with_bodies
from eval3dpw.start.errors import start_errors
from fitting.methods.parameters import refine
from fitting.start_prior import StartPrior, fit_prior
from pose2d.console.progress import meter, say
from pose2d.errors import InputError
from pose2d.parallel import single_thread

_SURE = 0.6827
"""Share of a Gaussian's errors within one standard deviation."""


@dataclass(frozen=True)
class Seen:
    """Tracks before their refinement, with their truth."""

    observations: tuple[Observations, ...]
    truths: tuple[CameraTruth, ...]
    failed: dict[str, str]
    """Why a sequence could not be used, by name."""


def look_at_split(job: SequenceJob, options: FitOptions, oracle: bool = False) -> Seen:
    """Observe every track of a split.

    Raises:
        InputError: no sequence can be used.
    """
    sequences = open_dataset(options.root, options.dataset).find(options.split, options.sequences)
    observations, truths, failed = [], [], dict[str, str]()
    with meter("sequences", len(sequences)) as shown, single_thread():
        for sequence in sequences:
            try:
                tracks = read_fittable(job.dataset, sequence, job.protocol, options.limit)
                seen = observe(tracks, job.stages, oracle)
                bodies = [job.stages.find_body(one.track.require_truth().gender) for one in seen]
                truths += [camera_truth(one.track, body) for one, body in zip(seen, bodies, strict=True)]
                observations += seen
            except InputError as error:
                failed[sequence.name] = str(error)
                say(f"{sequence.name}: failed: {error}")
            shown.advance()
    if not observations:
        raise InputError(next(iter(failed.values()), f"{options.root} has no sequence in split {options.split}"))
    return Seen(tuple(observations), tuple(truths), failed)


def calibrate_start(options: FitOptions, weighting: str) -> StartPrior:
    """The prior of the method whose bodies a run with these options would start from.

    Args:
        options: the split, and what its starts and keypoints come from.
        weighting: under which the posterior's scale is found; a calibrated one.

    Raises:
        InputError: nothing can be used, or there are too few frames.
    """
    job, _ = load_job(replace(options, objective="probability"), (weighting,))
    seen = look_at_split(job, options)
    name, digest = method_identity(options)
    starts = [one.initial for one in seen.observations]
    prior = fit_prior(start_errors(starts, seen.truths), name, digest, body_identity(options))
    return with_posterior_scale(prior, seen.observations, seen.truths, weighting, job.stages)


def with_posterior_scale(
    prior: StartPrior,
    observations: Sequence[Observations],
    truths: Sequence[CameraTruth],
    weighting: str,
    stages: Stages,
) -> StartPrior:
    """The prior with the factor on posterior standard deviations that lets 68 % of the true errors lie within one."""
    prior = with_bodies(prior, stages)
    refinement = replace(stages.fitting.refinement, start_prior=prior)
    ratios = []
    for seen, truth in zip(observations, truths, strict=True):
        inputs = fit_inputs(seen, stages.weights(weighting, seen.evidence), stages)
        fits = refine(inputs, refinement)
        assert fits.joint_std_mm is not None
        gendered = stages.find_body(seen.track.require_truth().gender)
        errors = joint_errors_mm(fits, truth, stages.find_body("neutral"), gendered)
        std = fits.joint_std_mm[:, 1:]
        known = np.isfinite(std) & (std > 0)
        ratios.append(np.abs(errors[known]) / std[known])
    whole = np.concatenate(ratios)
    scale = float(np.quantile(whole, _SURE)) if len(whole) else 1.0
    return replace(prior, posterior_scale=float(np.clip(scale * prior.posterior_scale, 0.1, 10.0)))
