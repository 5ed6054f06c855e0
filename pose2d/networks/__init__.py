"""Pose networks, one family a file."""
