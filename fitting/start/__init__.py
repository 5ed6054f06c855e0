"""Laplace's approximation: the start's scale by the evidence of its keypoints, and the posterior of a refined body.

May import the objective, the solvers and `bodies`; the methods stand above it.
"""
