"""Reading and writing files: JSON and npz whole or not at all, pickles without running anything.

May import `pose2d.errors` and `pose2d.console`.
"""
