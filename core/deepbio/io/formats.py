"""The table from suffix to format: the only place that lists what can be read and written."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from deepbio.errors import ImageError

if TYPE_CHECKING:
    from deepbio.image import Image, LabelMap, Table

__all__ = ["FORMATS", "Backend", "Format", "find_format", "image_suffixes"]


class Backend(Protocol):
    """What the module of a format has; `path` is checked before, errors are translated after."""

    def read(self, path: Path, *, lazy: bool, labels: bool, **chosen: str) -> Image: ...
    def write(self, path: Path, item: Image | LabelMap | Table) -> None: ...


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    name : str
        What people call it.
    suffixes : tuple of str
        In lower case, with the dot; the first one is the usual one.
    module : str
        The module in this package that reads and writes it.
    is_folder : bool
        Whether such an image is always a folder. (DICOM may be a file of any name or a folder of such:
        :func:`deepbio.io.reading.read` looks into it.)
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    is_folder: bool = False

    def load(self) -> Backend:
        """Import the module that knows the format."""
        return cast("Backend", import_module(f"deepbio.io.{self.module}"))


FORMATS = (
    Format("TIFF", (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".btf"), "tiff"),
    Format("PNG", (".png",), "raster"),
    Format("JPEG", (".jpg", ".jpeg"), "raster"),
    Format("NIfTI", (".nii.gz", ".nii"), "medical"),
    Format("NRRD", (".nrrd",), "medical"),
    Format("MetaImage", (".mha", ".mhd"), "medical"),
    Format("DICOM", (".dcm", ".dicom", ".ima"), "dicom"),
    Format("OME-Zarr", (".ome.zarr", ".zarr"), "ome_zarr", is_folder=True),
    Format("CSV", (".csv",), "table"),
)

_ELSEWHERE = {  # formats that people try, and what opens them
    ".czi": "Fiji (Bio-Formats)",
    ".lif": "Fiji (Bio-Formats)",
    ".nd2": "Fiji (Bio-Formats)",
    ".oir": "Fiji (Bio-Formats)",
    ".lsm": "Fiji (Bio-Formats)",
    ".vsi": "Fiji (Bio-Formats)",
    ".ims": "Fiji (Bio-Formats)",
    ".svs": "QuPath",
    ".ndpi": "QuPath",
    ".h5": "Fiji or ilastik",
    ".hdr": "3D Slicer",
    ".img": "3D Slicer",
    ".nhdr": "3D Slicer",
}


def image_suffixes() -> tuple[str, ...]:
    """Suffixes of the image formats, in lower case.

    Examples
    --------
    >>> "stack.OME.TIF".lower().endswith(image_suffixes())
    True
    """
    return tuple(suffix for form in FORMATS if form.module != "table" for suffix in form.suffixes)


def find_format(path: Path) -> tuple[Format, str]:
    """Find the format of a file name, and which of its suffixes the name has.

    Raises
    ------
    ImageError
        If the suffix is none of ours; the nearest ones are named.

    Examples
    --------
    >>> form, suffix = find_format(Path("scans/Knee.NII.gz"))
    >>> form.name, suffix
    ('NIfTI', '.nii.gz')
    """
    name = path.name.lower()
    matches = [(form, suffix) for form in FORMATS for suffix in form.suffixes if name.endswith(suffix)]
    if matches:
        return max(matches, key=lambda match: len(match[1]))
    raise ImageError(
        f"'{path}' has {_found(path)}, which is not a known image format.", _hint(path.suffix.lower())
    )


def _found(path: Path) -> str:
    return f"the suffix '{path.suffix}'" if path.suffix else "no suffix"


def _hint(suffix: str) -> str:
    known: list[Any] = [s for form in FORMATS for s in form.suffixes]
    if suffix in _ELSEWHERE:
        return f"Open it in {_ELSEWHERE[suffix]} and save it as OME-TIFF or NRRD."
    near = difflib.get_close_matches(suffix, known, n=2, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known suffixes: {', '.join(known)}."
