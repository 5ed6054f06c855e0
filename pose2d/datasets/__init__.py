"""Readers of annotated images, one per layout of a data set, and crops of their persons.

May import `crops`, `skeletons` and `files`; knows no network.
"""
