"""What a run leaves on disk: bodies, errors per frame, the manifest that a later run goes on from, the summary.

May import `judging`, `dataset` and `fitting`; knows no report.
"""
