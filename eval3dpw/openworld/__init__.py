"""An embedded open world: an open body, in motion, rendered as sequences and as crops."""
