"""The fitting commands, one file each.

May import everything in `fitting`; nothing in it imports them.
"""
