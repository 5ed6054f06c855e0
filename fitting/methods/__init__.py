"""Methods of refinement: parameters, whole tracks, SPIN's SMPLify, fine-tuned networks.

May import `solving`, `bodies`, `regressor` and what lies at the top of `fitting`.
"""
