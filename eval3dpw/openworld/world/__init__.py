"""Worlds on disk: sequences in 3DPW's layout and person crops in COCO's.

May import `openworld.people` and `openworld.places`.
"""
