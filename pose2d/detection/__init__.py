"""From images and person boxes to a COCO results file.

May import `networks`, `datasets`, `inference` and `files`.
"""
