"""Levenberg-Marquardt solvers of the refinement's objective, in torch and compiled.

May import the objective and `bodies`; knows no method.
"""
