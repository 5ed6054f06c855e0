"""The calibration commands, one file each: options as dataclasses and what they print.

May import everything in `calibration` and `pose2d`; nothing in `calibration` imports them.
"""
