"""The terminal: progress on stderr and what Ctrl-C does.

Imports nothing of the project.
"""
