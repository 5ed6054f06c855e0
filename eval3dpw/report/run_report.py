"""The report of a run over sequences: one self-contained page that opens without a network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval3dpw.drawing.overlay import TRUTH_COLOUR, MeshRasteriser, Rgb, best_rasteriser, row_colours
from eval3dpw.judging.comparison import INITIAL
from eval3dpw.judging.metric_table import ERRORS, METRICS, metrics_of
from eval3dpw.report.bodies import TRUTH, pose_rows
from eval3dpw.report.confidence import confidence_charts
from eval3dpw.report.page import hex_colour, write_page
from eval3dpw.report.pictures import PictureEncoder, choose_frames, draw_frame
from eval3dpw.report.run_data import Run, SolvedFrames, evenly, load_run
from eval3dpw.report.scene import scene_record
from eval3dpw.report.table import notes
from eval3dpw.results.frame_errors import FrameTable, tabulate_errors
from eval3dpw.results.layout import REPORT_FILE, SUMMARY_FILE, TIMINGS_FILE, errors_file
from fitting.body_fits import Reason
from pose2d.console.progress import track as progress
from pose2d.files.boundary import reading
from pose2d.files.storage import read_json


@dataclass(frozen=True)
class ReportLimits:
    """How much of a run a page shows; what is left out is said on it.

    Attributes:
        error_frames: frames whose errors are computed where the run did not keep them.
        points: frames of one track in the chart of error against time.
        chart_tracks: tracks that can be chosen there.
        pictures: frames of each kind (worst, most improved, most worsened, slowest).
        scene_frames: frames of all 3D scenes together.
        scene_tracks: tracks with a 3D scene.
    """

    error_frames: int = 240
    points: int = 400
    chart_tracks: int = 200
    pictures: int = 3
    scene_frames: int = 100
    scene_tracks: int = 2


@dataclass(frozen=True)
class RunPage:
    """What the page shows of a run, ready for JSON; the template reads it by these names."""

    title: str
    protocol: str
    num_frames: int
    num_tracks: int
    rows: list[str]
    """Initial predictions and weightings, as in the table."""
    shown: str
    """The row that is shown first."""
    colours: dict[str, str]
    """Of rows and truth, as CSS writes them."""
    headline: list[dict[str, Any]]
    """Rows of the summary: errors with intervals and differences."""
    extra: list[dict[str, Any]]
    """Further columns of that table: heading and one value per row."""
    tracks: list[dict[str, Any]]
    joints: dict[str, Any] | None
    series: list[dict[str, Any]]
    """Error against time of each track."""
    confidence: dict[str, Any] | None
    convergence: list[dict[str, Any]]
    frames: list[dict[str, Any]]
    scenes: list[dict[str, Any]]
    failed: dict[str, str]
    """Why sequences could not be used, by name."""
    notes: list[str]
    """What a reader of the numbers must know."""
    told: list[str]
    """What the page leaves out."""
    command_line: str
    record: dict[str, Any]
    """How the run was made."""
    metrics: dict[str, str] = field(default_factory=lambda: {name: METRICS[name].title for name in ERRORS})
    """Titles of the errors by name."""
    initial: str = INITIAL
    truth: str = TRUTH

    def data(self) -> dict[str, Any]:
        """The part that the page's scripts read."""
        names = ("rows", "shown", "colours", "metrics", "series", "confidence", "convergence", "scenes")
        frames = [{"overlays": frame["overlays"], "sides": frame["sides"]} for frame in self.frames]
        return {name: getattr(self, name) for name in names} | {"frames": frames}


def write_report(
    run_folder: str | Path,
    out_html: str | Path | None = None,
    root: str | Path | None = None,
    limits: ReportLimits | None = None,
) -> Path:
    """Write the page of a run of `fit`, `compare`, `evaluate` or `demo`; returns its path.

    Args:
        run_folder: folder with summary.json, fits/ and keypoints/.
        out_html: `report.html` in that folder by default.
        root: the dataset, if it lies elsewhere than when the run was made. Where it is missing the page has no
            pictures and no truth, and says so.
        limits: how much of the run is shown; the defaults suit a page of some megabytes.

    Raises:
        InputError: the folder holds no finished run, or the page cannot be written there.
    """
    run = load_run(run_folder, root)
    with reading(run.folder / SUMMARY_FILE, "the summary of a run that can be shown", "its files do not fit together"):
        page = gather(run, limits or ReportLimits(), best_rasteriser())
    return write_page("report.html.j2", page, page.data(), out_html or run.folder / REPORT_FILE)


