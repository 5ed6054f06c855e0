"""Training of small 2D pose networks.

May import `datasets`, `networks` and `inference`.
"""
