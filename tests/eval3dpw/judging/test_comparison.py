import io
import json

import numpy as np
import pytest
from rich.console import Console

from eval3dpw.judging.comparison import Comparison, TrackErrors
from eval3dpw.judging.evaluation import FrameErrors
from eval3dpw.judging.protocols import PROTOCOLS
from eval3dpw.report.table import print_summary
from pose2d.errors import InputError


def frame_errors(values, parts=()) -> FrameErrors:
    values = np.asarray(values, dtype=float)
    joints = np.repeat(values[:, None], 14, axis=1)
    errors = {"mpjpe_mm": values, "pa_mpjpe_mm": 0.6 * values, "mve_mm": 1.2 * values}
    return FrameErrors(errors | dict.fromkeys(parts, values / 1000), joints)


def with_jitter(values, error, alone) -> FrameErrors:
    errors = frame_errors(values)
    return FrameErrors(errors.values | {"acceleration_error_mm": error, "acceleration_mm": alone}, errors.joint_mm)


def comparison(protocol="camerahmr", rows=("init", "raw", "ccnet"), parts=()) -> Comparison:
    gains = {"init": 0.0, "raw": -2.0, "ccnet": -3.0, "uniform": -1.0}
    tracks = []
    for number, base in enumerate(([100.0, 110.0], [80.0], [95.0, 105.0, 100.0])):
        errors = {row: frame_errors(np.array(base) + gains[row], parts) for row in rows}
        tracks.append(TrackErrors(f"s{number}", f"s{number}_0", np.arange(len(base)), errors).means())
    return Comparison(PROTOCOLS[protocol], tuple(tracks))


def test_summary_has_the_keys_that_were_agreed():
    summary = comparison().summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["protocol"], summary["num_frames"], summary["num_tracks"]) == ("camerahmr", 6, 3)
    assert [row["weighting"] for row in summary["rows"]] == ["init", "raw", "ccnet"]
    expected = {"weighting"}
    for metric in ("mpjpe_mm", "pa_mpjpe_mm", "mve_mm"):
        expected |= {metric, f"{metric}_interval", f"{metric}_minus_init", f"{metric}_minus_raw"}
    expected |= {"acceleration_error_mm", "acceleration_mm"}
    for row in summary["rows"]:
        assert set(row) == expected
        assert len(row["mpjpe_mm_interval"]) == 2
        assert set(row["mve_mm_minus_raw"]) == {"value", "low", "high"}


def test_numbers_by_hand():
    rows = {row["weighting"]: row for row in comparison().summary()["rows"]}
    assert rows["init"]["mpjpe_mm"] == pytest.approx((210 + 80 + 300) / 6, abs=1e-4)
    assert rows["ccnet"]["pa_mpjpe_mm"] == pytest.approx(0.6 * (590 / 6 - 3), abs=1e-4)
    assert rows["ccnet"]["mpjpe_mm_minus_raw"] == {"value": -1.0, "low": -1.0, "high": -1.0}
    assert rows["init"]["mpjpe_mm_minus_raw"]["value"] == 2.0
    assert rows["init"]["mve_mm_minus_init"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_jitter_is_pooled_over_the_frames_that_have_it_and_printed():
    tracks = []
    for number, known in enumerate(([2.0, 4.0], [], [9.0])):
        of_frames = np.array([np.nan, *known, np.nan])
        errors = {
            row: with_jitter(np.full(len(of_frames), 50.0), of_frames + extra, 2 * of_frames)
            for row, extra in (("init", 1.0), ("raw", 0.0))
        }
        tracks.append(TrackErrors(f"s{number}", f"s{number}_0", np.arange(len(of_frames)), errors).means())
    assert [track.num_accelerations for track in tracks] == [2, 0, 1]
    summary = Comparison(PROTOCOLS["camerahmr"], tuple(tracks)).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert [row["acceleration_error_mm"] for row in summary["rows"]] == [6.0, 5.0]
    assert [row["acceleration_mm"] for row in summary["rows"]] == [10.0, 10.0]
    assert summary["tracks"][2]["errors"]["raw"]["acceleration_error_mm"] == 9.0
    table = [line.split() for line in printed(summary).splitlines()]
    assert ["init", "6.0", "10.0"] in table and ["raw", "5.0", "10.0"] in table
    assert ["ccnet", "-", "-"] in [line.split() for line in printed(comparison().summary()).splitlines()]


def test_a_difference_to_a_row_that_was_not_run_is_null():
    rows = comparison(rows=("init", "uniform")).summary()["rows"]
    assert rows[1]["mpjpe_mm_minus_raw"] is None
    assert rows[1]["mpjpe_mm_minus_init"]["value"] == -1.0


def test_tracks_are_reported_too():
    tracks = comparison().summary()["tracks"]
    assert tracks[2]["track"] == "s2_0"
    assert tracks[2]["num_frames"] == 3
    assert tracks[2]["errors"]["raw"]["mpjpe_mm"] == 98.0


def test_methods_must_be_the_same_on_all_tracks():
    whole = comparison()
    lame = TrackErrors("s", "s_0", np.arange(1), {"init": frame_errors([1.0])}).means()
    with pytest.raises(InputError, match="same methods"):
        Comparison(whole.protocol, (*whole.tracks, lame))
    with pytest.raises(InputError, match="no track"):
        Comparison(whole.protocol, ())


def printed(summary) -> str:
    stream = io.StringIO()
    print_summary(summary, Console(file=stream, width=120))
    return stream.getvalue()


def test_tables_show_protocol_counts_numbers_and_intervals():
    text = printed(comparison().summary())
    for words in ("camerahmr", "6 frames of 3 tracks", "95.3 [", "difference to init", "-3.00*", "difference to raw"):
        assert words in text
    assert "no vertex error" not in text


def test_tables_of_the_official_protocol():
    parts = ("pck50", "auc200", "mpjae_deg", "pa_mpjae_deg")
    text = printed(comparison("official", rows=("init", "uniform"), parts=parts).summary())
    assert "difference to raw" not in text
    assert "no vertex error" in text
    assert "PCK@50mm" in text and "PA-MPJAE" in text
    assert "9.8" in text  # 98 mm in the place of a share: shown per cent
