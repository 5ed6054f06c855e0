"""Training of the small regressor on rendered or annotated persons.

May import `fitting`, `pose2d` and `eval3dpw.judging`.
"""
