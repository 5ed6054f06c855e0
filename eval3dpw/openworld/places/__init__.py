"""Places and cameras of the open world, and the scenes that people are put into.

May import `openworld.people` and `drawing`.
"""