def gather(run: Run, limits: ReportLimits, rasteriser: MeshRasteriser) -> RunPage:
    """Everything the page shows."""
    told: list[str] = []
    names = [track["track"] for track in run.summary["tracks"]]
    fitted = [name for name in names if run.fit_files(name)]
    solved = {name: run.solved(name) for name in progress(fitted, "report: solver")}
    colours = row_colours(run.rows)
    if not fitted:
        told.append("The fits of this run are not there any more: no pictures, no 3D scenes, no convergence.")
    elif run.dataset is None:
        told.append("The dataset of this run is not there: no images, no truth, no errors of single frames and joints.")
    tables = error_tables(run, fitted, limits, told)
    return RunPage(
        title=f"{run.summary.get('command', 'run')}: {run.folder.resolve().name}",
        protocol=run.summary["protocol"],
        num_frames=run.summary["num_frames"],
        num_tracks=run.summary["num_tracks"],
        rows=list(run.rows),
        shown=run.favourite,
        colours={row: hex_colour(colour) for row, colour in colours.items()} | {TRUTH: hex_colour(TRUTH_COLOUR)},
        headline=run.summary["rows"],
        extra=extra_columns(run.summary["rows"]),
        tracks=run.summary["tracks"],
        joints=joint_rows(tables),
        series=error_series(tables, limits, told),
        confidence=confidence_charts(run, names),
        convergence=convergence(list(solved.values())),
        frames=frame_pictures(run, tables, solved, limits, rasteriser, colours),
        scenes=scenes(run, tables, fitted, limits, told),
        failed=run.summary.get("failed_sequences", {}),
        notes=notes(dict(run.summary)) if "bootstrap" in run.summary else [],
        told=told,
        command_line=command_line(run),
        record=record_of(run),
    )


def record_of(run: Run) -> dict[str, Any]:
    """What the run recorded about how it was made, with its timings where they are there."""
    names = ("command", "configuration", "versions", "seconds", "num_threads", "inputs")
    timings = run.folder / TIMINGS_FILE
    kept = {name: run.summary[name] for name in names if name in run.summary}
    return kept | ({"timings": read_json(timings)} if timings.is_file() else {})


def extra_columns(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the summary reports of each row beside the errors: jitter, and the protocol's details."""
    columns = []
    for metric in map(METRICS.__getitem__, metrics_of("jitter", "detail")):
        values = [row.get(metric.name) for row in rows]
        if any(value is not None for value in values):
            shown = [None if value is None else metric.factor * value for value in values]
            columns.append({"name": metric.heading, "values": shown})
    return columns


def command_line(run: Run) -> str:
    """The command that made the run, from its resolved configuration: what was left at a default is spelt out too."""
    words = ["run_fitting.py", str(run.summary.get("command", ""))]
    for name, value in run.configuration.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list) and value:
            words += [f"--{flag}", *(shlex.quote(str(item)) for item in value)]
        elif isinstance(value, str | int | float):
            words += [f"--{flag}", shlex.quote(str(value))]
    return " ".join(words)


def error_tables(run: Run, names: Sequence[str], limits: ReportLimits, told: list[str]) -> list[FrameTable]:
    """Errors of single frames of some tracks: as the run kept them, else computed for a sample of all frames."""
    kept = {name: path for name in names if (path := run.folder / errors_file(name)).is_file()}
    if len(kept) == len(names):
        return [FrameTable.load(path) for path in kept.values()]
    everything = []
    for name in names:
        track = run.track(name)
        if track is None or track.truth is None:
            continue
        common = track.frame_ids[run.protocol.valid_frames(track)]
        for fit in run.fits(name).values():
            common = np.intersect1d(common, fit.frame_ids)
        everything += [(name, int(frame)) for frame in common]
    chosen = [everything[i] for i in evenly(len(everything), limits.error_frames)]
    if len(chosen) < len(everything):
        told.append(
            f"Errors of single frames, per joint and over time are of {len(chosen):,} frames spread evenly over "
            f"{len(everything):,}; the table above and the sequences are of all."
        )
    tables = []
    for name in progress(list(dict.fromkeys(name for name, _ in chosen)), "report: errors"):
        track = run.track(name)
        assert track is not None
        frame_ids = np.array([frame for owner, frame in chosen if owner == name])
        part = track.select(np.searchsorted(track.frame_ids, frame_ids))
        tables.append(tabulate_errors(part, run.fits(name), run.protocol, run.find_body))
    return tables


def joint_rows(tables: Sequence[FrameTable]) -> dict[str, Any] | None:
    """Mean error of each joint over all frames, by row."""
    if not tables:
        return None
    rows = tables[0].rows
    mean = np.concatenate([table.joint_mm for table in tables], axis=1).mean(1)
    values = {row: [round(float(v), 2) for v in mean[number]] for number, row in enumerate(rows)}
    return {"names": list(tables[0].joints), "values": values, "num_frames": sum(map(len, tables))}


