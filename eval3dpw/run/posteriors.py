"""Judging the posteriors that a run has written against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval3dpw.dataset.ground_truth import camera_truth
from eval3dpw.dataset.sequences import SequenceRef
from eval3dpw.judging.posterior import Coverage, joint_errors_mm
from eval3dpw.results.layout import fits_file
from eval3dpw.run.sequence_job import SequenceJob
from fitting.body_fits import BodyFits
from pose2d.files.storage import read_npz


def judge_posteriors(out: Path, job: SequenceJob, sequences: Sequence[SequenceRef]) -> dict[str, Any]:
    """For each weighting, how many of the joints' true errors its posterior's standard deviations hold."""
    found = {weighting: Coverage.empty() for weighting in job.weightings}
    body = job.stages.find_body("neutral")
    for sequence in sequences:
        for track in job.dataset.read(sequence, with_images=False):
            for weighting, coverage in found.items():
                path = out / fits_file(weighting, track.name)
                if not path.is_file():
                    continue
                arrays = read_npz(path)
                if "joint_std_mm" not in arrays:
                    continue
                rows = np.searchsorted(track.frame_ids, arrays["frame_ids"])
                gendered = job.stages.find_body(track.require_truth().gender)
                truth = camera_truth(track.select(rows), gendered)
                fits = BodyFits(*(arrays[name] for name in ("rotations", "betas", "translation")))
                coverage.add(joint_errors_mm(fits, truth, body, gendered), arrays["joint_std_mm"])
    return {weighting: record for weighting, coverage in found.items() if (record := coverage.record()) is not None}
