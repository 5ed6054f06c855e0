"""The commands that run over sequences, one file each: options as dataclasses and what they print.

May import everything in `eval3dpw`; nothing in it imports them.
"""
