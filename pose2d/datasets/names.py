"""Names of the data sets that commands read; a file of its own, since command lines must not wait for the readers."""

from typing import Literal

DatasetName = Literal["coco", "mpii", "wholebody"]
