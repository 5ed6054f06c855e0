"""The people of the open world: bodies, activities, motion, clothes and skin.

May import `fitting.bodies` and `pose2d`; knows no scene.
"""
