"""The 2D commands, one file each.

May import everything in `pose2d`; nothing in it imports them.
"""
