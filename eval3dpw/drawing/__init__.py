"""Drawing: a software rasteriser for meshes, overlays of keypoints and bodies on images, pictures of frames.

May import `dataset`, `fitting` and `pose2d`.
"""
