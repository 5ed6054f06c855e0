"""3DPW: reader, protocols, metrics with intervals, and the open world that stands in for it."""
