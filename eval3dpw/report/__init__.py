"""What people look at after a run: the page, the live viewer, exported videos, meshes and motions.

May import `results`, `judging`, `drawing` and `dataset`; knows no open world.
"""