def error_series(tables: Sequence[FrameTable], limits: ReportLimits, told: list[str]) -> list[dict[str, Any]]:
    """Error against time of each track."""
    shown = [tables[i] for i in evenly(len(tables), limits.chart_tracks)]
    if len(shown) < len(tables):
        told.append(f"Error against time can be seen for {len(shown)} of {len(tables)} tracks.")
    longest = max((len(table) for table in shown), default=0)
    if longest > limits.points:
        told.append(
            f"Error against time shows at most {limits.points} frames of a track (the longest has {longest:,})."
        )
    series = []
    for table in shown:
        chosen = evenly(len(table), limits.points)
        errors = {
            row: {metric: [round(float(v), 1) for v in table.errors_mm[metric][number][chosen]] for metric in ERRORS}
            for number, row in enumerate(table.rows)
        }
        series.append({"track": table.track, "frame_ids": table.frame_ids[chosen].tolist(), "errors": errors})
    return series


def convergence(tracks: Sequence[dict[str, SolvedFrames]]) -> list[dict[str, Any]]:
    """How the solver ended under each weighting: reasons, iterations, objective before and after."""
    found: dict[str, list[SolvedFrames]] = {}
    for rows in tracks:
        for row, part in rows.items():
            found.setdefault(row, []).append(part)
    result = []
    for row, parts in found.items():
        iterations = np.concatenate([part.iterations for part in parts])
        reasons = np.concatenate([part.reason for part in parts])
        codes, counts = np.unique(reasons, return_counts=True)
        most = int(iterations.max(initial=0))
        ended = [round(float((iterations <= count).mean()), 4) for count in range(most + 1)]
        result.append(
            {
                "row": row,
                "num_frames": len(iterations),
                "median": float(np.median(iterations)),
                "p95": float(np.quantile(iterations, 0.95)),
                "most": most,
                "reasons": {Reason(int(code)).name.lower(): int(n) for code, n in zip(codes, counts, strict=True)},
                "before": _median([part.initial_objective for part in parts]),
                "after": _median([part.objective for part in parts]),
                "ended": ended,
            }
        )
    return result


def frame_pictures(
    run: Run,
    tables: Sequence[FrameTable],
    solved: dict[str, dict[str, SolvedFrames]],
    limits: ReportLimits,
    rasteriser: MeshRasteriser,
    colours: dict[str, Rgb],
) -> list[dict[str, Any]]:
    """Pictures of the frames worth a look; they are compressed on other threads while the next ones are drawn."""
    chosen = choose_frames(tables, solved, run.favourite, limits.pictures)
    with PictureEncoder() as encode:
        drawn = [
            draw_frame(run, frame, run.fits(frame.track), run.keypoints(frame.track), colours, rasteriser, encode)
            for frame in progress(chosen, "report: pictures")
        ]
        return [frame.record() for frame in drawn]


def scenes(
    run: Run,
    tables: Sequence[FrameTable],
    fitted: Sequence[str],
    limits: ReportLimits,
    told: list[str],
) -> list[dict[str, Any]]:
    """3D scenes of the tracks that the shown weighting has improved most and least."""
    names = _ordered_by_gain(tables, run.favourite) or list(fitted)
    if len(names) > limits.scene_tracks:
        told.append(f"3D scenes are of {limits.scene_tracks} of {len(names)} tracks: most and least improved.")
        names = [names[i] for i in evenly(len(names), limits.scene_tracks)]
    records = []
    for name in progress(names, "report: 3D scenes"):
        fits = run.fits(name)
        frame_ids = next(iter(fits.values())).frame_ids
        for fit in fits.values():
            frame_ids = np.intersect1d(frame_ids, fit.frame_ids)
        kept = evenly(len(frame_ids), max(1, limits.scene_frames // len(names)))
        if len(kept) == 0:
            continue
        if len(kept) < len(frame_ids):
            told.append(f"The 3D scene of {name} has {len(kept)} of its {len(frame_ids):,} frames, evenly spread.")
        meshes = pose_rows(run, name, fits, frame_ids[kept])
        records.append(scene_record(name, frame_ids[kept], meshes, run.find_body("neutral").faces))
    return records


def _ordered_by_gain(tables: Sequence[FrameTable], shown: str) -> list[str]:
    gains = []
    for table in tables:
        if shown in table.rows and INITIAL in table.rows and len(table):
            mean = table.errors_mm["mpjpe_mm"].mean(1)
            gains.append((float(mean[table.rows.index(shown)] - mean[table.rows.index(INITIAL)]), table.track))
    return [name for _, name in sorted(gains)]


def _median(parts: Sequence[np.ndarray | None]) -> float | None:
    values = np.concatenate([part for part in parts if part is not None] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    return round(float(np.median(values)), 2) if len(values) else None
