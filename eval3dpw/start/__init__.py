"""Starts and their errors against the truth: calibrating a method's prior, synthetic starts, the study of both.

May import the dataset, the judging and `run`; the commands stand above it.
"""
