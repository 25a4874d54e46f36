"""Reading and writing images, label maps and tables, with axes, spacing and units kept.

One table (:data:`deepbio.io.formats.FORMATS`) leads from a file's suffix to the module that knows
the format; the module is imported when it is chosen.

Examples
--------
>>> import tempfile, pathlib
>>> import numpy as np
>>> from deepbio.image import Grid, Image
>>> grid = Grid((5, 7, 11), spacing=(1.2, 0.8, 0.5), unit="micrometer")
>>> with tempfile.TemporaryDirectory() as folder:
...     path = pathlib.Path(folder, "cells.tif")
...     write(path, Image(np.zeros((5, 7, 11), np.uint16), "ZYX", grid))
...     back = read(path)
>>> back.axes, back.grid == grid
('ZYX', True)
"""

from deepbio.io.ctc import write_ctc
from deepbio.io.dicom_files import Series, is_dicom, is_dicom_folder, list_series
from deepbio.io.dicom_seg import check_seg_source, write_dicom_seg
from deepbio.io.files import atomic
from deepbio.io.formats import image_suffixes
from deepbio.io.reading import info, read, read_labels
from deepbio.io.writing import open_labels, write

__all__ = [
    "Series", "atomic", "check_seg_source", "image_suffixes", "info", "is_dicom", "is_dicom_folder", "list_series",
    "open_labels", "read", "read_labels", "write", "write_ctc", "write_dicom_seg",
]  # fmt: skip
