"""2D human pose: skeletons, crops, data sets, networks, decoding and inference."""
