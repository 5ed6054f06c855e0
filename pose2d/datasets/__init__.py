"""Readers of annotated images, one a data set layout."""
