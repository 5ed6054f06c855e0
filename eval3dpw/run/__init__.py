"""Running the pipeline over the sequences of a dataset: options, loading, jobs, engines, resuming, evaluating.

May import everything in `eval3dpw` but the open world, training, the report and the commands; work functions take
options (`run.options`), never commands.
"""
