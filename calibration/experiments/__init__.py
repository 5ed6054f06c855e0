"""The paper's experiments: confidences compared, ablations, tables and figures.

May import every other package of `calibration` but its commands.
"""
