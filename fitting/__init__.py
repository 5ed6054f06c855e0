"""Refinement of SMPL bodies by confidence-weighted reprojection of 2D keypoints."""
