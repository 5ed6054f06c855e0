"""Judging bodies against the truth: protocols, metrics, alignment, intervals that resample tracks, the oracle.

May import `dataset`, `drawing.rasteriser` and `fitting`; knows no open world and no run.
"""
