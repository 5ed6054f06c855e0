"""Running the pipeline over sequences: stages, jobs, engines, resuming.

May import everything in `eval3dpw` but the open world, the report and the commands.
"""
